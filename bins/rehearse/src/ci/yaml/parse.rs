//! From text to nodes: anchors, aliases, merge keys, and duplicate keys refused.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use super::scalar;
use super::{Key, Map, Node, Value};
use crate::ci::fault::Fault;
use crate::ci::source::{At, Source};

/// No config is nested deeper by hand.
const DEEPEST: usize = 200;
/// An alias copies what it names; aliases of aliases could fill any memory.
const MOST_NODES: usize = 200_000;

/// The one document of a source; an empty one is null.
pub fn parse(source: &Source) -> Result<Node, Fault> {
    Composer {
        source,
        events: Parser::new_from_str(source.text()),
        anchors: HashMap::new(),
        open: Vec::new(),
        nodes: 0,
    }
    .document()
}

struct Composer<'s> {
    source: &'s Source,
    events: Parser<'s, StrInput<'s>>,
    anchors: HashMap<usize, (Node, usize)>,
    /// The anchors of the nodes that are still being read: an alias of one of them would have no end.
    open: Vec<usize>,
    /// How many nodes there are so far, copies counted.
    nodes: usize,
}

impl<'s> Composer<'s> {
    fn document(mut self) -> Result<Node, Fault> {
        let mut root = None;
        while let Some((event, span)) = self.next()? {
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart(_) if root.is_some() => {
                    return Err(Fault::new(&self.at(&span), "a second document begins here; a config is one"));
                }
                Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
                event => root = Some(self.node(event, &span, 0)?),
            }
        }
        Ok(root.unwrap_or_else(|| Node::new(Value::Null, &self.source.start())))
    }

    fn next(&mut self) -> Result<Option<(Event<'s>, Span)>, Fault> {
        match self.events.next() {
            None => Ok(None),
            Some(Ok(event)) => Ok(Some(event)),
            Some(Err(error)) => {
                let mark = error.marker();
                let at = At { source: self.source.clone(), line: mark.line().max(1), column: mark.col() + 1 };
                Err(unparsable(&at, error.info()))
            }
        }
    }

    fn expect(&mut self) -> Result<(Event<'s>, Span), Fault> {
        match self.next()? {
            Some(event) => Ok(event),
            None => Err(Fault::new(&self.source.start(), "Unable to parse YAML\nthe file ends too early")),
        }
    }

    fn at(&self, span: &Span) -> At {
        At { source: self.source.clone(), line: span.start.line().max(1), column: span.start.col() + 1 }
    }

    fn node(&mut self, event: Event<'s>, span: &Span, depth: usize) -> Result<Node, Fault> {
        let at = self.at(span);
        let before = self.nodes;
        self.nodes += 1;
        if depth > DEEPEST {
            return Err(Fault::new(&at, format!("nested deeper than {DEEPEST} levels")));
        }
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none();
                let value = if plain { scalar::resolve(&text) } else { Value::Text(text.into_owned()) };
                Ok(self.keep(anchor, Node::new(value, &at), 1))
            }
            Event::SequenceStart(anchor, _) => {
                self.open.push(anchor);
                let mut items = Vec::new();
                loop {
                    match self.expect()? {
                        (Event::SequenceEnd, _) => break,
                        (event, span) => items.push(self.node(event, &span, depth + 1)?),
                    }
                }
                self.open.pop();
                Ok(self.keep(anchor, Node::new(Value::List(items), &at), self.nodes - before))
            }
            Event::MappingStart(anchor, _) => {
                self.open.push(anchor);
                let map = self.mapping(depth)?;
                self.open.pop();
                Ok(self.keep(anchor, Node::new(Value::Map(map), &at), self.nodes - before))
            }
            Event::Alias(anchor) => self.copy(anchor, &at),
            _ => Err(Fault::new(&at, "Unable to parse YAML\nnothing can stand here")),
        }
    }

    fn keep(&mut self, anchor: usize, node: Node, size: usize) -> Node {
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
        node
    }

    fn copy(&mut self, anchor: usize, at: &At) -> Result<Node, Fault> {
        if self.open.contains(&anchor) {
            return Err(Fault::new(at, "the alias stands inside of what it names"));
        }
        let Some((node, size)) = self.anchors.get(&anchor) else {
            return Err(Fault::new(at, "the alias names no anchor"));
        };
        self.nodes += size;
        if self.nodes > MOST_NODES {
            return Err(Fault::new(at, "the aliases copy too much"));
        }
        Ok(node.clone())
    }

    fn mapping(&mut self, depth: usize) -> Result<Map, Fault> {
        let mut written: Vec<(Key, Node)> = Vec::new();
        let mut seen: HashMap<String, At> = HashMap::new();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.expect()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let plain_merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<");
            let key = self.key(event, &span)?;
            let (event, span) = self.expect()?;
            let mut node = self.node(event, &span, depth + 1)?;
            if node.is_null() {
                // Nothing was written, so that the parser's place is that of what follows.
                node.at = key.at.clone();
            }
            if plain_merge {
                merged.extend(merge_sources(node)?);
                continue;
            }
            if let Some(first) = seen.insert(key.name.clone(), key.at.clone()) {
                let message =
                    format!("Unable to parse YAML\nfound duplicate key {}\nit stands first at {first}", key.name);
                return Err(Fault::new(&key.at, message));
            }
            written.push((key, node));
        }
        // What is written here wins over what is merged, an earlier source over a later one.
        let mut map: Map = written.into_iter().collect();
        for source in merged {
            for (key, node) in source.iter() {
                if seen.insert(key.name.clone(), key.at.clone()).is_none() {
                    map.put(key.clone(), node.clone());
                }
            }
        }
        Ok(map)
    }

    fn key(&mut self, event: Event<'s>, span: &Span) -> Result<Key, Fault> {
        let at = self.at(span);
        match event {
            // A key is a name, also where it reads like a number or a boolean.
            Event::Scalar(text, _, anchor, _) => {
                self.keep(anchor, Node::text(text.clone(), &at), 1);
                Ok(Key { name: text.into_owned(), at })
            }
            Event::Alias(anchor) => match self.copy(anchor, &at)?.value {
                Value::Text(name) => Ok(Key { name, at }),
                _ => Err(Fault::new(&at, "a key must be a name")),
            },
            _ => Err(Fault::new(&at, "a key must be a name")),
        }
    }
}

/// In the words of the real compiler, see <https://github.com/google/startup-os/issues/360>.
fn unparsable(at: &At, info: &str) -> Fault {
    // The parser knows an alias only by its number.
    let alias = at.line_of_text().and_then(|line| {
        let name: String =
            line.chars().skip(at.column).take_while(|c| !(c.is_whitespace() || ",]}".contains(*c))).collect();
        (info.contains("unknown anchor") && !name.is_empty()).then_some(name)
    });
    match alias {
        Some(name) => Fault::new(at, format!("Unable to parse YAML\nfound undefined alias {name}")),
        None => Fault::new(at, format!("Unable to parse YAML\n{info}")),
    }
}

/// What `<<:` brings in: a mapping, or a list of them.
fn merge_sources(node: Node) -> Result<Vec<Map>, Fault> {
    match node.value {
        Value::Map(map) => Ok(vec![map]),
        Value::List(items) => {
            items.into_iter().map(merge_sources).collect::<Result<Vec<_>, _>>().map(|maps| maps.concat())
        }
        _ => Err(Fault::new(&node.at, "`<<:` merges a map or a list of maps")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read(text: &str) -> Result<Node, String> {
        parse(&Source::new("config.yml", text)).map_err(|fault| fault.to_string())
    }

    fn json(text: &str) -> String {
        read(text).unwrap().to_json().to_string()
    }

    #[test]
    fn every_node_knows_its_place() {
        let root = read("jobs:\n  build:\n    steps:\n      - checkout\n    empty:\n  next: 1\n").unwrap();
        let (key, build) = root.as_map().unwrap().get("jobs").unwrap().as_map().unwrap().entry("build").unwrap();
        assert_eq!(key.at.to_string(), "config.yml:2:3");
        let steps = build.as_map().unwrap().get("steps").unwrap();
        assert_eq!(steps.as_list().unwrap()[0].at.to_string(), "config.yml:4:9");
        assert_eq!(build.as_map().unwrap().get("empty").unwrap().at.to_string(), "config.yml:5:5");
    }

    #[test]
    fn anchors_aliases_and_merge_keys() {
        let text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: [{x: 5}, *a]}\nd: *a\n";
        assert_eq!(json(text), r#"{"a":{"x":1,"y":2},"b":{"x":1,"y":3},"c":{"x":5,"y":2},"d":{"x":1,"y":2}}"#);
    }

    #[test]
    fn a_key_written_twice_names_both_lines() {
        assert_eq!(
            read("a: 1\nb: 2\na: 3\n").unwrap_err(),
            "config.yml:3:1: Unable to parse YAML\nfound duplicate key a\nit stands first at config.yml:1:1"
        );
    }

    #[test]
    fn quoted_words_stay_text_and_keys_are_names() {
        assert_eq!(json("on: 'on'\nb: \"true\"\n1: 2\n"), r#"{"1":2,"b":"true","on":"on"}"#);
    }

    #[test]
    fn what_is_not_yaml_has_a_place() {
        assert!(read("a: [1, 2\nb: 3\n").unwrap_err().starts_with("config.yml:2:2: Unable to parse YAML"));
        assert!(read("a: *nobody\n").unwrap_err().ends_with("found undefined alias nobody"));
    }

    #[test]
    fn aliases_of_aliases_come_to_an_end() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let before = format!("*a{}, ", level - 1).repeat(10);
            text.push_str(&format!("a{level}: &a{level} [{}]\n", before.trim_end_matches(", ")));
        }
        assert!(read(&text).unwrap_err().contains("the aliases copy too much"));
    }

    #[test]
    fn an_empty_file_is_null() {
        assert!(read("# nothing\n").unwrap().is_null());
    }
}
