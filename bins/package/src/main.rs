//! `gyron-package`: source tree to immutable release.

mod args;
mod release;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let args = args::Args::parse();
    gyron_core::step::run(&args.common, async |context| release::package(context, args.release.as_deref()).await)
}
