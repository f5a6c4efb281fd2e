//! A check and how an answer is judged by it.

use std::time::Duration;

use gyron_core::config::schema;
use gyron_core::failure::{Failure, OrFail as _, Result};
use regex::Regex;
use serde_json::Value;
use serde_json_path::JsonPath;

/// The statuses by which a balancer or a proxy says that nobody is there yet.
const NOT_READY: [u16; 3] = [502, 503, 504];

/// How much of a body an error shows.
const EXCERPT: usize = 300;

/// What the placeholders of expected texts stand for.
#[derive(Clone, Debug)]
pub(crate) struct Placeholders {
    /// `{app}`
    pub(crate) app: String,
    /// `{version}`
    pub(crate) version: String,
    /// `{env}`; none where no environment was named.
    pub(crate) env: Option<String>,
}

impl Placeholders {
    fn fill(&self, text: &str, written: impl Fn(&str) -> String) -> Result<String> {
        let mut filled = text.replace("{app}", &written(&self.app)).replace("{version}", &written(&self.version));
        if filled.contains("{env}") {
            let env = self.env.as_deref().ok_or_else(|| {
                Failure::usage("a smoke check expects {env}, and no environment is named")
                    .hint("name one: --env production, or GYRON_ENV=production")
            })?;
            filled = filled.replace("{env}", &written(env));
        }
        Ok(filled)
    }
}

/// A check, ready to judge.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    /// Its place in gyron.toml, from 1.
    pub(crate) number: usize,
    /// The path to GET.
    pub(crate) path: String,
    /// Request headers.
    pub(crate) headers: Vec<(String, String)>,
    status: u16,
    json: Vec<(String, JsonPath, String)>,
    contains: Option<String>,
    matches: Option<Regex>,
    /// The longest that an answer through the balancer may take.
    pub(crate) within: Option<Duration>,
}

/// What was seen of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// No answer, and why.
    Nothing(String),
    /// An answer.
    Answer {
        /// Its status.
        status: u16,
        /// Its body, as far as it was brought here.
        body: String,
        /// The size of the whole body in bytes, where only its beginning was brought here.
        cut_from: Option<usize>,
        /// How long it took, where that is of interest.
        took: Option<Duration>,
    },
}

/// How an answer is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    /// As expected.
    Right,
    /// Not ready yet: to be asked again.
    NotYet(String),
    /// Wrong, and no waiting will mend it.
    Wrong(String),
}

impl Check {
    /// Makes the checks of gyron.toml ready.
    ///
    /// # Errors
    /// Usage (2): no check at all; a path, a regular expression or a JSONPath that is none.
    pub(crate) fn all(settings: &schema::Smoke, placeholders: &Placeholders) -> Result<Vec<Self>> {
        if settings.check.is_empty() {
            return Err(Failure::usage("gyron.toml has no [[smoke.check]]: nothing would be asked")
                .hint("add one:\n\n    [[smoke.check]]\n    get    = \"/health\"\n    status = 200\n"));
        }
        settings.check.iter().zip(1..).map(|(check, number)| Self::new(number, check, placeholders)).collect()
    }

    fn new(number: usize, check: &schema::Check, placeholders: &Placeholders) -> Result<Self> {
        let path = check.get.clone();
        let wrong = |text: &str, what: &str| {
            Failure::usage(format!("smoke.check {number} (GET {path}): `{text}` is no {what}"))
        };
        if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Failure::usage(format!("smoke.check {number}: `{path}` is no path to GET"))
                .hint("a path begins with `/`, and what is no plain ASCII in it is percent-encoded"));
        }
        let as_is = |text: &str| text.to_owned();
        let json = check.json.iter().map(|(path, expected)| {
            let compiled = JsonPath::parse(path).or_fail(|| wrong(path, "JSONPath (RFC 9535)"))?;
            Ok((path.clone(), compiled, placeholders.fill(expected, as_is)?))
        });
        let json = json.collect::<Result<_>>()?;
        let contains = check.contains.as_ref().map(|text| placeholders.fill(text, as_is)).transpose()?;
        let matches = check.matches.as_ref().map(|text| {
            let filled = placeholders.fill(text, regex::escape)?;
            Regex::new(&filled).map_err(|error| {
                wrong(text, "regular expression").detail(format!("  {}", error.to_string().replace('\n', "\n  ")))
            })
        });
        let matches = matches.transpose()?;
        let headers = check.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let within = check.within.map(|span| span.0);
        Ok(Check { number, path, headers, status: check.status, json, contains, matches, within })
    }

    /// Judges an answer.
    pub(crate) fn judge(&self, seen: &Seen) -> Judged {
        let (status, body, cut_from, took) = match seen {
            Seen::Nothing(why) => return Judged::NotYet(format!("no answer: {why}")),
            Seen::Answer { status, body, cut_from, took } => (*status, body, *cut_from, *took),
        };
        if status != self.status {
            let said = with_body(format!("status {status}"), body);
            return if NOT_READY.contains(&status) { Judged::NotYet(said) } else { Judged::Wrong(said) };
        }
        let mut faults = self.faults_of_json(body);
        faults.extend(
            self.contains.iter().filter(|text| !body.contains(*text)).map(|_| "a body without that text".to_owned()),
        );
        faults.extend(
            self.matches.iter().filter(|regex| !regex.is_match(body)).map(|_| "a body that does not match".to_owned()),
        );
        if !faults.is_empty() {
            if let Some(whole) = cut_from {
                faults.push(format!("only the first {} of its {whole} bytes were looked at", body.len()));
            }
            return Judged::Wrong(with_body(format!("status {status}, {}", faults.join(", ")), body));
        }
        match (self.within, took) {
            // An app that has just started answers slowly at first: not ready, rather than wrong.
            (Some(within), Some(took)) if took > within => {
                Judged::NotYet(format!("the right answer, after {} ms", took.as_millis()))
            }
            _ => Judged::Right,
        }
    }

    fn faults_of_json(&self, body: &str) -> Vec<String> {
        if self.json.is_empty() {
            return Vec::new();
        }
        let Ok(value) = serde_json::from_str::<Value>(body) else { return vec!["a body that is no JSON".to_owned()] };
        let faults = self.json.iter().filter_map(|(path, compiled, expected)| {
            let nodes = compiled.query(&value).all();
            match nodes.iter().map(|node| in_words(node)).find(|text| text != expected) {
                Some(other) => Some(format!("{path} = {other}")),
                None if nodes.is_empty() => Some(format!("nothing at {path}")),
                None => None,
            }
        });
        faults.collect()
    }

    /// What is expected, in words.
    pub(crate) fn expected(&self) -> String {
        let mut parts = vec![format!("status {}", self.status)];
        parts.extend(self.json.iter().map(|(path, _, expected)| format!("{path} = {expected}")));
        parts.extend(self.contains.iter().map(|text| format!("a body with `{text}`")));
        parts.extend(self.matches.iter().map(|regex| format!("a body that matches `{regex}`")));
        parts.extend(self.within.iter().map(|within| format!("within {} ms", within.as_millis())));
        parts.join(", ")
    }
}

/// A selected node as text: a text without its quotes, anything else as JSON writes it.
fn in_words(node: &Value) -> String {
    node.as_str().map_or_else(|| node.to_string(), str::to_owned)
}

fn with_body(said: String, body: &str) -> String {
    let line = body.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(EXCERPT) {
        _ if line.is_empty() => format!("{said}, an empty body"),
        Some((end, _)) => format!("{said}: {}…", &line[..end]),
        None => format!("{said}: {line}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;
    use std::time::Duration;

    use gyron_core::config::Config;
    use gyron_core::failure::Result;
    use proptest::prelude::*;

    use super::{Check, Judged, Placeholders, Seen};

    fn checks(lines: &str) -> Result<Vec<Check>> {
        let text = format!("app = \"shop\"\nregion = \"us-east-1\"\nbucket = \"b\"\n[smoke]\n{lines}");
        let config = Config::read(Path::new("/app"), &text, None, &[])?;
        let placeholders = Placeholders { app: "shop".to_owned(), version: "1.4.0".to_owned(), env: None };
        Check::all(config.smoke()?, &placeholders)
    }

    fn check(lines: &str) -> Check {
        checks(&format!("[[smoke.check]]\nget = \"/health\"\n{lines}")).unwrap().remove(0)
    }

    fn answer(status: u16, body: &str) -> Seen {
        Seen::Answer { status, body: body.to_owned(), cut_from: None, took: Some(Duration::from_millis(80)) }
    }

    #[test]
    fn an_answer_is_right_wrong_or_not_ready_yet() {
        const JSON: &str = r#"json = { "$.status" = "ok", "$.version" = "{version}" }"#;
        let cases = [
            ("", answer(200, ""), "right"),
            ("", answer(404, "no such page"), "wrong: status 404: no such page"),
            ("", answer(500, ""), "wrong: status 500, an empty body"),
            ("", answer(503, "no colour is live yet\n"), "not yet: status 503: no colour is live yet"),
            ("", answer(502, ""), "not yet: status 502, an empty body"),
            ("", Seen::Nothing("connection refused".to_owned()), "not yet: no answer: connection refused"),
            ("status = 503", answer(503, ""), "right"),
            ("status = 301", answer(301, ""), "right"),
            (JSON, answer(200, r#"{"status": "ok", "version": "1.4.0"}"#), "right"),
            (
                JSON,
                answer(200, r#"{"status": "ok", "version": "1.3.9"}"#),
                r#"wrong: status 200, $.version = 1.3.9: {"status": "ok", "version": "1.3.9"}"#,
            ),
            (JSON, answer(200, "{}"), "wrong: status 200, nothing at $.status, nothing at $.version: {}"),
            (JSON, answer(200, "<html>"), "wrong: status 200, a body that is no JSON: <html>"),
            (r#"json = { "$.n" = "3", "$.yes" = "true" }"#, answer(200, r#"{"n": 3, "yes": true}"#), "right"),
            (r#"json = { "$..up" = "true" }"#, answer(200, r#"[{"up": true}, {"up": true}]"#), "right"),
            (
                r#"json = { "$..up" = "true" }"#,
                answer(200, r#"[{"up": true}, {"up": false}]"#),
                r#"wrong: status 200, $..up = false: [{"up": true}, {"up": false}]"#,
            ),
            (r#"contains = "Shop {version}""#, answer(200, "Corner Shop 1.4.0!"), "right"),
            (
                r#"contains = "Shop {version}""#,
                answer(200, "Shop"),
                "wrong: status 200, a body without that text: Shop",
            ),
            (r#"matches = "^v{version}$""#, answer(200, "v1.4.0"), "right"),
            (
                r#"matches = "^v{version}$""#,
                answer(200, "v1x4x0"),
                "wrong: status 200, a body that does not match: v1x4x0",
            ),
            (r#"matches = "^[0-9]{2}$""#, answer(200, "42"), "right"),
            (r#"within = "1s""#, answer(200, ""), "right"),
            (r#"within = "50ms""#, answer(200, ""), "not yet: the right answer, after 80 ms"),
            ("within = \"50ms\"\ncontains = \"x\"", answer(200, "y"), "wrong: status 200, a body without that text: y"),
        ];
        for (lines, seen, expected) in cases {
            let judged = match check(lines).judge(&seen) {
                Judged::Right => "right".to_owned(),
                Judged::NotYet(why) => format!("not yet: {why}"),
                Judged::Wrong(why) => format!("wrong: {why}"),
            };
            assert_eq!(judged, expected, "{lines}");
        }
    }

    #[test]
    fn what_was_cut_is_said() {
        let seen = Seen::Answer { status: 200, body: "abc".to_owned(), cut_from: Some(9000), took: None };
        assert_eq!(
            check("contains = \"z\"").judge(&seen),
            Judged::Wrong(
                "status 200, a body without that text, only the first 3 of its 9000 bytes were looked at: abc"
                    .to_owned()
            )
        );
        assert_eq!(check("contains = \"a\"").judge(&seen), Judged::Right);
    }

    #[test]
    fn what_is_expected_is_said_in_words() {
        let check = check("within = \"1s\"\ncontains = \"{app}\"\njson = { \"$.v\" = \"{version}\" }");
        assert_eq!(check.expected(), "status 200, $.v = 1.4.0, a body with `shop`, within 1000 ms");
    }

    #[test]
    fn checks_that_are_none_are_refused() {
        let refused = |lines: &str| checks(lines).unwrap_err().report();
        insta::assert_snapshot!(refused(""), @r#"
        error: gyron.toml has no [[smoke.check]]: nothing would be asked
        hint: add one:

            [[smoke.check]]
            get    = "/health"
            status = 200
        "#);
        insta::assert_snapshot!(refused("[[smoke.check]]\nget = \"health\""), @"
        error: smoke.check 1: `health` is no path to GET
        hint: a path begins with `/`, and what is no plain ASCII in it is percent-encoded
        ");
        insta::assert_snapshot!(refused("[[smoke.check]]\nget = \"/\"\nmatches = \"(\""), @"
        error: smoke.check 1 (GET /): `(` is no regular expression
          regex parse error:
              (
              ^
          error: unclosed group
        ");
        insta::assert_snapshot!(refused("[[smoke.check]]\nget = \"/\"\njson = { \"version\" = \"1\" }"), @"
        error: smoke.check 1 (GET /): `version` is no JSONPath (RFC 9535)
          caused by: at position 0, parser error
        ");
        insta::assert_snapshot!(refused("[[smoke.check]]\nget = \"/\"\ncontains = \"{env}\""), @"
        error: a smoke check expects {env}, and no environment is named
        hint: name one: --env production, or GYRON_ENV=production
        ");
    }

    proptest! {
        #[test]
        fn any_answer_is_judged(status in 100u16..600, body in ".{0,600}", cut_from in proptest::option::of(0usize..9)) {
            let check = check("contains = \"shop\"\njson = { \"$.a\" = \"b\" }");
            let judged = check.judge(&Seen::Answer { status, body, cut_from, took: None });
            prop_assert_eq!(matches!(judged, Judged::NotYet(_)), matches!(status, 502..=504));
        }
    }
}
