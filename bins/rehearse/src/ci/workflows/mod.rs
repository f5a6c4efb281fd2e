//! Workflows: which of them run, and what they call.

mod call;
mod compiled;
mod filters;
mod matrix;
mod names;
mod requires;

pub(super) use compiled::{jobs, node, plan};

use super::fault::{Fault, Faults};
use super::plan::Kind;
use super::scope::Scope;
use super::source::At;
use super::yaml::{Key, Map, Node, Value};
use super::{expression, logic, tasks, template};
use requires::Required;

/// One workflow, expanded.
pub(super) struct Workflow {
    key: Key,
    /// Where its jobs are listed.
    jobs_at: At,
    /// Whether `when` or `unless` let it run.
    pub(super) runs: bool,
    max_auto_reruns: Option<Node>,
    calls: Vec<Called>,
}

/// One job in a workflow.
pub(super) struct Called {
    /// Where it is called.
    at: At,
    /// The name by which others require it.
    asked: String,
    /// The name of the whole matrix of which it is one.
    alias: Option<String>,
    /// Its name in the end, unique.
    name: String,
    kind: Kind,
    /// The expanded job; none for an approval.
    body: Option<Map>,
    /// Where the job itself is declared.
    declared_at: At,
    requires: Vec<Required>,
    /// What else the compiled config shows of the call.
    shown: Map,
    /// Whether its own filters let it run.
    unfiltered: bool,
    override_with: Option<String>,
}

/// Expands everything under `workflows:`.
pub(super) fn expand(declared: &Map, scope: &Scope<'_>) -> Result<Vec<Workflow>, Faults> {
    let mut faults = Faults::default();
    let mut workflows = Vec::new();
    for (key, node) in declared.iter().filter(|(key, _)| key.name != "version") {
        let Some(map) = node.as_map() else { continue };
        let outcome = workflow(key, map, scope).map_err(|faults| faults.calling("workflow", &key.name));
        workflows.extend(faults.note(outcome));
    }
    // Those that don't run are not in the compiled config and take no names away.
    names::number(workflows.iter_mut().filter(|workflow| workflow.runs).collect());
    for workflow in workflows.iter_mut().filter(|workflow| !workflow.runs) {
        names::number(vec![workflow]);
    }
    for workflow in &mut workflows {
        faults.extend(requires::resolve(workflow));
    }
    faults.or(workflows)
}

fn workflow(key: &Key, map: &Map, scope: &Scope<'_>) -> Result<Workflow, Faults> {
    let mut faults = Faults::default();
    let runs = faults.note(runs(map, scope)).unwrap_or(false);
    let (jobs, listed) = match map.entry("jobs") {
        Some((jobs, list)) => (jobs, list.as_list().unwrap_or_default()),
        None => (key, Default::default()),
    };
    let mut calls = Vec::new();
    for item in listed {
        calls.extend(faults.note(call::read(item, scope)).unwrap_or_default());
    }
    let max_auto_reruns = match map.get("max_auto_reruns") {
        Some(node) => faults.note(template::fill(node, scope)),
        None => None,
    };
    faults.or(Workflow { key: key.clone(), jobs_at: jobs.at.clone(), runs, max_auto_reruns, calls })
}

/// See <https://circleci.com/docs/reference/configuration-reference/#using-when-in-workflows>.
fn runs(map: &Map, scope: &Scope<'_>) -> Result<bool, Faults> {
    match (map.entry("when"), map.entry("unless")) {
        (None, None) => Ok(true),
        (Some((_, condition)), None) => holds(condition, scope),
        (None, Some((_, condition))) => holds(condition, scope).map(|holds| !holds),
        (Some(_), Some((unless, _))) => Err(Fault::new(&unless.at, "only one of when, unless may be given").into()),
    }
}

/// A logic statement or, where it is written as text, an expression.
fn holds(condition: &Node, scope: &Scope<'_>) -> Result<bool, Faults> {
    if condition.as_text().is_none() {
        return logic::judge(condition, scope);
    }
    let filled = template::fill(condition, scope)?;
    match &filled.value {
        // What a tag alone stands for is a value, not an expression once more.
        Value::Text(text) if !template::is_sole_tag(condition) => Ok(expression::holds(text, scope, &condition.at)?),
        value => Ok(logic::truthy(value)),
    }
}

impl Workflow {
    fn reruns(&self) -> u32 {
        let map: Map =
            self.max_auto_reruns.iter().map(|node| (Key::new("max_auto_reruns", &node.at), node.clone())).collect();
        tasks::number(&map, "max_auto_reruns").unwrap_or(0)
    }
}
