//! A job with its arguments: executor merged in, steps spliced.

use super::fault::Faults;
use super::known::CALL;
use super::orbs::{Definition, Library};
use super::scope::{Given, Scope, enter};
use super::source::At;
use super::yaml::{Key, Map, Node, Value};
use super::{executors, steps, template};

/// What is not filled with the rest of a job, or not part of what it expands to.
const APART: &[&str] = &["parameters", "description", "executor", "steps"];

/// How a workflow calls a job.
pub(super) struct JobCall<'c> {
    pub(super) given: Vec<(Key, Given<'c>)>,
    pub(super) pre_steps: Option<&'c Node>,
    pub(super) post_steps: Option<&'c Node>,
    pub(super) at: At,
}

/// The job's body as the compiled config shows it.
pub(super) fn expand<'a>(
    definition: &Definition,
    home: &'a Library,
    call: &JobCall<'_>,
    caller: &Scope<'a>,
) -> Result<Map, Faults> {
    let beside: Vec<_> = CALL.names().collect();
    let scope = enter(definition, home, &call.given, &call.at, caller, &beside)?;
    let mut faults = Faults::default();
    let own: Map = definition
        .body
        .iter()
        .filter(|(key, _)| !APART.contains(&key.name.as_str()))
        .map(|(key, node)| (key.clone(), node.clone()))
        .collect();
    let body = faults.note(template::fill_map(&own, &scope)).unwrap_or_default();
    let body = match definition.body.get("executor") {
        Some(named) => {
            let merged =
                executors::named(named, &scope).and_then(|found| executors::merge(body, &found, scope.pipeline));
            faults.note(merged).unwrap_or_default()
        }
        None => body,
    };
    let mut all = Vec::new();
    // Steps before and after are written in the workflow, so that their names are those of that place.
    let parts = [(call.pre_steps, caller), (definition.body.get("steps"), &scope), (call.post_steps, caller)];
    for (list, scope) in parts.into_iter().filter_map(|(list, scope)| Some((list?, scope))) {
        all.extend(faults.note(steps::splice(list, scope)).unwrap_or_default());
    }
    let mut body = body;
    if let Some((key, list)) = definition.body.entry("steps") {
        body.put(key.clone(), Node::new(Value::List(all), &list.at));
    }
    faults.or(body)
}
