//! Which rule holds for a request, which target group it goes to, where a redirect points: pure functions.
//!
//! The facts come from "Condition types for listener rules" and "Redirect actions" of the Application Load Balancer's
//! user guide.

use std::net::Ipv4Addr;

use http::HeaderMap;
use ipnet::Ipv4Net;

use crate::world::{Condition, Rule};

/// What a rule can look at.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The method, as sent.
    pub method: &'a str,
    /// The host as the client named it, without a port.
    pub host: &'a str,
    /// The path, as sent.
    pub path: &'a str,
    /// The query, as sent; empty where there is none.
    pub query: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The peer's address; `X-Forwarded-For` never counts.
    pub source: Ipv4Addr,
}

/// The first rule that holds, in the order given: by priority, the default rule last.
#[must_use]
pub fn choose<'r>(rules: &'r [Rule], question: &Question<'_>) -> Option<&'r Rule> {
    rules.iter().find(|rule| rule.conditions.iter().all(|condition| holds(condition, question)))
}

/// Whether any of a condition's values matches.
#[must_use]
pub fn holds(condition: &Condition, question: &Question<'_>) -> bool {
    match condition {
        Condition::Host(patterns) => patterns.iter().any(|p| Pattern::folded(p).matches(question.host)),
        Condition::Path(patterns) => patterns.iter().any(|p| Pattern::exact(p).matches(question.path)),
        Condition::Method(methods) => methods.iter().any(|m| m == question.method),
        Condition::Header { name, values } => question.headers.get_all(name.as_str()).iter().any(|sent| {
            let sent = String::from_utf8_lossy(sent.as_bytes());
            values.iter().any(|p| Pattern::folded(p).matches(&sent))
        }),
        Condition::Query(wanted) => question.query.split('&').filter(|pair| !pair.is_empty()).any(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            wanted.iter().any(|(wanted_key, wanted_value)| {
                wanted_key.as_ref().is_none_or(|p| Pattern::escaped(p).matches(key))
                    && Pattern::escaped(wanted_value).matches(value)
            })
        }),
        Condition::SourceIp(blocks) => {
            blocks.iter().any(|block| block.parse::<Ipv4Net>().is_ok_and(|net| net.contains(&question.source)))
        }
    }
}

/// A pattern in which `*` stands for any characters and `?` for exactly one.
struct Pattern {
    pieces: Vec<Piece>,
    folded: bool,
}

#[derive(PartialEq, Eq)]
enum Piece {
    Any,
    One,
    Just(char),
}

impl Pattern {
    /// Case counts: paths.
    fn exact(pattern: &str) -> Self {
        Pattern::new(pattern, false, false)
    }

    /// Case does not count: hosts and header values.
    fn folded(pattern: &str) -> Self {
        Pattern::new(pattern, true, false)
    }

    /// Case does not count and a backslash makes `*`, `?` and itself literal: query strings, and they alone.
    fn escaped(pattern: &str) -> Self {
        Pattern::new(pattern, true, true)
    }

    fn new(pattern: &str, folded: bool, escapes: bool) -> Self {
        let mut pieces = Vec::with_capacity(pattern.len());
        let mut characters = pattern.chars().peekable();
        while let Some(character) = characters.next() {
            pieces.push(match character {
                '*' => Piece::Any,
                '?' => Piece::One,
                '\\' if escapes && matches!(characters.peek(), Some('*' | '?' | '\\')) => {
                    Piece::Just(characters.next().unwrap_or(character))
                }
                other if folded => Piece::Just(other.to_ascii_lowercase()),
                other => Piece::Just(other),
            });
        }
        Pattern { pieces, folded }
    }

    /// Linear in practice: only the latest star is ever tried again, so no pattern can make a request slow.
    fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().map(|c| if self.folded { c.to_ascii_lowercase() } else { c }).collect();
        let (mut piece, mut at) = (0, 0);
        let mut star = None;
        while at < text.len() {
            match self.pieces.get(piece) {
                Some(Piece::Any) => {
                    star = Some((piece, at));
                    piece += 1;
                }
                Some(Piece::One) => (piece, at) = (piece + 1, at + 1),
                Some(Piece::Just(wanted)) if *wanted == text[at] => (piece, at) = (piece + 1, at + 1),
                _ => {
                    let Some((star_piece, star_at)) = star else { return false };
                    star = Some((star_piece, star_at + 1));
                    (piece, at) = (star_piece + 1, star_at + 1);
                }
            }
        }
        self.pieces[piece..].iter().all(|piece| *piece == Piece::Any)
    }
}

/// The sum of all weights; zero means that nothing can be chosen.
#[must_use]
pub fn total_weight(groups: &[(String, u32)]) -> u32 {
    groups.iter().map(|(_, weight)| weight).sum()
}

/// The target group for a number drawn evenly from 0 up to, not including, [`total_weight`].
///
/// `None` where all weights are zero, as the balancer then answers 503.
#[must_use]
pub fn weigh(groups: &[(String, u32)], drawn: u32) -> Option<&str> {
    let mut left = drawn;
    for (arn, weight) in groups {
        if left < *weight {
            return Some(arn);
        }
        left -= weight;
    }
    None
}

/// The parts of a redirect action, each with `#{…}` for the request's own.
#[derive(Clone, Copy, Debug)]
pub struct Redirection<'a> {
    /// `HTTP`, `HTTPS` or `#{protocol}`.
    pub protocol: &'a str,
    /// A host, or `#{host}`.
    pub host: &'a str,
    /// A port, or `#{port}`.
    pub port: &'a str,
    /// With a leading slash, which `#{path}` does not have.
    pub path: &'a str,
    /// Without a leading question mark.
    pub query: &'a str,
}

/// The value of the Location header; the port always stands in it, as the real balancer writes it.
#[must_use]
pub fn location(to: &Redirection<'_>, question: &Question<'_>, protocol: &str, port: u16) -> String {
    let port = port.to_string();
    // One pass, so that nothing a client sends is taken for a placeholder.
    let filled = |template: &str| {
        let mut text = String::with_capacity(template.len());
        let mut rest = template;
        while let Some((before, after)) = rest.split_once("#{") {
            text.push_str(before);
            let Some((name, after)) = after.split_once('}') else {
                text.push_str("#{");
                rest = after;
                continue;
            };
            text.push_str(match name {
                "protocol" => protocol,
                "host" => question.host,
                "port" => &port,
                "path" => question.path.trim_start_matches('/'),
                "query" => question.query,
                _ => "",
            });
            rest = after;
        }
        text.push_str(rest);
        text
    };
    let or = |value: &str, default: &str| filled(if value.is_empty() { default } else { value });
    let scheme = or(to.protocol, "#{protocol}").to_ascii_lowercase();
    let host = or(to.host, "#{host}");
    let port = or(to.port, "#{port}");
    let path = or(to.path, "/#{path}");
    let query = filled(to.query);
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{scheme}://{host}:{port}{path}{mark}{query}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::world::Action;

    fn ask<T>(of: impl FnOnce(&Question<'_>) -> T) -> T {
        let mut headers = HeaderMap::new();
        headers.append("x-gyron-test", "Secret-1".parse().unwrap());
        headers.append("x-gyron-test", "other".parse().unwrap());
        of(&Question {
            method: "GET",
            host: "Shop.example.com",
            path: "/img/Logo.png",
            query: "version=V1&Color=blue*&flag",
            headers: &headers,
            source: Ipv4Addr::new(198, 18, 3, 9),
        })
    }

    fn strings(values: &[&str]) -> Vec<String> {
        values.iter().map(|v| (*v).to_owned()).collect()
    }

    #[test]
    fn conditions_hold_by_the_documented_rules_of_case_and_wildcards() {
        let header = |name: &str, value: &str| Condition::Header { name: name.to_owned(), values: strings(&[value]) };
        let query = |key: Option<&str>, value: &str| Condition::Query(vec![(key.map(str::to_owned), value.to_owned())]);
        let table = [
            (Condition::Host(strings(&["shop.EXAMPLE.com"])), true),
            (Condition::Host(strings(&["*.example.com"])), true),
            (Condition::Host(strings(&["example.com"])), false),
            (Condition::Host(strings(&["sho?.example.com"])), true),
            (Condition::Path(strings(&["/img/*"])), true),
            (Condition::Path(strings(&["/img/*/pics"])), false),
            (Condition::Path(strings(&["/IMG/*"])), false),
            (Condition::Path(strings(&["/none", "/img/????.png"])), true),
            (Condition::Path(strings(&["*"])), true),
            (Condition::Method(strings(&["POST", "GET"])), true),
            (Condition::Method(strings(&["get"])), false),
            (header("X-Gyron-Test", "secret-?"), true),
            (header("X-Gyron-Test", "OTHER"), true),
            (header("X-Gyron-Test", "secret"), false),
            (header("X-Nobody", "*"), false),
            (query(Some("version"), "v1"), true),
            (query(None, "v1"), true),
            (query(Some("VERSION"), "v*"), true),
            (query(Some("version"), "v2"), false),
            (query(Some("color"), "blue\\*"), true),
            (query(Some("color"), "blu\\*"), false),
            (query(Some("flag"), ""), true),
            (Condition::SourceIp(strings(&["10.0.0.0/8", "198.18.3.0/24"])), true),
            (Condition::SourceIp(strings(&["198.18.4.0/24"])), false),
        ];
        for (condition, expected) in table {
            assert_eq!(ask(|question| holds(&condition, question)), expected, "{condition:?}");
        }
    }

    #[test]
    fn the_first_rule_whose_conditions_all_hold_is_taken() {
        let rule = |arn: &str, conditions: Vec<Condition>| Rule {
            arn: arn.to_owned(),
            priority: None,
            conditions,
            actions: Vec::<Action>::new(),
        };
        let rules = [
            rule("half", vec![Condition::Path(strings(&["/img/*"])), Condition::Method(strings(&["PUT"]))]),
            rule("both", vec![Condition::Path(strings(&["/img/*"])), Condition::Method(strings(&["GET"]))]),
            rule("default", vec![]),
        ];
        assert_eq!(ask(|q| choose(&rules, q).map(|r| r.arn.clone())).as_deref(), Some("both"));
        assert_eq!(ask(|q| choose(&rules[..1], q).map(|r| r.arn.clone())), None);
    }

    #[test]
    fn a_redirect_fills_in_the_requests_own_parts() {
        let to = |protocol, host, port, path, query| Redirection { protocol, host, port, path, query };
        let table = [
            (
                to("HTTPS", "#{host}", "443", "/#{path}", "#{query}"),
                "https://Shop.example.com:443/img/Logo.png?version=V1&Color=blue*&flag",
            ),
            (
                to("#{protocol}", "x.#{host}", "#{port}", "/new/#{path}", ""),
                "http://x.Shop.example.com:8080/new/img/Logo.png",
            ),
            (to("", "", "", "/#{broken", "a=#{unknown}"), "http://Shop.example.com:8080/#{broken?a="),
        ];
        for (to, expected) in table {
            assert_eq!(ask(|q| location(&to, q, "HTTP", 8080)), expected);
        }
    }

    proptest! {
        #[test]
        fn every_weight_is_chosen_exactly_in_its_share(weights in prop::collection::vec(0_u32..=999, 1..=5)) {
            let groups: Vec<(String, u32)> =
                weights.iter().enumerate().map(|(n, weight)| (n.to_string(), *weight)).collect();
            let total = total_weight(&groups);
            let mut chosen = vec![0_u32; weights.len()];
            for drawn in 0..total {
                let arn = weigh(&groups, drawn).unwrap();
                chosen[arn.parse::<usize>().unwrap()] += 1;
            }
            prop_assert_eq!(chosen, weights);
            prop_assert_eq!(weigh(&groups, total), None);
        }

        #[test]
        fn a_text_matches_itself_and_every_star_in_it(text in "[a-zA-Z0-9/._-]{0,30}", cut in 0_usize..30) {
            prop_assert!(Pattern::exact(&text).matches(&text));
            prop_assert!(Pattern::folded(&text.to_uppercase()).matches(&text));
            let cut = cut.min(text.len());
            let (before, after) = text.split_at(cut);
            let starred = format!("{before}*{after}");
            prop_assert!(Pattern::exact(&starred).matches(&text));
            let grown = format!("{before}x{after}");
            prop_assert!(Pattern::exact(&starred).matches(&grown));
            let one = format!("{before}?{after}");
            prop_assert!(Pattern::exact(&one).matches(&grown));
            prop_assert!(!Pattern::exact(&one).matches(&text));
        }
    }
}
