//! `gyron-smoke`: green stack to verdict.

mod args;
mod asking;
mod balancer;
mod check;
mod instances;
mod smoke;
mod verdict;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let args = args::Args::parse();
    gyron_core::step::run(&args.common, async |context| match &args.target {
        Some(target) => smoke::target(context, target, args.release.as_deref()).await,
        None => smoke::launched(context).await,
    })
}
