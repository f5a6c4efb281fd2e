//! Configs that can't be expanded: the whole of what a person sees. The corpus beside the expander has every rule.

use super::app;

#[test]
fn a_mistyped_key_is_shown_with_the_nearest() {
    let app = app("version: 2.1\njobs:\n  build:\n    docker: [{image: cimg/base:current}]\n    stpes: [checkout]\n");
    insta::assert_snapshot!(app.run("gyron-rehearse", &["ci", "validate"]), @"
    exit 2
    --- stdout
    --- stderr
    error: .circleci/config.yml line 3: [#/jobs/build] required key [steps] not found
     --> .circleci/config.yml:3:3
      |
    3 |   build:
      |   ^

    error: .circleci/config.yml line 5: [#/jobs/build] extraneous key [stpes] is not permitted
     --> .circleci/config.yml:5:5
      |
    5 |     stpes: [checkout]
      |     ^
    hint: did you mean `steps`?

    error: .circleci/config.yml can't be expanded: 2 faults
    ");
}

#[test]
fn an_argument_that_a_job_does_not_take() {
    let app = app("version: 2.1
orbs: {gyron: tama/gyron@1}
workflows:
  delivery:
    jobs:
      - gyron/build: {contxt: aws}
      - gyron/deploy: {requires: [gyron/build], env: production}
");
    insta::assert_snapshot!(app.run("gyron-rehearse", &["ci", "expand"]), @"
    exit 2
    --- stdout
    --- stderr
    error: .circleci/config.yml line 6: Error calling workflow: 'delivery'
    Error calling job: 'gyron/build'
    Unexpected argument(s): contxt
     --> .circleci/config.yml:6:23
      |
    6 |       - gyron/build: {contxt: aws}
      |                       ^
    hint: did you mean `context`?

    error: .circleci/config.yml can't be expanded: 1 fault
    ");
}

#[test]
fn an_orb_that_is_not_there_and_a_version_that_is_not() {
    let app = app("version: 2.1
orbs: {gyron: tama/gyron@99, node: circleci/node@7.1.0}
workflows: {delivery: {jobs: [gyron/build]}}
");
    insta::assert_snapshot!(app.run("gyron-rehearse", &["ci", "validate"]), @"
    exit 2
    --- stdout
    --- stderr
    error: .circleci/config.yml line 2: Cannot find tama/gyron@99 in the orb registry. Check that the namespace, orb name and version are correct.
     --> .circleci/config.yml:2:15
      |
    2 | orbs: {gyron: tama/gyron@99, node: circleci/node@7.1.0}
      |               ^
    hint: the versions that there are: 1.0.0

    error: .circleci/config.yml line 2: Cannot find circleci/node@7.1.0 in the orb registry. Check that the namespace, orb name and version are correct.
     --> .circleci/config.yml:2:36
      |
    2 | orbs: {gyron: tama/gyron@99, node: circleci/node@7.1.0}
      |                                    ^
    hint: an orb's source can be named: --orb circleci/node@7.1.0=FOLDER

    error: .circleci/config.yml can't be expanded: 2 faults
    ");
}

#[test]
fn a_key_that_circleci_knows_and_this_machine_does_not_run_is_never_passed_over() {
    let app = app("version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:current}]
    steps: [checkout, setup_remote_docker]
");
    insta::assert_snapshot!(app.run("gyron-rehearse", &["ci", "run"]), @"
    exit 2
    --- stdout
    --- stderr
    error: .circleci/config.yml line 5: not run here: setup_remote_docker
     --> .circleci/config.yml:5:23
      |
    5 |     steps: [checkout, setup_remote_docker]
      |                       ^

    error: .circleci/config.yml can't be expanded: 1 fault
    ");
}

#[test]
fn a_folder_without_a_config() {
    let app = gyron_tests::App::empty();
    insta::assert_snapshot!(app.run("gyron-rehearse", &["ci", "validate"]), @"
    exit 2
    --- stdout
    --- stderr
    error: can't read APP/.circleci/config.yml
      caused by: No such file or directory (os error 2)
    hint: an app's repo has its CI in .circleci/config.yml; --config names another file
    ");
}
