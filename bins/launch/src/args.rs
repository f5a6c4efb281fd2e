//! The command line.

use clap::{Parser, ValueEnum};
use gyron_core::step::{Common, exit_codes};

/// Launches the verified image as the colour that has no traffic, by Terraform, and waits until every target is healthy.
#[derive(Debug, Parser)]
#[command(name = "gyron-launch", version, after_help = exit_codes())]
pub struct Args {
    /// What to apply instead of the idle colour
    #[arg(value_enum)]
    pub what: Option<What>,
    #[command(flatten)]
    pub common: Common,
}

/// What can be applied besides a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// The environment's edge, once: the balancer, its production rule, the way in for tests, both target groups
    Edge,
}
