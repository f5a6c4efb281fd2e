//! What the runner takes from a config.

use crate::ci::orbs::NoOrbs;
use crate::ci::pipeline::Pipeline;
use crate::ci::plan::{Kind, Plan, Status, Step, When};
use crate::ci::source::Source;
use crate::ci::{Compiled, check_orb, compile, yaml};
use std::time::{Duration, Instant};

fn plan(config: &str) -> Plan {
    let mut pipeline = Pipeline::default();
    pipeline.values.insert("git.branch".to_owned(), "main".into());
    let Compiled { plan, .. } = compile(&Source::new("config.yml", config), &NoOrbs, &pipeline).expect("a good config");
    plan
}

const WHOLE: &str = r#"
version: 2.1
jobs:
  build:
    parameters:
      loud: {type: boolean, default: true}
    machine: {image: "ubuntu-2404:current"}
    resource_class: large
    shell: /bin/sh -eu
    environment:
      LOUD: << parameters.loud >>
      QUIET: false
      TAG: << pipeline.git.tag >>
      N: 3
    steps:
      - checkout
      - run: make
      - run:
          command: serve
          background: yes
          no_output_timeout: 1.25h
          when: always
          max_auto_reruns: 2
          auto_rerun_delay: 10s
      - restore_cache: {key: a, keys: [b, c]}
      - save_cache: {key: a, paths: [x]}
      - persist_to_workspace: {root: ., paths: [out]}
      - attach_workspace: {at: /tmp}
      - store_artifacts: {path: out}
      - store_test_results: {path: junit}
  ready:
    type: no-op
workflows:
  main:
    max_auto_reruns: 2
    jobs:
      - build: {context: [aws, slack], serial-group: shop/main}
      - hold: {type: approval, requires: [build]}
      - ready: {requires: [hold: terminal, build: [failed, canceled]]}
      - build: {name: elsewhere, filters: pipeline.git.branch == "dev"}
      - build: {name: after, requires: [elsewhere]}
      - build: {name: both, requires: [elsewhere, build]}
"#;

#[test]
fn jobs_have_what_they_require_and_say_whether_they_run() {
    let plan = plan(WHOLE);
    let workflow = &plan.workflows[0];
    assert_eq!((workflow.name.as_str(), workflow.max_auto_reruns), ("main", 2));
    let shown: Vec<_> = workflow.jobs.iter().map(|job| (job.name.as_str(), job.kind, job.filtered_out)).collect();
    let expected = [
        ("build", Kind::Run, false),
        ("hold", Kind::Approval, false),
        ("ready", Kind::NoOp, false),
        ("elsewhere", Kind::Run, true),
        ("after", Kind::Run, true),
        ("both", Kind::Run, false),
    ];
    assert_eq!(shown, expected);
    let build = &workflow.jobs[0];
    assert_eq!(build.contexts, ["aws", "slack"]);
    assert_eq!(build.serial_group.as_deref(), Some("shop/main"));
    assert_eq!(workflow.jobs[1].requires[0].statuses, [Status::Success]);
    assert_eq!(workflow.jobs[2].requires[0].statuses, Status::ALL);
    assert_eq!(workflow.jobs[2].requires[1].statuses, [Status::Failed, Status::Canceled]);
}

#[test]
fn a_job_has_its_environment_and_steps() {
    let plan = plan(WHOLE);
    let job = plan.workflows[0].jobs[0].job.as_ref().expect("a job that runs");
    assert_eq!(job.machine.as_deref(), Some("ubuntu-2404:current"));
    assert_eq!((job.working_directory.as_str(), job.parallelism), ("~/project", 1));
    let environment: Vec<_> = job.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(environment, ["LOUD=1", "QUIET=0", "TAG=<nil>", "N=3"]);
    assert!(matches!(&job.steps[0], Step::Checkout { path } if path == "."));
    let (Step::Run(make), Step::Run(serve)) = (&job.steps[1], &job.steps[2]) else { panic!("two commands") };
    assert_eq!(
        (make.command.as_str(), make.when, make.no_output_timeout),
        ("make", When::OnSuccess, Duration::from_secs(600))
    );
    assert_eq!(
        (serve.background, serve.when, serve.no_output_timeout),
        (true, When::Always, Duration::from_secs(4500))
    );
    assert_eq!((serve.max_auto_reruns, serve.auto_rerun_delay), (2, Duration::from_secs(10)));
    assert!(matches!(&job.steps[3], Step::RestoreCache { keys, .. } if keys == &["a", "b", "c"]));
    assert_eq!(job.steps.len(), 9);
}

#[test]
fn a_large_config_is_compiled_in_no_time() {
    let mut config = String::from("version: 2.1\njobs:\n");
    for job in 0..50 {
        config.push_str(&format!("  job{job}:\n    docker: [image: \"cimg/base:stable\"]\n    steps:\n"));
        for step in 0..20 {
            config.push_str(&format!("      - run: {{name: step {step}, command: echo << pipeline.git.branch >>}}\n"));
        }
    }
    config.push_str("workflows:\n  main:\n    jobs:\n      - job0\n");
    for job in 1..50 {
        config.push_str(&format!("      - job{job}: {{requires: [job{}]}}\n", job - 1));
    }
    let began = Instant::now();
    assert_eq!(plan(&config).workflows[0].jobs.len(), 50);
    // A hundred times the shop's size; generous, since other programs run beside the tests.
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn an_orb_is_checked_by_itself() {
    let checked = |text: &str| {
        let orb = yaml::parse(&Source::new("orb.yml", text)).expect("good YAML");
        check_orb(&orb, &NoOrbs).map_err(|faults| faults.to_string())
    };
    assert_eq!(checked(include_str!("../../../../../tests/ci/corpus/orb.yml")), Ok(()));
    let broken = "commands:\n  greet:\n    steps:\n      - run: << parameters.who >>\n";
    let said = "orb.yml:4:14: Error calling command: 'greet'\n\
                Arguments referenced without declared parameters: who";
    assert_eq!(checked(broken), Err(said.to_owned()));
}

#[test]
fn what_is_emitted_is_the_same_config_once_more() {
    let pipeline = Pipeline::default();
    let config = compile(&Source::new("config.yml", WHOLE), &NoOrbs, &pipeline).expect("a good config").config;
    let again = yaml::parse(&Source::new("again", yaml::emit(&config))).expect("good YAML");
    assert_eq!(again, config);
}
