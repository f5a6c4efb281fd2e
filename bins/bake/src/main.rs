//! `gyron-bake`: release to AMI.

mod args;
mod bake;
mod base;
mod builder;
mod image;
mod playbook;
mod toolkit;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let args = args::Args::parse();
    gyron_core::step::run(&args.common, bake::bake)
}
