//! What the user typed, as plain data.

use clap::Parser;
use gyron_core::step::{Common, exit_codes};

/// Boots the baked image on a throw-away instance and runs the app's specs there, by serverspec.
///
/// serverspec and Ruby come from the distribution's packages at test time and are visible to the specs: one that says
/// that the package `ruby` should not be installed fails. The specs see GYRON_APP and GYRON_VERSION.
#[derive(Debug, Parser)]
#[command(name = "gyron-spec", version, after_help = exit_codes())]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) common: Common,
}
