//! Verdicts as JUnit XML, as CircleCI's `store_test_results` reads them.

use std::path::Path;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::failure::{Failure, OrFail as _, Result};
use crate::records::write_atomically;

/// One thing that was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// The file it stands in: CircleCI needs it to run only what failed.
    pub file: String,
    /// The line there, if known.
    pub line: Option<u32>,
    /// How long it took.
    pub took: Duration,
    /// What was judged.
    pub verdict: Verdict,
}

/// What was judged of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Passed,
    /// Not judged, and why.
    Skipped(String),
    /// It said no, and why.
    Failed(String),
}

/// Writes a suite of cases to `path`.
///
/// # Errors
/// Usage (2) where it can't be written.
pub fn write(path: &Path, suite_name: &str, cases: &[Case]) -> Result<()> {
    let mut suite = TestSuite::new(suite_name);
    for case in cases {
        let status = match &case.verdict {
            Verdict::Passed => TestCaseStatus::success(),
            Verdict::Skipped(why) => {
                let mut status = TestCaseStatus::skipped();
                status.set_message(why);
                status
            }
            Verdict::Failed(why) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message(why.lines().next().unwrap_or_default()).set_description(why);
                status
            }
        };
        let mut test = TestCase::new(&case.name, status);
        test.set_classname(&case.file).set_time(case.took);
        test.extra.insert("file".into(), case.file.as_str().into());
        if let Some(line) = case.line {
            test.extra.insert("line".into(), line.to_string().into());
        }
        suite.add_test_case(test);
    }
    let mut report = Report::new(suite_name);
    report.add_test_suite(suite);
    let text = report.to_string().or_fail(|| Failure::defect("a JUnit report can't be made"))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    write_atomically(folder, path, text.as_bytes())
        .or_fail(|| Failure::usage(format!("can't write {}", path.display())))
}
