//! On the rehearsal cloud that `scripts/test` brings up: whole ways, and what goes wrong on them.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod answers;
mod bake;
mod builders;
mod calls;
mod concurrency;
mod delivery;
mod endurance;
mod faults;
mod galaxy;
mod images;
mod kills;
mod layers;
mod log;
mod orb;
mod package;
mod packer;
mod pins;
mod plays;
mod secrets;
mod toolkit;
mod verdicts;
mod weights;
