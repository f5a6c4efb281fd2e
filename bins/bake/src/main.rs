//! `gyron-bake`: release to AMI.

mod args;
mod bake;
mod base;
mod builder;
mod distribution;
mod fingerprint;
mod image;
mod in_flight;
mod known;
mod layer;
mod leftovers;
mod lockfile;
mod log;
mod outdated;
mod packages;
mod playbook;
mod prune;
mod requirements;
mod secrets;
mod sighting;
mod sweep;
mod toolkit;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let args = args::Args::parse();
    gyron_core::step::run(&args.common, async |context| {
        args.check()?;
        match args.what {
            Some(args::What::Sweep) => sweep::sweep(context, args.yes).await,
            Some(args::What::Diff) => packages::diff(context, &args.of).await,
            Some(args::What::Prune) => prune::prune(context, args.yes).await,
            Some(args::What::Outdated) => outdated::outdated(context).await,
            Some(args::What::Update) => outdated::update(context).await,
            None => bake::bake(context, args.fresh, args.keep_on_failure).await,
        }
    })
}
