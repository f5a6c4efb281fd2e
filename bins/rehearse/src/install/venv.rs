//! moto and the AWS CLI, from PyPI, pinned with all they stand on, in a venv of the cache's own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gyron_core::failure::{Failure, OrFail, Result};
use sha2::{Digest, Sha256};

use super::tool::Tool;

/// `pip freeze` of a venv that worked: the newest of each at the time, so that next year's releases break nothing.
const REQUIREMENTS: &str = include_str!("requirements.txt");

/// The folder with the venv's programs: `moto_server`, `aws`, `python3`.
#[must_use]
pub fn bin(cache: &Path) -> PathBuf {
    cache.join("venv/bin")
}

/// The folder that goes first in PATH: the AWS CLI and Terraform, but not the venv's Python, which is not for an app's build.
#[must_use]
pub fn programs(cache: &Path) -> PathBuf {
    cache.join("bin")
}

/// Makes the venv unless it is there with these very packages.
///
/// # Errors
/// Where there is no Python with venv, or PyPI can't be reached.
pub async fn ensure(cache: &Path, say: impl Fn(&str)) -> Result<()> {
    let venv = cache.join("venv");
    let mark = venv.join("gyron-requirements");
    let digest = hex::encode(Sha256::digest(REQUIREMENTS));
    if tokio::fs::read_to_string(&mark).await.is_ok_and(|found| found == digest) {
        return link_cli(cache).await;
    }
    let python = python().await?;
    say(&format!("installing moto and the AWS CLI from PyPI by {}", python.display()));
    let _ = tokio::fs::remove_dir_all(&venv).await;
    let made = Tool::new(&python).args(["-m", "venv"]).args([&venv]).ending().await?;
    if made.code != Some(0) {
        // Debian's Python comes without ensurepip.
        super::install(&["python3-venv"], &say).await?;
        let _ = tokio::fs::remove_dir_all(&venv).await;
        Tool::new(&python).args(["-m", "venv"]).args([&venv]).run().await?;
    }
    let list = tempfile::NamedTempFile::new().or_fail(|| Failure::program("can't write a temporary file"))?;
    tokio::fs::write(list.path(), REQUIREMENTS).await.or_fail(|| Failure::program("can't write a temporary file"))?;
    Tool::new(venv.join("bin/python3"))
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
        .args([list.path()])
        .within(Duration::from_secs(15 * 60))
        .run()
        .await
        .map_err(|failure| failure.hint("is PyPI, or an index of your own in pip's configuration, reachable?"))?;
    tokio::fs::write(&mark, digest).await.or_fail(|| Failure::program("can't write into the venv"))?;
    link_cli(cache).await
}

/// The system's Python before others: a person's own (pyenv, conda) may go at any time, and the venv with it.
async fn python() -> Result<PathBuf> {
    for candidate in ["/usr/bin/python3", "python3"] {
        let asked =
            Tool::new(candidate).args(["-c", "import sys; sys.exit(sys.version_info < (3, 10))"]).ending().await;
        if asked.is_ok_and(|ending| ending.code == Some(0)) {
            return Ok(candidate.into());
        }
    }
    Err(Failure::program("no Python 3.10 or newer").hint("sudo apt-get install python3-venv"))
}

async fn link_cli(cache: &Path) -> Result<()> {
    let (folder, target) = (programs(cache), bin(cache).join("aws"));
    let linked = async {
        tokio::fs::create_dir_all(&folder).await?;
        match tokio::fs::symlink(&target, folder.join("aws")).await {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    };
    linked.await.or_fail(|| Failure::program(format!("can't make links in {}", folder.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_pinned() {
        for line in REQUIREMENTS.lines() {
            assert!(line.contains("==") || line.starts_with('#'), "{line}");
        }
        assert!(REQUIREMENTS.contains("\nmoto==5.2.5\n"));
    }
}
