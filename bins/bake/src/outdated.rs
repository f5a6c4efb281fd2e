//! Whether there is anything newer than gyron.lock pins, and the lock written anew.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{ArchitectureValues, Image};
use gyron_core::aws::Aws;
use gyron_core::config::Config;
use gyron_core::exit::Exit;
use gyron_core::failure::{Failure, OrFail as _, Result};
use gyron_core::ids::ImageId;
use gyron_core::step::Context;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::base;
use crate::lockfile::{FILE_NAME, Lock, Pin, Question};
use crate::playbook::Playbook;
use crate::requirements::{self, Content, Resolved, Wanted};
use crate::toolkit;

/// Something that is pinned as another than would be found today.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Change {
    what: String,
    /// As the lock holds it; null where it is pinned for the first time.
    pinned: Value,
    /// As the lock would hold it; null where nothing asks for it any more.
    newest: Value,
    #[serde(skip)]
    words: String,
}

impl Change {
    /// Compares what is pinned under one name; none where it is the same.
    fn between<T: PartialEq + Serialize>(
        what: &str,
        pinned: Option<&T>,
        newest: Option<&T>,
        words: impl Fn(&T) -> String,
    ) -> Option<Self> {
        let value = |pin: Option<&T>| serde_json::to_value(pin).unwrap_or_default();
        let words = match (pinned, newest) {
            (Some(pinned), Some(newest)) if pinned == newest => return None,
            (None, None) => return None,
            (Some(pinned), Some(newest)) => format!("{what}: {} -> {}", words(pinned), words(newest)),
            (None, Some(newest)) => format!("{what}: {}", words(newest)),
            (Some(pinned), None) => format!("{what}: {} -> nothing", words(pinned)),
        };
        Some(Change { what: what.to_owned(), pinned: value(pinned), newest: value(newest), words })
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.words)
    }
}

/// Says what is newer than the lock, by exit code, too.
///
/// # Errors
/// No (1): something is. Refused (3): nothing is pinned, or for another question. AWS (4).
pub(crate) async fn outdated(context: &Context) -> Result<()> {
    let config = &context.config;
    let Some(lock) = Lock::read(&config.root)? else {
        if !asks(config)? {
            let nothing = serde_json::json!({ "outdated": false, "changes": [] });
            return context.print_result(&nothing, NOTHING_TO_PIN);
        }
        return Err(Failure::refused(format!("{FILE_NAME} is missing: nothing is pinned yet"))
            .hint("`gyron-bake update` makes it; commit it beside gyron.toml"));
    };
    lock.pin(config)?;
    requirements::pinned(&wanted(config)?, &lock)?;
    let aws = context.aws().await;
    let found = resolve(context, &aws).await?;
    let changes = changes(&lock, &found, Timestamp::now());
    let lines = if changes.is_empty() {
        format!("{FILE_NAME} is up to date")
    } else {
        changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    context.print_result(&serde_json::json!({ "outdated": !changes.is_empty(), "changes": changes }), &lines)?;
    if changes.is_empty() {
        return Ok(());
    }
    Err(Failure::no(format!("{FILE_NAME} is outdated"))
        .hint("`gyron-bake update` writes it anew: a diff to test and to review"))
}

/// Writes the lock anew, with what is found today.
///
/// # Errors
/// Usage (2): the base image is not there. Refused (3): a newer gyron wrote the lock. AWS (4).
pub(crate) async fn update(context: &Context) -> Result<()> {
    let config = &context.config;
    let before = match Lock::read(&config.root) {
        // One that can't be read is written anew: that is the way out of a conflict.
        Err(failure) if failure.exit() == Exit::Usage => Some(None),
        read => read?.map(Some),
    };
    if before.is_none() && !asks(config)? {
        return said(context, false, &[], &[NOTHING_TO_PIN.to_owned()]);
    }
    let before = before.flatten();
    let aws = context.aws().await;
    let found = resolve(context, &aws).await?;
    let new = before.as_ref() != Some(&found);
    let changes = changes(&before.unwrap_or_else(Lock::empty), &found, Timestamp::now());
    let lines = match (new, changes.as_slice()) {
        (false, _) => vec![format!("{FILE_NAME} is up to date")],
        (true, []) => vec![format!("the same as before, in a {FILE_NAME} that is written anew")],
        (true, changes) => changes.iter().map(ToString::to_string).collect(),
    };
    if new && !context.plan {
        found.write(&config.root)?;
    }
    said(context, new, &changes, &lines)
}

/// Says what was written, or with `--plan` would be.
fn said(context: &Context, written: bool, changes: &[Change], lines: &[String]) -> Result<()> {
    if context.plan {
        let what = if written { "pin" } else { "change nothing:" };
        return context.show_plan(&lines.iter().map(|line| format!("{what} {line}")).collect::<Vec<_>>());
    }
    context.print_result(&serde_json::json!({ "written": written, "changes": changes }), &lines.join("\n"))
}

const NOTHING_TO_PIN: &str =
    "nothing is to be pinned: gyron.toml names the base image by its id, and no playbook has requirements";

/// Whether gyron.toml and the playbooks ask for anything that may be another tomorrow.
fn asks(config: &Config) -> Result<bool> {
    let question = Question::of(&config.tables.region, &config.bake()?.base);
    Ok(question.is_some() || !wanted(config)?.is_empty())
}

/// What the lock would hold, were it written now.
async fn resolve(context: &Context, aws: &Aws) -> Result<Lock> {
    let config = &context.config;
    let base = &config.bake()?.base;
    let wanted = wanted(config)?;
    let mut lock = Lock::empty();
    let image = base::resolve(aws, base).await?;
    lock.base = Question::of(&config.tables.region, base).map(|by| pin(&image, by));
    if wanted.is_empty() {
        return Ok(lock);
    }
    let scratch = tempfile::tempdir().or_fail(|| Failure::defect("no temporary folder can be made"))?;
    let tools = scratch.path().join("toolkit");
    let architecture = image.architecture().map_or("x86_64", ArchitectureValues::as_str);
    toolkit::bring(context, &context.registry(aws), architecture, &tools).await?;
    for wanted in wanted {
        lock.requirements.push(requirements::resolve(context, &tools, &wanted).await?);
    }
    Ok(lock)
}

/// The requirements files of all layers; those that share a folder share its files, too.
fn wanted(config: &Config) -> Result<Vec<Wanted>> {
    let mut all: Vec<Wanted> = Vec::new();
    for layer in config.bake()?.layers() {
        for wanted in requirements::of(&layer, &Playbook::read(&config.root, &layer)?)? {
            if !all.contains(&wanted) {
                all.push(wanted);
            }
        }
    }
    Ok(all)
}

fn pin(image: &Image, by: Question) -> Pin {
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    Pin {
        id: ImageId::new(text(image.image_id())),
        name: text(image.name()),
        architecture: text(image.architecture().map(ArchitectureValues::as_str)),
        created: text(image.creation_date()),
        by,
    }
}

/// What differs between two locks, in words.
fn changes(before: &Lock, now: &Lock, at: Timestamp) -> Vec<Change> {
    let image = |pin: &Pin| format!("{} ({}, {})", pin.id, pin.name, age(&pin.created, at));
    let base = Change::between("base", before.base.as_ref(), now.base.as_ref(), image);
    let (then, now) = (contents(before), contents(now));
    let names: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
    let contents =
        names.into_iter().filter_map(|name| Change::between(name, then.get(name), now.get(name), |it| version(it)));
    base.into_iter().chain(contents).collect()
}

/// Roles and collections by what they are and which file asks for them.
fn contents(lock: &Lock) -> BTreeMap<String, &Content> {
    let of_file = |resolved: &Resolved, content: &Content| {
        format!("{} {} of {}", content.kind.name(), content.name, resolved.file)
    };
    let all = lock
        .requirements
        .iter()
        .flat_map(|resolved| resolved.content.iter().map(move |content| (of_file(resolved, content), content)));
    all.collect()
}

/// A role or a collection as a reviewer tells it from another.
fn version(content: &Content) -> String {
    let exact = match &content.commit {
        Some(commit) => format!("commit {}", commit.get(..12).unwrap_or(commit)),
        None => format!("sha256 {}", content.sha256.short()),
    };
    if content.version.is_empty() { exact } else { format!("{} ({exact})", content.version) }
}

/// How old an image is, in days: what counts for a base image.
fn age(created: &str, at: Timestamp) -> String {
    let Ok(created) = created.parse::<Timestamp>() else { return "of unknown age".to_owned() };
    match at.duration_since(created).as_hours() / 24 {
        ..=0 => "of today".to_owned(),
        1 => "1 day old".to_owned(),
        days => format!("{days} days old"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may")]

    use jiff::Timestamp;

    use super::age;

    #[test]
    fn an_age_is_said_in_days() {
        let at: Timestamp = "2026-02-01T12:00:00Z".parse().unwrap();
        assert_eq!(age("2026-02-01T00:00:00.000Z", at), "of today");
        assert_eq!(age("2026-01-31T00:00:00.000Z", at), "1 day old");
        assert_eq!(age("2026-01-01T00:00:00.000Z", at), "31 days old");
        assert_eq!(age("", at), "of unknown age");
    }
}
