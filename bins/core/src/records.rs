//! Records: what one step tells the next. Small, hash-linked, written atomically, checked before anything is believed.
//!
//! A record has two parts: what is so, which its digest covers, and what happened (times, run, host), which it doesn't:
//! the same work done again gives the same digest.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, OrFail as _, Result};
use crate::ids::{Colour, Digest, ImageId, TargetGroupArn};
use crate::version::Version;

/// The folder of an app's records, beside gyron.toml.
pub const FOLDER: &str = ".gyron";

/// The version of the records' format that this gyron reads and writes.
const FORMAT: u32 = 1;

/// A step of the way from source to traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Source tree to release.
    Package,
    /// Release to image.
    Bake,
    /// Image to verdict.
    Spec,
    /// Verified image to green stack.
    Launch,
    /// Green stack to verdict.
    Smoke,
    /// Smoked green stack to traffic.
    Swap,
}

impl Step {
    /// `package`, `bake` …
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Step::Package => "package",
            Step::Bake => "bake",
            Step::Spec => "spec",
            Step::Launch => "launch",
            Step::Smoke => "smoke",
            Step::Swap => "swap",
        }
    }

    /// The step whose record this one stands on.
    #[must_use]
    pub const fn before(self) -> Option<Step> {
        match self {
            Step::Package => None,
            Step::Bake => Some(Step::Package),
            Step::Spec => Some(Step::Bake),
            Step::Launch => Some(Step::Spec),
            Step::Smoke => Some(Step::Launch),
            Step::Swap => Some(Step::Smoke),
        }
    }

    /// The second half of the way knows an environment.
    #[must_use]
    pub const fn in_environment(self) -> bool {
        matches!(self, Step::Launch | Step::Smoke | Step::Swap)
    }
}

/// What a step's record says.
pub trait Facts: Serialize + DeserializeOwned {
    /// The step that says it.
    const STEP: Step;
}

/// A release in S3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The key below the bucket.
    pub key: String,
    /// The file's name.
    pub file: String,
    /// Its SHA-256.
    pub sha256: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// An archive that gyron made, to be unpacked; else an artifact, taken as it is.
    pub archive: bool,
}

/// What gyron-package says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// The immutable release.
    pub release: Release,
}

/// What gyron-bake says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bake {
    /// The image.
    pub image: ImageId,
    /// Its region.
    pub region: String,
    /// The image that the lowest layer was baked on.
    pub base: ImageId,
    /// The layers, from below; the last one's image is the image.
    pub layers: Vec<Layer>,
    /// The image's copies by region.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub copies: BTreeMap<String, ImageId>,
}

/// A layer of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// The image that it came to.
    pub image: ImageId,
    /// The digest of everything that decides that image: base, playbook, variables, release, toolkit, recipe.
    pub fingerprint: Digest,
}

/// What gyron-spec says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The image that was booted and tested.
    pub image: ImageId,
    /// The SHA-256 of the specs' tree.
    pub specs: Digest,
    /// How many expectations there were.
    pub examples: u32,
    /// Whether all were met.
    pub passed: bool,
}

/// What gyron-launch says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// The image that runs.
    pub image: ImageId,
    /// The colour it was launched as.
    pub colour: Colour,
    /// The colour that had the traffic then; none at the first launch of all.
    pub live: Option<Colour>,
    /// The name of the colour's Auto Scaling group.
    pub group: String,
    /// The colour's target group.
    pub target_group: TargetGroupArn,
    /// How many targets were healthy at the end.
    pub healthy: u32,
}

/// What gyron-smoke says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Smoke {
    /// The colour that was asked.
    pub colour: Colour,
    /// Its Auto Scaling group.
    pub group: String,
    /// How many checks were made, through the balancer and on instances.
    pub checks: u32,
    /// Whether all said yes.
    pub passed: bool,
}

/// What gyron-swap says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    /// The colour that has the traffic now.
    pub to: Colour,
    /// The colour that had it before; none at the first swap of all.
    pub from: Option<Colour>,
    /// The Auto Scaling group that has the traffic now.
    pub group: String,
}

macro_rules! facts {
    ($($name:ident),*) => {
        $(impl Facts for $name {
            const STEP: Step = Step::$name;
        })*
    };
}
facts!(Package, Bake, Spec, Launch, Smoke, Swap);

/// What is so: all of it is covered by the record's digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct So<F> {
    /// The app.
    pub app: String,
    /// The version on its way.
    pub version: Version,
    /// The environment, in the second half.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub env: Option<String>,
    /// The digest of the record this one stands on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub after: Option<Digest>,
    /// What the step says.
    pub facts: F,
}

/// What happened: no part of the digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happened {
    /// RFC 3339, UTC.
    pub at: String,
    /// How long the step took.
    pub milliseconds: u64,
    /// The run.
    pub run: String,
    /// The machine's name.
    pub host: String,
    /// gyron's own version.
    pub gyron: String,
}

/// A step's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record<F> {
    /// The format's version.
    pub format: u32,
    /// The step that wrote it.
    pub step: Step,
    /// What is so.
    pub so: So<F>,
    /// The SHA-256 over step and `so`.
    pub digest: Digest,
    /// What happened.
    pub happened: Happened,
}

impl<F: Facts> Record<F> {
    /// Seals what is so with its digest.
    ///
    /// # Errors
    /// Defect (70) where it can't be written as JSON.
    pub fn seal(so: So<F>, happened: Happened) -> Result<Self> {
        let value = serde_json::to_value(&so).or_fail(|| Failure::defect("a record can't be written as JSON"))?;
        Ok(Record { format: FORMAT, step: F::STEP, digest: digest(F::STEP, &value), so, happened })
    }

    /// The record as it is written: indented JSON with a newline at the end.
    ///
    /// # Errors
    /// Defect (70) where it can't be written as JSON.
    pub fn text(&self) -> Result<String> {
        let text =
            serde_json::to_string_pretty(self).or_fail(|| Failure::defect("a record can't be written as JSON"))?;
        Ok(text + "\n")
    }
}

/// serde_json's maps are sorted, so equal content gives equal text.
fn digest(step: Step, so: &serde_json::Value) -> Digest {
    Digest::of(format!("gyron record {FORMAT} {} {so}", step.name()).as_bytes())
}

/// The records of an app's work tree, for one environment or for none.
#[derive(Clone, Debug)]
pub struct Records {
    root: PathBuf,
    app: String,
    env: Option<String>,
}

impl Records {
    /// The records below `root`, which is gyron.toml's folder.
    #[must_use]
    pub fn new(root: &Path, app: &str, env: Option<&str>) -> Self {
        Records { root: root.to_owned(), app: app.to_owned(), env: env.map(str::to_owned) }
    }

    /// Where a step's record stands, relative to gyron.toml: `.gyron/bake.json`, `.gyron/production/launch.json`.
    #[must_use]
    pub fn name(&self, step: Step) -> String {
        match &self.env {
            Some(env) if step.in_environment() => format!("{FOLDER}/{env}/{}.json", step.name()),
            _ => format!("{FOLDER}/{}.json", step.name()),
        }
    }

    /// Reads a step's record and checks it, and the whole chain below it.
    ///
    /// # Errors
    /// Refused (3): a record is missing, broken, of another app or of another chain; says which file, what was
    /// expected and which command makes it.
    pub fn read<F: Facts>(&self) -> Result<Record<F>> {
        let record = self.load(F::STEP)?;
        let mut above = record.clone();
        while let Some(step) = above.step.before() {
            let below = self.load(step)?;
            if above.so.after.as_ref() != Some(&below.digest) || above.so.version != below.so.version {
                return Err(self.other_chain(&above, &below));
            }
            above = below;
        }
        let facts = serde_json::from_value(record.so.facts)
            .or_fail(|| self.broken(F::STEP, "it does not say what such a record says"))?;
        let so =
            So { app: record.so.app, version: record.so.version, env: record.so.env, after: record.so.after, facts };
        Ok(Record { format: record.format, step: record.step, so, digest: record.digest, happened: record.happened })
    }

    /// Writes a record, so that a reader sees the old one or the new one and nothing between.
    ///
    /// # Errors
    /// Usage (2) where the folder can't be written.
    pub fn write<F: Facts>(&self, record: &Record<F>) -> Result<()> {
        let path = self.root.join(self.name(F::STEP));
        let text = record.text()?;
        let folder = path.parent().unwrap_or(&self.root);
        write_atomically(folder, &path, text.as_bytes())
            .or_fail(|| Failure::usage(format!("can't write {}", path.display())))
    }

    fn load(&self, step: Step) -> Result<Record<serde_json::Value>> {
        let name = self.name(step);
        let text = match std::fs::read_to_string(self.root.join(&name)) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Failure::refused(format!("{name} is missing: no {} has been recorded here", step.name()))
                    .hint(self.command(step)));
            }
            Err(error) => return Err(Failure::refused(format!("{name} can't be read")).because(error)),
        };
        let record: Record<serde_json::Value> =
            serde_json::from_str(&text).or_fail(|| self.broken(step, "it is no record"))?;
        if record.format != FORMAT {
            return Err(self.broken(step, &format!("its format is {}, this gyron reads {FORMAT}", record.format)));
        }
        let so = serde_json::to_value(&record.so).or_fail(|| self.broken(step, "it is no record"))?;
        let expected = digest(record.step, &so);
        if record.step != step {
            return Err(self.broken(step, &format!("it is the record of {}", record.step.name())));
        }
        if record.digest != expected {
            let why = format!("its content has the digest {}, it says {}", expected.short(), record.digest.short());
            return Err(self.broken(step, &why));
        }
        if record.so.app != self.app {
            return Err(self.broken(step, &format!("it is of the app {}, gyron.toml is {}'s", record.so.app, self.app)));
        }
        if step.in_environment() && record.so.env != self.env {
            let env = record.so.env.as_deref().unwrap_or("none");
            return Err(self.broken(step, &format!("it is of the environment {env}")));
        }
        Ok(record)
    }

    fn broken(&self, step: Step, why: &str) -> Failure {
        Failure::refused(format!("{} is not to be believed: {why}", self.name(step))).hint(self.command(step))
    }

    fn other_chain(&self, above: &Record<serde_json::Value>, below: &Record<serde_json::Value>) -> Failure {
        let (name, stands_on) = (self.name(above.step), self.name(below.step));
        let expected = above.so.after.as_ref().map_or("nothing", Digest::short);
        Failure::refused(format!("{name} is of another chain than {stands_on}"))
            .detail(format!(
                "  {name} (version {}) stands on the record {expected}\n  {stands_on} (version {}) is the record {}",
                above.so.version.name,
                below.so.version.name,
                below.digest.short(),
            ))
            .hint(self.command(above.step))
    }

    fn command(&self, step: Step) -> String {
        match &self.env {
            Some(env) if step.in_environment() => format!("gyron-{} --env {env} makes it", step.name()),
            _ => format!("gyron-{} makes it", step.name()),
        }
    }
}

/// Writes beside, then renames over.
///
/// # Errors
/// As the file system says.
pub fn write_atomically(folder: &Path, path: &Path, content: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests;
