//! YAML as CircleCI reads it, each node with its place in the file.

mod emit;
mod json;
mod parse;
mod scalar;

pub use emit::emit;
pub(super) use emit::float;
pub use parse::parse;

use super::fault::Fault;
use super::source::At;

/// A value and where it stands. Two nodes are equal if their values are, wherever they stand.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Where it was written.
    pub at: At,
}

/// What a node can be.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing was written, or `null`, or `~`.
    Null,
    /// `true`, `yes`, `on` and their opposites.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// Text.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping.
    Map(Map),
}

/// The name of an entry and where it stands.
#[derive(Debug, Clone)]
pub struct Key {
    /// The name.
    pub name: String,
    /// Where it was written.
    pub at: At,
}

/// A mapping in the order in which it was written.
#[derive(Debug, Clone, Default)]
pub struct Map {
    entries: Vec<(Key, Node)>,
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl PartialEq for Map {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|(key, node)| other.get(&key.name) == Some(node))
    }
}

impl Node {
    /// A node at a place.
    pub fn new(value: Value, at: &At) -> Self {
        Node { value, at: at.clone() }
    }

    /// Text at a place.
    pub fn text(text: impl Into<String>, at: &At) -> Self {
        Node::new(Value::Text(text.into()), at)
    }

    /// The text, if it is text.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The entries, if it is a mapping.
    pub fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The items, if it is a sequence.
    pub fn as_list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(list) => Some(list),
            _ => None,
        }
    }

    /// Whether nothing was written.
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// The name of its type, as the real compiler's schema says it.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "Null",
            Value::Bool(_) => "Boolean",
            Value::Int(_) => "Integer",
            Value::Float(_) => "Number",
            Value::Text(_) => "String",
            Value::List(_) => "Sequence",
            Value::Map(_) => "Mapping",
        }
    }

    /// Says that something of another type belongs here, in the words of the real compiler's schema, see
    /// <https://circleci.com/docs/reference/configuration-reference/#retention-errors>.
    pub(super) fn not_a(&self, path: &str, expected: &str) -> Fault {
        Fault::new(&self.at, format!("[{path}] expected type: {expected}, found: {}", self.kind()))
    }
}

impl Map {
    /// How many entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of a key.
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.entry(name).map(|(_, node)| node)
    }

    /// A key with its place, and its value.
    pub fn entry(&self, name: &str) -> Option<(&Key, &Node)> {
        self.iter().find(|(key, _)| key.name == name)
    }

    /// The entries as they were written.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Node)> {
        self.entries.iter().map(|(key, node)| (key, node))
    }

    /// Puts an entry, in place of one of the same name.
    pub fn put(&mut self, key: Key, node: Node) {
        match self.entries.iter_mut().find(|(known, _)| known.name == key.name) {
            Some(entry) => *entry = (key, node),
            None => self.entries.push((key, node)),
        }
    }

    /// Takes an entry out.
    pub fn take(&mut self, name: &str) -> Option<Node> {
        let found = self.entries.iter().position(|(key, _)| key.name == name)?;
        Some(self.entries.remove(found).1)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.entries.iter_mut().map(|(_, node)| node)
    }
}

impl FromIterator<(Key, Node)> for Map {
    fn from_iter<T: IntoIterator<Item = (Key, Node)>>(entries: T) -> Self {
        Map { entries: entries.into_iter().collect() }
    }
}

impl Key {
    /// A key at a place.
    pub fn new(name: impl Into<String>, at: &At) -> Self {
        Key { name: name.into(), at: at.clone() }
    }
}
