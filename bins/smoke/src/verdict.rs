//! The verdict for people, for CircleCI and for the record.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use gyron_core::config::FILE_NAME;
use gyron_core::failure::Result;
use gyron_core::ids::InstanceId;
use gyron_core::junit::{self, Case, Verdict};

use crate::asking::End;
use crate::check::Check;

/// Where a check was asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// Through the balancer, by the headers that lead to the colour.
    Balancer,
    /// At a place that was named by hand.
    Target(String),
    /// On an instance.
    Instance(InstanceId),
}

impl Place {
    /// Without the instance's id: the same in each run, so that CI knows a check again.
    const fn kind(&self) -> &'static str {
        match self {
            Place::Balancer => "through the balancer",
            Place::Target(_) => "at the target",
            Place::Instance(_) => "on each instance",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Balancer => f.write_str("through the balancer"),
            Place::Target(url) => write!(f, "at {url}"),
            Place::Instance(id) => write!(f, "on {id}"),
        }
    }
}

/// How a check came out at a place.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// The check's number.
    pub(crate) check: usize,
    /// Where it was asked.
    pub(crate) place: Place,
    /// How it came out.
    pub(crate) end: End,
    /// How long that took.
    pub(crate) took: Duration,
}

impl Finding {
    /// What was seen instead; `None` where it passed.
    fn seen(&self) -> Option<String> {
        match &self.end {
            End::Passed => None,
            End::Wrong(why) => Some(why.clone()),
            End::NeverReady(why) => Some(format!("{why} (still so at the deadline)")),
        }
    }
}

/// How many of the findings are no.
pub(crate) fn failed(findings: &[Finding]) -> usize {
    findings.iter().filter(|finding| finding.end != End::Passed).count()
}

/// Each failed check: what was asked, what was expected, and what was seen where.
pub(crate) fn failures(checks: &[Check], findings: &[Finding]) -> String {
    let mut text = String::new();
    for check in checks {
        let seen: Vec<_> = findings
            .iter()
            .filter(|finding| finding.check == check.number)
            .filter_map(|finding| finding.seen().map(|seen| format!("    {}: {seen}\n", finding.place)))
            .collect();
        if !seen.is_empty() {
            text.push_str(&format!(
                "  check {}, GET {}\n    expected: {}\n",
                check.number,
                check.path,
                check.expected()
            ));
            text.extend(seen);
        }
    }
    text.trim_end().to_owned()
}

/// Writes the verdict as JUnit: a case for each check and kind of place.
///
/// # Errors
/// Usage (2) where it can't be written.
pub(crate) fn write(path: &Path, toml: &str, checks: &[Check], findings: &[Finding]) -> Result<()> {
    let lines = lines_of_checks(toml, checks.len());
    let mut cases = Vec::new();
    for (at, check) in checks.iter().enumerate() {
        let mut kinds: BTreeMap<&str, Vec<&Finding>> = BTreeMap::new();
        for finding in findings.iter().filter(|finding| finding.check == check.number) {
            kinds.entry(finding.place.kind()).or_default().push(finding);
        }
        for (kind, found) in kinds {
            let seen: Vec<_> = found
                .iter()
                .filter_map(|finding| finding.seen().map(|seen| format!("{}: {seen}", finding.place)))
                .collect();
            let verdict = match seen.as_slice() {
                [] => Verdict::Passed,
                seen => Verdict::Failed(format!("{}\nexpected: {}", seen.join("\n"), check.expected())),
            };
            cases.push(Case {
                name: format!("check {}: GET {} {kind}", check.number, check.path),
                file: FILE_NAME.to_owned(),
                line: lines.get(at).copied(),
                took: found.iter().map(|finding| finding.took).max().unwrap_or_default(),
                verdict,
            });
        }
    }
    junit::write(path, "smoke", &cases)
}

/// The lines of the `[[smoke.check]]` headers, where there are as many as checks (an environment may have its own).
fn lines_of_checks(toml: &str, checks: usize) -> Vec<u32> {
    let headers = toml.lines().zip(1..).filter(|(line, _)| {
        let line = line.split('#').next().unwrap_or_default();
        line.split_whitespace().collect::<String>() == "[[smoke.check]]"
    });
    let lines: Vec<_> = headers.map(|(_, number)| number).collect();
    if lines.len() == checks { lines } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::lines_of_checks;

    #[test]
    fn the_checks_are_found_in_gyron_toml() {
        let toml = "app = \"shop\"\n\n[[smoke.check]] # health\nget = \"/\"\n\n[[ smoke.check ]]\nget = \"/v\"\n";
        assert_eq!(lines_of_checks(toml, 2), [3, 6]);
        assert!(lines_of_checks(toml, 1).is_empty());
    }
}
