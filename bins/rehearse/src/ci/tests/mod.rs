//! The expander as a whole: the corpus, and what the runner takes.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod corpus;
mod plan;
