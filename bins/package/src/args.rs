//! What the user typed, as plain data.

use clap::Parser;
use gyron_core::step::{Common, exit_codes};

/// Makes an immutable release of an app's source tree: one archive or artifact in S3, by its SHA-256.
#[derive(Debug, Parser)]
#[command(name = "gyron-package", version, after_help = exit_codes())]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The version's name, instead of the one derived from git
    #[arg(long, value_name = "VERSION", env = "GYRON_RELEASE")]
    pub(crate) release: Option<String>,
}
