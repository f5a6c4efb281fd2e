//! What is wrong with a gyron.toml: the file, the line, a caret and the nearest known key.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use crate::failure::Failure;

/// The text of the file that a person wrote.
pub(super) struct Source<'a> {
    pub(super) name: &'a str,
    pub(super) text: &'a str,
}

impl Source<'_> {
    /// Points at the place of a parser's error.
    pub(super) fn point_at(&self, error: &toml::de::Error) -> Failure {
        let said = Said::read(error.message());
        let failure = match error.span() {
            Some(span) if span.start < self.text.len() => self.show(span, &said.title, &said.label),
            _ => Failure::usage(format!("{}: {}", self.name, said.title)),
        };
        match said.hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }

    /// Points at a place of the file.
    pub(super) fn at(&self, span: Range<usize>, title: &str, hint: &str) -> Failure {
        self.show(span, title, "here").hint(hint)
    }

    /// A top-level value that is of the right type and yet wrong.
    pub(super) fn wrong_value(&self, key: &str, value: &str, why: &str) -> Failure {
        let quoted = format!("\"{value}\"");
        match self.text.find(&quoted) {
            Some(start) => self.show(start..start + quoted.len(), &format!("`{key}` is wrong"), why),
            None => Failure::usage(format!("{}: `{key}` is wrong: {why}", self.name)),
        }
    }

    /// A table whose keys don't go together.
    pub(super) fn wrong_table(&self, table: &str, why: &str) -> Failure {
        let header = format!("[{table}]");
        match self.text.find(&header) {
            Some(start) => self.show(start..start + header.len(), &format!("[{table}] is wrong"), why),
            None => Failure::usage(format!("{}: [{table}] is wrong: {why}", self.name)),
        }
    }

    /// An environment that the file doesn't have, though it has others.
    pub(super) fn unknown_environment<'n>(&self, name: &str, known: impl Iterator<Item = &'n str>) -> Failure {
        let known: Vec<_> = known.collect();
        let failure = Failure::usage(format!("{} has no [env.{name}]", self.name));
        failure.hint(match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it has {}", known.join(", ")),
        })
    }

    fn show(&self, span: Range<usize>, title: &str, label: &str) -> Failure {
        // A span over many lines (a whole table) says no more than its first line.
        let line_end = self.text[span.start..].find('\n').map_or(self.text.len(), |end| span.start + end);
        let end = span.end.min(line_end).max(span.start);
        let report = [Level::ERROR.no_name().primary_title("").element(
            Snippet::source(self.text)
                .path(self.name)
                .annotation(AnnotationKind::Primary.span(span.start..end).label(label)),
        )];
        let rendered = Renderer::plain().render(&report).to_string();
        let line = self.text[..span.start].matches('\n').count() + 1;
        let detail: String = rendered.lines().skip_while(|line| line.trim().is_empty()).collect::<Vec<_>>().join("\n");
        Failure::usage(format!("{} line {line}: {title}", self.name)).detail(detail)
    }
}

/// What serde said, in our words.
struct Said {
    title: String,
    label: String,
    hint: Option<String>,
}

impl Said {
    fn read(message: &str) -> Self {
        let message = message.trim();
        if let Some(rest) = message.strip_prefix("unknown field ") {
            let mut names = rest.split('`').skip(1).step_by(2);
            let key = names.next().unwrap_or_default();
            let known: Vec<_> = names.collect();
            let hint = match nearest(key, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the keys here are {}", known.join(", ")),
            };
            return Said {
                title: format!("unknown key `{key}`"),
                label: "no such key here".to_owned(),
                hint: Some(hint),
            };
        }
        if let Some(rest) = message.strip_prefix("missing field ") {
            return Said {
                title: format!("the key {rest} is missing"),
                label: format!("this table needs {rest}"),
                hint: None,
            };
        }
        if let Some(rest) = message.strip_prefix("invalid type: ") {
            let rest = in_words(rest);
            return Said { title: format!("wrong type: {rest}"), label: rest, hint: None };
        }
        let first = message.lines().next().unwrap_or(message);
        Said { title: first.to_owned(), label: "here".to_owned(), hint: None }
    }
}

/// Rust's names of types mean nothing to the file's author.
fn in_words(said: &str) -> String {
    let (before, expected) = said.split_once("expected ").unwrap_or((said, ""));
    let expected = match expected {
        "u8" | "u16" | "u32" | "u64" => "a whole number",
        "a string" => "a text in quotes",
        "a sequence" => "a list",
        "a boolean" => "true or false",
        other if other.starts_with("struct ") || other == "a map" => "a table",
        other => other,
    };
    format!("{before}expected {expected}")
}

/// The nearest of the known names, if one is near enough to be meant.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .filter(|(distance, known)| *distance <= (known.len() / 3).max(1))
        .min()
        .map(|(_, known)| known)
}
