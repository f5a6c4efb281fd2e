//! Caches between runs: `save_cache` and `restore_cache`, kept on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use gyron_core::failure::{Failure, OrFail, Result};
use regex::Regex;
use sha2::{Digest, Sha256};

use super::workspace;

/// What a key's template may ask for.
pub struct Asked<'a> {
    /// Relative files of `checksum` stand here.
    pub folder: &'a Path,
    /// Of the job, for `.Environment.NAME`.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// `.Branch`
    pub branch: &'a str,
    /// `.Revision`
    pub revision: &'a str,
    /// `.BuildNum`
    pub number: u64,
}

/// A project's caches.
#[derive(Clone, Debug)]
pub struct Caches {
    folder: PathBuf,
}

impl Caches {
    /// Those kept below `folder`.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Caches { folder }
    }

    /// Keeps `paths` under `key`, and says how many files these are; a key that is there already is left as it is, and `None`
    /// says so. Nothing is kept of nothing.
    ///
    /// # Errors
    /// Refused (3) for a path outside of the job's home; usage (2) where it can't be written.
    pub fn save(&self, key: &str, paths: &[PathBuf], home: &Path) -> Result<Option<usize>> {
        let place = self.place(key);
        if place.exists() {
            return Ok(None);
        }
        let mut patterns = Vec::new();
        for path in paths {
            let inside = path.strip_prefix(home).or_fail(|| {
                Failure::refused(format!("not run here: a cache of {}, outside of the job's home", path.display()))
            })?;
            patterns.push(inside.display().to_string());
        }
        let files = workspace::matching(home, &patterns)?;
        if files.is_empty() {
            return Ok(Some(0));
        }
        // Made whole elsewhere first: a run that is killed here must not leave half a cache under the key.
        let half = self.folder.join(format!("half-{}", uuid::Uuid::new_v4()));
        workspace::copy(home, &half.join("files"), &files)?;
        let written = fs::create_dir_all(&half)
            .and_then(|()| fs::write(half.join("key"), key))
            .and_then(|()| fs::rename(&half, &place));
        if written.is_err() {
            let _ = fs::remove_dir_all(&half);
            if !place.exists() {
                written.or_fail(|| Failure::usage(format!("can't write {}", place.display())))?;
            }
        }
        Ok(Some(files.len()))
    }

    /// Brings back what the first of `keys` that matches names: the same key, or the newest that begins with it. Says which.
    ///
    /// # Errors
    /// Usage (2) where it can't be read or written.
    pub fn restore(&self, keys: &[String], home: &Path) -> Result<Option<(String, usize)>> {
        let mut known: Vec<(String, SystemTime, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let Ok(key) = fs::read_to_string(entry.path().join("key")) else { continue };
            let Ok(saved) = entry.metadata().and_then(|meta| meta.modified()) else { continue };
            if !entry.file_name().to_string_lossy().starts_with("half-") {
                known.push((key, saved, entry.path()));
            }
        }
        let best = |key: &String| {
            let exact = known.iter().find(|(known, _, _)| known == key);
            exact.or_else(|| known.iter().filter(|(known, _, _)| known.starts_with(key)).max_by_key(|(_, at, _)| *at))
        };
        let Some((key, _, place)) = keys.iter().find_map(best) else { return Ok(None) };
        let files = place.join("files");
        let all = workspace::matching(&files, &[".".to_owned()])?;
        workspace::copy(&files, home, &all)?;
        Ok(Some((key.clone(), all.len())))
    }

    fn place(&self, key: &str) -> PathBuf {
        self.folder.join(&hex::encode(Sha256::digest(key))[..32])
    }
}

/// Fills in a key's `{{ … }}` (<https://circleci.com/docs/guides/optimize/caching/#using-keys-and-templates>).
///
/// # Errors
/// Usage (2) for a template that CircleCI doesn't know, or a file that is not there.
pub fn key(template: &str, asked: &Asked<'_>) -> Result<String> {
    let pattern = Regex::new(r"\{\{\s*(.*?)\s*\}\}").or_fail(|| Failure::defect("a pattern of the caches is none"))?;
    let mut filled = String::new();
    let mut end = 0;
    for found in pattern.captures_iter(template) {
        let (Some(whole), Some(inner)) = (found.get(0), found.get(1)) else { continue };
        filled += &template[end..whole.start()];
        filled += &value(inner.as_str(), asked)?;
        end = whole.end();
    }
    Ok(filled + &template[end..])
}

fn value(asked_for: &str, asked: &Asked<'_>) -> Result<String> {
    if let Some(name) = asked_for.strip_prefix(".Environment.") {
        return Ok((asked.environment)(name).unwrap_or_default());
    }
    if let Some(file) = asked_for.strip_prefix("checksum ") {
        let path = asked.folder.join(file.trim().trim_matches('"'));
        let content = fs::read(&path).or_fail(|| Failure::usage(format!("can't read {} for a key", path.display())))?;
        return Ok(hex::encode(Sha256::digest(content)));
    }
    Ok(match asked_for {
        ".Branch" => asked.branch.to_owned(),
        ".Revision" => asked.revision.to_owned(),
        ".BuildNum" => asked.number.to_string(),
        "epoch" => jiff::Timestamp::now().as_second().to_string(),
        // CircleCI's own form: system, processor, family and model, of which the last two are not worth telling apart here.
        "arch" => format!("linux-{}-0-0", std::env::consts::ARCH),
        other => return Err(Failure::usage(format!("{{{{ {other} }}}} is no template of a cache's key"))),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_once_and_found_whole_or_by_its_beginning() {
        let (store, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let caches = Caches::new(store.path().to_owned());
        let file = home.path().join("deps/a");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "1").unwrap();
        let paths = [home.path().join("deps")];
        assert_eq!(caches.save("deps-1", &paths, home.path()).unwrap(), Some(1));
        fs::write(&file, "2").unwrap();
        assert_eq!(caches.save("deps-1", &paths, home.path()).unwrap(), None);
        let other = tempfile::tempdir().unwrap();
        assert_eq!(caches.restore(&["none".to_owned()], other.path()).unwrap(), None);
        let found = caches.restore(&["deps-2".to_owned(), "deps-".to_owned()], other.path()).unwrap();
        assert_eq!(found, Some(("deps-1".to_owned(), 1)));
        assert_eq!(fs::read_to_string(other.path().join("deps/a")).unwrap(), "1");
    }

    #[test]
    fn a_cache_outside_of_the_home_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let caches = Caches::new(home.path().join("store"));
        assert!(caches.save("k", &[PathBuf::from("/etc")], home.path()).is_err());
    }

    #[test]
    fn a_key_is_made_of_what_its_template_asks_for() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("lock"), "x").unwrap();
        let environment = |name: &str| (name == "V").then(|| "7".to_owned());
        let asked =
            Asked { folder: folder.path(), environment: &environment, branch: "main", revision: "abc", number: 3 };
        let template = "v{{ .Environment.V }}-{{.Branch}}-{{ checksum \"lock\" }}-{{ .BuildNum }}";
        let sum = hex::encode(Sha256::digest("x"));
        assert_eq!(key(template, &asked).unwrap(), format!("v7-main-{sum}-3"));
        assert!(key("{{ .Nothing }}", &asked).is_err());
    }
}
