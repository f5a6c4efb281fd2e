//! The words of an expression.

use crate::ci::yaml::Value;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Word {
    Open,
    Close,
    /// `==`, `>=`, …
    Sign(&'static str),
    /// `and`, `starts-with`, `pipeline.git.branch`.
    Name(String),
    Literal(Value),
    Pattern(String),
}

const SIGNS: &[&str] = &["==", "!=", ">=", "<=", ">", "<"];

/// Takes a text apart into words.
pub(super) fn words(text: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, length) = match first {
            '(' => (Word::Open, 1),
            ')' => (Word::Close, 1),
            '"' | '\'' => {
                let (inner, length) = quoted(rest, first)?;
                (Word::Literal(Value::Text(inner)), length)
            }
            '/' => {
                let (inner, length) = pattern(rest)?;
                (Word::Pattern(inner), length)
            }
            '0'..='9' | '-' => {
                let length =
                    rest[1..].find(|c: char| !(c.is_ascii_digit() || c == '.')).map_or(rest.len(), |end| end + 1);
                (Word::Literal(number(&rest[..length])?), length)
            }
            _ => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                Some(sign) => (Word::Sign(sign), sign.len()),
                None => {
                    let name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
                    let length = rest.find(|c| !name(c)).unwrap_or(rest.len());
                    if length == 0 {
                        return Err(format!("`{first}` can't stand in an expression"));
                    }
                    (named(&rest[..length]), length)
                }
            },
        };
        words.push(word);
        rest = rest[length..].trim_start();
    }
    Ok(words)
}

fn named(name: &str) -> Word {
    match name {
        "true" => Word::Literal(Value::Bool(true)),
        "false" => Word::Literal(Value::Bool(false)),
        "null" => Word::Literal(Value::Null),
        _ => Word::Name(name.to_owned()),
    }
}

fn number(text: &str) -> Result<Value, String> {
    let whole = text.parse().map(Value::Int);
    whole.or_else(|_| text.parse().map(Value::Float)).map_err(|_| format!("`{text}` is not a number"))
}

/// The text in quotes and how many bytes it takes with them; a backslash keeps the quote that follows it.
fn quoted(text: &str, quote: char) -> Result<(String, usize), String> {
    let mut inner = String::new();
    let mut escaped = false;
    for (position, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => {
                if c != quote && c != '\\' {
                    inner.push('\\');
                }
                inner.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            c if c == quote => return Ok((inner, position + 1)),
            c => inner.push(c),
        }
    }
    Err(format!("a {quote} is not closed"))
}

/// The pattern between slashes; `\/` is a slash in it.
fn pattern(text: &str) -> Result<(String, usize), String> {
    let mut inner = String::new();
    let mut escaped = false;
    for (position, c) in text.char_indices().skip(1) {
        match c {
            '/' if !escaped => return Ok((inner, position + 1)),
            '\\' if !escaped => escaped = true,
            c => {
                if escaped && c != '/' {
                    inner.push('\\');
                }
                inner.push(c);
                escaped = false;
            }
        }
    }
    Err("the pattern is not closed by a /".to_owned())
}
