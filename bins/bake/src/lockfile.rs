//! `gyron.lock`: what gyron.toml asks for by a filter or a parameter, as it was found, so that something newer is a commit like
//! any other. A bake reads it and never writes it; `gyron-bake update` does.

use std::path::Path;

use gyron_core::config::Config;
use gyron_core::config::schema::Base;
use gyron_core::failure::{Failure, OrFail as _, Result};
use gyron_core::ids::ImageId;
use gyron_core::records::write_atomically;
use serde::{Deserialize, Serialize};

use crate::requirements::Resolved;

/// The file's name, beside gyron.toml.
pub(crate) const FILE_NAME: &str = "gyron.lock";

/// The format that this gyron reads and writes.
const VERSION: u32 = 1;

const HEAD: &str =
    "# Written by `gyron-bake update`: commit it. `gyron-bake outdated` says whether there is anything newer.\n";

/// All that is pinned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lock {
    version: u32,
    /// None where gyron.toml names the base image by its id.
    pub(crate) base: Option<Pin>,
    /// By the requirements files' names, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) requirements: Vec<Resolved>,
}

/// A base image that was found once and is taken until it is found anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pin {
    pub(crate) id: ImageId,
    pub(crate) name: String,
    /// `x86_64` or `arm64`.
    pub(crate) architecture: String,
    /// As AWS writes it: `2026-01-01T00:00:00.000Z`.
    pub(crate) created: String,
    /// What it is the answer to.
    pub(crate) by: Question,
}

/// How gyron.toml asks for a base image whose id it does not name. An image's id is of one region, so that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    region: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ssm: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
}

impl Question {
    /// The question of `bake.base`; none where it names an id, which nothing newer ever answers.
    pub(crate) fn of(region: &str, base: &Base) -> Option<Self> {
        base.id.is_none().then(|| Question {
            region: region.to_owned(),
            ssm: base.ssm.clone(),
            name: base.name.clone(),
            owner: base.owner.clone(),
        })
    }
}

impl std::fmt::Display for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.ssm, &self.name, &self.owner) {
            (Some(parameter), _, _) => write!(f, "the SSM parameter {parameter}")?,
            (_, name, owner) => {
                write!(f, "`{}`", name.as_deref().unwrap_or_default())?;
                if let Some(owner) = owner {
                    write!(f, " of {owner}")?;
                }
            }
        }
        write!(f, " in {}", self.region)
    }
}

impl Lock {
    /// A lock that pins nothing yet.
    pub(crate) fn empty() -> Self {
        Lock { version: VERSION, base: None, requirements: Vec::new() }
    }

    /// Reads the one beside gyron.toml; none where there is none.
    ///
    /// # Errors
    /// Usage (2): it can't be read. Refused (3): a newer gyron wrote it.
    pub(crate) fn read(root: &Path) -> Result<Option<Self>> {
        let text = match std::fs::read_to_string(root.join(FILE_NAME)) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::usage(format!("can't read {FILE_NAME}")).because(error)),
        };
        Self::parse(&text).map(Some)
    }

    fn parse(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Format {
            version: u32,
        }
        let broken = |error: toml::de::Error| {
            let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            let line = line.map(|line| format!(" line {line}")).unwrap_or_default();
            Failure::usage(format!("{FILE_NAME}{line}: {}", error.message().lines().next().unwrap_or_default()))
                .hint("a conflict of two branches? `gyron-bake update` writes it anew")
        };
        // Before anything else is looked at: what a later format holds is no mistake.
        let format: Format = toml::from_str(text).map_err(broken)?;
        if format.version != VERSION {
            let said = format!("{FILE_NAME} has the format {}, this gyron reads {VERSION}", format.version);
            return Err(Failure::refused(said).hint("take the gyron that wrote it"));
        }
        toml::from_str(text).map_err(broken)
    }

    /// The file's text: the same lock gives the same bytes.
    pub(crate) fn text(&self) -> Result<String> {
        let body = toml::to_string(self).or_fail(|| Failure::defect("a lock can't be written as TOML"))?;
        Ok(format!("{HEAD}{body}"))
    }

    /// Writes it beside gyron.toml, as a whole or not at all.
    pub(crate) fn write(&self, root: &Path) -> Result<()> {
        let path = root.join(FILE_NAME);
        let text = self.text()?;
        write_atomically(root, &path, text.as_bytes())
            .or_fail(|| Failure::usage(format!("can't write {}", path.display())))
    }

    /// The base image that is pinned for what gyron.toml asks; none where it is not pinned or needs no pin.
    ///
    /// # Errors
    /// Refused (3): the pin is the answer to another question.
    pub(crate) fn pin(&self, config: &Config) -> Result<Option<&Pin>> {
        let Some(question) = Question::of(&config.tables.region, &config.bake()?.base) else { return Ok(None) };
        match &self.base {
            Some(pin) if pin.by != question => Err(Failure::refused(format!(
                "{FILE_NAME} pins {} as {}, but gyron.toml asks for {question}",
                pin.id, pin.by
            ))
            .hint("`gyron-bake update` pins what gyron.toml asks for now")),
            pin => Ok(pin.as_ref()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may")]

    use proptest::prelude::*;

    use super::*;

    fn question() -> Question {
        Question {
            region: "us-east-1".to_owned(),
            ssm: Some("/aws/service/debian/release/12/latest/amd64".to_owned()),
            name: None,
            owner: None,
        }
    }

    fn lock() -> Lock {
        let base = Pin {
            id: ImageId::new("ami-0123456789abcdef0"),
            name: "debian-12-amd64-20260101-1".to_owned(),
            architecture: "x86_64".to_owned(),
            created: "2026-01-01T00:00:00.000Z".to_owned(),
            by: question(),
        };
        Lock { base: Some(base), ..Lock::empty() }
    }

    #[test]
    fn it_reads_well_in_a_review() {
        insta::assert_snapshot!(lock().text().unwrap(), @r#"
        # Written by `gyron-bake update`: commit it. `gyron-bake outdated` says whether there is anything newer.
        version = 1

        [base]
        id = "ami-0123456789abcdef0"
        name = "debian-12-amd64-20260101-1"
        architecture = "x86_64"
        created = "2026-01-01T00:00:00.000Z"

        [base.by]
        region = "us-east-1"
        ssm = "/aws/service/debian/release/12/latest/amd64"
        "#);
    }

    #[test]
    fn what_cannot_be_read_is_said_with_its_line() {
        let conflict = lock().text().unwrap().replace("id =", "<<<<<<< HEAD\nid =");
        insta::assert_snapshot!(Lock::parse(&conflict).unwrap_err().report(), @"
        error: gyron.lock line 5: key with no value, expected `=`
        hint: a conflict of two branches? `gyron-bake update` writes it anew
        ");
        let newer = lock().text().unwrap().replace("version = 1", "version = 2\nmore = true");
        insta::assert_snapshot!(Lock::parse(&newer).unwrap_err().report(), @"
        error: gyron.lock has the format 2, this gyron reads 1
        hint: take the gyron that wrote it
        ");
        let unknown = lock().text().unwrap().replace("name =", "nam =");
        insta::assert_snapshot!(Lock::parse(&unknown).unwrap_err().report(), @"
        error: gyron.lock line 6: unknown field `nam`, expected one of `id`, `name`, `architecture`, `created`, `by`
        hint: a conflict of two branches? `gyron-bake update` writes it anew
        ");
    }

    proptest! {
        /// Whatever an image is called, its pin is read back as it was written.
        #[test]
        fn it_is_read_back_as_it_was_written(name in "\\PC*", owner in proptest::option::of("[a-z0-9]{1,12}")) {
            let mut lock = lock();
            if let Some(pin) = &mut lock.base {
                pin.by = Question { ssm: None, name: Some(name.clone()), owner, ..question() };
                pin.name = name;
            }
            prop_assert_eq!(Lock::parse(&lock.text().unwrap()).unwrap(), lock);
        }
    }
}
