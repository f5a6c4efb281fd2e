//! `gyron-spec`: image to verdict.

mod args;
mod image;
mod junit;
mod rspec;
mod script;
mod specs;
mod trial;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let args = args::Args::parse();
    gyron_core::step::run(&args.common, async |context| trial::try_image(context).await)
}
