//! The shape of steps, those included that are passed to a parameter.

use std::time::Duration;

use super::Walk;
use crate::ci::duration;
use crate::ci::fault::Fault;
use crate::ci::known;
use crate::ci::orbs::Definition;
use crate::ci::parameters::Type;
use crate::ci::template;
use crate::ci::yaml::{Key, Map, Node, Value};

/// See <https://circleci.com/docs/reference/configuration-reference/#automatic-step-reruns>.
const LONGEST_DELAY: Duration = Duration::from_secs(600);

impl<'l> Walk<'l> {
    pub(super) fn steps(&mut self, items: &[Node], path: &str) {
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}/{index}");
            match &item.value {
                Value::Text(name) if !template::has_tag(item) => {
                    self.step(&Key::new(name.clone(), &item.at), None, &path);
                }
                Value::Text(_) => {}
                Value::Map(map) => self.keyed_step(map, item, &path),
                _ => self.faults.push(item.not_a(&path, "String or Mapping")),
            }
        }
    }

    fn keyed_step(&mut self, map: &Map, item: &Node, path: &str) {
        let mut entries = map.iter();
        let Some((key, arguments)) = entries.next() else {
            self.faults.push(Fault::new(&item.at, format!("[{path}] minimum size: [1], found: [0]")));
            return;
        };
        let Some((second, _)) = entries.next() else { return self.step(key, Some(arguments), path) };
        let message = format!("[{path}] maximum size: [1], found: [{}]", map.len());
        // The mistake that CircleCI itself names,
        // <https://support.circleci.com/hc/en-us/articles/360044869752-Sudden-config-validation-errors>.
        let hint = arguments.is_null().then(|| format!("indent `{}` under `{}:`", second.name, key.name));
        self.faults.push(Fault::new(&item.at, message).hint(hint));
    }

    fn step(&mut self, key: &Key, arguments: Option<&Node>, path: &str) {
        let name = key.name.as_str();
        if let Some((definition, _)) = self.library.and_then(|library| library.command(name)) {
            if let Some(map) = arguments.and_then(Node::as_map) {
                self.arguments(definition, map, &format!("{path}/{name}"));
            }
            return;
        }
        let path = format!("{path}/{name}");
        match (name, known::step(name), arguments) {
            ("steps", _, Some(node)) => self.value(node, &key.at, &path, known::Kind::Steps),
            (_, None, _) if known::STEPS.contains(&name) => {
                if self.library.is_none() {
                    self.faults.push(Fault::not_run_here(&key.at, name));
                }
            }
            // An unknown command is told when it is called.
            (_, None, _) => {}
            ("run", Some(_), Some(Node { value: Value::Text(_), .. })) => {}
            (_, Some(place), Some(Node { value: Value::Map(map), .. })) => {
                self.place(map, &key.at, &path, place);
                if let Some((delay, _)) = map.entry("auto_rerun_delay").filter(|_| map.get("max_auto_reruns").is_none())
                {
                    self.faults.push(Fault::new(&delay.at, format!("[{path}] auto_rerun_delay needs max_auto_reruns")));
                }
                let delay = map.get("auto_rerun_delay");
                let long = |node: &&Node| node.as_text().and_then(duration::read).is_some_and(|it| it > LONGEST_DELAY);
                if let Some(node) = delay.filter(long) {
                    self.faults.push(Fault::new(&node.at, format!("[{path}/auto_rerun_delay] must be 10m at most")));
                }
            }
            // `- checkout` and `- checkout:` are the same, and so is a step whose keys are missing.
            (_, Some(place), None | Some(Node { value: Value::Null, .. })) => {
                self.place(&Map::default(), &key.at, &path, place);
            }
            (_, Some(_), Some(node)) if template::has_tag(node) && self.library.is_some() => {}
            ("run", Some(_), Some(node)) => self.faults.push(node.not_a(&path, "String or Mapping")),
            (_, Some(_), Some(node)) => self.faults.push(node.not_a(&path, "Mapping")),
        }
    }

    /// The steps among a call's arguments.
    pub(super) fn arguments(&mut self, definition: &Definition, given: &Map, path: &str) {
        for (key, node) in given.iter() {
            let takes_steps = definition.parameters.get(&key.name).is_some_and(|it| matches!(it.kind, Type::Steps));
            if let (true, Value::List(items)) = (takes_steps, &node.value) {
                self.steps(items, &format!("{path}/{}", key.name));
            }
        }
    }
}
