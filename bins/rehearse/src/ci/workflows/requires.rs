//! What a job waits for, see <https://circleci.com/docs/reference/configuration-reference/#requires>.

use std::collections::BTreeSet;

use super::{Called, Workflow};
use crate::ci::fault::{Fault, Faults};
use crate::ci::nearest::did_you_mean;
use crate::ci::plan::{Require, Status};
use crate::ci::source::At;
use crate::ci::yaml::{Key, Map, Node, Value};

/// One item under `requires`.
#[derive(Debug, Clone)]
pub(super) struct Required {
    at: At,
    /// The name as written, then, once resolved, the names that it stands for.
    asked: String,
    names: Vec<String>,
    /// As written; none for a bare name.
    statuses: Option<Node>,
}

impl Required {
    /// Reads a filled list.
    pub(super) fn read(list: &Node) -> Vec<Required> {
        let one = |item: &Node| match &item.value {
            Value::Text(name) => Some(Required::new(name, &item.at, None)),
            Value::Map(map) => {
                map.iter().next().map(|(key, statuses)| Required::new(&key.name, &key.at, Some(statuses)))
            }
            _ => None,
        };
        list.as_list().unwrap_or_default().iter().filter_map(one).collect()
    }

    fn new(name: &str, at: &At, statuses: Option<&Node>) -> Self {
        Required { at: at.clone(), asked: name.to_owned(), names: Vec::new(), statuses: statuses.cloned() }
    }

    /// As the compiled config shows it.
    pub(super) fn nodes(&self) -> Vec<Node> {
        let shown = |name: &String| match &self.statuses {
            None => Node::text(name.clone(), &self.at),
            Some(statuses) => {
                let map: Map = [(Key::new(name.clone(), &self.at), statuses.clone())].into_iter().collect();
                Node::new(Value::Map(map), &self.at)
            }
        };
        self.names.iter().map(shown).collect()
    }

    /// As the plan has it.
    pub(super) fn planned(&self) -> Vec<Require> {
        let words: Vec<&str> = match self.statuses.as_ref().map(|node| &node.value) {
            Some(Value::Text(word)) => vec![word],
            Some(Value::List(items)) => items.iter().filter_map(Node::as_text).collect(),
            _ => vec!["success"],
        };
        let statuses: Vec<_> = words.into_iter().filter_map(Status::named).flatten().collect();
        self.names.iter().map(|name| Require { job: name.clone(), statuses: statuses.clone() }).collect()
    }
}

/// Finds the jobs that are required, and tells what has no beginning.
pub(super) fn resolve(workflow: &mut Workflow) -> Faults {
    let mut faults = Faults::default();
    let mut found = Vec::new();
    for (position, call) in workflow.calls.iter().enumerate() {
        for required in &call.requires {
            match names(&workflow.calls, position, &required.asked) {
                Ok(names) => found.push(names),
                Err(count) => {
                    faults.push(ambiguous(workflow, call, required, count));
                    found.push(Vec::new());
                }
            }
        }
    }
    for (required, names) in workflow.calls.iter_mut().flat_map(|call| &mut call.requires).zip(found) {
        required.names = names;
    }
    if faults.is_empty() {
        faults.extend(unreachable(workflow));
    }
    faults
}

/// The names behind one that is asked for, or how many jobs bear it.
fn names(calls: &[Called], own: usize, asked: &str) -> Result<Vec<String>, usize> {
    let others = || calls.iter().enumerate().filter(|(position, _)| *position != own).map(|(_, call)| call);
    let named: Vec<_> = others().filter(|call| call.asked == asked).collect();
    match named.as_slice() {
        [one] => return Ok(vec![one.name.clone()]),
        [] => {}
        several => return Err(several.len()),
    }
    // "To require an entire matrix (every job within the matrix), use its `alias`."
    let matrix: Vec<_> = others().filter(|call| call.alias.as_deref() == Some(asked)).collect();
    let found = if matrix.is_empty() { others().filter(|call| call.name == asked).collect() } else { matrix };
    if found.is_empty() { Err(0) } else { Ok(found.into_iter().map(|call| call.name.clone()).collect()) }
}

/// The wording is the real compiler's, see
/// <https://discuss.circleci.com/t/matrix-exclude-does-not-work-with-pipeline-parameters/37882>.
fn ambiguous(workflow: &Workflow, call: &Called, required: &Required, count: usize) -> Fault {
    let message = format!(
        "Job '{}' requires '{}', which is the name of {count} other jobs in workflow '{}'",
        call.name, required.asked, workflow.key.name
    );
    if count > 0 {
        let hint = "You can give a job within a workflow an explicit name by adding a name key";
        return Fault::new(&required.at, format!("{message}\n{hint}"));
    }
    let known = workflow.calls.iter().filter(|other| other.name != call.name).map(|other| other.asked.as_str());
    Fault::new(&required.at, message).hint(did_you_mean(&required.asked, known))
}

/// The wording is the real compiler's, see <https://github.com/influxdata/platform/pull/1985>.
fn unreachable(workflow: &Workflow) -> Faults {
    let mut reached = BTreeSet::new();
    loop {
        let before = reached.len();
        for call in &workflow.calls {
            if call.requires.iter().flat_map(|required| &required.names).all(|name| reached.contains(name.as_str())) {
                reached.insert(call.name.as_str());
            }
        }
        if reached.len() == before {
            break;
        }
    }
    let left: Vec<_> =
        workflow.calls.iter().map(|call| call.name.as_str()).filter(|name| !reached.contains(name)).collect();
    if left.is_empty() {
        return Faults::default();
    }
    let mut message = format!("The following jobs are unreachable: {}", left.join(", "));
    if reached.is_empty() {
        message.insert_str(0, "At least one job in the workflow must have no dependencies.\n");
    }
    Fault::new(&workflow.jobs_at, message).into()
}
