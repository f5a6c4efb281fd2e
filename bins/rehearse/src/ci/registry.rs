//! Where orbs come from: gyron's own stands in this program; others in folders that the user names.

use std::path::{Path, PathBuf};

use gyron_core::failure::Result;
use rust_embed::RustEmbed;

use super::fault::{Fault, Faults};
use super::orbs::{Orbs, Unfound};
use super::pack::pack;
use super::sums::{self, Sums};
use super::yaml::Node;

/// gyron's orb, as its source stands in the repo. A development build reads the files themselves.
#[derive(RustEmbed)]
#[folder = "../../orb/"]
struct Source;

/// The orb that this program carries.
const OWN: &str = "tama/gyron";

/// The version that it is of: the crates' own.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The orbs that configs can name.
#[derive(Debug)]
pub struct Registry {
    folders: Vec<(String, PathBuf)>,
    sums: Option<Sums>,
}

impl Registry {
    /// gyron's own, with the sums of the archives in `archives`, and those of the user's folders.
    ///
    /// # Errors
    /// Usage (2) where the archives' folder holds no sums.
    pub fn of(folders: Vec<(String, PathBuf)>, archives: Option<PathBuf>) -> Result<Self> {
        let sums = archives.map(|archives| Sums::read(&archives, VERSION)).transpose()?;
        Ok(Registry { folders, sums })
    }

    /// gyron's own orb, packed.
    ///
    /// # Errors
    /// What is wrong with the source that this program carries.
    pub fn own(&self) -> std::result::Result<Node, Faults> {
        let at = super::source::Source::new("orb", "").start();
        let unwritable = |error: std::io::Error| Fault::new(&at, format!("can't write a temporary folder: {error}"));
        let folder = tempfile::tempdir().map_err(unwritable)?;
        self.unpack(folder.path()).map_err(unwritable)?;
        pack(folder.path())
    }

    fn unpack(&self, folder: &Path) -> std::io::Result<()> {
        for name in Source::iter() {
            let Some(file) = Source::get(&name) else { continue };
            let path = folder.join(name.as_ref());
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            match &self.sums {
                Some(sums) if name == sums::FILE => std::fs::write(path, sums.text())?,
                _ => std::fs::write(path, &file.data)?,
            }
        }
        Ok(())
    }
}

impl Orbs for Registry {
    fn find(&self, reference: &str) -> std::result::Result<Node, Unfound> {
        if let Some((_, folder)) = self.folders.iter().find(|(name, _)| name == reference) {
            return pack(folder).map_err(Unfound::Wrong);
        }
        let (name, version) = reference.split_once('@').unwrap_or((reference, ""));
        if name == OWN {
            if !matches(version) {
                return Err(Unfound::Version { known: vec![VERSION.to_owned()] });
            }
            return self.own().map_err(Unfound::Wrong);
        }
        let known = self.folders.iter().filter_map(|(other, _)| other.split_once('@'));
        let known: Vec<_> = known.filter(|(other, _)| *other == name).map(|(_, version)| version.to_owned()).collect();
        if !known.is_empty() {
            return Err(Unfound::Version { known });
        }
        let hint = format!("an orb's source can be named: --orb {reference}=FOLDER");
        Err(Unfound::Unknown { hint: Some(hint) })
    }
}

/// Whether a reference's version is this one: whole, or its first one or two numbers, or `volatile`
/// (<https://circleci.com/docs/orbs/use/orb-concepts/#semantic-versioning>).
fn matches(version: &str) -> bool {
    let numbers = version.split('.').collect::<Vec<_>>();
    version == "volatile" || (!version.is_empty() && VERSION.split('.').take(numbers.len()).eq(numbers.iter().copied()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_named_whole_or_by_its_first_numbers() {
        let numbers: Vec<&str> = VERSION.split('.').collect();
        for version in [VERSION, numbers[0], &numbers[..2].join("."), "volatile"] {
            assert!(matches(version), "{version}");
        }
        for version in ["", "99", "dev:first", &format!("{VERSION}.0")] {
            assert!(!matches(version), "{version}");
        }
    }

    #[test]
    fn gyrons_own_orb_packs() {
        let registry = Registry { folders: Vec::new(), sums: None };
        assert!(registry.own().is_ok());
    }
}
