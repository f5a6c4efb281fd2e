//! The shape of a config: its keys and their types, before anything is expanded and again after.
//!
//! A value that is a template is looked at again when it is filled. The words are those of the real compiler's schema,
//! see <https://github.com/CircleCI-Public/circleci-cli/issues/326>.

mod elements;
mod logic;
mod steps;
mod workflows;

pub(super) use elements::{expanded_job, library, orb};
pub(super) use workflows::workflows;

use super::fault::{Fault, Faults};
use super::known::{Kind, Place};
use super::nearest::did_you_mean;
use super::orbs::Library;
use super::source::At;
use super::yaml::{Map, Node, Value};
use super::{duration, template};

/// A walk over one document.
struct Walk<'l> {
    /// Whose commands may stand in the place of built-in steps; none once all are spliced.
    library: Option<&'l Library>,
    faults: Faults,
}

impl<'l> Walk<'l> {
    fn new(library: Option<&'l Library>) -> Self {
        Walk { library, faults: Faults::default() }
    }

    /// The keys of a map and their values. `owner` is where what is missing is told.
    fn place(&mut self, map: &Map, owner: &At, path: &str, place: &'static Place) {
        for (key, node) in map.iter() {
            match place.entry(&key.name) {
                None => {
                    let hint = did_you_mean(&key.name, place.names()).unwrap_or_else(|| {
                        format!("the keys here are {}", place.names().collect::<Vec<_>>().join(", "))
                    });
                    let message = format!("[{path}] extraneous key [{}] is not permitted", key.name);
                    self.faults.push(Fault::new(&key.at, message).hint(hint));
                }
                Some(entry) if entry.run => self.value(node, &key.at, &format!("{path}/{}", key.name), entry.kind),
                // Only what is left after expansion is really asked for; `false` asks for nothing.
                Some(_) if self.library.is_none() && node.value != Value::Bool(false) => {
                    self.faults.push(Fault::not_run_here(&key.at, &key.name));
                }
                Some(_) => {}
            }
        }
        for required in place.required.iter().filter(|name| map.get(name).is_none()) {
            self.faults.push(Fault::new(owner, format!("[{path}] required key [{required}] not found")));
        }
        if !place.one_of.is_empty() && !place.one_of.iter().any(|name| map.get(name).is_some()) {
            self.faults.push(Fault::new(owner, format!("[{path}] one of {} is required", place.one_of.join(", "))));
        }
    }

    fn value(&mut self, node: &Node, owner: &At, path: &str, kind: Kind) {
        if template::has_tag(node) && self.library.is_some() {
            return;
        }
        match (kind, &node.value) {
            (Kind::Any, _)
            | (Kind::Bool, Value::Bool(_))
            | (Kind::Int, Value::Int(_))
            | (Kind::Text, Value::Text(_)) => {}
            (Kind::Texts | Kind::OneOrMore, Value::List(items)) => {
                for (index, item) in items.iter().enumerate() {
                    self.value(item, &item.at, &format!("{path}/{index}"), Kind::Text);
                }
            }
            (Kind::OneOrMore | Kind::Executor, Value::Text(_)) | (Kind::Map | Kind::Executor, Value::Map(_)) => {}
            (Kind::Map, Value::Null) => {}
            (Kind::Environment, Value::Map(map)) => self.environment(map, path),
            (Kind::Duration, Value::Text(text)) => {
                if duration::read(text).is_none() {
                    let message = format!("[{path}] not a duration: {text}");
                    let hint = "a decimal with a unit, such as 30s, 20m or 1.25h".to_owned();
                    self.faults.push(Fault::new(&node.at, message).hint(hint));
                }
            }
            (Kind::Reruns, Value::Int(1..=5)) => {}
            (Kind::Reruns, Value::Int(number)) => {
                self.faults.push(Fault::new(&node.at, format!("[{path}] must be between 1 and 5, found: {number}")));
            }
            (Kind::OneOf(members), Value::Text(text)) => self.member(text, members, &node.at, path),
            (Kind::Steps, Value::List(items)) => self.steps(items, path),
            (Kind::Condition, _) => self.condition(node, path),
            (Kind::Docker, Value::List(items)) => self.docker(items, node, path),
            (Kind::Machine, Value::Map(map)) => self.place(map, owner, path, &super::known::MACHINE),
            // "Using CircleCI Cloud? The use of `machine: true` is deprecated."
            (Kind::Machine, Value::Bool(true) | Value::Text(_)) => {}
            (Kind::Calls, Value::List(items)) => self.calls(items, node, path),
            _ => self.faults.push(node.not_a(path, expected(kind))),
        }
    }

    fn environment(&mut self, map: &Map, path: &str) {
        for (key, node) in map.iter() {
            if matches!(node.value, Value::List(_) | Value::Map(_)) {
                self.faults.push(node.not_a(&format!("{path}/{}", key.name), "String"));
            }
        }
    }

    fn member(&mut self, text: &str, members: &[&'static str], at: &At, path: &str) {
        if !members.contains(&text) {
            let hint = did_you_mean(text, members.iter().copied())
                .unwrap_or_else(|| format!("it is one of {}", members.join(", ")));
            self.faults.push(Fault::new(at, format!("[{path}] Input not a valid enum value: {text}")).hint(hint));
        }
    }

    fn docker(&mut self, items: &[Node], list: &Node, path: &str) {
        if items.is_empty() {
            self.faults.push(at_least_one(list, path));
        }
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}/{index}");
            match &item.value {
                Value::Map(map) => self.place(map, &item.at, &path, &super::known::DOCKER),
                _ => self.faults.push(item.not_a(&path, "Mapping")),
            }
        }
    }
}

fn at_least_one(list: &Node, path: &str) -> Fault {
    Fault::new(&list.at, format!("[{path}] minimum size: [1], found: [0]"))
}

fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Any | Kind::Condition => "anything",
        Kind::Text | Kind::Duration | Kind::OneOf(_) => "String",
        Kind::Texts | Kind::Steps | Kind::Docker | Kind::Calls => "Sequence",
        Kind::Bool => "Boolean",
        Kind::Int | Kind::Reruns => "Integer",
        Kind::OneOrMore => "String or Sequence",
        Kind::Environment | Kind::Machine | Kind::Map => "Mapping",
        Kind::Executor => "String or Mapping",
    }
}
