//! The commands, a file each.

mod calls;
mod ci;
mod daemon;
mod down;
mod endpoint;
mod env;
mod exec;
mod fault;
mod prepare;
mod status;
mod up;

use std::future::Future;

use gyron_core::failure::{Failure, OrFail, Result};

use crate::args::{Args, Command};
use crate::cloud::Cloud;

/// Does what was typed.
///
/// # Errors
/// What the command says.
pub fn run(args: Args) -> Result<()> {
    let name = args.cloud;
    match args.command {
        Command::Up { region } => block_on(up::run(&name, &region)),
        Command::Setup => block_on(up::setup()),
        Command::Env => env::run(&standing(&name)?),
        Command::Status { json } => {
            let cloud = standing(&name)?;
            block_on(status::run(&cloud, json))
        }
        Command::Calls { key } => calls::run(&name, key.as_deref()),
        Command::Fault(fault) => {
            let cloud = standing(&name)?;
            block_on(fault::run(&cloud, *fault))
        }
        // Never in the runtime: a namespace is entered by a thread, and a program is replaced as a whole.
        Command::Exec { in_vpc, command } => exec::run(&standing(&name)?, in_vpc, &command),
        Command::Prepare { folder } => block_on(prepare::run(&standing(&name)?, &folder)),
        Command::Ci(ci) => ci::run(&name, *ci),
        Command::Down => block_on(down::run(&name)),
        Command::Serve => {
            let cloud = standing(&name)?;
            daemon::detach();
            block_on(crate::serve::run(cloud))
        }
    }
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .or_fail(|| Failure::defect("can't start the runtime"))?
        .block_on(work)
}

/// The cloud of that name.
fn standing(name: &str) -> Result<Cloud> {
    Cloud::load(&Cloud::home_of(name)?)?.ok_or_else(|| {
        Failure::refused(format!("no cloud named {name} is up")).hint(format!("gyron-rehearse{} up", flag(name)))
    })
}

/// How a command line names the cloud.
fn flag(name: &str) -> String {
    if name == "default" { String::new() } else { format!(" --cloud {name}") }
}

/// Waits for something that may take minutes, and says so: silence is what CI kills.
async fn patiently<T>(what: &str, work: impl Future<Output = T>) -> T {
    let begun = std::time::Instant::now();
    let mut work = std::pin::pin!(work);
    loop {
        match tokio::time::timeout(std::time::Duration::from_secs(20), &mut work).await {
            Ok(done) => return done,
            Err(_) => say(&format!("  {what} ({} s)", begun.elapsed().as_secs())),
        }
    }
}

/// A line of progress.
fn say(line: &str) {
    anstream::eprintln!("{line}");
}
