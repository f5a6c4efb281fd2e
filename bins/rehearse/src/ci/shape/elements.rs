//! The shape of commands, executors, jobs and orbs.

use super::Walk;
use crate::ci::executors::KINDS;
use crate::ci::fault::{Fault, Faults};
use crate::ci::known::{self, Kind, Place};
use crate::ci::orbs::Library;
use crate::ci::parameters::Type;
use crate::ci::source::At;
use crate::ci::yaml::{Map, Node, Value};

/// All elements of a config or an orb.
pub(in crate::ci) fn library(root: &Map, path: &str, library: &Library) -> Faults {
    let mut walk = Walk::new(Some(library));
    for section in ["commands", "executors", "jobs"] {
        let Some(declared) = root.get(section).and_then(Node::as_map) else { continue };
        for (key, node) in declared.iter() {
            // What is no mapping was told when its parameters were read.
            let Some(body) = node.as_map() else { continue };
            let path = format!("{path}/{section}/{}", key.name);
            let place = match section {
                "commands" => &known::COMMAND,
                "executors" => &known::EXECUTOR,
                _ => place_of_job(body),
            };
            walk.place(body, &key.at, &path, place);
            walk.one_kind(body, &path);
            walk.default_steps(body, &path);
        }
    }
    walk.faults
}

/// An inline orb's own keys; a packed one may have others, as a config may.
pub(in crate::ci) fn orb(root: &Map, path: &str, at: &At) -> Faults {
    let mut walk = Walk::new(Some(&NOTHING));
    walk.place(root, at, path, &known::ORB);
    walk.faults
}

/// A job in which nothing is left to expand.
pub(in crate::ci) fn expanded_job(body: &Map, owner: &At, path: &str) -> Faults {
    let mut walk = Walk::new(None);
    walk.place(body, owner, path, place_of_job(body));
    walk.one_kind(body, path);
    if let Some(node @ Node { value: Value::Text(kind), .. }) = body.get("type")
        && kind == "release"
    {
        walk.faults.push(Fault::not_run_here(&node.at, "type: release"));
    }
    walk.faults
}

static NOTHING: Library = Library::NOTHING;

fn place_of_job(body: &Map) -> &'static Place {
    match body.get("type").and_then(Node::as_text) {
        Some("no-op" | "approval" | "release") => &known::STEPLESS_JOB,
        _ => &known::JOB,
    }
}

impl Walk<'_> {
    /// "Specify one executor type per job. If you set more than one, CircleCI returns an error."
    fn one_kind(&mut self, body: &Map, path: &str) {
        let kinds: Vec<_> = body.iter().filter(|(key, _)| KINDS.contains(&key.name.as_str())).collect();
        if let [_, (second, _), ..] = kinds.as_slice() {
            let message = format!("[{path}] only one of docker, machine, macos may be given");
            self.faults.push(Fault::new(&second.at, message));
        }
    }

    /// The steps that a parameter stands for if nobody gives any.
    fn default_steps(&mut self, body: &Map, path: &str) {
        let Some(declared) = body.get("parameters").and_then(Node::as_map) else { return };
        for (key, parameter) in declared.iter() {
            let Some(parameter) = parameter.as_map() else { continue };
            let steps = parameter.get("type").and_then(Node::as_text) == Some(Type::Steps.name());
            if let (true, Some((owner, default))) = (steps, parameter.entry("default")) {
                let path = format!("{path}/parameters/{}/default", key.name);
                if matches!(default.value, Value::List(_)) {
                    self.value(default, &owner.at, &path, Kind::Steps);
                }
            }
        }
    }
}
