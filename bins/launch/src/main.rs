//! `gyron-launch`: a verified image becomes a green stack; `gyron-launch edge` makes what stands in front of it.

mod args;
mod edge;
mod health;
mod image;
mod last_words;
mod launch;
mod modules;
mod subnets;
mod terraform;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let args = args::Args::parse();
    gyron_core::step::run(&args.common, async |context| match args.what {
        Some(args::What::Edge) => edge::run(context).await,
        None => launch::run(context).await,
    })
}
