//! `gyron-rehearse`: a cloud with bodies on one machine, so that gyron runs for real with no account.

mod args;
mod balancer;
mod base_image;
mod bodies;
mod calls;
mod cloud;
mod commands;
mod gateway;
mod install;
mod metadata;
mod moto;
mod netns;
mod network;
mod resolver;
mod serve;
mod ssm;
mod world;

use std::process::ExitCode;

use clap::Parser;
use gyron_core::exit::Exit;

fn main() -> ExitCode {
    match commands::run(args::Args::parse()) {
        Ok(()) => Exit::Done.into(),
        Err(failure) => {
            anstream::eprint!("{}", failure.report());
            failure.exit().into()
        }
    }
}
