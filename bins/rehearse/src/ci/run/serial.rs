//! Serial groups: jobs of one group run one after the other, whichever pipeline they are of.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use gyron_core::failure::{Failure, OrFail, Result};
use gyron_core::stop::Stop;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};

use super::output::Lines;

/// A job's turn, held until it is dropped; a process that dies gives its turn up.
#[must_use]
#[derive(Debug)]
pub struct Turn {
    _lock: Flock<File>,
}

/// Waits for the turn of a job in its group.
///
/// # Errors
/// Program (5) where the lock can't be written; the signal that asked to stop.
pub async fn wait(locks: &Path, group: &str, lines: &Lines, stop: &Stop) -> Result<Turn> {
    let at = locks.join(&hex::encode(Sha256::digest(group))[..32]);
    let broken = || Failure::program(format!("can't lock {}", at.display()));
    std::fs::create_dir_all(locks).or_fail(broken)?;
    let mut file = File::create(&at).or_fail(broken)?;
    let mut told = false;
    loop {
        stop.check()?;
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(Turn { _lock: lock }),
            Err((file, Errno::EWOULDBLOCK)) => file,
            Err((_, errno)) => return Err(broken().because(std::io::Error::from(errno))),
        };
        if !told {
            lines.say(&format!("waits for its turn in {group}"));
            told = true;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
