//! `calls`: every AWS call so far.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Write as _};

use gyron_core::failure::{Failure, OrFail, Result};

use crate::calls::Call;
use crate::cloud::Cloud;

/// Prints the journal, or what a key's owner called; that of a cloud that has gone down is there until the next one comes up.
pub fn run(name: &str, key: Option<&str>) -> Result<()> {
    let at = Cloud::home_of(name)?.join("calls.jsonl");
    let journal = match std::fs::File::open(&at) {
        Ok(journal) => journal,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // No call so far is an answer, no cloud is not.
            return super::standing(name).map(drop);
        }
        Err(error) => return Err(Failure::program(format!("can't read {}", at.display())).because(error)),
    };
    match print(journal, key) {
        // `calls | head` is no failure.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.or_fail(|| Failure::program(format!("can't print {}", at.display()))),
    }
}

fn print(mut journal: std::fs::File, key: Option<&str>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if key.is_none() {
        return io::copy(&mut journal, &mut out).map(drop);
    }
    for line in BufReader::new(journal).lines() {
        let line = line?;
        if serde_json::from_str::<Call>(&line).is_ok_and(|call| call.key.as_deref() == key) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}
