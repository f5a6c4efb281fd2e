//! From nodes to text: block style, which every YAML reader reads back as the same data.

use super::{Map, Node, Value, scalar};

/// The node as a YAML document.
pub fn emit(node: &Node) -> String {
    let mut text = String::new();
    match &node.value {
        Value::Map(map) if !map.is_empty() => map_lines(map, 0, &mut text),
        Value::List(items) if !items.is_empty() => list_lines(items, 0, &mut text),
        _ => inline(node, 0, &mut text),
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

fn map_lines(map: &Map, indent: usize, text: &mut String) {
    for (position, (key, node)) in map.iter().enumerate() {
        if position > 0 || text.ends_with('\n') {
            text.push_str(&" ".repeat(indent));
        }
        text.push_str(&plain_or_quoted(&key.name));
        text.push(':');
        after_key(node, indent, text);
    }
}

fn after_key(node: &Node, indent: usize, text: &mut String) {
    match &node.value {
        Value::Map(map) if !map.is_empty() => {
            text.push('\n');
            map_lines(map, indent + 2, text);
        }
        Value::List(items) if !items.is_empty() => {
            text.push('\n');
            list_lines(items, indent + 2, text);
        }
        _ => {
            text.push(' ');
            inline(node, indent + 2, text);
            text.push('\n');
        }
    }
}

fn list_lines(items: &[Node], indent: usize, text: &mut String) {
    for (position, item) in items.iter().enumerate() {
        if position > 0 || text.ends_with('\n') {
            text.push_str(&" ".repeat(indent));
        }
        text.push_str("- ");
        match &item.value {
            Value::Map(map) if !map.is_empty() => map_lines(map, indent + 2, text),
            Value::List(inner) if !inner.is_empty() => list_lines(inner, indent + 2, text),
            _ => {
                inline(item, indent + 2, text);
                text.push('\n');
            }
        }
    }
}

/// What fits behind a key: a scalar, or an empty collection. Ends without a newline.
fn inline(node: &Node, indent: usize, text: &mut String) {
    match &node.value {
        Value::Null => text.push_str("null"),
        Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Value::Int(number) => text.push_str(&number.to_string()),
        Value::Float(number) => text.push_str(&float(*number)),
        Value::Text(content) if fits_block(content) => block(content, indent, text),
        Value::Text(content) => text.push_str(&plain_or_quoted(content)),
        Value::List(_) => text.push_str("[]"),
        Value::Map(_) => text.push_str("{}"),
    }
}

/// A float keeps its point, so that it is read back as one.
pub(in crate::ci) fn float(number: f64) -> String {
    match number {
        n if n.is_nan() => ".nan".to_owned(),
        n if n == f64::INFINITY => ".inf".to_owned(),
        n if n == f64::NEG_INFINITY => "-.inf".to_owned(),
        n => format!("{n:?}"),
    }
}

fn fits_block(content: &str) -> bool {
    let printable = content.chars().all(|c| matches!(c, '\n' | '\t') || !(c.is_control() || is_break(c)));
    content.contains('\n') && printable && !content.trim().is_empty()
}

/// Line breaks to some YAML readers, and the mark that no reader keeps.
fn is_break(c: char) -> bool {
    matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}')
}

fn block(content: &str, indent: usize, text: &mut String) {
    let body = content.trim_end_matches('\n');
    text.push('|');
    // Without the number a reader takes the indentation from the first line.
    if body.starts_with([' ', '\t', '\n']) {
        text.push('2');
    }
    match content.len() - body.len() {
        0 => text.push('-'),
        1 => {}
        _ => text.push('+'),
    }
    for line in body.split('\n') {
        text.push('\n');
        if !line.is_empty() {
            text.push_str(&" ".repeat(indent));
            text.push_str(line);
        }
    }
    // The last newline is written by the caller.
    text.push_str(&"\n".repeat((content.len() - body.len()).saturating_sub(1)));
}

fn plain_or_quoted(content: &str) -> String {
    if is_plain(content) {
        return content.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in content.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_control() || is_break(c) => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Whether it reads back as the same text without quotes, by YAML 1.1 and 1.2 alike.
fn is_plain(content: &str) -> bool {
    let one_letter_booleans = ["y", "Y", "n", "N"];
    let starts_well = content
        .starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '.' | '_' | '$' | '('))
        || (content.starts_with(|c: char| c.is_ascii_digit())
            && content.contains(|c: char| c.is_ascii_alphabetic() || c == '/'))
            && !content.contains(':');
    starts_well
        && !content.ends_with([' ', ':'])
        && !content.contains(": ")
        && !content.contains(" #")
        && !content.chars().any(|c| c.is_control() || is_break(c))
        && !one_letter_booleans.contains(&content)
        && !content.starts_with("...")
        && scalar::resolve(content) == Value::Text(content.to_owned())
        && content.parse::<f64>().is_err()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::ci::source::Source;
    use crate::ci::yaml::{Key, parse};

    fn there_and_back(text: &str) -> String {
        let at = Source::new("x", "").start();
        let list = Node::new(Value::List(vec![Node::text(text, &at)]), &at);
        let map: Map =
            [(Key::new("key", &at), Node::text(text, &at)), (Key::new(text, &at), list)].into_iter().collect();
        let node = Node::new(Value::Map(map), &at);
        let written = emit(&node);
        let read = parse(&Source::new("x", written.clone())).unwrap();
        assert_eq!(read, node, "written as:\n{written}");
        written
    }

    #[test]
    fn any_text_is_read_back_as_it_was() {
        for text in [
            "plain",
            "",
            " ",
            "yes",
            "y",
            "null",
            "~",
            "1",
            "1.5",
            "1e5",
            "0x1f",
            "12:30",
            "a: b",
            "a #b",
            "#a",
            "- a",
            "[a]",
            "{a}",
            "*a",
            "&a",
            "!a",
            "|",
            ">",
            "'a'",
            "\"a\"",
            "%a",
            "@a",
            "`a`",
            "a:",
            "a\\b",
            "\ttab",
            "tab\t",
            "2001-12-14",
            "a\u{7f}",
            "a\u{2028}b",
            "a\r\nb",
            "\n",
            "\n\n",
            "<<",
            "=",
            "...",
            "---",
            "? a",
            ", a",
            "é",
            "main",
            "<< x >>",
            "1.2.3",
            "3d",
            "1/2",
            ".5x",
        ] {
            there_and_back(text);
        }
    }

    #[test]
    fn several_lines_are_a_block() {
        for text in
            ["a\nb", "a\nb\n", "a\n\n\n", "  a\nb\n", "\na\n", "a\n  b\n\n  c\n", "\ta\n", "a \nb \n", "a\n \nb"]
        {
            assert!(there_and_back(text).contains("key: |"), "{text:?}");
        }
    }

    #[test]
    fn collections_are_blocks_and_empty_ones_are_not() {
        let text = "a:\n  - b: 1\n    c: []\n  - - x\n    - z\n  - {}\nd: |\n  one\n  two\n";
        let node = parse(&Source::new("x", text)).unwrap();
        assert_eq!(emit(&node), text);
    }
}
