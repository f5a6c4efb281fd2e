//! The CircleCI of this machine, without a cloud: what it refuses, and how jobs run.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod faults;
mod install;
mod jobs;
mod orb;
mod serve;

use gyron_tests::App;

/// An app whose CI this is, committed.
fn app(config: &str) -> App {
    let app = App::empty();
    app.write(".circleci/config.yml", config);
    app.commit();
    app
}

/// Runs the config's jobs and shows all of it, in the order of the lines.
fn run(app: &App, args: &[&str]) -> String {
    let mut all = vec!["ci", "run"];
    all.extend(args);
    // What the homes of jobs are called differs from run to run.
    let shown = app.run("gyron-rehearse", &all);
    let shown = regex::Regex::new(r"/tmp/gyron-ci-\w+/").unwrap().replace_all(&shown, "CI/").into_owned();
    let commit = regex::Regex::new(r"local/local/\S+ at [0-9a-f]{40}").unwrap();
    let shown = commit.replace_all(&shown, "REPO at COMMIT").into_owned();
    // The table's times.
    let times = regex::Regex::new(r"(?m)^(  \S+ +(?:succeeded|failed|was canceled))  [0-9ms. ]+?(  |$)").unwrap();
    times.replace_all(&shown, "$1  TIME$2").into_owned()
}
