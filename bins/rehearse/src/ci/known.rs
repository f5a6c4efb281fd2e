//! Which keys CircleCI knows at each place, of which type, and which of them are not run here.
//!
//! From <https://circleci.com/docs/reference/configuration-reference/> and the schema of CircleCI's language server,
//! <https://github.com/CircleCI-Public/circleci-yaml-language-server/blob/main/schema.json>.

/// What a key's value is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Any,
    Text,
    Texts,
    Bool,
    Int,
    /// A text or a list of texts.
    OneOrMore,
    /// Names and values of environment variables.
    Environment,
    /// `20m`, `1.25h`.
    Duration,
    /// A whole number from 1 to 5.
    Reruns,
    /// One of these.
    OneOf(&'static [&'static str]),
    Steps,
    Condition,
    Docker,
    Machine,
    Executor,
    Map,
    /// Only in the table of a workflow.
    Calls,
}

/// One key of a place.
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) run: bool,
}

/// The keys of a place.
pub(super) struct Place {
    pub(super) entries: &'static [Entry],
    pub(super) required: &'static [&'static str],
    /// One of these must be there, if there are any.
    pub(super) one_of: &'static [&'static str],
}

impl Place {
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.entries.iter().map(|entry| entry.name)
    }

    pub(super) fn entry(&self, name: &str) -> Option<&'static Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }
}

const fn run(name: &'static str, kind: Kind) -> Entry {
    Entry { name, kind, run: true }
}

const fn not_run(name: &'static str) -> Entry {
    Entry { name, kind: Kind::Any, run: false }
}

const fn place(entries: &'static [Entry], required: &'static [&'static str]) -> Place {
    Place { entries, required, one_of: &[] }
}

/// A config's own keys that are not run here. Keys that CircleCI doesn't know are accepted: anchors live there.
pub(super) const CONFIG_NOT_RUN: &[&str] = &["setup", "job-groups", "experimental"];

pub(super) const ORB: Place = place(
    &[
        run("version", Kind::Any),
        run("description", Kind::Text),
        run("display", Kind::Map),
        run("orbs", Kind::Map),
        run("commands", Kind::Map),
        run("executors", Kind::Map),
        run("jobs", Kind::Map),
        run("examples", Kind::Map),
    ],
    &[],
);

pub(super) const COMMAND: Place =
    place(&[run("steps", Kind::Steps), run("parameters", Kind::Map), run("description", Kind::Text)], &["steps"]);

pub(super) const EXECUTOR: Place = Place {
    entries: &[
        run("docker", Kind::Docker),
        run("machine", Kind::Machine),
        not_run("macos"),
        not_run("windows"),
        run("resource_class", Kind::Text),
        run("shell", Kind::Text),
        run("working_directory", Kind::Text),
        run("environment", Kind::Environment),
        run("parameters", Kind::Map),
        run("description", Kind::Text),
    ],
    required: &[],
    one_of: &["docker", "machine", "macos"],
};

/// See <https://circleci.com/docs/reference/configuration-reference/#job-type>.
pub(super) const JOB_TYPES: &[&str] = &["build", "release", "no-op", "approval"];

pub(super) const JOB: Place = Place {
    entries: &[
        run("type", Kind::OneOf(JOB_TYPES)),
        run("docker", Kind::Docker),
        run("machine", Kind::Machine),
        not_run("macos"),
        not_run("windows"),
        run("executor", Kind::Executor),
        run("shell", Kind::Text),
        run("parameters", Kind::Map),
        run("steps", Kind::Steps),
        run("working_directory", Kind::Text),
        run("parallelism", Kind::Int),
        run("environment", Kind::Environment),
        run("resource_class", Kind::Text),
        run("description", Kind::Text),
        not_run("branches"),
        not_run("retention"),
        not_run("circleci_ip_ranges"),
        not_run("plan_name"),
        not_run("validation"),
    ],
    required: &["steps"],
    one_of: &["docker", "machine", "macos", "executor"],
};

/// Jobs without steps: `no-op` and `approval`; and `release`, which is not run here.
pub(super) const STEPLESS_JOB: Place = place(JOB.entries, &[]);

/// The image is named, no container is started: what would change one is not run.
pub(super) const DOCKER: Place = place(
    &[
        run("image", Kind::Text),
        not_run("name"),
        not_run("entrypoint"),
        not_run("command"),
        not_run("user"),
        not_run("environment"),
        not_run("auth"),
        not_run("aws_auth"),
        not_run("gcp_auth"),
    ],
    &["image"],
);

pub(super) const MACHINE: Place = place(
    &[
        run("image", Kind::Text),
        run("resource_class", Kind::Text),
        not_run("docker_layer_caching"),
        not_run("enabled"),
        not_run("shell"),
    ],
    &[],
);

pub(super) const WORKFLOW: Place = place(
    &[
        run("jobs", Kind::Calls),
        run("when", Kind::Condition),
        run("unless", Kind::Condition),
        run("max_auto_reruns", Kind::Reruns),
        not_run("triggers"),
    ],
    &["jobs"],
);

/// What a job's call in a workflow may have beside the job's own parameters, which may have any name.
pub(super) const CALL: Place = place(
    &[
        run("requires", Kind::Any),
        run("name", Kind::Text),
        run("context", Kind::OneOrMore),
        run("type", Kind::OneOf(&["approval"])),
        run("filters", Kind::Any),
        run("matrix", Kind::Map),
        run("pre-steps", Kind::Steps),
        run("post-steps", Kind::Steps),
        run("serial-group", Kind::Text),
        run("override-with", Kind::Text),
    ],
    &[],
);

pub(super) const MATRIX: Place =
    place(&[run("parameters", Kind::Map), run("exclude", Kind::Any), run("alias", Kind::Text)], &["parameters"]);

pub(super) const FILTERS: Place = place(&[run("branches", Kind::Map), run("tags", Kind::Map)], &[]);

pub(super) const FILTER: Place = place(&[run("only", Kind::OneOrMore), run("ignore", Kind::OneOrMore)], &[]);

/// See <https://circleci.com/docs/reference/configuration-reference/#requires>.
pub(super) const STATUSES: &[&str] = &["success", "failed", "canceled", "unauthorized", "not_run", "terminal"];

/// The steps that CircleCI has built in.
pub(super) const STEPS: &[&str] = &[
    "run",
    "checkout",
    "save_cache",
    "restore_cache",
    "store_artifacts",
    "store_test_results",
    "persist_to_workspace",
    "attach_workspace",
    "setup_remote_docker",
    "add_ssh_keys",
    "install_signing_bundle",
    "deploy",
];

/// See <https://circleci.com/docs/reference/configuration-reference/#the-when-attribute>.
const WHEN: Kind = Kind::OneOf(&["always", "on_success", "on_fail"]);

const RUN: Place = place(
    &[
        run("command", Kind::Text),
        run("name", Kind::Text),
        run("shell", Kind::Text),
        run("environment", Kind::Environment),
        run("background", Kind::Bool),
        run("working_directory", Kind::Text),
        run("no_output_timeout", Kind::Duration),
        run("when", WHEN),
        run("max_auto_reruns", Kind::Reruns),
        run("auto_rerun_delay", Kind::Duration),
    ],
    &["command"],
);

const CHECKOUT: Place =
    place(&[run("path", Kind::Text), run("name", Kind::Text), not_run("method"), not_run("depth")], &[]);

const SAVE_CACHE: Place = place(
    &[run("paths", Kind::Texts), run("key", Kind::Text), run("name", Kind::Text), run("when", WHEN)],
    &["paths", "key"],
);

const RESTORE_CACHE: Place = Place {
    entries: &[run("key", Kind::Text), run("keys", Kind::Texts), run("name", Kind::Text)],
    required: &[],
    one_of: &["key", "keys"],
};

const STORE_ARTIFACTS: Place =
    place(&[run("path", Kind::Text), run("destination", Kind::Text), run("name", Kind::Text)], &["path"]);

const STORE_TEST_RESULTS: Place = place(&[run("path", Kind::Text), run("name", Kind::Text)], &["path"]);

const PERSIST: Place =
    place(&[run("root", Kind::Text), run("paths", Kind::Texts), run("name", Kind::Text)], &["root", "paths"]);

const ATTACH: Place = place(&[run("at", Kind::Text), run("name", Kind::Text)], &["at"]);

const CONDITIONAL: Place =
    place(&[run("condition", Kind::Condition), run("steps", Kind::Steps)], &["condition", "steps"]);

/// The keys of a built-in step; none for one that is not run here at all.
pub(super) fn step(name: &str) -> Option<&'static Place> {
    match name {
        "run" => Some(&RUN),
        "checkout" => Some(&CHECKOUT),
        "save_cache" => Some(&SAVE_CACHE),
        "restore_cache" => Some(&RESTORE_CACHE),
        "store_artifacts" => Some(&STORE_ARTIFACTS),
        "store_test_results" => Some(&STORE_TEST_RESULTS),
        "persist_to_workspace" => Some(&PERSIST),
        "attach_workspace" => Some(&ATTACH),
        "when" | "unless" => Some(&CONDITIONAL),
        _ => None,
    }
}
