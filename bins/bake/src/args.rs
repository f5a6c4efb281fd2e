//! What the user typed, as plain data.

use clap::Parser;
use gyron_core::step::{Common, exit_codes};

/// Bakes a release into an AMI with the app's own Ansible playbook; prints the image's id.
#[derive(Debug, Parser)]
#[command(name = "gyron-bake", version, after_help = exit_codes())]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) common: Common,
}
