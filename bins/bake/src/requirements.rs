//! What a playbook takes from Ansible Galaxy: its requirements files, and the content that gyron.lock pins for them.

mod galaxy;

use std::path::{Path, PathBuf};

use gyron_core::archive::{self, Compression};
use gyron_core::config::schema::Layer;
use gyron_core::failure::{Failure, OrFail as _, Result};
use gyron_core::ids::Digest;
use gyron_core::registry::{Put, Registry};
use gyron_core::step::Context;
use serde::{Deserialize, Serialize};

use crate::fingerprint::Fingerprint;
use crate::lockfile::{FILE_NAME, Lock};
use crate::playbook::Playbook;
use crate::toolkit;

/// Counts changes of how a bundle is made from its pins.
const RECIPE: u32 = 1;

/// Roles or collections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Role,
    Collection,
}

impl Kind {
    /// As ansible-galaxy's command line calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Role => "role",
            Kind::Collection => "collection",
        }
    }
}

/// Where Ansible's users keep requirements, relative to the playbook's folder, and what of them each is read for.
const PLACES: [(&str, &[Kind]); 6] = [
    ("requirements.yml", &[Kind::Role, Kind::Collection]),
    ("requirements.yaml", &[Kind::Role, Kind::Collection]),
    ("roles/requirements.yml", &[Kind::Role]),
    ("roles/requirements.yaml", &[Kind::Role]),
    ("collections/requirements.yml", &[Kind::Collection]),
    ("collections/requirements.yaml", &[Kind::Collection]),
];

/// A requirements file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The playbook's folder: relative paths in the file are relative to it.
    pub(crate) folder: PathBuf,
    /// Its place in that folder.
    pub(crate) place: &'static str,
    /// Its name, relative to gyron.toml.
    pub(crate) file: String,
    /// What it is read for.
    pub(crate) kinds: &'static [Kind],
    /// The digest of its text.
    sha256: Digest,
}

/// What a requirements file asks for, as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resolved {
    /// The file's name, relative to gyron.toml.
    pub(crate) file: String,
    /// The digest of its text: a file that was changed is to be resolved anew.
    pub(crate) sha256: Digest,
    #[serde(default)]
    pub(crate) content: Vec<Content>,
}

/// A role or a collection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Content {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// Empty where the source knows none: a tarball.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) version: String,
    /// `galaxy`, `git`, `hg`, `url`, `file` or `dir`.
    pub(crate) from: String,
    /// A URL, a path relative to the playbook's folder, or a role's name on Galaxy.
    pub(crate) source: String,
    /// With `git`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) commit: Option<String>,
    /// The digest of its files as they are installed.
    pub(crate) sha256: Digest,
}

/// A resolved file's content in S3, as the builder fetches it.
#[derive(Clone, Debug)]
pub(crate) struct Bundle {
    pub(crate) what: String,
    pub(crate) key: String,
    pub(crate) sha256: Digest,
}

/// The requirements files of a playbook.
pub(crate) fn of(layer: &Layer, playbook: &Playbook) -> Result<Vec<Wanted>> {
    let beside = Path::new(&layer.playbook).parent().unwrap_or(Path::new(""));
    let there = PLACES.iter().filter(|(place, _)| playbook.holds(Path::new(place)));
    let wanted = there.map(|(place, kinds)| {
        let path = playbook.folder.join(place);
        let text = std::fs::read(&path).or_fail(|| Failure::usage(format!("can't read {}", path.display())))?;
        Ok(Wanted {
            folder: playbook.folder.clone(),
            place,
            file: beside.join(place).display().to_string(),
            kinds,
            sha256: Digest::of(&text),
        })
    });
    wanted.collect()
}

/// What gyron.lock pins for these files.
///
/// # Errors
/// Usage (2): it pins nothing for one. Refused (3): it pins what another text of the file asked for.
pub(crate) fn pinned(wanted: &[Wanted], lock: &Lock) -> Result<Vec<Resolved>> {
    let pinned = wanted.iter().map(|wanted| match lock.requirements.iter().find(|pin| pin.file == wanted.file) {
        // Resolved at each bake it would be slow, and other from one day to the next.
        None => Err(Failure::usage(format!("{FILE_NAME} does not pin what {} asks for", wanted.file))
            .hint("`gyron-bake update` does, by version, commit and digest; commit the file")),
        Some(pin) if pin.sha256 != wanted.sha256 => {
            Err(Failure::refused(format!("{} has changed since {FILE_NAME} was written", wanted.file))
                .hint("`gyron-bake update` pins what it asks for now"))
        }
        Some(pin) => Ok(pin.clone()),
    });
    pinned.collect()
}

/// Adds roles and collections to what decides an image.
pub(crate) fn count(pinned: &[Resolved], fingerprint: &mut Fingerprint) {
    for content in pinned.iter().flat_map(|pin| &pin.content) {
        let version = if content.version.is_empty() { String::new() } else { format!(" {}", content.version) };
        let part = format!("{} {}{version}", content.kind.name(), content.name);
        fingerprint.put(part, content.sha256.as_str());
    }
}

/// Finds out what the file asks for today.
///
/// # Errors
/// Program (5): ansible-galaxy failed. AWS (4).
pub(crate) async fn resolve(context: &Context, toolkit: &Path, wanted: &Wanted) -> Result<Resolved> {
    context.console.say(format!("  resolving {}", wanted.file));
    let scratch = tempfile::tempdir().or_fail(|| Failure::defect("no temporary folder can be made"))?;
    let content = galaxy::install(context, toolkit, wanted, scratch.path()).await?;
    Ok(Resolved { file: wanted.file.clone(), sha256: wanted.sha256.clone(), content })
}

impl Resolved {
    /// Where its content stands in the registry: the same content has the same place.
    fn key(&self, registry: &Registry) -> String {
        let lines = self.content.iter().map(|content| {
            let (kind, name) = (content.kind.name(), &content.name);
            format!("{kind} {name} {}\n", content.sha256)
        });
        let digest = Digest::of(format!("{RECIPE}\n{}", lines.collect::<String>()).as_bytes());
        registry.key(&format!("galaxy/{digest}.tar.gz"))
    }
}

/// Finds what is pinned in S3, or installs it as it is pinned and puts it there; a file that asks for nothing needs nothing.
///
/// # Errors
/// Refused (3): a source has other content now. Program (5): ansible-galaxy failed. AWS (4).
pub(crate) async fn find_or_make(
    context: &Context,
    registry: &Registry,
    architecture: &str,
    (wanted, pinned): (&[Wanted], &[Resolved]),
) -> Result<Vec<Bundle>> {
    let mut bundles = Vec::new();
    for (wanted, pin) in wanted.iter().zip(pinned).filter(|(_, pin)| !pin.content.is_empty()) {
        let key = pin.key(registry);
        let sha256 = match registry.sha256(&key).await? {
            Some(sha256) => Digest::new(sha256),
            None => make(context, registry, architecture, wanted, pin).await?,
        };
        bundles.push(Bundle { what: format!("what {} asks for", wanted.file), key, sha256 });
    }
    Ok(bundles)
}

async fn make(
    context: &Context,
    registry: &Registry,
    architecture: &str,
    wanted: &Wanted,
    pin: &Resolved,
) -> Result<Digest> {
    context.console.say(format!("  installing what {} asks for, as it is pinned", wanted.file));
    let scratch = tempfile::tempdir().or_fail(|| Failure::defect("no temporary folder can be made"))?;
    let (tools, tree) = (scratch.path().join("toolkit"), scratch.path().join("tree"));
    toolkit::bring(context, registry, architecture, &tools).await?;
    galaxy::install_pinned(context, &tools, wanted, &pin.content, &tree).await?;
    let file = scratch.path().join("bundle.tar.gz");
    let sealed = archive::write(&tree, &archive::files(&tree)?, 0, Compression::Gzip, &file)?;
    let key = pin.key(registry);
    match registry.put_once(&key, &file, &sealed.sha256).await? {
        Put::New | Put::Same => Ok(sealed.sha256),
        Put::Other(Some(there)) => Ok(Digest::new(there)),
        Put::Other(None) => Err(Failure::refused(format!("s3://{}/{key} carries no sha256", registry.bucket()))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may")]

    use super::*;

    fn layer(files: Option<&[&str]>) -> Layer {
        let files = files.map(|globs| globs.iter().map(|glob| (*glob).to_owned()).collect());
        Layer { name: "app".to_owned(), playbook: "ansible/site.yml".to_owned(), files, release: true }
    }

    fn wanted(root: &Path, layer: &Layer) -> Vec<Wanted> {
        of(layer, &Playbook::read(root, layer).unwrap()).unwrap()
    }

    #[test]
    fn requirements_are_found_where_ansibles_users_keep_them() {
        let root = tempfile::tempdir().unwrap();
        for name in [
            "site.yml",
            "requirements.yml",
            "roles/requirements.yml",
            "collections/requirements.yml",
            "a/requirements.yml",
        ] {
            let path = root.path().join("ansible").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "[]").unwrap();
        }
        let names = |layer: &Layer| -> Vec<String> {
            wanted(root.path(), layer).into_iter().map(|wanted| wanted.file).collect()
        };
        assert_eq!(
            names(&layer(None)),
            ["ansible/requirements.yml", "ansible/roles/requirements.yml", "ansible/collections/requirements.yml"]
        );
        // A layer that names its files takes the requirements among them alone.
        assert_eq!(names(&layer(Some(&["roles/**"]))), ["ansible/roles/requirements.yml"]);
    }

    #[test]
    fn what_is_not_pinned_or_asks_for_something_else_now_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("ansible/requirements.yml");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(root.path().join("ansible/site.yml"), "").unwrap();
        std::fs::write(&file, "roles: []\n").unwrap();
        let before = wanted(root.path(), &layer(None));
        let mut lock = Lock::empty();
        insta::assert_snapshot!(pinned(&before, &lock).unwrap_err().report(), @"
        error: gyron.lock does not pin what ansible/requirements.yml asks for
        hint: `gyron-bake update` does, by version, commit and digest; commit the file
        ");
        let pin = Resolved { file: before[0].file.clone(), sha256: before[0].sha256.clone(), content: Vec::new() };
        lock.requirements.push(pin.clone());
        assert_eq!(pinned(&before, &lock).unwrap(), [pin]);
        std::fs::write(&file, "collections: []\n").unwrap();
        insta::assert_snapshot!(pinned(&wanted(root.path(), &layer(None)), &lock).unwrap_err().report(), @"
        error: ansible/requirements.yml has changed since gyron.lock was written
        hint: `gyron-bake update` pins what it asks for now
        ");
    }
}
