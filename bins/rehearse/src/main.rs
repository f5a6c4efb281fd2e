//! `gyron-rehearse`: a cloud with bodies on one machine, so that gyron runs for real with no account.

mod args;
mod balancer;
mod base_image;
mod bodies;
mod calls;
mod ci;
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
    // A job's step calls this program by another name.
    let named = std::env::args_os().next().unwrap_or_default();
    let done = if ci::agent::is_called(&named) {
        ci::agent::run(std::env::args_os())
    } else {
        commands::run(args::Args::parse())
    };
    match done {
        Ok(()) => Exit::Done.into(),
        Err(failure) => {
            anstream::eprint!("{}", failure.report());
            failure.exit().into()
        }
    }
}
