//! Expanded workflows as the compiled config shows them, and as the runner takes them.

use std::collections::BTreeMap;

use super::{Called, Workflow};
use crate::ci::fault::Faults;
use crate::ci::plan::{self, Kind, Plan};
use crate::ci::source::At;
use crate::ci::yaml::{Key, Map, Node, Value};
use crate::ci::{shape, tasks, template};

/// The jobs of all workflows that run, or what in them is not as it must be.
pub(in crate::ci) fn jobs(workflows: &[Workflow]) -> Result<Map, Faults> {
    let mut faults = Faults::default();
    let mut jobs = Map::default();
    for call in workflows.iter().filter(|workflow| workflow.runs).flat_map(|workflow| &workflow.calls) {
        let Some(body) = &call.body else { continue };
        faults.extend(shape::expanded_job(body, &call.declared_at, &format!("#/jobs/{}", call.asked)));
        let mut shown = body.clone();
        if call.kind == Kind::Run {
            shown.take("type");
        }
        jobs.put(Key::new(call.name.clone(), &call.declared_at), Node::new(Value::Map(shown), &call.declared_at));
    }
    faults.or(jobs)
}

/// What stands under `workflows:` of the compiled config.
pub(in crate::ci) fn node(workflows: &[Workflow], at: &At) -> Node {
    let mut all = Map::default();
    all.put(Key::new("version", at), Node::new(Value::Int(2), at));
    for workflow in workflows.iter().filter(|workflow| workflow.runs) {
        let at = &workflow.key.at;
        let mut shown = Map::default();
        if let Some(reruns) = &workflow.max_auto_reruns {
            shown.put(Key::new("max_auto_reruns", &reruns.at), reruns.clone());
        }
        let calls = workflow.calls.iter().map(Called::node).collect();
        shown.put(Key::new("jobs", &workflow.jobs_at), Node::new(Value::List(calls), &workflow.jobs_at));
        all.put(workflow.key.clone(), Node::new(Value::Map(shown), at));
    }
    Node::new(Value::Map(all), at)
}

/// What the runner takes.
pub(in crate::ci) fn plan(workflows: &[Workflow]) -> Plan {
    let planned = workflows.iter().filter(|workflow| workflow.runs).map(|workflow| {
        let filtered_out = filtered_out(workflow);
        let jobs = workflow.calls.iter().map(|call| call.planned(filtered_out[call.name.as_str()])).collect();
        plan::Workflow { name: workflow.key.name.clone(), jobs, max_auto_reruns: workflow.reruns() }
    });
    Plan { workflows: planned.collect() }
}

/// "If all dependencies of a job are filtered, that job doesn't execute either."
fn filtered_out(workflow: &Workflow) -> BTreeMap<&str, bool> {
    let mut filtered_out: BTreeMap<&str, bool> =
        workflow.calls.iter().map(|call| (call.name.as_str(), !call.unfiltered)).collect();
    loop {
        let mut changed = false;
        for call in workflow.calls.iter() {
            let mut required = call.requires.iter().flat_map(|required| required.planned()).peekable();
            let all = required.peek().is_some() && required.all(|it| filtered_out.get(it.job.as_str()) == Some(&true));
            if all && filtered_out.insert(&call.name, true) == Some(false) {
                changed = true;
            }
        }
        if !changed {
            return filtered_out;
        }
    }
}

impl Called {
    fn node(&self) -> Node {
        let mut shown = Map::default();
        let requires: Vec<_> = self.requires.iter().flat_map(|required| required.nodes()).collect();
        if !requires.is_empty() {
            shown.put(Key::new("requires", &self.at), Node::new(Value::List(requires), &self.at));
        }
        if self.kind == Kind::Approval {
            shown.put(Key::new("type", &self.at), Node::text("approval", &self.at));
        }
        for (key, node) in self.shown.iter() {
            shown.put(key.clone(), node.clone());
        }
        if shown.is_empty() {
            return Node::text(self.name.clone(), &self.at);
        }
        let call = [(Key::new(self.name.clone(), &self.at), Node::new(Value::Map(shown), &self.at))];
        Node::new(Value::Map(call.into_iter().collect()), &self.at)
    }

    fn planned(&self, filtered_out: bool) -> plan::Node {
        plan::Node {
            name: self.name.clone(),
            kind: self.kind,
            requires: self.requires.iter().flat_map(|required| required.planned()).collect(),
            contexts: tasks::texts(&self.shown, "context"),
            serial_group: self.shown.get("serial-group").map(template::as_text),
            filtered_out,
            job: self.body.as_ref().filter(|_| self.kind == Kind::Run).map(|body| tasks::job(&self.name, body)),
            override_with: self.override_with.clone(),
        }
    }
}
