//! Logic statements, see <https://circleci.com/docs/reference/configuration-reference/#logic-statements>.

use regex::Regex;

use super::fault::{Fault, Faults, gather};
use super::scope::Scope;
use super::source::At;
use super::yaml::{Key, Node, Value};
use super::{expression, template};

/// Whether a value counts as true: all do but false, null, 0, NaN, the empty text, and statements without arguments.
pub(super) fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Int(number) => *number != 0,
        Value::Float(number) => *number != 0.0 && !number.is_nan(),
        Value::Text(text) => !text.is_empty(),
        Value::List(items) => !items.is_empty(),
        Value::Map(map) => !map.is_empty(),
    }
}

/// Whether a pattern matches the whole of a text: "A full match pattern must be provided".
pub(super) fn matches_all(pattern: &str, text: &str, at: &At) -> Result<bool, Fault> {
    match Regex::new(&format!(r"\A(?:{pattern})\z")) {
        Ok(regex) => Ok(regex.is_match(text)),
        Err(_) => Err(Fault::new(at, format!("the pattern /{pattern}/ can't be read"))
            .hint("look-around and back references of Java's patterns are not known here".to_owned())),
    }
}

/// The truth of a statement whose shape is known to be right.
pub(super) fn judge(node: &Node, scope: &Scope<'_>) -> Result<bool, Faults> {
    let Some(map) = node.as_map() else { return Ok(truthy(&template::fill(node, scope)?.value)) };
    match map.iter().next() {
        None => Ok(false),
        Some((key, arguments)) => statement(key, arguments, scope),
    }
}

fn statement(key: &Key, arguments: &Node, scope: &Scope<'_>) -> Result<bool, Faults> {
    // A statement without arguments is false.
    let items = arguments.as_list().unwrap_or_default();
    match key.name.as_str() {
        "not" => judge(arguments, scope).map(|holds| !holds),
        "and" | "or" => {
            // All are judged, so that what is wrong in a later one is told, too.
            let holds = gather(items.iter().map(|item| judge(item, scope)))?;
            let found = if key.name == "and" { holds.iter().all(|holds| *holds) } else { holds.contains(&true) };
            Ok(found && !items.is_empty())
        }
        "equal" => {
            let values = gather(items.iter().map(|item| template::fill(item, scope)))?;
            Ok(expression::all_equal(&values) && !items.is_empty())
        }
        "matches" => matches(key, arguments, scope),
        other => Err(Fault::new(&key.at, format!("`{other}` is not a logic statement")).into()),
    }
}

fn matches(key: &Key, arguments: &Node, scope: &Scope<'_>) -> Result<bool, Faults> {
    let given = |name: &str| match arguments.as_map().and_then(|map| map.get(name)) {
        Some(node) => template::fill(node, scope),
        None => Err(Fault::new(&key.at, "`matches` takes a `pattern` and a `value`").into()),
    };
    let (pattern, value) = (given("pattern")?, given("value")?);
    match pattern.as_text() {
        Some(text) => Ok(matches_all(text, &template::as_text(&value), &pattern.at)?),
        None => Err(Fault::new(&pattern.at, "the `pattern` of `matches` is a text").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn falsy_are_the_documented_few() {
        for falsy in
            [Value::Bool(false), Value::Null, Value::Int(0), Value::Float(f64::NAN), Value::Text(String::new())]
        {
            assert!(!truthy(&falsy), "{falsy:?}");
        }
        for holds in [Value::Bool(true), Value::Int(-1), Value::Text("false".into()), Value::Text("0".into())] {
            assert!(truthy(&holds), "{holds:?}");
        }
    }
}
