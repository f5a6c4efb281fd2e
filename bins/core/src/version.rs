//! The version of what is released, derived from git.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, OrFail as _, Result};
use crate::ids::Digest;
use crate::program::Program;
use crate::stop::Stop;

/// What is released, and what it was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// `1.4.0` at a tag `v1.4.0`, else `20260131.093000-1f0c3b2a9d4e`; with `-dirty-…` for what no commit holds.
    pub name: String,
    /// The commit, where there is a repo.
    pub commit: Option<String>,
    /// Made from a work tree that differs from its commit.
    pub dirty: bool,
}

impl Version {
    /// Reads the version from the repo at `root`; a `given` name takes the place of the derived one.
    ///
    /// # Errors
    /// Usage (2): no repo, or no commit yet. Program (5): no git.
    pub async fn derive(root: &Path, given: Option<&str>, stop: &Stop) -> Result<Self> {
        let git = |args: &[&str]| -> Result<Program> {
            Ok(Program::find("git", "install git: apt-get install git")?.folder(root).args(args))
        };
        let inside = git(&["rev-parse", "--is-inside-work-tree"])?.run(stop, |_, _| {}).await?;
        if !inside.status.success() {
            return match given {
                Some(name) => Ok(Version { name: name.to_owned(), commit: None, dirty: true }),
                None => Err(Failure::usage(format!("{} is in no git repository", root.display()))
                    .hint("the version is derived from git: run git init and commit, or name one with --release")),
            };
        }
        let head = git(&["rev-parse", "--verify", "--quiet", "HEAD"])?.run(stop, |_, _| {}).await?;
        if !head.status.success() {
            return Err(Failure::usage("the git repository has no commit yet")
                .hint("the version is derived from git: commit first"));
        }
        let commit = git(&["rev-parse", "HEAD"])?.output(stop).await?.trim().to_owned();
        let status = git(&["status", "--porcelain=v1", "--untracked-files=all", "--", ".", ":(exclude).gyron"])?
            .output(stop)
            .await?;
        let dirty = !status.trim().is_empty();
        let mut name = match given {
            Some(name) => name.to_owned(),
            None => {
                let tags = git(&["tag", "--points-at", "HEAD", "--list", "v[0-9]*"])?.output(stop).await?;
                match tags.lines().next_back() {
                    Some(tag) => tag.trim_start_matches('v').to_owned(),
                    None => {
                        let date = git(&["log", "-1", "--format=%cd", "--date=format-local:%Y%m%d.%H%M%S"])?
                            .env("TZ", "UTC")
                            .output(stop)
                            .await?;
                        format!("{}-{}", date.trim(), &commit[..12.min(commit.len())])
                    }
                }
            }
        };
        if dirty && given.is_none() {
            // Two different dirty trees on one commit are two versions: a release is never overwritten.
            let difference = git(&["diff", "--binary", "HEAD", "--", ".", ":(exclude).gyron"])?.output(stop).await?;
            let untracked = untracked(root, &status);
            name = format!("{name}-dirty-{}", &Digest::of(format!("{difference}{untracked}").as_bytes()).as_str()[..8]);
        }
        check(&name)?;
        Ok(Version { name, commit: Some(commit), dirty })
    }
}

/// A name that is safe in keys, tags and file names everywhere.
fn check(name: &str) -> Result<()> {
    let fits = (1..=96).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && !name.starts_with('.');
    if fits {
        return Ok(());
    }
    Err(Failure::usage(format!("`{name}` is no version: letters, digits, `.`, `_` and `-`, at most 96"))
        .hint("name another one with --release"))
}

fn untracked(root: &Path, status: &str) -> String {
    let paths = status.lines().filter_map(|line| line.strip_prefix("?? "));
    let digests = paths.map(|path| {
        // What can't be read (a socket, a quoted name) counts by its name.
        let content = std::fs::read(root.join(path)).unwrap_or_default();
        format!("{path} {}\n", Digest::of(&content))
    });
    digests.collect()
}

/// The time of the commit, in seconds since 1970: what reproducible archives use for every file's time.
///
/// # Errors
/// Program (5) where git can't say.
pub async fn commit_time(root: &Path, version: &Version, stop: &Stop) -> Result<u64> {
    if let Ok(given) = std::env::var("SOURCE_DATE_EPOCH") {
        return given.parse().or_fail(|| Failure::usage(format!("SOURCE_DATE_EPOCH is no number: `{given}`")));
    }
    let Some(commit) = &version.commit else { return Ok(0) };
    let git = Program::find("git", "install git: apt-get install git")?;
    let time = git.folder(root).args(["log", "-1", "--format=%ct", commit]).output(stop).await?;
    time.trim().parse().or_fail(|| Failure::program(format!("git gave no time for {commit}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;
    use std::process::Command;

    use super::Version;
    use crate::stop::Stop;

    fn git(folder: &Path, args: &[&str]) {
        let identity = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"];
        let done = Command::new("git").current_dir(folder).args(identity).args(args).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }

    async fn derive(folder: &Path) -> Version {
        Version::derive(folder, None, &Stop::never()).await.unwrap()
    }

    #[tokio::test]
    async fn tag_commit_and_dirty_tree_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        git(root, &["init", "-q"]);
        let failure = Version::derive(root, None, &Stop::never()).await.unwrap_err();
        assert_eq!(failure.message(), "the git repository has no commit yet");

        std::fs::write(root.join("a"), "1").unwrap();
        git(root, &["add", "."]);
        git(root, &["commit", "-qm", "one"]);
        let clean = derive(root).await;
        assert!(!clean.dirty && clean.name.len() == "20260131.093000-1f0c3b2a9d4e".len(), "{clean:?}");

        std::fs::create_dir(root.join(".gyron")).unwrap();
        std::fs::write(root.join(".gyron/package.json"), "{}").unwrap();
        assert_eq!(derive(root).await, clean, "gyron's own records make no tree dirty");

        std::fs::write(root.join("b"), "2").unwrap();
        let dirty = derive(root).await;
        assert!(dirty.dirty && dirty.name.contains("-dirty-"));
        std::fs::write(root.join("b"), "3").unwrap();
        assert_ne!(derive(root).await.name, dirty.name);

        git(root, &["add", "."]);
        git(root, &["commit", "-qm", "two"]);
        git(root, &["tag", "v1.4.0"]);
        assert_eq!(derive(root).await.name, "1.4.0");
    }
}
