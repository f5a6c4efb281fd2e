//! `ci run`: the jobs of a compiled config on this machine, in their order, as CircleCI would run them.

mod cache;
mod contexts;
mod environment;
mod job;
mod output;
mod project;
mod results;
mod schedule;
mod serial;
mod workflow;
mod workspace;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anstyle::AnsiColor;
use gyron_core::console::{Console, span};
use gyron_core::failure::{Failure, OrFail, Result};
use gyron_core::stop::Stop;
use sha2::{Digest, Sha256};

use self::cache::Caches;
use self::contexts::Contexts;
pub use self::environment::of_the_network;
pub use self::project::Project;
use self::workflow::{Ended, Report};
pub use self::workspace::globbed;
use crate::ci::plan::{Plan, Status};

/// The ids of a pipeline and of what it is of.
#[derive(Clone, Debug)]
pub struct Ids {
    /// `CIRCLE_PIPELINE_ID`
    pub pipeline: String,
    /// `CIRCLE_PROJECT_ID`: the same for each run of a project.
    pub project: String,
    /// `CIRCLE_ORGANIZATION_ID`
    pub organization: String,
}

/// What all jobs of a run share.
#[derive(Debug)]
pub struct Site {
    /// The app's repo.
    pub project: Project,
    /// The branch that the pipeline is of.
    pub branch: String,
    /// The tag that it is of, instead.
    pub tag: Option<String>,
    /// Its ids.
    pub ids: Ids,
    /// Approvals that were given beforehand.
    pub approved: Vec<String>,
    /// The machine's own variables: the way to programs, the network and the cloud.
    pub machine: Vec<(String, OsString)>,
    /// Variables by context.
    pub contexts: Contexts,
    /// Caches of earlier runs.
    pub caches: Caches,
    /// Where locks of serial groups stand.
    pub locks: PathBuf,
    /// Where logs, artifacts and test results go.
    pub results: PathBuf,
    /// Where homes stand while jobs run.
    pub scratch: PathBuf,
    /// The terminal.
    pub console: Console,
    /// Whether somebody has stopped it.
    pub stop: Stop,
}

/// What the caller knows before a run.
#[derive(Debug)]
pub struct Order {
    /// The app's repo.
    pub project: Project,
    /// The branch.
    pub branch: String,
    /// The tag, instead.
    pub tag: Option<String>,
    /// The pipeline's id.
    pub pipeline: String,
    /// Approvals that are given.
    pub approved: Vec<String>,
    /// The one job to run, instead of the workflows.
    pub only: Option<String>,
    /// The machine's own variables.
    pub machine: Vec<(String, OsString)>,
    /// The file of contexts.
    pub contexts: PathBuf,
    /// The folder that all runs of this user share.
    pub cache: PathBuf,
}

/// Runs the plan's workflows, one after the other, and prints what became of each job.
///
/// # Errors
/// No (1) where a workflow failed, holds for an approval, or no job ran; a signal (130, 143), with all jobs ended.
pub async fn run(plan: &Plan, order: Order) -> Result<()> {
    let stop = Stop::listen().or_fail(|| Failure::defect("signals can't be listened to"))?;
    let scratch = tempfile::Builder::new().prefix("gyron-ci-").tempdir();
    let scratch = scratch.or_fail(|| Failure::program("can't make a temporary folder"))?;
    let site = site(order.project, scratch.path(), stop, &order.cache, &order.contexts, order.pipeline)?;
    let programs = programs(&site.scratch)?;
    let site = Site {
        branch: order.branch,
        tag: order.tag,
        approved: order.approved,
        machine: with_programs(order.machine, &programs),
        ..site
    };
    if site.project.dirty {
        site.console.say("note: the work tree has changes that no commit holds: jobs see the commit alone");
    }
    let mut reports = Vec::new();
    for workflow in &plan.workflows {
        let report = workflow::run(&site, workflow, order.only.as_deref()).await?;
        let stopped = report.ended == Ended::With(Status::Canceled);
        reports.push(report);
        if stopped {
            break;
        }
    }
    for report in &reports {
        table(&site.console, report);
    }
    site.console.say(format!("logs, artifacts and test results: {}", site.results.display()));
    let verdict = verdict(&reports);
    site.stop.check()?;
    verdict
}

/// What the run as a whole says.
fn verdict(reports: &[Report]) -> Result<()> {
    let ran = reports.iter().flat_map(|report| &report.jobs).any(|job| job.outcome.is_some());
    if !ran {
        return Err(Failure::no("no job ran: no workflow has one for this branch or tag").hint(
            "gyron-rehearse ci expand shows what the config comes to; --branch and --tag say what the pipeline is of",
        ));
    }
    for report in reports {
        match &report.ended {
            Ended::With(Status::Success) => {}
            Ended::With(status) => {
                return Err(Failure::no(format!("the workflow {} {}", report.name, word(*status))));
            }
            Ended::OnHold(names) => {
                let names = names.join(", ");
                return Err(Failure::no(format!(
                    "the workflow {} is on hold: nobody has approved {names}",
                    report.name
                ))
                .hint(format!("--approve {names} approves it beforehand")));
            }
        }
    }
    Ok(())
}

fn site(project: Project, scratch: &Path, stop: Stop, cache: &Path, contexts: &Path, pipeline: String) -> Result<Site> {
    let own = |name: &str| uuid::Uuid::from_slice(&Sha256::digest(name)[..16]).unwrap_or_default().to_string();
    let results = project.root.join(".gyron/ci");
    let _ = std::fs::remove_dir_all(&results);
    std::fs::create_dir_all(&results).or_fail(|| Failure::usage(format!("can't write {}", results.display())))?;
    let named = project.slug.replace('/', "-");
    Ok(Site {
        ids: Ids { pipeline, project: own(&project.slug), organization: own(project.names().0) },
        contexts: Contexts::read(contexts)?,
        caches: Caches::new(cache.join("ci/caches").join(&named)),
        locks: cache.join("ci/serial-groups"),
        results,
        scratch: scratch.to_owned(),
        console: Console::new(),
        stop,
        project,
        branch: String::new(),
        tag: None,
        approved: Vec::new(),
        machine: Vec::new(),
    })
}

/// The folder with the `circleci` command of jobs: this very program under that name.
fn programs(scratch: &Path) -> Result<PathBuf> {
    let folder = scratch.join("bin");
    let broken = || Failure::program(format!("can't make {}", folder.display()));
    let own = std::env::current_exe().or_fail(broken)?;
    std::fs::create_dir_all(&folder).or_fail(broken)?;
    for name in crate::ci::agent::NAMES {
        std::os::unix::fs::symlink(&own, folder.join(name)).or_fail(broken)?;
    }
    Ok(folder)
}

fn with_programs(machine: Vec<(String, OsString)>, programs: &Path) -> Vec<(String, OsString)> {
    let put = |(name, value): (String, OsString)| {
        if name != "PATH" {
            return (name, value);
        }
        let mut path = OsString::from(programs);
        path.push(":");
        path.push(value);
        (name, path)
    };
    machine.into_iter().map(put).collect()
}

fn table(console: &Console, report: &Report) {
    let took = span(report.took);
    let end = match &report.ended {
        Ended::With(status) => word(*status).to_owned(),
        Ended::OnHold(names) => format!("is on hold: {}", names.join(", ")),
    };
    console.say(format!("\nworkflow {} {end} ({took})", report.name));
    let width = report.jobs.iter().map(|job| job.name.len()).max().unwrap_or_default();
    for job in &report.jobs {
        let colour = match &job.outcome {
            Some(outcome) if outcome.status == Status::Success => AnsiColor::Green.on_default(),
            Some(_) => AnsiColor::Red.on_default(),
            None => anstyle::Style::new(),
        };
        let mut line = format!("  {:width$}  {colour}{}{colour:#}", job.name, job.state);
        if let Some(outcome) = &job.outcome {
            // One that was kept from running took no time.
            if outcome.status != Status::Unauthorized {
                line += &format!("  {}", span(outcome.took));
            }
            if outcome.tests.all > 0 {
                line += &format!("  {} tests, {} failed", outcome.tests.all, outcome.tests.failed);
            }
            if outcome.artifacts > 0 {
                line += &format!("  {} artifacts", outcome.artifacts);
            }
            if let Some(step) = &outcome.failed {
                line += &format!("  {step}");
            }
        }
        console.say(line);
    }
}

/// As it stands behind a job's or a workflow's name.
pub(super) fn word(status: Status) -> &'static str {
    match status {
        Status::Success => "succeeded",
        Status::Failed => "failed",
        Status::Canceled => "was canceled",
        Status::Unauthorized => "was not authorized",
        Status::NotRun => "did not run",
    }
}
