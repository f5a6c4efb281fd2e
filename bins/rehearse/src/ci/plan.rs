//! What is to be run, typed: the runner reads nothing else.

use std::time::Duration;

use serde::Serialize;

/// The workflows whose `when` holds.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// In the order of the config.
    pub workflows: Vec<Workflow>,
}

/// One workflow.
#[derive(Debug, Clone, Serialize)]
pub struct Workflow {
    /// Its name.
    pub name: String,
    /// Its jobs, in the order of the config.
    pub jobs: Vec<Node>,
    /// How often it is run again if it fails; 0 is never.
    pub max_auto_reruns: u32,
}

/// One job of a workflow.
#[derive(Debug, Clone, Serialize)]
pub struct Node {
    /// Its name, unique in the workflow.
    pub name: String,
    /// What kind of job.
    pub kind: Kind,
    /// What must have come to an end before. What requires nothing begins at once.
    pub requires: Vec<Require>,
    /// The contexts whose variables it has.
    pub contexts: Vec<String>,
    /// Jobs of one group run one after another.
    pub serial_group: Option<String>,
    /// Whether a filter keeps it from running. A job that requires it ignores that requirement.
    pub filtered_out: bool,
    /// What is run; none for an approval or a no-op.
    pub job: Option<Job>,
    /// The orb's job that took the place of the config's own.
    pub override_with: Option<String>,
}

/// What kind of job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Kind {
    /// Runs steps.
    Run,
    /// Waits for a person.
    Approval,
    /// Does nothing.
    NoOp,
}

/// One requirement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Require {
    /// The job's name.
    pub job: String,
    /// The statuses of which it must have one.
    pub statuses: Vec<Status>,
}

/// How a job ended, see <https://circleci.com/docs/reference/configuration-reference/#requires>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Status {
    /// All went well.
    Success,
    /// A step failed.
    Failed,
    /// It was stopped, or what it waits for was.
    Canceled,
    /// It may not use its context.
    Unauthorized,
    /// A requirement of its own was not met.
    NotRun,
}

impl Status {
    /// All of them: `terminal`.
    pub const ALL: [Status; 5] =
        [Status::Success, Status::Failed, Status::Canceled, Status::Unauthorized, Status::NotRun];

    /// What a word under `requires` stands for; none for no such word.
    pub(super) fn named(word: &str) -> Option<Vec<Status>> {
        match word {
            "success" => Some(vec![Status::Success]),
            "failed" => Some(vec![Status::Failed]),
            "canceled" => Some(vec![Status::Canceled]),
            "unauthorized" => Some(vec![Status::Unauthorized]),
            "not_run" => Some(vec![Status::NotRun]),
            "terminal" => Some(Status::ALL.to_vec()),
            _ => None,
        }
    }
}

/// What a job runs.
#[derive(Debug, Clone, Serialize)]
pub struct Job {
    /// The job's name.
    pub name: String,
    /// The images of a `docker:` executor, the primary one first.
    pub images: Vec<String>,
    /// The image of a `machine:` executor.
    pub machine: Option<String>,
    /// The environment of executor and job. A boolean is `1` or `0`, and nothing is `<nil>`, as it is there.
    pub environment: Vec<(String, String)>,
    /// The shell of all steps that name none.
    pub shell: Option<String>,
    /// Where steps run.
    pub working_directory: String,
    /// How many of it run side by side.
    pub parallelism: u32,
    /// The steps.
    pub steps: Vec<Step>,
    /// Named only.
    pub resource_class: Option<String>,
}

/// When a step runs, see <https://circleci.com/docs/reference/configuration-reference/#the-when-attribute>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum When {
    /// If no step failed before.
    OnSuccess,
    /// In any case.
    Always,
    /// If a step failed before.
    OnFail,
}

/// A command for the shell.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// The text for the shell.
    pub command: String,
    /// What is shown; the command itself if there is none.
    pub name: Option<String>,
    /// Its own shell.
    pub shell: Option<String>,
    /// Its own environment.
    pub environment: Vec<(String, String)>,
    /// Where it runs, relative to the job's directory.
    pub working_directory: Option<String>,
    /// Whether the next step doesn't wait for it.
    pub background: bool,
    /// How long it may be silent.
    pub no_output_timeout: Duration,
    /// When it runs.
    pub when: When,
    /// How often it is run again if it fails; 0 is never.
    pub max_auto_reruns: u32,
    /// How long to wait before.
    pub auto_rerun_delay: Duration,
}

/// One step.
#[derive(Debug, Clone, Serialize)]
pub enum Step {
    /// A command.
    Run(Run),
    /// The project's source.
    Checkout {
        /// Where to, relative to the job's directory.
        path: String,
    },
    /// Files for the jobs downstream.
    PersistToWorkspace {
        /// The folder to which the paths are relative.
        root: String,
        /// Globs.
        paths: Vec<String>,
    },
    /// The files of the jobs upstream.
    AttachWorkspace {
        /// Where to.
        at: String,
    },
    /// Files for a later run.
    SaveCache {
        /// What is shown.
        name: Option<String>,
        /// The key, with its own `{{ … }}` templates.
        key: String,
        /// The folders and files.
        paths: Vec<String>,
        /// When it runs.
        when: When,
    },
    /// Files of an earlier run.
    RestoreCache {
        /// What is shown.
        name: Option<String>,
        /// Beginnings of keys, the first that is found wins.
        keys: Vec<String>,
    },
    /// Files to keep.
    StoreArtifacts {
        /// The file or folder.
        path: String,
        /// Under which name; that of the path if there is none.
        destination: Option<String>,
    },
    /// JUnit's files.
    StoreTestResults {
        /// The file or folder.
        path: String,
    },
}
