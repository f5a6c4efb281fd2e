//! Contexts: variables by name, from a file, as CircleCI keeps them for an organisation.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gyron_core::failure::{Failure, OrFail, Result};

/// The contexts of a file: TOML, a table each.
///
/// ```toml
/// [aws]
/// AWS_ACCESS_KEY_ID = "…"
/// ```
#[derive(Clone, Debug, Default)]
pub struct Contexts {
    file: PathBuf,
    tables: BTreeMap<String, BTreeMap<String, String>>,
}

impl Contexts {
    /// Reads a file; one that is not there holds none.
    ///
    /// # Errors
    /// Usage (2) where it isn't tables of texts.
    pub fn read(file: &Path) -> Result<Self> {
        let wrong = || Failure::usage(format!("{} is no file of contexts", file.display()));
        let text = match std::fs::read_to_string(file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            other => other.or_fail(wrong)?,
        };
        let tables =
            toml::from_str(&text).or_fail(|| wrong().hint("a table for each context: [aws], then NAME = \"value\""))?;
        Ok(Contexts { file: file.to_owned(), tables })
    }

    /// The variables of a job's contexts; what a later one says of a name holds.
    ///
    /// # Errors
    /// Refused (3) where there is no such context.
    pub fn of(&self, names: &[String]) -> Result<BTreeMap<String, String>> {
        let mut variables = BTreeMap::new();
        for name in names {
            let table = self.tables.get(name).ok_or_else(|| {
                Failure::refused(format!("there is no context {name}")).hint(format!(
                    "add a table [{name}] to {}, or name another file by --contexts",
                    self.file.display()
                ))
            })?;
            variables.extend(table.clone());
        }
        Ok(variables)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use super::*;

    #[test]
    fn a_context_that_is_not_there_is_said_with_what_adds_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("contexts.toml");
        std::fs::write(&file, "[aws]\nA = \"1\"\n[more]\nA = \"2\"\nB = \"3\"\n").unwrap();
        let contexts = Contexts::read(&file).unwrap();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let variables = contexts.of(&names(&["aws", "more"])).unwrap();
        assert_eq!(variables.into_iter().collect::<Vec<_>>(), [("A".into(), "2".into()), ("B".into(), "3".into())]);
        let failure = contexts.of(&names(&["gcp"])).unwrap_err();
        assert!(failure.report().contains("there is no context gcp"), "{}", failure.report());
    }
}
