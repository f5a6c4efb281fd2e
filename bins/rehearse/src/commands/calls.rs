//! `calls`: every AWS call so far.

use std::io::{self, ErrorKind};

use gyron_core::failure::{Failure, OrFail, Result};

use crate::cloud::Cloud;

/// Prints the journal; that of a cloud that has gone down is there until the next one comes up.
pub fn run(name: &str) -> Result<()> {
    let at = Cloud::home_of(name)?.join("calls.jsonl");
    let mut journal = match std::fs::File::open(&at) {
        Ok(journal) => journal,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // No call so far is an answer, no cloud is not.
            return super::standing(name).map(drop);
        }
        Err(error) => return Err(Failure::program(format!("can't read {}", at.display())).because(error)),
    };
    match io::copy(&mut journal, &mut io::stdout().lock()) {
        // `calls | head` is no failure.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.map(drop).or_fail(|| Failure::program(format!("can't print {}", at.display()))),
    }
}
