//! Nodes as JSON, for comparison and for programs.

use serde_json::{Map as Object, Number, Value as Json};

use super::{Key, Map, Node, Value};
use crate::ci::source::At;

impl Node {
    /// The value as JSON; a number that JSON can't hold becomes null.
    pub fn to_json(&self) -> Json {
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Int(number) => Json::Number((*number).into()),
            Value::Float(number) => Number::from_f64(*number).map_or(Json::Null, Json::Number),
            Value::Text(text) => Json::String(text.clone()),
            Value::List(items) => Json::Array(items.iter().map(Node::to_json).collect()),
            Value::Map(map) => {
                Json::Object(map.iter().map(|(key, node)| (key.name.clone(), node.to_json())).collect::<Object<_, _>>())
            }
        }
    }

    /// A value from JSON, all of it at one place.
    pub fn from_json(json: &Json, at: &At) -> Self {
        let value = match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => match number.as_i64() {
                Some(whole) => Value::Int(whole),
                None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::Text(text.clone()),
            Json::Array(items) => Value::List(items.iter().map(|item| Node::from_json(item, at)).collect()),
            Json::Object(entries) => Value::Map(
                entries.iter().map(|(name, value)| (Key::new(name, at), Node::from_json(value, at))).collect::<Map>(),
            ),
        };
        Node::new(value, at)
    }
}
