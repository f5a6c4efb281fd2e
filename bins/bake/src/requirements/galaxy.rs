//! ansible-galaxy of the toolkit, run on this machine.

use std::path::{Path, PathBuf};

use gyron_core::archive;
use gyron_core::failure::{Failure, OrFail as _, Result};
use gyron_core::ids::Digest;
use gyron_core::program::Program;
use gyron_core::step::Context;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Content, Kind, Wanted};
use crate::lockfile::FILE_NAME;

/// Runs ansible-galaxy and writes down what came.
const PROGRAM: &str = include_str!("galaxy.py");

/// What the program says of a role or a collection that came.
#[derive(Debug, Deserialize)]
struct Came {
    kind: Kind,
    name: String,
    version: String,
    from: String,
    source: String,
    commit: Option<String>,
}

/// Installs what the requirements file asks for below `tree`, with all dependencies.
///
/// # Errors
/// Program (5): ansible-galaxy failed, or Python is not there.
pub(super) async fn install(context: &Context, toolkit: &Path, wanted: &Wanted, tree: &Path) -> Result<Vec<Content>> {
    let mut content = Vec::new();
    for kind in wanted.kinds {
        let file = wanted.folder.join(wanted.place);
        for came in run(context, toolkit, wanted, *kind, &file, tree, &[]).await? {
            let sha256 = digest(tree, came.kind, &came.name)?;
            let Came { kind, name, version, from, source, commit } = came;
            content.push(Content { kind, name, version, from, source, commit, sha256 });
        }
    }
    content.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    Ok(content)
}

/// Installs exactly what is pinned, without a look at dependencies: they are pinned, too.
///
/// # Errors
/// As [`install`]; refused (3) where a source has other content now.
pub(super) async fn install_pinned(
    context: &Context,
    toolkit: &Path,
    wanted: &Wanted,
    pinned: &[Content],
    tree: &Path,
) -> Result<()> {
    let scratch = tempfile::tempdir().or_fail(|| Failure::defect("no temporary folder can be made"))?;
    for kind in [Kind::Role, Kind::Collection] {
        let asked = questions(pinned, kind);
        if asked.is_empty() {
            continue;
        }
        // JSON is YAML.
        let file = scratch.path().join(format!("{}s.yml", kind.name()));
        let key = format!("{}s", kind.name());
        std::fs::write(&file, json!({ key: asked }).to_string())
            .or_fail(|| Failure::defect(format!("can't write {}", file.display())))?;
        run(context, toolkit, wanted, kind, &file, tree, &["--no-deps"]).await?;
    }
    for content in pinned {
        let now = digest(tree, content.kind, &content.name)?;
        if now != content.sha256 {
            let (kind, name, source) = (content.kind.name(), &content.name, &content.source);
            let (now, then) = (now.short(), content.sha256.short());
            return Err(Failure::refused(format!(
                "the {kind} {name} of {source} has the sha256 {now} now, {FILE_NAME} pins {then}"
            ))
            .hint("whoever publishes it has put other content in its place; `gyron-bake update` would pin that"));
        }
    }
    Ok(())
}

/// What to ask ansible-galaxy for, so that it brings what is pinned; a source that several come from is asked once.
fn questions(pinned: &[Content], kind: Kind) -> Vec<Value> {
    let mut asked = Vec::new();
    for content in pinned.iter().filter(|content| content.kind == kind) {
        let Content { name, source, from, .. } = content;
        let version = content.commit.as_ref().unwrap_or(&content.version);
        let question = match (kind, from.as_str()) {
            (Kind::Role, "git" | "hg") => json!({ "name": name, "src": source, "scm": from, "version": version }),
            (Kind::Role, "galaxy") => json!({ "name": name, "src": source, "version": version }),
            (Kind::Role, _) => json!({ "name": name, "src": source }),
            (Kind::Collection, "galaxy") => json!({ "name": name, "source": source, "version": version }),
            (Kind::Collection, "git") => json!({ "source": source, "type": from, "version": version }),
            (Kind::Collection, _) => json!({ "source": source, "type": from }),
        };
        if !asked.contains(&question) {
            asked.push(question);
        }
    }
    asked
}

async fn run(
    context: &Context,
    toolkit: &Path,
    wanted: &Wanted,
    kind: Kind,
    file: &Path,
    tree: &Path,
    options: &[&str],
) -> Result<Vec<Came>> {
    let scratch = tempfile::tempdir().or_fail(|| Failure::defect("no temporary folder can be made"))?;
    let (program, told) = (scratch.path().join("galaxy.py"), scratch.path().join("came.json"));
    std::fs::write(&program, PROGRAM).or_fail(|| Failure::defect(format!("can't write {}", program.display())))?;
    let into = tree.join(format!("{}s", kind.name()));
    let python = Program::find("python3", "ansible-galaxy needs Python 3.11 or newer: apt-get install python3")?
        // Apart from the machine's own Ansible and what stands in variables and the user's folder of Python.
        .args(["-B", "-I"])
        .args([program.as_path(), toolkit])
        .args([kind.name()])
        .args([file, &into, &told])
        .args(options)
        .folder(&wanted.folder)
        .env("LC_ALL", "C.UTF-8")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("ANSIBLE_NOCOLOR", "1")
        .env("ANSIBLE_LOCAL_TEMP", scratch.path().join("tmp"))
        .env("ANSIBLE_GALAXY_CACHE_DIR", scratch.path().join("cache"))
        // What this machine has already is not what comes to the builder.
        .env("ANSIBLE_ROLES_PATH", &into)
        .env("ANSIBLE_COLLECTIONS_PATH", &into)
        .env("ANSIBLE_COLLECTIONS_SCAN_SYS_PATH", "False");
    python
        .succeed(&context.stop, |_, line| context.console.say(format!("  | {line}")))
        .await
        .map_err(|failure| failure.hint(format!("ansible-galaxy was to install what {} asks for", wanted.file)))?;
    let text = std::fs::read(&told).or_fail(|| Failure::defect(format!("can't read {}", told.display())))?;
    forget(&into)?;
    serde_json::from_slice(&text).or_fail(|| Failure::defect("ansible-galaxy's answer can't be read"))
}

/// Takes away what says when and how something was installed: it is another each time.
fn forget(into: &Path) -> Result<()> {
    let there = if into.is_dir() { archive::files(into)? } else { Vec::new() };
    for path in there {
        let mut parts = path.components().map(|part| part.as_os_str().to_string_lossy());
        let of_galaxy = path.ends_with("meta/.galaxy_install_info")
            || (parts.next().as_deref() == Some("ansible_collections")
                && parts.next().is_some_and(|part| part.ends_with(".info")));
        if of_galaxy {
            let path = into.join(path);
            std::fs::remove_file(&path).or_fail(|| Failure::defect(format!("can't remove {}", path.display())))?;
        }
    }
    Ok(())
}

/// The digest of a role's or a collection's files.
fn digest(tree: &Path, kind: Kind, name: &str) -> Result<Digest> {
    let folder = match kind {
        Kind::Role => tree.join("roles").join(name),
        Kind::Collection => {
            let parts: PathBuf = name.split('.').collect();
            tree.join("collections/ansible_collections").join(parts)
        }
    };
    if !folder.is_dir() {
        return Err(Failure::program(format!("ansible-galaxy did not install the {} {name}", kind.name())));
    }
    archive::tree(&folder, &archive::files(&folder)?)
}

#[cfg(test)]
mod tests {
    use gyron_core::ids::Digest;

    use super::super::{Content, Kind};
    use super::questions;

    fn content(kind: Kind, name: &str, from: &str, source: &str, commit: Option<&str>) -> Content {
        Content {
            kind,
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            from: from.to_owned(),
            source: source.to_owned(),
            commit: commit.map(str::to_owned),
            sha256: Digest::of(b""),
        }
    }

    #[test]
    fn what_is_pinned_is_asked_for_by_version_or_commit() {
        let pinned = [
            content(Kind::Role, "acme.web", "galaxy", "acme.web", None),
            content(Kind::Role, "db", "git", "https://git.example.com/db", Some("c0ffee")),
            content(Kind::Collection, "acme.a", "git", "git+https://git.example.com/all", Some("beef")),
            content(Kind::Collection, "acme.b", "git", "git+https://git.example.com/all", Some("beef")),
            content(Kind::Collection, "acme.c", "galaxy", "https://galaxy.example.com", None),
            content(Kind::Collection, "acme.d", "file", "acme-d-1.0.0.tar.gz", None),
        ];
        let lines = |kind| questions(&pinned, kind).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        insta::assert_snapshot!(lines(Kind::Role), @r#"
        {"name":"acme.web","src":"acme.web","version":"1.0.0"}
        {"name":"db","scm":"git","src":"https://git.example.com/db","version":"c0ffee"}
        "#);
        insta::assert_snapshot!(lines(Kind::Collection), @r#"
        {"source":"git+https://git.example.com/all","type":"git","version":"beef"}
        {"name":"acme.c","source":"https://galaxy.example.com","version":"1.0.0"}
        {"source":"acme-d-1.0.0.tar.gz","type":"file"}
        "#);
    }
}
