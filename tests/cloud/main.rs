//! On the rehearsal cloud that `scripts/test` brings up: whole ways, and what goes wrong on them.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod answers;
mod bake;
mod calls;
mod delivery;
mod galaxy;
mod orb;
mod package;
mod pins;
mod verdicts;
mod weights;
