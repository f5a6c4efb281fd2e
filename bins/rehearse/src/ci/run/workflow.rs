//! A workflow: its jobs side by side as far as they may, until nothing can begin any more.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use gyron_core::failure::{Failure, Result};

use super::job::{Doing, Outcome};
use super::output::Lines;
use super::results::Tests;
use super::schedule::{Next, State, next};
use super::workspace::Workspace;
use super::{Site, serial, word};
use crate::ci::plan::{Kind, Node, Status, Workflow};

/// Job numbers go on from workflow to workflow.
static NUMBER: AtomicU64 = AtomicU64::new(1);

/// How a workflow ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this status.
    With(Status),
    /// These approvals have not been given.
    OnHold(Vec<String>),
}

/// A job in the report.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// What became of it, in words.
    pub state: String,
    /// Where it ran: how.
    pub outcome: Option<Outcome>,
}

/// What became of a workflow.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its name.
    pub name: String,
    /// How it ended.
    pub ended: Ended,
    /// How long it took.
    pub took: Duration,
    /// Its jobs, in the order of the file.
    pub jobs: Vec<Line>,
}

/// Runs a workflow, or `only` one of its jobs, to its end.
///
/// # Errors
/// Usage (2) where there is no job of that name.
pub async fn run(site: &Site, workflow: &Workflow, only: Option<&str>) -> Result<Report> {
    let begun = Instant::now();
    let nodes = match only {
        None => workflow.jobs.clone(),
        Some(name) => vec![alone(workflow, name)?],
    };
    let id = uuid::Uuid::new_v4().to_string();
    let workspace = Workspace::new(site.scratch.join(&id));
    let mut states = BTreeMap::new();
    let mut outcomes: BTreeMap<String, Outcome> = BTreeMap::new();
    let mut reruns = workflow.max_auto_reruns;
    loop {
        pass(site, &nodes, &id, &workspace, &mut states, &mut outcomes).await?;
        let failed = states.values().any(|state| *state == State::Ended(Status::Failed));
        if !failed || reruns == 0 || site.stop.check().is_err() {
            break;
        }
        reruns -= 1;
        site.console.say(format!("the workflow {} begins again from its failed jobs", workflow.name));
        states.retain(|_, state| *state == State::Ended(Status::Success));
    }
    let jobs = nodes.iter().map(|node| line(node, &states, &mut outcomes)).collect();
    Ok(Report { name: workflow.name.clone(), ended: ended(&states), took: begun.elapsed(), jobs })
}

fn alone(workflow: &Workflow, name: &str) -> Result<Node> {
    let known = || workflow.jobs.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(", ");
    let node = workflow.jobs.iter().find(|node| node.name == name).ok_or_else(|| {
        Failure::usage(format!("the workflow {} has no job {name}", workflow.name)).hint(format!("it has {}", known()))
    })?;
    Ok(Node { requires: Vec::new(), filtered_out: false, ..node.clone() })
}

/// Runs all that can run, until nothing is left to begin.
async fn pass(
    site: &Site,
    nodes: &[Node],
    id: &str,
    workspace: &Workspace,
    states: &mut BTreeMap<String, State>,
    outcomes: &mut BTreeMap<String, Outcome>,
) -> Result<()> {
    let width = nodes.iter().map(|node| node.name.len()).max().unwrap_or_default();
    let mut running = FuturesUnordered::new();
    loop {
        let stopped = site.stop.check().is_err();
        for (name, what) in next(nodes, states, &site.approved) {
            let state = match what {
                Next::End(status) => State::Ended(status),
                Next::Hold => State::OnHold,
                Next::Start if stopped => State::Ended(Status::Canceled),
                Next::Start => State::Running,
            };
            if state == State::Running
                && let Some(node) = nodes.iter().find(|node| node.name == name)
            {
                let lines = Lines::of(&site.console, &name, width);
                running.push(async move { (node, one(site, nodes, node, id, workspace, lines).await) });
            }
            if let (State::Ended(status @ Status::NotRun), false) = (state, stopped) {
                site.console.say(format!("{name} {}: what it requires did not end as it wants", word(status)));
            }
            states.insert(name, state);
        }
        let Some((node, outcome)) = running.next().await else {
            // What ended at once may have let others begin.
            if next(nodes, states, &site.approved).is_empty() {
                return Ok(());
            }
            continue;
        };
        states.insert(node.name.clone(), State::Ended(outcome.status));
        outcomes.insert(node.name.clone(), outcome);
    }
}

/// One job, on all its nodes.
async fn one(site: &Site, nodes: &[Node], node: &Node, id: &str, workspace: &Workspace, lines: Lines) -> Outcome {
    let begun = Instant::now();
    let wrong = |failure: Failure, status| {
        for line in failure.report().lines() {
            lines.say(line);
        }
        let failed = Some(failure.message().to_owned());
        Outcome { status, took: begun.elapsed(), tests: Tests::default(), artifacts: 0, failed }
    };
    let Some(job) = &node.job else {
        return wrong(Failure::defect("a job without steps was to run"), Status::Failed);
    };
    let _turn = match &node.serial_group {
        None => None,
        Some(group) => match serial::wait(&site.locks, group, &lines, &site.stop).await {
            Ok(turn) => Some(turn),
            Err(failure) => return wrong(failure, Status::Canceled),
        },
    };
    // A context that is not there keeps the job from beginning at all.
    if let Err(failure) = site.contexts.of(&node.contexts) {
        return wrong(failure, Status::Unauthorized);
    }
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let doings: Vec<Doing<'_>> = (0..job.parallelism.max(1))
        .map(|index| Doing { site, nodes, workflow_id: id, workspace, node, job, number, index, lines: lines.clone() })
        .collect();
    let mut all: Option<Outcome> = None;
    for outcome in futures_util::future::join_all(doings.iter().map(Doing::run)).await {
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(failure) => wrong(failure, Status::Failed),
        };
        all = Some(match all {
            None => outcome,
            Some(known) => both(known, outcome),
        });
    }
    let outcome = all.unwrap_or_else(|| wrong(Failure::defect("a job ran on no node"), Status::Failed));
    lines.say(&format!("{} ({})", word(outcome.status), gyron_core::console::span(outcome.took)));
    outcome
}

/// Two parallel runs of a job: the worse one decides.
fn both(one: Outcome, other: Outcome) -> Outcome {
    Outcome {
        status: if one.status == Status::Success { other.status } else { one.status },
        took: one.took.max(other.took),
        tests: Tests { all: one.tests.all + other.tests.all, failed: one.tests.failed + other.tests.failed },
        artifacts: one.artifacts + other.artifacts,
        failed: one.failed.or(other.failed),
    }
}

fn line(node: &Node, states: &BTreeMap<String, State>, outcomes: &mut BTreeMap<String, Outcome>) -> Line {
    let state = match states.get(&node.name) {
        _ if node.filtered_out => "is not for this branch or tag".to_owned(),
        Some(State::Ended(Status::Success)) if node.kind == Kind::Approval => "approved".to_owned(),
        Some(State::Ended(status)) => word(*status).to_owned(),
        Some(State::OnHold) => "is on hold".to_owned(),
        Some(State::Running) | None => "waits".to_owned(),
    };
    Line { name: node.name.clone(), state, outcome: outcomes.remove(&node.name) }
}

fn ended(states: &BTreeMap<String, State>) -> Ended {
    let any = |wanted: Status| states.values().any(|state| *state == State::Ended(wanted));
    for status in [Status::Canceled, Status::Failed, Status::Unauthorized] {
        if any(status) {
            return Ended::With(status);
        }
    }
    let held: Vec<String> =
        states.iter().filter(|(_, state)| **state == State::OnHold).map(|(name, _)| name.clone()).collect();
    if held.is_empty() { Ended::With(Status::Success) } else { Ended::OnHold(held) }
}
