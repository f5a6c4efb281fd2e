//! Every case of the corpus: a config, and what it expands to or is refused as, with the sentence of CircleCI's
//! documentation that it stands on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::ci::orbs::{Orbs, Unfound};
use crate::ci::pipeline::Pipeline;
use crate::ci::plan::{Node as PlannedJob, Plan};
use crate::ci::source::Source;
use crate::ci::yaml::{self, Node};
use crate::ci::{Compiled, compile};
use serde_json::{Value, json};

struct Case {
    config: String,
    expected: Expected,
    pipeline: Pipeline,
    runs: Option<Vec<String>>,
}

enum Expected {
    Config(String),
    Refusal(String),
}

/// One orb of one version is there.
struct Registry;

impl Orbs for Registry {
    fn find(&self, reference: &str) -> Result<Node, Unfound> {
        match reference.split_once('@') {
            Some(("tama/gyron", "1" | "1.4" | "1.4.0")) => {
                let text = include_str!("../../../../../tests/ci/corpus/orb.yml");
                yaml::parse(&Source::new("orb.yml", text)).map_err(|fault| Unfound::Wrong(fault.into()))
            }
            Some(("tama/gyron", _)) => Err(Unfound::Version { known: vec!["1.4.0".to_owned()] }),
            _ => Err(Unfound::Unknown { hint: None }),
        }
    }
}

fn read(text: &str) -> Case {
    let (head, rest) = text.split_once("=== config\n").expect("a config");
    let (config, expected) = match (rest.split_once("=== expands to\n"), rest.split_once("=== refused as\n")) {
        (Some((config, expected)), None) => (config, Expected::Config(expected.to_owned())),
        (None, Some((config, expected))) => (config, Expected::Refusal(expected.trim_end().to_owned())),
        _ => panic!("one of expands to, refused as"),
    };
    let head: BTreeMap<_, _> = head.lines().filter_map(|line| line.split_once(": ")).collect();
    assert!(head.contains_key("doc") && head.contains_key("says"), "a case cites the documentation");
    let mut pipeline = Pipeline::default();
    for (key, value) in
        head.get("given").into_iter().flat_map(|given| given.split(' ')).filter_map(|it| it.split_once('='))
    {
        match key.strip_prefix("parameter.") {
            Some(name) => pipeline.parameters.insert(name.to_owned(), json!(value)),
            None => pipeline.values.insert(format!("git.{key}"), json!(value)),
        };
    }
    let runs = head.get("runs").map(|names| names.split(' ').map(str::to_owned).collect());
    Case { config: config.to_owned(), expected, pipeline, runs }
}

fn check(case: &Case) -> Result<(), String> {
    let outcome = compile(&Source::new("config.yml", case.config.as_str()), &Registry, &case.pipeline);
    match (outcome, &case.expected) {
        (Ok(Compiled { config, plan }), Expected::Config(expected)) => {
            let expected =
                yaml::parse(&Source::new("expected", expected.as_str())).map_err(|fault| fault.to_string())?;
            same(&config.to_json(), &expected.to_json())?;
            let again = yaml::parse(&Source::new("emitted", yaml::emit(&config))).map_err(|fault| fault.to_string())?;
            same(&again.to_json(), &config.to_json())?;
            runs(&plan, case.runs.as_deref())
        }
        (Err(faults), Expected::Refusal(expected)) if faults.to_string() == *expected => Ok(()),
        (Err(faults), Expected::Refusal(expected)) => Err(format!("expected\n{expected}\nbut got\n{faults}")),
        (Err(faults), Expected::Config(_)) => Err(format!("refused:\n{faults}")),
        (Ok(compiled), Expected::Refusal(expected)) => {
            Err(format!("expected\n{expected}\nbut got\n{}", yaml::emit(&compiled.config)))
        }
    }
}

fn same(found: &Value, expected: &Value) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    Err(format!("expected\n{expected:#}\nbut got\n{found:#}"))
}

/// The jobs that no filter keeps out.
fn runs(plan: &Plan, expected: Option<&[String]>) -> Result<(), String> {
    let Some(expected) = expected else { return Ok(()) };
    let jobs = plan.workflows.iter().flat_map(|workflow| &workflow.jobs);
    let found: Vec<_> = jobs.filter(|job: &&PlannedJob| !job.filtered_out).map(|job| job.name.clone()).collect();
    if found == expected { Ok(()) } else { Err(format!("expected to run {expected:?}, but {found:?} do")) }
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/ci/corpus");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the corpus")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_case_is_as_documented() {
    let files = cases();
    assert!(files.len() >= 60, "only {} cases", files.len());
    let mut wrong = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file).expect("a readable case");
        if let Err(why) = check(&read(&text)) {
            wrong.push(format!("## {}\n{why}\n", file.file_name().unwrap_or_default().to_string_lossy()));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), files.len(), wrong.join("\n"));
}
