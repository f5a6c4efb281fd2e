//! Orbs, and what is called by which name in a config or an orb.

use std::collections::BTreeMap;

use super::fault::{Fault, Faults};
use super::nearest::did_you_mean;
use super::parameters::{Parameters, is_element_name, misnamed};
use super::scope::Scope;
use super::source::At;
use super::yaml::{Key, Map, Node, Value};
use super::{shape, template};

/// Where orbs come from.
pub trait Orbs {
    /// The source of an orb by its reference, such as `tama/gyron@1`.
    fn find(&self, reference: &str) -> Result<Node, Unfound>;
}

/// Why there is no such orb.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unfound {
    /// Nobody has it.
    #[error("no such orb")]
    Unknown {
        /// What to do about it.
        hint: Option<String>,
    },
    /// The orb is there, in other versions.
    #[error("no such version")]
    Version {
        /// Those that there are.
        known: Vec<String>,
    },
    /// It is there and is wrong.
    #[error("{0}")]
    Wrong(Faults),
}

/// No orbs at all.
#[cfg(test)]
pub struct NoOrbs;

#[cfg(test)]
impl Orbs for NoOrbs {
    fn find(&self, _reference: &str) -> Result<Node, Unfound> {
        Err(Unfound::Unknown { hint: None })
    }
}

/// An orb may import orbs, but nobody imports deeper.
const DEEPEST: usize = 8;

/// A command, job or executor as it was declared.
#[derive(Debug)]
pub(super) struct Definition {
    pub(super) key: Key,
    pub(super) body: Map,
    pub(super) parameters: Parameters,
}

/// The names of one config or orb.
#[derive(Debug, Default)]
pub(super) struct Library {
    pub(super) commands: BTreeMap<String, Definition>,
    pub(super) executors: BTreeMap<String, Definition>,
    pub(super) jobs: BTreeMap<String, Definition>,
    pub(super) orbs: BTreeMap<String, Library>,
    /// Pipeline parameters "are not in scope in the body of orbs, even inline orbs", see
    /// <https://circleci.com/docs/guides/orchestrate/pipeline-variables/#pipeline-parameter-scope>.
    pub(super) sees_pipeline_parameters: bool,
}

impl Library {
    /// One without any names.
    pub(super) const NOTHING: Library = Library {
        commands: BTreeMap::new(),
        executors: BTreeMap::new(),
        jobs: BTreeMap::new(),
        orbs: BTreeMap::new(),
        sees_pipeline_parameters: false,
    };

    /// What a config or an orb declares; `path` is its own in the document.
    pub(super) fn read(root: &Map, path: &str) -> (Self, Faults) {
        let mut faults = Faults::default();
        let mut read = |section: &str, kind: &str| {
            let (found, wrong) = definitions(root, &format!("{path}/{section}"), section, kind);
            faults.extend(wrong);
            found
        };
        let library = Library {
            commands: read("commands", "command"),
            executors: read("executors", "executor"),
            jobs: read("jobs", "job"),
            ..Library::default()
        };
        (library, faults)
    }

    /// Imports what stands under `orbs:`.
    pub(super) fn import(
        &mut self,
        root: &Map,
        path: &str,
        orbs: &dyn Orbs,
        scope: &Scope<'_>,
        depth: usize,
    ) -> Result<(), Faults> {
        let Some(node) = root.get("orbs") else { return Ok(()) };
        let path = format!("{path}/orbs");
        let imported = match &node.value {
            Value::Null => return Ok(()),
            Value::Map(map) => map,
            _ => return Err(node.not_a(&path, "Mapping").into()),
        };
        let mut faults = Faults::default();
        for (key, node) in imported.iter() {
            if depth > DEEPEST {
                return Err(Fault::new(&key.at, format!("orbs import orbs deeper than {DEEPEST} levels")).into());
            }
            if let Some(library) = faults.note(one(key, node, &path, orbs, scope, depth)) {
                self.orbs.insert(key.name.clone(), library);
            }
        }
        faults.or(())
    }

    /// A command by its name here, and the library in which its own names mean something.
    pub(super) fn command(&self, name: &str) -> Option<(&Definition, &Library)> {
        self.find(name, |library| &library.commands)
    }

    /// An executor.
    pub(super) fn executor(&self, name: &str) -> Option<(&Definition, &Library)> {
        self.find(name, |library| &library.executors)
    }

    /// A job.
    pub(super) fn job(&self, name: &str) -> Option<(&Definition, &Library)> {
        self.find(name, |library| &library.jobs)
    }

    fn find(
        &self,
        name: &str,
        section: impl Fn(&Library) -> &BTreeMap<String, Definition>,
    ) -> Option<(&Definition, &Library)> {
        let (library, name) = match name.split_once('/') {
            Some((orb, name)) => (self.orbs.get(orb)?, name),
            None => (self, name),
        };
        section(library).get(name).map(|definition| (definition, library))
    }

    /// Says that there is nothing of that name, in the real compiler's words, see
    /// <https://github.com/circleci/circleci-docs/issues/4607>.
    pub(super) fn no_definition(&self, kind: &str, name: &str, at: &At, builtin: &[&str]) -> Fault {
        let section = |library: &Library| -> Vec<String> {
            let section = match kind {
                "command" => &library.commands,
                "executor" => &library.executors,
                _ => &library.jobs,
            };
            section.keys().cloned().collect()
        };
        if let Some((orb, _)) = name.split_once('/').filter(|(orb, _)| !self.orbs.contains_key(*orb)) {
            let hint = did_you_mean(orb, self.orbs.keys().map(String::as_str));
            return Fault::new(at, format!("Cannot find orb '{orb}' looking for {kind} named '{name}'")).hint(hint);
        }
        let mut known = section(self);
        for (alias, orb) in &self.orbs {
            known.extend(section(orb).into_iter().map(|name| format!("{alias}/{name}")));
        }
        let hint = did_you_mean(name, known.iter().map(String::as_str).chain(builtin.iter().copied()));
        Fault::new(at, format!("Cannot find a definition for {kind} named {name}")).hint(hint)
    }
}

fn definitions(root: &Map, path: &str, section: &str, kind: &str) -> (BTreeMap<String, Definition>, Faults) {
    let mut faults = Faults::default();
    let mut found = BTreeMap::new();
    let declared = match root.get(section).map(|node| (node, &node.value)) {
        None | Some((_, Value::Null)) => return (found, faults),
        Some((_, Value::Map(map))) => map,
        Some((node, _)) => return (found, node.not_a(path, "Mapping").into()),
    };
    for (key, node) in declared.iter() {
        let path = format!("{path}/{}", key.name);
        let Some(body) = node.as_map() else {
            faults.push(node.not_a(&path, "Mapping"));
            continue;
        };
        // Jobs may have longer names, see the schema of CircleCI's language server,
        // <https://github.com/CircleCI-Public/circleci-yaml-language-server/blob/main/schema.json>.
        if kind != "job" && !is_element_name(&key.name) {
            faults.push(misnamed(key, &path));
        }
        if let Some(parameters) = faults.note(Parameters::read(body, &path, kind, &key.name)) {
            found.insert(key.name.clone(), Definition { key: key.clone(), body: body.clone(), parameters });
        }
    }
    (found, faults)
}

fn one(
    key: &Key,
    node: &Node,
    path: &str,
    orbs: &dyn Orbs,
    scope: &Scope<'_>,
    depth: usize,
) -> Result<Library, Faults> {
    let path = format!("{path}/{}", key.name);
    match &node.value {
        // "Pipeline parameters are replaced in the orb statement", see
        // <https://circleci.com/docs/guides/orchestrate/pipeline-variables/#configuration-processing-stages>.
        Value::Text(_) => {
            let reference = template::as_text(&template::fill(node, scope)?);
            if !is_reference(&reference) {
                return Err(Fault::new(&node.at, format!("Invalid orb reference: '{reference}'"))
                    .hint("it is NAMESPACE/ORB@VERSION".to_owned())
                    .into());
            }
            let orb = orbs.find(&reference).map_err(|why| unfound(&reference, &node.at, why))?;
            match &orb.value {
                Value::Map(root) => library(root, &path, orbs, scope, depth),
                _ => Err(orb.not_a(&path, "Mapping").into()),
            }
        }
        Value::Map(root) => {
            let mut faults = shape::orb(root, &path, &key.at);
            let library = faults.note(library(root, &path, orbs, scope, depth));
            match library {
                Some(library) => faults.or(library),
                None => Err(faults),
            }
        }
        _ => Err(node.not_a(&path, "String or Mapping").into()),
    }
}

/// All that an orb declares, its own imports included.
pub(super) fn library(
    root: &Map,
    path: &str,
    orbs: &dyn Orbs,
    scope: &Scope<'_>,
    depth: usize,
) -> Result<Library, Faults> {
    let (mut library, mut faults) = Library::read(root, path);
    faults.note(library.import(root, path, orbs, scope, depth + 1));
    faults.extend(shape::library(root, path, &library));
    faults.or(library)
}

/// See <https://circleci.com/docs/orbs/use/orb-concepts/#semantic-versioning>; or the address of a URL orb.
fn is_reference(reference: &str) -> bool {
    if reference.starts_with("https://") {
        return true;
    }
    let named = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    let version = |version: &str| version.strip_prefix("dev:").map_or_else(|| named(version), named);
    reference
        .split_once('@')
        .and_then(|(orb, at)| Some((orb.split_once('/')?, at)))
        .is_some_and(|((namespace, orb), at)| named(namespace) && named(orb) && version(at))
}

/// The wording is the real compiler's, see <https://github.com/codecov/codecov-circleci-orb/issues/29>.
fn unfound(reference: &str, at: &At, why: Unfound) -> Faults {
    let hint = match why {
        Unfound::Wrong(faults) => return faults,
        Unfound::Unknown { hint } => hint,
        Unfound::Version { known } => Some(format!("the versions that there are: {}", known.join(", "))),
    };
    let message = format!(
        "Cannot find {reference} in the orb registry. Check that the namespace, orb name and version are correct."
    );
    Fault::new(at, message).hint(hint).into()
}
