//! The shape of a logic statement, see
//! <https://circleci.com/docs/reference/configuration-reference/#logic-statements>.

use super::{Walk, at_least_one};
use crate::ci::fault::Fault;
use crate::ci::known::{Entry, Kind, Place};
use crate::ci::nearest::did_you_mean;
use crate::ci::yaml::{Node, Value};

const STATEMENTS: &[&str] = &["and", "or", "not", "equal", "matches"];

const MATCHES: Place = Place {
    entries: &[
        Entry { name: "pattern", kind: Kind::Text, run: true },
        Entry { name: "value", kind: Kind::Any, run: true },
    ],
    required: &["pattern", "value"],
    one_of: &[],
};

/// "They can be nested … to a maximum depth of 100 levels."
const DEEPEST: usize = 100;

impl Walk<'_> {
    pub(super) fn condition(&mut self, node: &Node, path: &str) {
        self.statement(node, path, 1);
    }

    fn statement(&mut self, node: &Node, path: &str, depth: usize) {
        let Value::Map(map) = &node.value else { return };
        if depth > DEEPEST {
            self.faults.push(Fault::new(&node.at, format!("[{path}] nested deeper than {DEEPEST} levels")));
            return;
        }
        if map.len() > 1 {
            let message = format!("[{path}] maximum size: [1], found: [{}]", map.len());
            let hint = "join several statements by `and:` or `or:`".to_owned();
            self.faults.push(Fault::new(&node.at, message).hint(hint));
        }
        for (key, arguments) in map.iter() {
            let path = format!("{path}/{}", key.name);
            match (key.name.as_str(), &arguments.value) {
                ("not", _) => self.statement(arguments, &path, depth + 1),
                // A statement without arguments is false.
                ("and" | "or" | "equal", Value::Null) => {}
                ("and" | "or" | "equal", Value::List(items)) if items.is_empty() => {
                    self.faults.push(at_least_one(arguments, &path));
                }
                ("and" | "or", Value::List(items)) => {
                    for (index, item) in items.iter().enumerate() {
                        self.statement(item, &format!("{path}/{index}"), depth + 1);
                    }
                }
                ("equal", Value::List(_)) => {}
                ("and" | "or" | "equal", _) => self.faults.push(arguments.not_a(&path, "Sequence")),
                ("matches", Value::Map(map)) => self.place(map, &key.at, &path, &MATCHES),
                ("matches", _) => self.faults.push(arguments.not_a(&path, "Mapping")),
                (other, _) => {
                    let hint = did_you_mean(other, STATEMENTS.iter().copied())
                        .unwrap_or_else(|| format!("the statements are {}", STATEMENTS.join(", ")));
                    let parent = path.rsplit_once('/').map_or("#", |(parent, _)| parent);
                    let message = format!("[{parent}] extraneous key [{other}] is not permitted");
                    self.faults.push(Fault::new(&key.at, message).hint(hint));
                }
            }
        }
    }
}
