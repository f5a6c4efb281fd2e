//! The sums of gyron's archives, which its orb carries: `scripts/release` has written them beside the archives.

use std::path::Path;

use gyron_core::failure::{Failure, Result};

/// The file of the orb that holds them.
pub const FILE: &str = "scripts/sums";

/// The architectures that there are archives for, as the archives name them.
const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];

/// A line for each architecture: the sum, two spaces, the archive's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sums(String);

impl Sums {
    /// Reads the sums of this version's archives; a line of zeros, which no archive has, stands for one that is not there.
    ///
    /// # Errors
    /// Usage (2) where the folder holds none at all.
    pub fn read(folder: &Path, version: &str) -> Result<Self> {
        let mut found = false;
        let lines = ARCHITECTURES.map(|architecture| {
            let archive = format!("gyron-{version}-linux-{architecture}.tar.xz");
            match std::fs::read_to_string(folder.join(format!("{archive}.sha256"))) {
                Ok(line) => {
                    found = true;
                    line.trim_end().to_owned()
                }
                Err(_) => format!("{:064}  {archive}", 0),
            }
        });
        if found {
            return Ok(Sums(lines.join("\n") + "\n"));
        }
        Err(Failure::usage(format!("{} has no archive of gyron {version}", folder.display()))
            .hint(format!("scripts/release --to {} makes one", folder.display())))
    }

    /// The content of the orb's file.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use super::*;

    #[test]
    fn an_architecture_without_an_archive_has_a_sum_that_none_has() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Sums::read(folder.path(), "1.0.0").is_err());
        let line = format!("{:064x}  gyron-1.0.0-linux-amd64.tar.xz\n", 7);
        std::fs::write(folder.path().join("gyron-1.0.0-linux-amd64.tar.xz.sha256"), &line).unwrap();
        let sums = Sums::read(folder.path(), "1.0.0").unwrap();
        assert_eq!(sums.text(), format!("{line}{:064}  gyron-1.0.0-linux-arm64.tar.xz\n", 0));
    }
}
