//! What a job stores: artifacts as they are, and test results, counted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use gyron_core::failure::{Failure, OrFail, Result};
use quick_xml::Reader;
use quick_xml::events::Event;

use super::workspace;

/// How many tests were stored, and how many of them failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tests {
    /// All.
    pub all: usize,
    /// Those that failed.
    pub failed: usize,
}

/// Copies a file or folder into `to`, below `destination` or the path's own last name; says how many files these are.
///
/// # Errors
/// Usage (2) where something can't be read or written.
pub fn store(path: &Path, destination: Option<&str>, to: &Path) -> Result<usize> {
    if !path.exists() {
        return Ok(0);
    }
    let own = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = destination.unwrap_or(&own).trim_start_matches('/');
    if path.is_dir() {
        let files = workspace::matching(path, &[".".to_owned()])?;
        workspace::copy(path, &to.join(name), &files)?;
        return Ok(files.len());
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    let target = to.join(name);
    workspace::copy(folder, &to.join(".one"), &BTreeSet::from([PathBuf::from(&own)]))?;
    let moved = target
        .parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::rename(to.join(".one").join(&own), &target))
        .and_then(|()| std::fs::remove_dir_all(to.join(".one")));
    moved.or_fail(|| Failure::usage(format!("can't write {}", target.display())))?;
    Ok(1)
}

/// Counts the test cases of the JUnit files at `path`.
///
/// # Errors
/// Usage (2) for XML that can't be read.
pub fn count(path: &Path) -> Result<Tests> {
    let mut tests = Tests::default();
    for entry in walkdir::WalkDir::new(path).into_iter().flatten() {
        if entry.file_type().is_file() && entry.path().extension().is_some_and(|ending| ending == "xml") {
            let file = entry.path().display().to_string();
            let unreadable = || Failure::usage(format!("can't read {file} as JUnit"));
            let text = std::fs::read_to_string(entry.path()).or_fail(unreadable)?;
            let counted = cases(&text).or_fail(unreadable)?;
            tests.all += counted.all;
            tests.failed += counted.failed;
        }
    }
    Ok(tests)
}

fn cases(text: &str) -> quick_xml::Result<Tests> {
    let mut reader = Reader::from_str(text);
    let mut tests = Tests::default();
    let mut failed = false;
    loop {
        match reader.read_event()? {
            Event::Start(tag) | Event::Empty(tag) if tag.name().as_ref() == "testcase" => {
                tests.all += 1;
                failed = false;
            }
            Event::Start(tag) | Event::Empty(tag) if matches!(tag.name().as_ref(), "failure" | "error") && !failed => {
                tests.failed += 1;
                failed = true;
            }
            Event::Eof => return Ok(tests),
            _ => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use super::*;

    #[test]
    fn cases_are_counted_and_each_failure_once() {
        let text = "<testsuites><testsuite><testcase name='a'/><testcase name='b'><failure>x</failure>\
                    <error/></testcase><testcase name='c'><system-out/></testcase></testsuite></testsuites>";
        assert_eq!(cases(text).unwrap(), Tests { all: 3, failed: 1 });
    }

    #[test]
    fn artifacts_keep_their_names_or_get_one() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir_all(from.path().join("d/e")).unwrap();
        std::fs::write(from.path().join("d/e/f"), "1").unwrap();
        assert_eq!(store(&from.path().join("d"), None, to.path()).unwrap(), 1);
        assert_eq!(store(&from.path().join("d/e/f"), Some("x/y"), to.path()).unwrap(), 1);
        assert_eq!(store(&from.path().join("none"), None, to.path()).unwrap(), 0);
        assert!(to.path().join("d/e/f").is_file() && to.path().join("x/y").is_file());
    }
}
