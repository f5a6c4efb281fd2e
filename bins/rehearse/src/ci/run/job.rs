//! A job: its home, its steps one after the other, and how it ended.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gyron_core::console::span;
use gyron_core::exit::Exit;
use gyron_core::failure::{Failure, OrFail, Result};
use gyron_core::program::Program;
use gyron_core::stop::{Asker, Stop};
use nix::sys::signal::Signal;

use super::cache::{self, Asked};
use super::environment::{self, Place};
use super::output::{Lines, Log, log_name};
use super::results::{self, Tests};
use super::workspace::Workspace;
use super::{Site, schedule};
use crate::ci::plan::{Job, Node, Run, Status, Step, When};

/// CircleCI's shell where neither step nor job names one
/// (<https://circleci.com/docs/reference/configuration-reference/#default-shell-options>).
const SHELL: &str = "/bin/bash -eo pipefail";

/// How long a job that is canceled may take to put its things in order: a bake ends its builder.
const GRACE: Duration = Duration::from_secs(120);

/// What became of a job.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended.
    pub status: Status,
    /// How long it took.
    pub took: Duration,
    /// What it stored as test results.
    pub tests: Tests,
    /// How many files it stored as artifacts.
    pub artifacts: usize,
    /// The step that failed, and why.
    pub failed: Option<String>,
}

/// A job that is to run.
#[derive(Debug)]
pub struct Doing<'a> {
    /// The machine and the pipeline.
    pub site: &'a Site,
    /// Its workflow's jobs: who requires whom.
    pub nodes: &'a [Node],
    /// Its workflow's id.
    pub workflow_id: &'a str,
    /// Its workflow's workspace.
    pub workspace: &'a Workspace,
    /// Itself.
    pub node: &'a Node,
    /// What it runs.
    pub job: &'a Job,
    /// Its number.
    pub number: u64,
    /// Which of its parallel runs this is.
    pub index: u32,
    /// Where it prints.
    pub lines: Lines,
}

/// A job while it runs.
struct Running<'a> {
    doing: &'a Doing<'a>,
    home: PathBuf,
    folder: PathBuf,
    halt: PathBuf,
    logs: PathBuf,
    variables: BTreeMap<String, OsString>,
    background: Vec<(Asker, tokio::task::JoinHandle<()>)>,
    tests: Tests,
    artifacts: usize,
}

impl Doing<'_> {
    /// Runs it to its end.
    ///
    /// # Errors
    /// Where it can't even begin: no such context, no folder for it. A step that fails is an outcome.
    pub async fn run(&self) -> Result<Outcome> {
        let begun = Instant::now();
        let contexts = self.site.contexts.of(&self.node.contexts)?;
        let own = self.site.scratch.join(format!("{}-{}", self.number, self.index));
        let (home, bash_env, halt) = (own.join("home"), own.join("bash_env"), own.join("halt"));
        let folder = inside(&home, &home, &self.job.working_directory);
        let made = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&bash_env, ""));
        made.or_fail(|| Failure::program(format!("can't make the job's folder {}", own.display())))?;
        let place = Place {
            node: self.node,
            workflow_id: self.workflow_id,
            number: self.number,
            index: self.index,
            total: self.job.parallelism.max(1),
            home: &home,
            bash_env: &bash_env,
            halt: &halt,
        };
        let variables = environment::of_job(self.site, &place, &contexts);
        self.lines.say(&self.describe());
        let mut running = Running {
            doing: self,
            logs: self.results().join("logs"),
            home,
            folder,
            halt,
            variables,
            background: Vec::new(),
            tests: Tests::default(),
            artifacts: 0,
        };
        let (status, failed) = running.steps().await;
        running.end_background().await;
        Ok(Outcome { status, took: begun.elapsed(), tests: running.tests, artifacts: running.artifacts, failed })
    }

    /// Where what it stores goes: below `.gyron/ci/`, by the job's name.
    fn results(&self) -> PathBuf {
        let name = self.node.name.replace('/', "-");
        let parallel = if self.job.parallelism > 1 { format!("-{}", self.index) } else { String::new() };
        self.site.results.join(format!("{name}{parallel}"))
    }

    fn describe(&self) -> String {
        let on = self.job.images.first().or(self.job.machine.as_ref());
        let size = self.job.resource_class.as_ref().map(|size| format!(", {size}")).unwrap_or_default();
        match on {
            Some(image) => format!("begins (named {image}{size}; it runs on this machine)"),
            None => "begins".to_owned(),
        }
    }
}

impl Running<'_> {
    /// Runs the steps that are due; the first failure decides how the job ends.
    async fn steps(&mut self) -> (Status, Option<String>) {
        let mut failed: Option<String> = None;
        for (number, step) in self.doing.job.steps.iter().enumerate() {
            if self.doing.site.stop.check().is_err() {
                return (Status::Canceled, Some("stopped".to_owned()));
            }
            let due = match when(step) {
                When::Always => true,
                When::OnSuccess => failed.is_none(),
                When::OnFail => failed.is_some(),
            };
            if !due {
                continue;
            }
            let name = title(step);
            if let Err(failure) = self.step(number, &name, step).await {
                if matches!(failure.exit(), Exit::Interrupted | Exit::Terminated) {
                    return (Status::Canceled, Some(format!("stopped at: {name}")));
                }
                for line in failure.report().lines() {
                    self.doing.lines.output(line);
                }
                failed.get_or_insert(format!("{name}: {}", failure.message()));
            }
            if self.halt.exists() {
                self.doing.lines.say("halted: what is left is not run");
                return (Status::Success, None);
            }
        }
        let status = if failed.is_some() { Status::Failed } else { Status::Success };
        (status, failed)
    }

    async fn step(&mut self, number: usize, name: &str, step: &Step) -> Result<()> {
        let doing = self.doing;
        doing.lines.say(&format!("== {name}"));
        match step {
            Step::Run(run) => self.run(number, name, run).await,
            Step::Checkout { path } => {
                let to = self.inside(path);
                doing.site.project.checkout(&to, &doing.site.branch, doing.site.tag.as_deref())?;
                doing.lines.output(&format!("{} at {}", doing.site.project.slug, doing.site.project.revision));
                Ok(())
            }
            Step::PersistToWorkspace { root, paths } => {
                let root = self.inside(root);
                let count = doing.workspace.persist(&doing.node.name, &root, paths)?;
                doing.lines.output(&format!("{} persisted", files(count)));
                Ok(())
            }
            Step::AttachWorkspace { at } => {
                let upstream = schedule::upstream(doing.nodes, &doing.node.name);
                let requires =
                    |job: &str, other: &str| schedule::upstream(doing.nodes, job).iter().any(|name| name == other);
                let count = doing.workspace.attach(&upstream, requires, &self.inside(at))?;
                doing.lines.output(&format!("{} attached", files(count)));
                Ok(())
            }
            Step::SaveCache { key, paths, .. } => {
                let key = self.key(key)?;
                let paths: Vec<PathBuf> = paths.iter().map(|path| self.inside(path)).collect();
                match doing.site.caches.save(&key, &paths, &self.home)? {
                    Some(count) => doing.lines.output(&format!("{} kept as {key}", files(count))),
                    None => doing.lines.output(&format!("{key} is there already: left as it is")),
                }
                Ok(())
            }
            Step::RestoreCache { keys, .. } => {
                let keys = keys.iter().map(|key| self.key(key)).collect::<Result<Vec<_>>>()?;
                match doing.site.caches.restore(&keys, &self.home)? {
                    Some((key, count)) => doing.lines.output(&format!("{} of {key}", files(count))),
                    None => doing.lines.output("no cache is found"),
                }
                Ok(())
            }
            Step::StoreArtifacts { path, destination } => {
                let count =
                    results::store(&self.inside(path), destination.as_deref(), &doing.results().join("artifacts"))?;
                self.artifacts += count;
                doing.lines.output(&if count == 0 { format!("nothing at {path}") } else { files(count) });
                Ok(())
            }
            Step::StoreTestResults { path } => {
                let at = self.inside(path);
                results::store(&at, Some("."), &doing.results().join("test-results"))?;
                let tests = results::count(&at)?;
                self.tests.all += tests.all;
                self.tests.failed += tests.failed;
                doing.lines.output(&format!("{} tests, {} failed", tests.all, tests.failed));
                Ok(())
            }
        }
    }

    /// A `run` step, as often as it may begin again.
    async fn run(&mut self, number: usize, name: &str, run: &Run) -> Result<()> {
        let mut program = self.program(number, run)?;
        let mut log = Log::begin(&self.logs.join(log_name(number, name)))?;
        let lines = self.doing.lines.clone();
        if run.background {
            let (asker, stop) = Stop::of_own();
            let task = tokio::spawn(async move {
                // How it ends is its own affair: the job doesn't wait for it.
                let _ = program
                    .run(&stop, |_, line| {
                        log.line(line);
                        lines.output(line);
                    })
                    .await;
            });
            self.background.push((asker, task));
            return Ok(());
        }
        let mut left = run.max_auto_reruns;
        loop {
            let mut show = |line: &str| {
                log.line(line);
                lines.output(line);
            };
            let ended = program.run(&self.doing.site.stop, |_, line| show(line)).await;
            let failure = match ended {
                Ok(ended) if ended.status.success() => return Ok(()),
                Ok(ended) => match ended.status.code() {
                    Some(code) => Failure::no(format!("exited with code {code}")),
                    None => Failure::no(format!("ended by {}", ended.status)),
                },
                Err(failure) => failure,
            };
            if left == 0 || self.doing.site.stop.check().is_err() {
                return Err(failure);
            }
            left -= 1;
            lines.say(&format!("{}; it begins again in {}", failure.message(), span(run.auto_rerun_delay)));
            tokio::time::sleep(run.auto_rerun_delay).await;
            program = self.program(number, run)?;
        }
    }

    /// The step's shell with its script, as the agent makes it: the script is a file.
    fn program(&self, number: usize, run: &Run) -> Result<Program> {
        let shell = run.shell.as_deref().or(self.doing.job.shell.as_deref()).unwrap_or(SHELL);
        let mut words = shell.split_whitespace();
        let path = words.next().unwrap_or("/bin/bash");
        let script = self.home.with_file_name(format!("step-{number}"));
        std::fs::write(&script, &run.command)
            .or_fail(|| Failure::program(format!("can't write {}", script.display())))?;
        let folder = run.working_directory.as_ref().map_or(self.folder.clone(), |path| self.inside(path));
        if !folder.is_dir() {
            return Err(Failure::no(format!("the working directory {} is not there", folder.display()))
                .hint("a checkout or attach_workspace step makes it"));
        }
        let mut program = Program::at(path, path).args(words).args([script.as_os_str()]).folder(&folder).alone();
        for (name, value) in &self.variables {
            program = program.env(name, value);
        }
        for (name, value) in &run.environment {
            program = program.env(name, value);
        }
        if !run.background {
            program = program.silent_for_at_most(run.no_output_timeout);
        }
        Ok(program.ends(Duration::ZERO, Signal::SIGINT, GRACE))
    }

    async fn end_background(&mut self) {
        for (asker, task) in self.background.drain(..) {
            asker.ask(Exit::Terminated);
            // One that does not end is killed by its own deadline; the job is over either way.
            let _ = tokio::time::timeout(Duration::from_secs(5), task).await;
        }
    }

    fn key(&self, template: &str) -> Result<String> {
        let site = self.doing.site;
        let variable = |name: &str| self.variables.get(name).map(|value| value.to_string_lossy().into_owned());
        let asked = Asked {
            folder: &self.folder,
            environment: &variable,
            branch: &site.branch,
            revision: &site.project.revision,
            number: self.doing.number,
        };
        cache::key(template, &asked)
    }

    fn inside(&self, path: &str) -> PathBuf {
        inside(&self.home, &self.folder, path)
    }
}

/// A path of the config: `~` is the job's home, what is relative stands in `folder`.
fn inside(home: &Path, folder: &Path, path: &str) -> PathBuf {
    if path == "~" || path == "$HOME" {
        return home.to_owned();
    }
    let below = path.strip_prefix("~/").or_else(|| path.strip_prefix("$HOME/"));
    let joined = below.map_or_else(|| folder.join(path), |below| home.join(below));
    // Without `.` and with `..` undone, so that a folder's own name can be seen.
    let mut plain = PathBuf::new();
    for part in joined.components() {
        match part {
            std::path::Component::ParentDir => {
                plain.pop();
            }
            std::path::Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

fn when(step: &Step) -> When {
    match step {
        Step::Run(run) => run.when,
        Step::SaveCache { when, .. } => *when,
        // What a job stores is most wanted after a failure.
        Step::StoreArtifacts { .. } | Step::StoreTestResults { .. } => When::Always,
        _ => When::OnSuccess,
    }
}

fn files(count: usize) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

fn title(step: &Step) -> String {
    match step {
        // Where the config gives no name, CircleCI shows the command.
        Step::Run(run) => {
            run.name.as_ref().unwrap_or(&run.command).trim().lines().next().unwrap_or_default().to_owned()
        }
        Step::Checkout { .. } => "checkout".to_owned(),
        Step::PersistToWorkspace { root, paths } => format!("persist_to_workspace {root}: {}", paths.join(", ")),
        Step::AttachWorkspace { at } => format!("attach_workspace at {at}"),
        Step::SaveCache { name: Some(name), .. } | Step::RestoreCache { name: Some(name), .. } => name.clone(),
        Step::SaveCache { key, .. } => format!("save_cache {key}"),
        Step::RestoreCache { keys, .. } => format!("restore_cache {}", keys.join(", ")),
        Step::StoreArtifacts { path, .. } => format!("store_artifacts {path}"),
        Step::StoreTestResults { path } => format!("store_test_results {path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::inside;
    use std::path::Path;

    #[test]
    fn a_path_of_the_config_is_the_jobs() {
        let (home, folder) = (Path::new("/h"), Path::new("/h/project"));
        let at = |path: &str| inside(home, folder, path).display().to_string();
        assert_eq!(at("~/project"), "/h/project");
        assert_eq!(at("."), "/h/project");
        assert_eq!(at("./a/../b"), "/h/project/b");
        assert_eq!(at("/tmp/x"), "/tmp/x");
        assert_eq!(at("~"), "/h");
    }
}
