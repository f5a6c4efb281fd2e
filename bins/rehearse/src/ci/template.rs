//! `<< … >>` in text: where the tags are, and what is put in their place.

use super::fault::{Fault, Faults, gather};
use super::scope::{Argument, Scope};
use super::source::At;
use super::yaml::{Map, Node, Value};
use super::{expression, yaml};

#[derive(Debug, PartialEq)]
enum Piece<'t> {
    Text(String),
    Tag(&'t str),
}

/// Takes a text apart; none where a tag is not closed.
///
/// `\<<` is a literal `<<`, and `\\<<` a backslash before a tag, as in the documentation's Windows example,
/// <https://circleci.com/docs/guides/toolkit/sample-config/>.
fn pieces(text: &str) -> Option<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(open) = rest.find("<<") {
        let before = &rest[..open];
        let backslashes = before.len() - before.trim_end_matches('\\').len();
        literal.push_str(&before[..before.len() - backslashes.div_ceil(2)]);
        rest = &rest[open + 2..];
        if backslashes % 2 == 1 {
            literal.push_str("<<");
            continue;
        }
        let close = rest.find(">>")?;
        if !literal.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut literal)));
        }
        pieces.push(Piece::Tag(rest[..close].trim()));
        rest = &rest[close + 2..];
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Text(literal));
    }
    Some(pieces)
}

/// The wording is the real compiler's, see <https://github.com/CircleCI-Archived/Orb-Project-Template/issues/21>.
fn unclosed(text: &str, at: &At) -> Fault {
    // Of a whole script the line that it is about.
    let line = text.lines().find(|line| line.contains("<<")).unwrap_or(text).trim();
    let message = format!("Unclosed '<<' tag in string: '{line}'\n('<<' must be escaped as '\\<<' in config v2.1+)");
    let fault = Fault::new(at, message);
    if text.contains("include(") {
        return fault.hint("`<<include(…)>>` is resolved by packing an orb, not in a config".to_owned());
    }
    fault
}

/// The name of a parameter if the node is nothing but `<< parameters.NAME >>`.
pub(super) fn sole_parameter(node: &Node) -> Option<&str> {
    let inner = node.as_text()?.trim().strip_prefix("<<")?.strip_suffix(">>")?.trim();
    let name = inner.strip_prefix("parameters.")?;
    is_name(name).then_some(name)
}

/// Whether a text is one tag and nothing else.
pub(super) fn is_sole_tag(node: &Node) -> bool {
    node.as_text().and_then(pieces).is_some_and(|pieces| matches!(pieces.as_slice(), [Piece::Tag(_)]))
}

/// Whether a text has a tag that is not escaped.
pub(super) fn has_tag(node: &Node) -> bool {
    let tags = |text: &str| {
        text.contains("<<")
            && pieces(text).is_none_or(|pieces| pieces.iter().any(|piece| matches!(piece, Piece::Tag(_))))
    };
    node.as_text().is_some_and(tags)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

/// Puts values in the place of all tags, at any depth. What a value holds is not looked at again.
pub(super) fn fill(node: &Node, scope: &Scope<'_>) -> Result<Node, Faults> {
    let value = match &node.value {
        Value::Text(text) if text.contains("<<") => fill_text(text, &node.at, scope)?,
        Value::List(items) => Value::List(gather(items.iter().map(|item| fill(item, scope)))?),
        Value::Map(map) => Value::Map(fill_map(map, scope)?),
        other => other.clone(),
    };
    Ok(Node::new(value, &node.at))
}

pub(super) fn fill_map(map: &Map, scope: &Scope<'_>) -> Result<Map, Faults> {
    let filled = gather(map.iter().map(|(key, node)| {
        // CircleCI's documentation has tags in values only; passed over, one would end up in a name.
        if has_tag(&Node::text(key.name.clone(), &key.at)) {
            return Err(Fault::new(&key.at, "a template can't stand in a key").into());
        }
        Ok((key.clone(), fill(node, scope)?))
    }))?;
    Ok(filled.into_iter().collect())
}

fn fill_text(text: &str, at: &At, scope: &Scope<'_>) -> Result<Value, Fault> {
    let Some(pieces) = pieces(text) else { return Err(unclosed(text, at)) };
    if let [Piece::Tag(tag)] = pieces.as_slice() {
        return match evaluate(tag, text, at, scope)? {
            Argument::Plain(node) => Ok(node.value),
            Argument::Steps(steps) => Ok(Value::List(steps)),
            Argument::Executor(call) => Ok(Value::Text(call.name)),
        };
    }
    let mut filled = String::new();
    for piece in &pieces {
        match piece {
            Piece::Text(literal) => filled.push_str(literal),
            Piece::Tag(tag) => match evaluate(tag, text, at, scope)? {
                Argument::Plain(node) => filled.push_str(&as_text(&node)),
                Argument::Executor(call) => filled.push_str(&call.name),
                Argument::Steps(_) => {
                    return Err(Fault::new(at, format!("<< {tag} >> is a list of steps and can't be put into text")));
                }
            },
        }
    }
    Ok(Value::Text(filled))
}

fn evaluate<'a>(tag: &str, text: &str, at: &At, scope: &Scope<'a>) -> Result<Argument<'a>, Fault> {
    if is_name(tag) && tag.contains('.') {
        return scope.look_up(tag, at);
    }
    // An expression sees the pipeline only, see
    // <https://circleci.com/docs/reference/configuration-reference/#using-expressions-in-your-configuration>.
    match expression::parse(tag) {
        Ok(expression) => expression.value(scope, at).map(|value| Argument::Plain(Node::new(value, at))),
        Err(why) => Err(unclosed(text, at)).map_err(|fault: Fault| match fault.hint {
            Some(_) => fault,
            None => fault.hint(format!("`{tag}` is no expression either: {why}")),
        }),
    }
}

/// How a value reads inside of a text.
pub(super) fn as_text(node: &Node) -> String {
    match &node.value {
        Value::Null => String::new(),
        Value::Text(text) => text.clone(),
        Value::Float(number) => yaml::float(*number),
        _ => node.to_json().to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn tags_are_taken_apart() {
        let tag = Piece::Tag("parameters.x");
        assert_eq!(pieces("<< parameters.x >>").unwrap(), [tag]);
        assert_eq!(pieces("a <<x>> b").unwrap(), [Piece::Text("a ".into()), Piece::Tag("x"), Piece::Text(" b".into())]);
        assert_eq!(pieces("none at all").unwrap(), [Piece::Text("none at all".into())]);
    }

    #[test]
    fn a_backslash_makes_it_literal_and_two_make_a_backslash() {
        assert_eq!(pieces("cat \\<<EOF").unwrap(), [Piece::Text("cat <<EOF".into())]);
        assert_eq!(pieces("C:\\\\<< x >>").unwrap(), [Piece::Text("C:\\".into()), Piece::Tag("x")]);
        assert_eq!(pieces("a\\b \\n").unwrap(), [Piece::Text("a\\b \\n".into())]);
        assert_eq!(pieces("\\<<< here").unwrap(), [Piece::Text("<<< here".into())]);
    }

    #[test]
    fn an_open_tag_is_told() {
        assert_eq!(pieces("cat <<EOF\nx\nEOF"), None);
        assert_eq!(pieces("<< a >> <<"), None);
    }
}
