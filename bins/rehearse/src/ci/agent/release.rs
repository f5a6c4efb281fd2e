//! Deploy markers: what CircleCI's deploys page would show, kept as lines of JSON.

use std::io::Write as _;

use gyron_core::failure::{Failure, OrFail, Result};
use serde_json::{Value, json};

use super::{RELEASES, Release, What};

/// Keeps a marker beside the results of the run.
///
/// # Errors
/// Usage (2) outside of a job, or for an update of what was never planned.
pub fn mark(release: Release, variable: impl Fn(&str) -> Option<String>) -> Result<()> {
    let file = variable(RELEASES).ok_or_else(|| Failure::usage("there is no job whose deployment could be marked"))?;
    let project = variable("CIRCLE_PROJECT_REPONAME").unwrap_or_default();
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    let line = match release {
        Release::Plan { name, what, rollback } => {
            planned("plan", name, &what, &project, if rollback { "ROLLBACK" } else { "PENDING" })
        }
        Release::Log(what) => planned("log", None, &what, &project, "SUCCESS"),
        Release::Update { name, status, failure_reason } => {
            let name = name.unwrap_or_else(|| "default".to_owned());
            let of_it =
                |line: &&str| serde_json::from_str::<Value>(line).is_ok_and(|line| line["deploy"] == name.as_str());
            if !known.lines().any(|line| of_it(&line)) {
                return Err(Failure::usage(format!("no deployment {name} was planned"))
                    .hint(format!("circleci run release plan {name} plans it")));
            }
            let status = format!("{status:?}").to_uppercase();
            json!({"what": "update", "deploy": name, "status": status, "reason": failure_reason})
        }
    };
    let written = std::fs::File::options().create(true).append(true).open(&file);
    written.and_then(|mut file| writeln!(file, "{line}")).or_fail(|| Failure::program(format!("can't write {file}")))
}

fn planned(what: &str, name: Option<String>, of: &What, project: &str, status: &str) -> Value {
    let or = |value: &Option<String>, other: &str| value.clone().unwrap_or_else(|| other.to_owned());
    json!({
        "what": what,
        "deploy": name.unwrap_or_else(|| "default".to_owned()),
        "environment": or(&of.environment_name, "default"),
        "component": or(&of.component_name, project),
        "version": of.target_version,
        "namespace": or(&of.namespace, "default"),
        "status": status,
    })
}
