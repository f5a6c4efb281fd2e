//! The command line.

use clap::{Parser, ValueEnum};
use gyron_core::step::{Common, exit_codes};

/// Moves production's traffic to the colour that was launched and smoke-tested, and proves it at the listener.
///
/// Until the proof is there, a breach, the deadline and a signal all put the weights back to what they were.
#[derive(Debug, Parser)]
#[command(name = "gyron-swap", version, after_help = exit_codes())]
pub struct Args {
    /// Where to, instead of forward
    #[arg(value_enum)]
    pub way: Option<Way>,
    #[command(flatten)]
    pub common: Common,
}

/// The other way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// To the colour that had the traffic before, as long as its group stands; needs no records, only gyron.toml
    Back,
}
