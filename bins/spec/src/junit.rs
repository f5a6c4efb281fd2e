//! The verdict for people and for CircleCI.

use std::path::Path;
use std::time::Duration;

use gyron_core::failure::Result;
use gyron_core::junit::{self, Case, Verdict};

use crate::rspec::{Example, Outcome};

/// Where the verdict stands, relative to gyron.toml.
pub(crate) const FILE: &str = ".gyron/junit/spec.xml";

/// How many lines of one failed expectation are shown; the file has all of them.
const LINES: usize = 20;

/// How many failed expectations are shown.
const SHOWN: usize = 10;

/// Takes an earlier run's verdict away, so that none is there where this run comes to none.
pub(crate) fn forget(root: &Path) {
    // Mostly there is none.
    let _ = std::fs::remove_file(root.join(FILE));
}

/// Writes the verdict as JUnit.
///
/// # Errors
/// Usage (2) where it can't be written.
pub(crate) fn write(root: &Path, examples: &[Example]) -> Result<()> {
    let cases: Vec<_> = examples
        .iter()
        .map(|example| Case {
            name: example.name.clone(),
            file: example.file.clone(),
            line: Some(example.line),
            took: Duration::try_from_secs_f64(example.took).unwrap_or_default(),
            verdict: match &example.outcome {
                Outcome::Passed => Verdict::Passed,
                Outcome::Pending(why) => Verdict::Skipped(why.clone()),
                Outcome::Failed(why) => Verdict::Failed(why.clone()),
            },
        })
        .collect();
    junit::write(&root.join(FILE), "spec", &cases)
}

/// The failed expectations, each with the place of its spec.
pub(crate) fn failures(examples: &[Example]) -> String {
    let mut text = String::new();
    let failed = examples.iter().filter_map(|example| match &example.outcome {
        Outcome::Failed(why) => Some((example, why)),
        _ => None,
    });
    let failed: Vec<_> = failed.collect();
    for (example, why) in failed.iter().take(SHOWN) {
        text.push_str(&format!("  {}:{}: {}\n", example.file, example.line, example.name));
        for line in why.lines().take(LINES) {
            text.push_str(format!("  | {line}").trim_end());
            text.push('\n');
        }
        let more = why.lines().count().saturating_sub(LINES);
        if more > 0 {
            text.push_str(&format!("  | ({more} more lines in {FILE})\n"));
        }
    }
    if failed.len() > SHOWN {
        text.push_str(&format!("  and {} more, in {FILE}\n", failed.len() - SHOWN));
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::failures;
    use crate::rspec::{Example, Outcome};

    #[test]
    fn only_what_failed_is_shown_and_not_without_end() {
        let example = |name: &str, outcome| Example {
            name: name.to_owned(),
            file: "spec/shop_spec.rb".to_owned(),
            line: 7,
            took: 0.1,
            outcome,
        };
        let long = (1..=22).map(|line| format!("line {line}\n")).collect::<String>();
        let examples = [
            example("the shop is there", Outcome::Passed),
            example("the shop sells pears", Outcome::Pending("later".to_owned())),
            example("the shop sells apples", Outcome::Failed("expected 2\n\n  got 1".to_owned())),
            example("the shop is long", Outcome::Failed(long)),
        ];
        let text = failures(&examples);
        assert!(
            text.starts_with("  spec/shop_spec.rb:7: the shop sells apples\n  | expected 2\n  |\n  |   got 1\n  spec/")
        );
        assert!(text.ends_with("  | line 20\n  | (2 more lines in .gyron/junit/spec.xml)"));
        let many = vec![example("the shop is there", Outcome::Failed("no".to_owned())); 12];
        assert!(failures(&many).ends_with("  | no\n  and 2 more, in .gyron/junit/spec.xml"));
    }
}
