//! The shape of workflows and of the calls of jobs in them.

use super::{Walk, at_least_one};
use crate::ci::fault::{Fault, Faults};
use crate::ci::known::{self, Kind, STATUSES};
use crate::ci::orbs::Library;
use crate::ci::template;
use crate::ci::yaml::{Key, Map, Node, Value};

/// What stands under `workflows:`.
pub(in crate::ci) fn workflows(root: &Map, library: &Library) -> Faults {
    let Some(node) = root.get("workflows") else { return Faults::default() };
    let Some(declared) = node.as_map() else { return node.not_a("#/workflows", "Mapping").into() };
    let mut walk = Walk::new(Some(library));
    for (key, node) in declared.iter().filter(|(key, _)| key.name != "version") {
        let path = format!("#/workflows/{}", key.name);
        match &node.value {
            Value::Map(map) => {
                walk.place(map, &key.at, &path, &known::WORKFLOW);
                if let Some((triggers, _)) = map.entry("triggers") {
                    walk.faults.push(Fault::not_run_here(&triggers.at, "triggers"));
                }
            }
            _ => walk.faults.push(node.not_a(&path, "Mapping")),
        }
    }
    walk.faults
}

impl Walk<'_> {
    pub(super) fn calls(&mut self, items: &[Node], list: &Node, path: &str) {
        if items.is_empty() {
            self.faults.push(at_least_one(list, path));
        }
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}/{index}");
            match &item.value {
                Value::Text(_) => {}
                Value::Map(map) if map.len() == 1 => {
                    for (key, call) in map.iter() {
                        self.call(key, call, &format!("{path}/{}", key.name));
                    }
                }
                Value::Map(map) => {
                    let message = format!("[{path}] maximum size: [1], found: [{}]", map.len());
                    let mut keys = map.iter();
                    let hint = match (keys.next(), keys.next()) {
                        (Some((job, Node { value: Value::Null, .. })), Some((second, _))) => {
                            Some(format!("indent `{}` under `{}:`", second.name, job.name))
                        }
                        _ => None,
                    };
                    self.faults.push(Fault::new(&item.at, message).hint(hint));
                }
                _ => self.faults.push(item.not_a(&path, "String or Mapping")),
            }
        }
    }

    fn call(&mut self, job: &Key, call: &Node, path: &str) {
        let map = match &call.value {
            Value::Null => return,
            Value::Map(map) => map,
            _ => return self.faults.push(call.not_a(path, "Mapping")),
        };
        for (key, node) in map.iter() {
            let path = format!("{path}/{}", key.name);
            // A key that is not in the table is an argument, and told as such if the job doesn't take it.
            let Some(entry) = known::CALL.entry(&key.name) else { continue };
            self.value(node, &key.at, &path, entry.kind);
            match (key.name.as_str(), &node.value) {
                ("requires", Value::List(items)) => self.requires(items, &path),
                ("requires", _) => self.faults.push(node.not_a(&path, "Sequence")),
                ("filters", Value::Map(filters)) => self.filters(filters, key, &path),
                ("filters", Value::Text(_)) => {}
                ("filters", _) => self.faults.push(node.not_a(&path, "String or Mapping")),
                ("matrix", Value::Map(matrix)) => self.matrix(matrix, key, &path),
                _ => {}
            }
        }
        if let Some((definition, _)) = self.library.and_then(|library| library.job(&job.name)) {
            self.arguments(definition, map, path);
        }
    }

    fn requires(&mut self, items: &[Node], path: &str) {
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}/{index}");
            match &item.value {
                Value::Text(_) => {}
                Value::Map(map) if map.len() == 1 => {
                    for (key, statuses) in map.iter() {
                        self.statuses(statuses, &format!("{path}/{}", key.name));
                    }
                }
                Value::Map(map) => {
                    let message = format!("[{path}] maximum size: [1], found: [{}]", map.len());
                    self.faults.push(Fault::new(&item.at, message));
                }
                _ => self.faults.push(item.not_a(&path, "String or Mapping")),
            }
        }
    }

    fn statuses(&mut self, node: &Node, path: &str) {
        let one = [node.clone()];
        let listed = match &node.value {
            Value::List(items) if items.is_empty() => return self.faults.push(at_least_one(node, path)),
            Value::List(items) => items.as_slice(),
            _ => one.as_slice(),
        };
        for status in listed.iter().filter(|status| !template::has_tag(status)) {
            match status.as_text() {
                Some(text) => self.member(text, STATUSES, &status.at, path),
                None => self.faults.push(status.not_a(path, "String or Sequence")),
            }
        }
    }

    fn filters(&mut self, map: &Map, owner: &Key, path: &str) {
        self.place(map, &owner.at, path, &known::FILTERS);
        for (key, node) in map.iter() {
            if let Value::Map(filter) = &node.value {
                self.place(filter, &key.at, &format!("{path}/{}", key.name), &known::FILTER);
            }
        }
    }

    fn matrix(&mut self, map: &Map, owner: &Key, path: &str) {
        self.place(map, &owner.at, path, &known::MATRIX);
        let parameters = map.get("parameters").and_then(Node::as_map);
        for (key, node) in parameters.into_iter().flat_map(Map::iter) {
            let path = format!("{path}/parameters/{}", key.name);
            match &node.value {
                Value::List(items) if items.is_empty() => self.faults.push(at_least_one(node, &path)),
                Value::List(_) => {}
                _ => self.value(node, &key.at, &path, Kind::Texts),
            }
        }
        match map.get("exclude").map(|node| (node, &node.value)) {
            None | Some((_, Value::Null)) => {}
            Some((_, Value::List(items))) => {
                for (index, item) in items.iter().enumerate() {
                    self.value(item, &item.at, &format!("{path}/exclude/{index}"), Kind::Map);
                }
            }
            Some((node, _)) => self.faults.push(node.not_a(&format!("{path}/exclude"), "Sequence")),
        }
    }
}
