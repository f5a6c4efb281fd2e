//! What rspec said, judged.

use gyron_core::failure::{Failure, Result};
use serde::Deserialize;

use crate::script;

/// How much of a text an error shows.
const LAST_LINES: usize = 25;

/// What the instance put to S3.
#[derive(Debug, Deserialize)]
pub(crate) struct Said {
    /// rspec's JSON report; none where it wrote none.
    report: Option<Report>,
    /// The same in its documentation format, which also shows what each command printed.
    text: String,
    /// Its own standard output and error.
    errors: String,
    /// Its exit status: 1 is a failed example as well as a broken file, 0 also that there was nothing to run.
    status: i32,
    /// systemd's state of the whole system: `running`, `degraded` …
    pub(crate) system: String,
    /// The units that failed, as `systemctl --failed` lists them.
    pub(crate) units: Vec<String>,
}

/// rspec's JSON report, as rspec 3 writes it (rspec-core, formatters/json_formatter.rb).
#[derive(Debug, Deserialize)]
struct Report {
    examples: Vec<Written>,
    summary: Summary,
    #[serde(default)]
    messages: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Summary {
    #[serde(default)]
    errors_outside_of_examples_count: u32,
}

#[derive(Debug, Deserialize)]
struct Written {
    full_description: String,
    status: String,
    file_path: String,
    line_number: u32,
    /// Seconds.
    run_time: f64,
    pending_message: Option<String>,
    exception: Option<Exception>,
}

#[derive(Debug, Deserialize)]
struct Exception {
    class: String,
    message: String,
}

/// An expectation and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Example {
    /// `the services Service "shop" is expected to be running`
    pub(crate) name: String,
    /// The spec file, relative to gyron.toml.
    pub(crate) file: String,
    /// The line there.
    pub(crate) line: u32,
    /// Seconds.
    pub(crate) took: f64,
    /// What became of it.
    pub(crate) outcome: Outcome,
}

/// What became of an expectation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// It was met.
    Passed,
    /// Its author has put it off, and why.
    Pending(String),
    /// It was not met, with all that rspec says of it.
    Failed(String),
}

impl Said {
    /// Judges: the examples, of which at least one was really run.
    ///
    /// # Errors
    /// Program (5): rspec broke, or a spec file is broken. Usage (2): nothing was tested, which rspec calls a success.
    pub(crate) fn examples(self, path: &str) -> Result<Vec<Example>> {
        let here = |text: &str| in_the_app(text, path);
        let Some(report) = self.report else {
            let said = format!("{}\n{}", self.text, self.errors);
            return Err(Failure::program(format!("rspec ended with exit status {} and without a report", self.status))
                .detail(last_lines(&here(&said))));
        };
        let outside = report.summary.errors_outside_of_examples_count;
        if outside > 0 {
            // Which follows from the rest, and is no error by itself.
            let told = report.messages.iter().filter(|message| message.trim() != "No examples found.");
            let messages: Vec<_> = told.map(|message| last_lines(&own_lines(&here(message)))).collect();
            let what = if outside == 1 {
                "a spec file is broken".to_owned()
            } else {
                format!("{outside} spec files are broken")
            };
            return Err(Failure::program(format!("{what}: an error outside of any example"))
                .detail(messages.join("\n"))
                .hint("this is no verdict on the image: mend the specs and run gyron-spec again"));
        }
        let mut blocks = failure_blocks(&self.text, &report.examples).into_iter();
        let examples: Vec<_> = report
            .examples
            .into_iter()
            .map(|written| {
                let (file, line) = (here(&written.file_path), written.line_number);
                let outcome = match written.status.as_str() {
                    "passed" => Outcome::Passed,
                    "pending" => Outcome::Pending(written.pending_message.unwrap_or_default()),
                    _ => {
                        let block = blocks.next().flatten();
                        let why = here(&block.unwrap_or_else(|| in_words(written.exception)));
                        Outcome::Failed(without_place(&why, &file, line))
                    }
                };
                Example { name: written.full_description, file, line, took: written.run_time, outcome }
            })
            .collect();
        if examples.iter().all(|example| matches!(example.outcome, Outcome::Pending(_))) {
            let what = match examples.len() {
                0 => format!("the files of {path} hold no example"),
                all => format!("all {all} examples of {path} are pending"),
            };
            return Err(Failure::usage(format!("{what}: nothing was tested"))
                .hint("write at least one: describe service('nginx') do it { should be_running } end"));
        }
        Ok(examples)
    }
}

fn in_words(exception: Option<Exception>) -> String {
    match exception {
        Some(exception) if exception.class.starts_with("RSpec::") => exception.message,
        Some(exception) => format!("{}: {}", exception.class, exception.message),
        None => "rspec gave no reason".to_owned(),
    }
}

/// Paths as they are in the app's repo, not as they were on the instance.
fn in_the_app(text: &str, path: &str) -> String {
    text.replace(&format!("{}/spec/", script::FOLDER), "./spec/").replace("./spec/", &format!("{path}/"))
}

/// A message without the part of its backtrace that is rspec's own.
fn own_lines(text: &str) -> String {
    let own =
        text.lines().filter(|line| !line.starts_with("# /usr/") && !line.starts_with("#   ") && line.trim() != "#");
    own.collect::<Vec<_>>().join("\n")
}

/// A backtrace that only says where the example itself stands says nothing new.
fn without_place(text: &str, file: &str, line: u32) -> String {
    let place = format!("# {file}:{line}:in `block ");
    let lines = text.lines().filter(|line| !line.starts_with(&place));
    lines.collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
    last.iter().map(|line| format!("  | {line}")).collect::<Vec<_>>().join("\n")
}

/// For each failed example, in order, what the documentation format says of it: the JSON report lacks what the tested
/// command printed. Each begins with a line `  N) NAME` below `Failures:`.
fn failure_blocks(text: &str, examples: &[Written]) -> Vec<Option<String>> {
    let lines: Vec<_> = text.lines().collect();
    let mut at = lines.iter().position(|line| *line == "Failures:").map_or(lines.len(), |at| at + 1);
    let end = lines.iter().rposition(|line| line.starts_with("Finished in ")).unwrap_or(lines.len()).max(at);
    let failed = examples.iter().filter(|example| example.status == "failed");
    let starts: Vec<_> = failed
        .enumerate()
        .map(|(index, example)| {
            let name = example.full_description.lines().next().unwrap_or_default();
            let header = format!("  {}) {name}", index + 1);
            let found = lines[at..end].iter().position(|line| *line == header).map(|found| at + found);
            at = found.map_or(at, |found| found + 1);
            found
        })
        .collect();
    (0..starts.len())
        .map(|index| {
            let start = starts[index]? + 1;
            let next = starts[index + 1..].iter().flatten().next().copied().unwrap_or(end);
            // As far in as the name in the header.
            let indent = format!("  {}) ", index + 1).len();
            let block = lines[start..next].iter().map(|line| {
                let spaces = line.bytes().take(indent).take_while(|byte| *byte == b' ').count();
                line[spaces..].trim_end()
            });
            Some(block.collect::<Vec<_>>().join("\n").trim_matches('\n').to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::{Outcome, Said, Written, failure_blocks};

    // What rspec 3.12 and serverspec 2.42 of Debian 12 really wrote, without the backtraces' lines of /usr.
    const FAILED: &str = include_str!("fixtures/failed.json");
    const BROKEN: &str = include_str!("fixtures/broken.json");
    const NONE: &str = include_str!("fixtures/none.json");

    fn said(text: &str) -> Said {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn each_example_has_its_place_and_what_became_of_it() {
        let examples = said(FAILED).examples("test/spec").unwrap();
        let lines: Vec<_> = examples
            .iter()
            .map(|example| {
                let outcome = match &example.outcome {
                    Outcome::Passed => "passed".to_owned(),
                    Outcome::Pending(why) => format!("pending: {why}"),
                    Outcome::Failed(_) => "failed".to_owned(),
                };
                format!("{}:{} {}: {outcome}", example.file, example.line, example.name)
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        test/spec/shop_spec.rb:5 the services Service "shop" is expected to be running: failed
        test/spec/shop_spec.rb:8 the services File "/etc/passwd" is expected to exist: passed
        test/spec/shop_spec.rb:9 the services File "/etc/passwd" content is expected to match /^shöp:/: failed
        test/spec/shop_spec.rb:14 the shop sells apples: pending: apples come later
        test/spec/shop_spec.rb:18 the shop sells pears: pending: Temporarily skipped with xit
        test/spec/shop_spec.rb:20 the shop answers: failed
        test/spec/shop_spec.rb:23 the shop has two things wrong: failed
        "#);
    }

    #[test]
    fn a_failed_example_says_what_its_command_printed() {
        let examples = said(FAILED).examples("spec").unwrap();
        let failed = |index: usize| match &examples[index].outcome {
            Outcome::Failed(why) => why.clone(),
            other => format!("{other:?}"),
        };
        insta::assert_snapshot!(failed(0), @r#"
        Failure/Error: it { should be_running }
          expected Service "shop" to be running
          /bin/sh -c ps\ aux\ \|\ grep\ -w\ --\ shop\ \|\ grep\ -qv\ grep
        "#);
        insta::assert_snapshot!(failed(5), @r#"
        Failure/Error: raise IOError, "line one\n\n  1) line two"
        IOError:
          line one

            1) line two

        # spec/shop_spec.rb:21:in `block (2 levels) in <top (required)>'
        "#);
    }

    #[test]
    fn without_the_documentation_the_exceptions_are_shown() {
        let mut only = said(FAILED);
        only.text.clear();
        let examples = only.examples("spec").unwrap();
        assert_eq!(examples[0].outcome, Outcome::Failed("expected Service \"shop\" to be running".to_owned()));
        assert_eq!(examples[5].outcome, Outcome::Failed("IOError: line one\n\n  1) line two".to_owned()));
    }

    #[test]
    fn a_broken_spec_file_is_no_verdict() {
        insta::assert_snapshot!(said(BROKEN).examples("spec").unwrap_err().report(), @"
        error: 2 spec files are broken: an error outside of any example
          | An error occurred while loading spec/broken_spec.rb.
          | Failure/Error: __send__(method, file)
          | SyntaxError:
          |   spec/broken_spec.rb:3: syntax error, unexpected end-of-input, expecting '}'
          |     it { should be
          |                   ^
          | An error occurred while loading spec/wrong_spec.rb.
          | Failure/Error:
          |   describe sevice('x') do
          |   end
          | NoMethodError:
          |   undefined method `sevice' for main:Object
          |   describe sevice('x') do
          |            ^^^^^^
          |   Did you mean?  service
          | # spec/wrong_spec.rb:2:in `<top (required)>'
        hint: this is no verdict on the image: mend the specs and run gyron-spec again
        ");
    }

    #[test]
    fn no_examples_are_no_success() {
        insta::assert_snapshot!(said(NONE).examples("spec").unwrap_err().report(), @"
        error: the files of spec hold no example: nothing was tested
        hint: write at least one: describe service('nginx') do it { should be_running } end
        ");
        let mut pending = said(FAILED);
        pending.report.as_mut().unwrap().examples.retain(|example| example.status == "pending");
        insta::assert_snapshot!(pending.examples("spec").unwrap_err().report(), @"
        error: all 2 examples of spec are pending: nothing was tested
        hint: write at least one: describe service('nginx') do it { should be_running } end
        ");
    }

    #[test]
    fn rspec_that_breaks_shows_its_last_lines() {
        let broke = Said {
            report: None,
            text: String::new(),
            errors: "invalid option: --frmat\n\nPlease use --help".to_owned(),
            status: 1,
            system: "running".to_owned(),
            units: Vec::new(),
        };
        insta::assert_snapshot!(broke.examples("spec").unwrap_err().report(), @"
        error: rspec ended with exit status 1 and without a report
          | invalid option: --frmat
          | Please use --help
        ");
    }

    fn failed(name: &str) -> Written {
        Written {
            full_description: name.to_owned(),
            status: "failed".to_owned(),
            file_path: String::new(),
            line_number: 1,
            run_time: 0.0,
            pending_message: None,
            exception: None,
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_a_block_or_none_for_each_failure(text in "(Failures:|  1\\) a|     b|\n|Finished in |.){0,30}") {
            prop_assert_eq!(failure_blocks(&text, &[failed("a"), failed("b")]).len(), 2);
        }

        #[test]
        fn blocks_are_found_again(bodies in proptest::collection::vec("[a-z]{1,9}(\n[a-z]{1,9}){0,3}", 1..12)) {
            let examples: Vec<_> = (0..bodies.len()).map(|index| failed(&format!("thing {index}"))).collect();
            let mut text = "Failures:\n\n".to_owned();
            for (index, body) in bodies.iter().enumerate() {
                let header = format!("  {}) ", index + 1);
                let lines = body.lines().map(|line| format!("{}{line}\n", " ".repeat(header.len())));
                text.push_str(&format!("{header}thing {index}\n{}\n", lines.collect::<String>()));
            }
            text.push_str("Finished in 1 second\n");
            let expected: Vec<_> = bodies.into_iter().map(Some).collect();
            prop_assert_eq!(failure_blocks(&text, &examples), expected);
        }
    }
}
