//! `gyron-swap`: production traffic goes to the smoked colour; `gyron-swap back` returns it.

mod args;
mod back;
mod decision;
mod flip;
mod observed;
mod swap;
mod verify;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let args = args::Args::parse();
    gyron_core::step::run(&args.common, async |context| match args.way {
        Some(args::Way::Back) => back::run(context).await,
        None => swap::run(context).await,
    })
}
