//! Packing: a folder of files becomes one orb, as `circleci orb pack` does it, see
//! <https://github.com/CircleCI-Public/circleci-cli/blob/main/internal/pack/pack.go>.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

use super::fault::{Fault, Faults};
use super::source::{At, Source};
use super::yaml::{self, Key, Map, Node, Value};

/// Where includes are resolved: a description or an example may want to show one.
const SECTIONS: &[&str] = &["jobs", "commands", "executors"];

static INCLUDE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"<<[\s]*include\(([-\w/.]+)\)?[\s]*>>").ok());

/// Packs a folder, or a single file.
///
/// Files at the root are merged at the top, a folder of the root becomes a key in which each file of it, or of folders
/// below it, becomes a key by its name; a file that begins with `@` is merged where it is.
pub fn pack(root: &Path) -> Result<Node, Faults> {
    let start = Source::new(root.display().to_string(), "").start();
    let (mut packed, base) = if root.is_dir() {
        (Folder::read(root, 0)?.entries, root)
    } else {
        (file(root)?, root.parent().unwrap_or(root))
    };
    let mut faults = Faults::default();
    for section in SECTIONS {
        if let Some((key, node)) = packed.entry(section) {
            let (key, mut node) = (key.clone(), node.clone());
            include(&mut node, base, &mut faults);
            packed.put(key, node);
        }
    }
    faults.or(Node::new(Value::Map(packed), &start))
}

/// What one folder gives.
struct Folder {
    entries: Map,
    /// Which file gave a key, below the root.
    origins: BTreeMap<String, String>,
}

impl Folder {
    fn read(path: &Path, depth: usize) -> Result<Folder, Faults> {
        let mut folder = Folder { entries: Map::default(), origins: BTreeMap::new() };
        let mut faults = Faults::default();
        let mut below = Vec::new();
        for (name, path) in listed(path)? {
            let at = Source::new(path.display().to_string(), "").start();
            if path.is_dir() {
                match (faults.note(Folder::read(&path, depth + 1)), depth) {
                    // A folder without YAML, such as that of the scripts, is no section.
                    (Some(section), 0) if !section.entries.is_empty() => folder.join(&name, section.entries, &at),
                    (Some(section), 1..) => below.push(section),
                    _ => {}
                }
            } else if let Some((stem, "yml" | "yaml")) = name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()) {
                let Some(content) = faults.note(file(&path).map_err(Faults::from)) else { continue };
                if depth == 0 || name.starts_with('@') {
                    for (key, node) in content.iter() {
                        folder.entries.put(key.clone(), node.clone());
                    }
                } else {
                    folder.join(stem, content, &at);
                    folder.origins.insert(stem.to_owned(), path.display().to_string());
                }
            }
        }
        for section in below {
            faults.extend(folder.take_in(section));
        }
        faults.or(folder)
    }

    fn join(&mut self, name: &str, content: Map, at: &At) {
        let mut joined = self.entries.get(name).and_then(Node::as_map).cloned().unwrap_or_default();
        for (key, node) in content.iter() {
            joined.put(key.clone(), node.clone());
        }
        self.entries.put(Key::new(name, at), Node::new(Value::Map(joined), at));
    }

    /// Folders below a section only order its files; two of one name would be one.
    fn take_in(&mut self, section: Folder) -> Faults {
        let mut faults = Faults::default();
        for (key, node) in section.entries.iter() {
            let own = section.origins.get(&key.name).cloned().unwrap_or_else(|| key.at.source.name().to_owned());
            if let Some(other) = self.origins.get(&key.name) {
                let message = format!("`{}` is also defined by {other}; a section has each name once", key.name);
                faults.push(Fault::new(&key.at, message));
                continue;
            }
            self.origins.insert(key.name.clone(), own);
            self.entries.put(key.clone(), node.clone());
        }
        faults
    }
}

/// The files and folders of a folder by name, hidden ones left out.
fn listed(folder: &Path) -> Result<Vec<(String, std::path::PathBuf)>, Fault> {
    let wrong = |error: io::Error| {
        let at = Source::new(folder.display().to_string(), "").start();
        Fault::new(&at, format!("the folder can't be read: {error}"))
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

fn file(path: &Path) -> Result<Map, Fault> {
    let name = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|error| {
        Fault::new(&Source::new(name.clone(), "").start(), format!("the file can't be read: {error}"))
    })?;
    let node = yaml::parse(&Source::new(name, text))?;
    match node.value {
        Value::Map(map) => Ok(map),
        Value::Null => Ok(Map::default()),
        _ => Err(node.not_a("#", "Mapping")),
    }
}

fn include(node: &mut Node, base: &Path, faults: &mut Faults) {
    match &mut node.value {
        Value::Text(text) => match included(text, base, &node.at) {
            Ok(Some(whole)) => node.value = Value::Text(whole),
            Ok(None) => {}
            Err(fault) => faults.push(fault),
        },
        Value::List(items) => items.iter_mut().for_each(|item| include(item, base, faults)),
        Value::Map(map) => map.values_mut().for_each(|value| include(value, base, faults)),
        _ => {}
    }
}

/// The text with the files that it includes; in them `<<` is escaped, so that it stays what it is.
fn included(text: &str, base: &Path, at: &At) -> Result<Option<String>, Fault> {
    let Some(pattern) = INCLUDE.as_ref().filter(|_| text.contains("<<")) else { return Ok(None) };
    let mut whole = String::new();
    let mut rest = 0;
    for found in pattern.captures_iter(text) {
        let (Some(tag), Some(name)) = (found.get(0), found.get(1)) else { continue };
        let content = fs::read_to_string(base.join(name.as_str())).map_err(|error| {
            Fault::new(at, format!("could not read included file {}: {error}", name.as_str()))
                .hint("a path is relative to the orb's folder".to_owned())
        })?;
        whole.push_str(&text[rest..tag.start()]);
        whole.push_str(&content.replace("<<", "\\<<"));
        rest = tag.end();
    }
    if rest == 0 {
        return Ok(None);
    }
    whole.push_str(&text[rest..]);
    Ok(Some(whole))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::PathBuf;

    use serde_json::json;

    use super::*;

    /// A folder that is gone at the end.
    struct Orb(PathBuf);

    impl Orb {
        fn of(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("pack-{name}-{}", std::process::id()));
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Orb(root)
        }

        fn packed(&self) -> Result<serde_json::Value, String> {
            let faults = |faults: Faults| faults.to_string().replace(&format!("{}/", self.0.display()), "");
            pack(&self.0).map(|node| node.to_json()).map_err(faults)
        }
    }

    impl Drop for Orb {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn folders_become_keys_and_scripts_are_included() {
        let orb = Orb::of(
            "whole",
            &[
                ("@orb.yml", "version: 2.1\ndescription: <<include(scripts/a.sh)>>\n"),
                (
                    "commands/greet.yml",
                    "steps:\n  - run: << include(scripts/a.sh) >>\n  - run: x <<include(scripts/b)>> y\n",
                ),
                ("commands/aws/login.yml", "steps: [checkout]\n"),
                ("commands/README.md", "not packed"),
                ("jobs/.hidden.yml", "steps: []\n"),
                ("examples/use.yaml", "usage: {run: <<include(scripts/a.sh)>>}\n"),
                ("scripts/a.sh", "cat <<EOF\nhi\nEOF\n"),
                ("scripts/b", "b"),
            ],
        );
        let steps = json!([{"run": "cat \\<<EOF\nhi\nEOF\n"}, {"run": "x b y"}]);
        let expected = json!({
            "version": 2.1,
            "description": "<<include(scripts/a.sh)>>",
            "commands": {"greet": {"steps": steps}, "login": {"steps": ["checkout"]}},
            "examples": {"use": {"usage": {"run": "<<include(scripts/a.sh)>>"}}},
        });
        assert_eq!(orb.packed().unwrap(), expected);
    }

    #[test]
    fn a_missing_file_is_told_with_its_place() {
        let orb = Orb::of("missing", &[("commands/greet.yml", "steps:\n  - run: <<include(scripts/none.sh)>>\n")]);
        let said = orb.packed().unwrap_err();
        assert!(said.starts_with("commands/greet.yml:2:10: could not read included file scripts/none.sh"), "{said}");
    }

    #[test]
    fn two_files_of_one_name_are_refused() {
        let orb = Orb::of("twice", &[("jobs/a/x.yml", "steps: []\n"), ("jobs/b/x.yml", "steps: []\n")]);
        let said = orb.packed().unwrap_err();
        assert!(said.contains("`x` is also defined by"), "{said}");
    }
}
