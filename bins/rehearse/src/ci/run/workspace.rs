//! A workflow's workspace: what its jobs hand to those behind them, in layers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use globset::GlobBuilder;
use gyron_core::failure::{Failure, OrFail, Result};
use walkdir::WalkDir;

/// One `persist_to_workspace`.
#[derive(Clone, Debug)]
struct Layer {
    job: String,
    folder: PathBuf,
    files: BTreeSet<PathBuf>,
}

/// The layers that a workflow's jobs have persisted.
#[derive(Debug)]
pub struct Workspace {
    folder: PathBuf,
    layers: Mutex<Vec<Layer>>,
}

impl Workspace {
    /// An empty one, kept below `folder`.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Workspace { folder, layers: Mutex::default() }
    }

    /// Keeps what matches `patterns` below `root`, as a layer of `job`; says how many files these are.
    ///
    /// # Errors
    /// No (1) where nothing matches, as on CircleCI; usage (2) where files can't be read or written.
    pub fn persist(&self, job: &str, root: &Path, patterns: &[String]) -> Result<usize> {
        let files = matching(root, patterns)?;
        if files.is_empty() {
            return Err(Failure::no(format!(
                "the specified paths did not match any files in {}: {}",
                root.display(),
                patterns.join(", ")
            )));
        }
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = self.folder.join(layers.len().to_string());
        copy(root, &folder, &files)?;
        let count = files.len();
        layers.push(Layer { job: job.to_owned(), folder, files });
        Ok(count)
    }

    /// Lays the layers of the `upstream` jobs into `at`, in their order; says how many files these are.
    ///
    /// # Errors
    /// No (1) where two jobs of which neither `requires` the other have persisted the same file
    /// (<https://circleci.com/docs/guides/orchestrate/workspaces/>: "attaching the workspace will error").
    pub fn attach(&self, upstream: &[String], requires: impl Fn(&str, &str) -> bool, at: &Path) -> Result<usize> {
        let layers: Vec<Layer> = {
            let all = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
            upstream.iter().flat_map(|job| all.iter().filter(move |layer| layer.job == *job)).cloned().collect()
        };
        let concurrent = |one: &str, other: &str| one != other && !requires(one, other) && !requires(other, one);
        if let Some((file, one, other)) = conflict(&layers, concurrent) {
            return Err(Failure::no("concurrent upstream jobs persisted the same file(s) into the workspace")
                .detail(format!("  {} by {one} and by {other}", file.display()))
                .hint("persist different files, or let one of the jobs require the other"));
        }
        for layer in &layers {
            copy(&layer.folder, at, &layer.files)?;
        }
        Ok(layers.iter().map(|layer| layer.files.len()).sum())
    }
}

/// The first file that two concurrent jobs have persisted, and both jobs.
fn conflict(layers: &[Layer], concurrent: impl Fn(&str, &str) -> bool) -> Option<(&Path, &str, &str)> {
    let mut owners: BTreeMap<&Path, Vec<&str>> = BTreeMap::new();
    for layer in layers {
        for file in &layer.files {
            let known = owners.entry(file).or_default();
            if let Some(other) = known.iter().find(|other| concurrent(other, &layer.job)) {
                return Some((file, other, &layer.job));
            }
            known.push(&layer.job);
        }
    }
    None
}

/// The files below `root` that any of the patterns names: a glob, or a path; a folder stands for all that it holds.
///
/// # Errors
/// Usage (2) for a pattern that is none; no (1) for one that leads out of `root`.
pub fn matching(root: &Path, patterns: &[String]) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for pattern in patterns {
        let plain = pattern.trim_end_matches('/').trim_start_matches("./");
        let path = Path::new(plain);
        if path.is_absolute() || path.components().any(|part| part.as_os_str() == "..") {
            return Err(Failure::no(format!("{pattern} leads out of {}", root.display())));
        }
        let named: Vec<PathBuf> = if plain.is_empty() || plain == "." {
            vec![PathBuf::new()]
        } else if plain.contains(['*', '?', '[', '{']) {
            globbed(root, plain)?
        } else {
            vec![path.to_owned()]
        };
        for name in named {
            let below = WalkDir::new(root.join(&name)).sort_by_file_name().into_iter().flatten();
            let files = below.filter(|entry| !entry.file_type().is_dir());
            found.extend(files.filter_map(|entry| entry.path().strip_prefix(root).ok().map(Path::to_owned)));
        }
    }
    Ok(found)
}

/// What a glob matches below `root`: `*` stays within a folder, `**` doesn't.
///
/// # Errors
/// Usage (2) for a pattern that is none.
pub fn globbed(root: &Path, pattern: &str) -> Result<Vec<PathBuf>> {
    let glob = GlobBuilder::new(pattern).literal_separator(true).build();
    let glob = glob.or_fail(|| Failure::usage(format!("{pattern} is no pattern")))?.compile_matcher();
    let entries = WalkDir::new(root).min_depth(1).sort_by_file_name().into_iter().flatten();
    let relative = entries.filter_map(|entry| entry.path().strip_prefix(root).ok().map(Path::to_owned));
    Ok(relative.filter(|path| glob.is_match(path)).collect())
}

/// Copies files with their modes, and links as links.
///
/// # Errors
/// Usage (2) where something can't be read or written.
pub fn copy(from: &Path, to: &Path, files: &BTreeSet<PathBuf>) -> Result<()> {
    for file in files {
        let (source, target) = (from.join(file), to.join(file));
        one(&source, &target)
            .or_fail(|| Failure::usage(format!("can't copy {} to {}", source.display(), target.display())))?;
    }
    Ok(())
}

fn one(source: &Path, target: &Path) -> io::Result<()> {
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder)?;
    }
    if fs::symlink_metadata(target).is_ok() {
        fs::remove_file(target)?;
    }
    if fs::symlink_metadata(source)?.is_symlink() {
        std::os::unix::fs::symlink(fs::read_link(source)?, target)
    } else {
        fs::copy(source, target).map(drop)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        folder
    }

    fn names(found: &BTreeSet<PathBuf>) -> Vec<String> {
        found.iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn a_path_a_folder_and_a_glob_are_found() {
        let root = folder(&["a.txt", "b/c.txt", "b/d/e.txt", ".hidden/f"]);
        let found = |pattern: &str| names(&matching(root.path(), &[pattern.to_owned()]).unwrap());
        assert_eq!(found("a.txt"), ["a.txt"]);
        assert_eq!(found("b"), ["b/c.txt", "b/d/e.txt"]);
        assert_eq!(found("*.txt"), ["a.txt"]);
        assert_eq!(found("b/*"), ["b/c.txt", "b/d/e.txt"]);
        assert_eq!(found("."), [".hidden/f", "a.txt", "b/c.txt", "b/d/e.txt"]);
        assert_eq!(found("nowhere"), [""; 0]);
        assert!(matching(root.path(), &["../x".to_owned()]).is_err());
    }

    #[test]
    fn layers_lie_over_one_another_in_the_order_of_the_jobs() {
        let (one, two) = (folder(&["same", "only-one"]), folder(&["same"]));
        fs::write(two.path().join("same"), "two").unwrap();
        let store = tempfile::tempdir().unwrap();
        let workspace = Workspace::new(store.path().to_owned());
        let all = [".".to_owned()];
        workspace.persist("two", two.path(), &all).unwrap();
        workspace.persist("one", one.path(), &all).unwrap();
        let at = tempfile::tempdir().unwrap();
        let requires = |job: &str, other: &str| (job, other) == ("two", "one");
        workspace.attach(&["one".to_owned(), "two".to_owned()], requires, at.path()).unwrap();
        assert_eq!(fs::read_to_string(at.path().join("same")).unwrap(), "two");
        assert!(at.path().join("only-one").is_file());
    }

    #[test]
    fn the_same_file_of_two_concurrent_jobs_is_an_error() {
        let root = folder(&["same"]);
        let store = tempfile::tempdir().unwrap();
        let workspace = Workspace::new(store.path().to_owned());
        for job in ["one", "two"] {
            workspace.persist(job, root.path(), &["same".to_owned()]).unwrap();
        }
        let upstream = ["one".to_owned(), "two".to_owned()];
        let failure = workspace.attach(&upstream, |_, _| false, root.path()).unwrap_err();
        assert!(failure.report().contains("same by one and by two"), "{}", failure.report());
    }

    #[test]
    fn nothing_that_matches_is_an_error() {
        let root = folder(&["a"]);
        let workspace = Workspace::new(root.path().join("store"));
        assert!(workspace.persist("job", root.path(), &["b*".to_owned()]).is_err());
    }
}
