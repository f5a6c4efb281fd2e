//! The orb, by what it does: apps are delivered by it, each of its examples to its end.

use std::io::Read as _;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use gyron_tests::App;
use gyron_tests::cloud::Cloud;
use gyron_tests::load::ask;
use serde_json::Value;

/// The orb's example of that name.
fn example(name: &str) -> String {
    static ORB: OnceLock<Value> = OnceLock::new();
    let orb = ORB.get_or_init(|| {
        let text = Cloud::of_tests().ask(&["ci", "pack", "--json"]);
        serde_json::from_str(&text).unwrap()
    });
    let usage = &orb["examples"][name]["usage"];
    assert!(usage.is_object(), "the orb has no example {name}");
    usage.to_string()
}

/// A small app whose CI is that example.
fn app(name: &str, ci: &str) -> App {
    let app = App::small_named(name);
    app.write("gyron.toml", &(app.read("gyron.toml") + "\n[env.staging]\nprotected = true\n"));
    app.replace("gyron.toml", "[[smoke.check]]", "[smoke]\ndeadline = \"10s\"\n\n[[smoke.check]]");
    app.write(".circleci/config.yml", ci);
    app.commit();
    Cloud::of_tests().prepare(&app);
    app
}

fn command(app: &App, args: &[&str]) -> Command {
    let archives = gyron_tests::archives().display().to_string();
    let mut command = Cloud::of_tests().rehearse(&["ci", "run", "--archives", &archives]);
    command.args(args).current_dir(app.path());
    command
}

fn run(app: &App, args: &[&str]) -> Output {
    command(app, args).output().unwrap()
}

fn delivered(app: &App, args: &[&str]) -> String {
    let output = run(app, args);
    assert!(output.status.success(), "{}", app.show(&output));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What an environment answers through its production listener.
fn answer(app: &str, env: &str) -> Result<String, String> {
    let cloud = Cloud::of_tests();
    let place = format!("s3://{app}-releases/{app}/envs/{env}/edge.json");
    let edge: Value = serde_json::from_str(&cloud.ask(&["exec", "--", "aws", "s3", "cp", &place, "-"])).unwrap();
    let name = edge["url"].as_str().unwrap().trim_start_matches("http://").to_owned();
    let request = format!("GET /version HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
    ask(cloud.listener(&name), &request)
}

/// The version that a run of an app's CI has packaged.
fn version(app: &App, job: &str) -> String {
    let record = app.read(&format!(".gyron/ci/{job}/artifacts/gyron/package.json"));
    let record: Value = serde_json::from_str(&record).unwrap();
    record["so"]["version"]["name"].as_str().unwrap().to_owned()
}

fn edit(app: &App, text: &str) {
    app.write("app/index.html", &format!("{text}\n"));
    app.commit();
}

#[test]
fn a_push_reaches_production_an_own_executor_too_and_a_rollback_leads_back() {
    let app = app("pushed", &example("push_to_production"));
    // Another branch is built and tested, and goes nowhere.
    let shown = delivered(&app, &["--branch", "feature"]);
    assert!(shown.contains("gyron/deploy  is not for this branch or tag"), "{shown}");

    let shown = delivered(&app, &[]);
    let first = version(&app, "gyron-build");
    assert_eq!(answer("pushed", "production"), Ok(first.clone()), "{shown}");
    assert!(app.read(".gyron/ci/gyron-build/test-results/spec.xml").contains("<testcase"));
    assert!(app.read(".gyron/ci/gyron-build/artifacts/gyron/packages.txt").contains("python3"));
    let markers = app.read(".gyron/ci/releases.jsonl");
    assert!(markers.contains("RUNNING") && markers.contains("SUCCESS") && markers.contains(&first), "{markers}");
    // Nothing secret is in what a job prints or keeps.
    let contexts = Cloud::of_tests().contexts();
    let secret =
        contexts.lines().find_map(|line| line.strip_prefix("AWS_SECRET_ACCESS_KEY = ")).unwrap().trim_matches('"');
    assert!(secret.len() >= 8 && !shown.contains(secret), "a key stands in the log");

    app.write(".circleci/config.yml", &example("executor_of_your_own"));
    edit(&app, "second");
    delivered(&app, &[]);
    let second = version(&app, "gyron-build");
    assert!(second.starts_with("1.0.0-") && second.len() == 46, "the name of the version is given: {second}");
    assert_eq!(answer("pushed", "production"), Ok(second));

    app.write(".circleci/config.yml", &example("rollback_by_hand"));
    app.commit();
    let shown = delivered(&app, &["--parameter", "rollback=true"]);
    assert!(!shown.contains("gyron-bake"), "{shown}");
    assert_eq!(answer("pushed", "production"), Ok(first));
}

#[test]
fn staging_then_an_approval_then_production_with_the_same_image_and_a_job_a_step() {
    let app = app("staged", &example("staging_then_production"));
    delivered(&app, &["--approve", "approve"]);
    let staged = version(&app, "gyron-build");
    let image = |env: &str| -> String {
        let record = app.read(&format!(".gyron/ci/{env}/artifacts/gyron/{env}/launch.json"));
        let record: Value = serde_json::from_str(&record).unwrap();
        record["so"]["facts"]["image"].as_str().unwrap().to_owned()
    };
    assert_eq!(image("staging"), image("production"));
    assert_eq!(answer("staged", "staging"), Ok(staged.clone()));
    assert_eq!(answer("staged", "production"), Ok(staged.clone()));

    app.write(".circleci/config.yml", &example("one_job_per_step"));
    edit(&app, "by single jobs");
    let shown = delivered(&app, &[]);
    let last = version(&app, "gyron-package");
    assert_ne!(last, staged);
    assert_eq!(answer("staged", "production"), Ok(last), "{shown}");
    assert!(shown.contains("look_ahead") && shown.contains("would move the production rule"), "{shown}");
}

#[test]
fn a_bug_stops_at_the_step_that_finds_it_and_production_is_untouched() {
    let shop = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("apps/shop/.circleci/config.yml");
    let app = app("planted", &std::fs::read_to_string(shop).unwrap());
    delivered(&app, &[]);
    let good = version(&app, "gyron-build");
    let bugs = [
        (
            "ansible/site.yml",
            "gyron_release_dir }}/app/",
            "gyron_release_dir }}/ap/",
            "gyron/build",
            "gyron-bake: exited with code 5",
        ),
        ("spec/small_spec.rb", "port(80)", "port(81)", "gyron/build", "gyron-spec: exited with code 1"),
        ("gyron.toml", "get = \"/health\"", "get = \"/helth\"", "gyron/deploy", "gyron-smoke: exited with code 1"),
    ];
    for (file, right, wrong, job, finding) in bugs {
        app.replace(file, right, wrong);
        app.commit();
        let output = run(&app, &[]);
        let shown = app.show(&output);
        assert_eq!(output.status.code(), Some(1), "{shown}");
        let table = shown
            .lines()
            .rev()
            .find(|line| line.trim_start().starts_with(&format!("{job} ")) && line.contains("  failed"));
        assert!(table.is_some_and(|line| line.ends_with(finding)), "{finding}\n{shown}");
        assert_eq!(answer("planted", "production"), Ok(good.clone()), "{file}");
        app.replace(file, wrong, right);
    }
}

#[test]
fn ctrl_c_in_the_middle_of_a_bake_leaves_nothing_on_the_cloud() {
    let cloud = Cloud::of_tests();
    let app = app("canceled", &example("push_to_production"));
    app.replace(
        "ansible/site.yml",
        "  tasks:\n",
        "  tasks:\n    - name: Take long\n      ansible.builtin.command: sleep 300\n",
    );
    app.commit();
    let filters = [
        "Name=tag:gyron:app,Values=canceled",
        "Name=instance-state-name,Values=pending,running,stopping,stopped,shutting-down",
    ];
    let builders = || {
        let ask = ["ec2", "describe-instances", "--filters", filters[0], filters[1]];
        cloud.select(&ask, "Reservations[].Instances[].InstanceId")
    };
    let mut child =
        command(&app, &[]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while builders().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(300), "no builder was started");
        std::thread::sleep(Duration::from_secs(1));
    }
    std::thread::sleep(Duration::from_secs(5));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let mut shown = String::new();
    child.stderr.take().unwrap().read_to_string(&mut shown).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{shown}");
    assert!(shown.contains("no instance and no image of this bake are left"), "{shown}");
    assert!(shown.contains("gyron/build   was canceled"), "{shown}");
    assert!(builders().is_empty(), "{shown}");
}

#[test]
fn a_context_that_lacks_a_variable() {
    let app = app("lacking", &example("push_to_production"));
    app.write("contexts.toml", "[aws]\nAWS_ACCESS_KEY_ID = \"only-half\"\n");
    let output = run(&app, &["--contexts", "contexts.toml"]);
    let shown = app.show(&output);
    assert_eq!(output.status.code(), Some(1), "{shown}");
    let error: Vec<&str> =
        shown.lines().skip_while(|line| !line.contains("error:")).take_while(|line| line.contains(" |   ")).collect();
    insta::assert_snapshot!(error.join("\n"), @"
    gyron/build  |   error: no AWS credentials for PutObject s3://lacking-releases/lacking/releases/VERSION/lacking.tar.zst: neither variables, profile nor role gave any
    gyron/build  |   hint: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
    gyron/build  |   error: exited with code 2
    ");
}

/// No keys, a role: the SDK and Terraform take it by CircleCI's token, and another can be minted before that one is over.
const BY_ROLE: &str = "version: 2.1
orbs: {gyron: tama/gyron@1}
jobs:
  plan:
    executor: gyron/default
    steps:
      - checkout
      - gyron/install: {terraform: true}
      - gyron/credentials
      - gyron/package
      - run: {name: plan the edge, command: gyron-launch edge --plan --env production}
      - run: {name: mint another, command: circleci run oidc get > ~/another && cmp -s ~/another $AWS_WEB_IDENTITY_TOKEN_FILE || echo minted}
workflows: {main: {jobs: [plan: {context: aws}]}}
";

#[test]
fn a_role_is_taken_by_an_oidc_token() {
    let app = app("byrole", BY_ROLE);
    app.write("contexts.toml", "[aws]\nAWS_ROLE_ARN = \"arn:aws:iam::123456789012:role/gyron-ci\"\n");
    let shown = delivered(&app, &["--contexts", "contexts.toml"]);
    assert!(shown.contains("AWS: as arn:aws:iam::123456789012:role/gyron-ci, by CircleCI's OIDC token"), "{shown}");
    assert!(shown.contains("would create aws_lb.edge"), "{shown}");
    assert!(shown.contains("plan |   minted"), "{shown}");
    assert!(!shown.contains("eyJ"), "a token stands in the log: {shown}");
}
