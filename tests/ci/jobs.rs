//! How jobs run.

use std::time::{Duration, Instant};

use super::{app, run};

/// A config with these jobs in one workflow, each on the same executor.
fn jobs(jobs: &str, workflow: &str) -> String {
    format!(
        "version: 2.1\nexecutors: {{e: {{docker: [{{image: cimg/base:current}}]}}}}\njobs:\n{jobs}\nworkflows:\n  main:\n    jobs:\n{workflow}\n"
    )
}

#[test]
fn steps_have_a_fresh_shell_each_and_what_bash_env_hands_on() {
    let app = app(&jobs(
        r#"  build:
    executor: e
    environment: {WHO: job, JOB: "1"}
    steps:
      - run: {name: set, command: "A=lost; echo 'export B=kept' >> $BASH_ENV"}
      - run: {name: see, environment: {WHO: step}, command: 'echo "A=$A B=$B WHO=$WHO JOB=$JOB $CIRCLE_JOB $CIRCLE_BRANCH $CI"'}
      - run: {name: fail, command: "echo before; false; echo never"}
      - run: echo never
      - run: {name: after, when: on_fail, command: echo after a failure}
      - run: {name: always, when: always, command: echo in any case}"#,
        "      - build",
    ));
    insta::assert_snapshot!(run(&app, &[]), @"
    exit 1
    --- stdout
    --- stderr
    no cloud named default is up: jobs run without one (gyron-rehearse up)
    build | begins (named cimg/base:current; it runs on this machine)
    build | == set
    build | == see
    build |   A= B=kept WHO=step JOB=1 build main true
    build | == fail
    build |   before
    build |   error: exited with code 1
    build | == after
    build |   after a failure
    build | == always
    build |   in any case
    build | failed (TIME)

    workflow main failed (TIME)
      build  failed  TIME  fail: exited with code 1
    logs, artifacts and test results: APP/.gyron/ci
    error: the workflow main failed
    ");
}

#[test]
fn a_workspace_goes_downstream_and_artifacts_and_results_are_kept() {
    let app = app(&jobs(
        r#"  make:
    executor: e
    steps:
      - checkout
      - run: mkdir -p out/deep && echo made > out/deep/file && ls -A
      - persist_to_workspace: {root: out, paths: [.]}
  use:
    executor: e
    steps:
      - attach_workspace: {at: got}
      - run: cat got/deep/file
      - run: |
          mkdir junit
          echo '<testsuite><testcase name="a"/><testcase name="b"><failure/></testcase></testsuite>' > junit/t.xml
          false
      - store_test_results: {path: junit}
      - store_artifacts: {path: got/deep, destination: kept}
  never: {type: no-op}"#,
        "      - make\n      - use: {requires: [make]}\n      - never: {requires: [use]}",
    ));
    insta::assert_snapshot!(run(&app, &[]), @"
    exit 1
    --- stdout
    --- stderr
    no cloud named default is up: jobs run without one (gyron-rehearse up)
    make  | begins (named cimg/base:current; it runs on this machine)
    make  | == checkout
    make  |   REPO at COMMIT
    make  | == mkdir -p out/deep && echo made > out/deep/file && ls -A
    make  |   .circleci
    make  |   .git
    make  |   out
    make  | == persist_to_workspace out: .
    make  |   1 file persisted
    make  | succeeded (TIME)
    use   | begins (named cimg/base:current; it runs on this machine)
    use   | == attach_workspace at got
    use   |   1 file attached
    use   | == cat got/deep/file
    use   |   made
    use   | == mkdir junit
    use   |   error: exited with code 1
    use   | == store_test_results junit
    use   |   2 tests, 1 failed
    use   | == store_artifacts got/deep
    use   |   1 file
    use   | failed (TIME)
    never did not run: what it requires did not end as it wants

    workflow main failed (TIME)
      make   succeeded  TIME
      use    failed  TIME  2 tests, 1 failed  1 artifacts  mkdir junit: exited with code 1
      never  did not run
    logs, artifacts and test results: APP/.gyron/ci
    error: the workflow main failed
    ");
    assert_eq!(app.read(".gyron/ci/use/artifacts/kept/file"), "made\n");
    assert!(app.read(".gyron/ci/use/test-results/t.xml").contains("testcase"));
}

#[test]
fn the_same_file_of_two_concurrent_jobs_is_an_error() {
    let persist = |name: &str| {
        format!(
            "  {name}:\n    executor: e\n    steps:\n      - run: echo {name} > same\n      - persist_to_workspace: {{root: ., paths: [same]}}\n"
        )
    };
    let join = "  join:\n    executor: e\n    steps: [{attach_workspace: {at: .}}]";
    let app = app(&jobs(
        &format!("{}{}{join}", persist("one"), persist("two")),
        "      - one\n      - two\n      - join: {requires: [one, two]}",
    ));
    let shown = run(&app, &[]);
    let error = shown.lines().filter(|line| line.starts_with("join")).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(error, @"
    join | begins (named cimg/base:current; it runs on this machine)
    join | == attach_workspace at .
    join |   error: concurrent upstream jobs persisted the same file(s) into the workspace
    join |     same by one and by two
    join |   hint: persist different files, or let one of the jobs require the other
    join | failed (TIME)
    ");
    assert!(shown.starts_with("exit 1\n"), "{shown}");
}

#[test]
fn a_silent_step_is_ended_and_a_background_step_ends_with_its_job() {
    let app = app(&jobs(
        r#"  build:
    executor: e
    steps:
      - run: {name: beside, background: true, command: "sleep 600"}
      - run: {name: silent, no_output_timeout: 2s, command: "echo begun; sleep 600"}"#,
        "      - build",
    ));
    let begun = Instant::now();
    insta::assert_snapshot!(run(&app, &[]), @"
    exit 1
    --- stdout
    --- stderr
    no cloud named default is up: jobs run without one (gyron-rehearse up)
    build | begins (named cimg/base:current; it runs on this machine)
    build | == beside
    build | == silent
    build |   begun
    build |   error: /bin/bash was ended: it had printed nothing for 2s
    build | failed (TIME)

    workflow main failed (TIME)
      build  failed  TIME  silent: /bin/bash was ended: it had printed nothing for 2s
    logs, artifacts and test results: APP/.gyron/ci
    error: the workflow main failed
    ");
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_step_may_halt_its_job_and_an_approval_holds_what_is_behind_it() {
    let app = app(&jobs(
        "  first:\n    executor: e\n    steps: [{run: circleci step halt}, {run: echo never}]\n  second:\n    executor: e\n    steps: [{run: echo second}]",
        "      - first\n      - hold: {type: approval, requires: [first]}\n      - second: {requires: [hold]}",
    ));
    insta::assert_snapshot!(run(&app, &[]), @"
    exit 1
    --- stdout
    --- stderr
    no cloud named default is up: jobs run without one (gyron-rehearse up)
    first  | begins (named cimg/base:current; it runs on this machine)
    first  | == circleci step halt
    first  | halted: what is left is not run
    first  | succeeded (TIME)

    workflow main is on hold: hold (TIME)
      first   succeeded  TIME
      hold    is on hold
      second  waits
    logs, artifacts and test results: APP/.gyron/ci
    error: the workflow main is on hold: nobody has approved hold
    hint: --approve hold approves it beforehand
    ");
    let approved = run(&app, &["--approve", "hold"]);
    assert!(approved.starts_with("exit 0\n") && approved.contains("second"), "{approved}");
}

#[test]
fn a_run_in_which_no_job_ran_is_a_failure() {
    let config = jobs(
        "  build:\n    executor: e\n    steps: [{run: echo $CIRCLE_BRANCH}]",
        "      - build: {filters: pipeline.git.branch == \"main\"}",
    );
    let app = app(&config);
    insta::assert_snapshot!(run(&app, &["--branch", "feature"]), @"
    exit 1
    --- stdout
    --- stderr
    no cloud named default is up: jobs run without one (gyron-rehearse up)

    workflow main succeeded (TIME)
      build  is not for this branch or tag
    logs, artifacts and test results: APP/.gyron/ci
    error: no job ran: no workflow has one for this branch or tag
    hint: gyron-rehearse ci expand shows what the config comes to; --branch and --tag say what the pipeline is of
    ");
    // A detached HEAD is no branch: the pipeline is of main unless told.
    let head =
        std::process::Command::new("git").current_dir(app.path()).args(["checkout", "--quiet", "--detach"]).status();
    assert!(head.unwrap().success());
    let shown = run(&app, &[]);
    assert!(shown.starts_with("exit 0\n") && shown.contains("build |   main"), "{shown}");
}

#[test]
fn a_context_that_is_not_there_keeps_the_job_from_running() {
    let app =
        app(&jobs("  build:\n    executor: e\n    steps: [{run: echo $KEY}]", "      - build: {context: [aws, more]}"));
    app.write("contexts.toml", "[aws]\nKEY = \"1\"\n");
    insta::assert_snapshot!(run(&app, &["--contexts", "contexts.toml"]), @"
    exit 1
    --- stdout
    --- stderr
    no cloud named default is up: jobs run without one (gyron-rehearse up)
    note: the work tree has changes that no commit holds: jobs see the commit alone
    build | error: there is no context more
    build | hint: add a table [more] to contexts.toml, or name another file by --contexts

    workflow main was not authorized (TIME)
      build  was not authorized  there is no context more
    logs, artifacts and test results: APP/.gyron/ci
    error: the workflow main was not authorized
    ");
}

#[test]
fn a_cache_is_found_again_in_the_next_run() {
    let app = app(&jobs(
        r#"  build:
    executor: e
    steps:
      - restore_cache: {keys: ['deps-{{ .Branch }}-x', deps-]}
      - run: "[ -f ~/deps/a ] && echo found || { mkdir ~/deps; echo 1 > ~/deps/a; }"
      - save_cache: {key: 'deps-{{ .Branch }}', paths: [~/deps]}"#,
        "      - build",
    ));
    let first = run(&app, &[]);
    assert!(first.contains("no cache is found") && first.contains("1 file kept as deps-main"), "{first}");
    let second = run(&app, &[]);
    assert!(second.contains("1 file of deps-main") && second.contains("build |   found"), "{second}");
}

#[test]
fn parallel_nodes_share_a_list_out() {
    let app = app(&jobs(
        "  build:\n    executor: e\n    parallelism: 2\n    steps: [{run: 'printf \"a\\nb\\nc\\n\" | circleci tests split > ~/mine; echo $CIRCLE_NODE_INDEX: $(cat ~/mine)'}]",
        "      - build",
    ));
    let shown = run(&app, &[]);
    assert!(shown.contains("build |   0: a c") && shown.contains("build |   1: b"), "{shown}");
}

#[test]
fn what_fails_begins_again_as_often_as_it_may() {
    let config = jobs(
        r#"  build:
    executor: e
    steps:
      - run: {name: flaky, max_auto_reruns: 2, auto_rerun_delay: 1s, command: "echo x >> ~/tries; [ $(wc -l < ~/tries) -ge 2 ]"}
  deploy:
    executor: e
    steps: [{run: "[ -f $MARK ] || { touch $MARK; exit 1; }"}]"#,
        "      - build\n      - deploy: {requires: [build], context: [here]}",
    );
    let app = app(&config.replace("  main:\n", "  main:\n    max_auto_reruns: 1\n"));
    app.write("contexts.toml", &format!("[here]\nMARK = \"{}/mark\"\n", app.path().display()));
    let shown = run(&app, &["--contexts", "contexts.toml"]);
    assert!(shown.starts_with("exit 0\n"), "{shown}");
    assert!(shown.contains("exited with code 1; it begins again in 1s"), "{shown}");
    assert!(shown.contains("the workflow main begins again from its failed jobs"), "{shown}");
    assert_eq!(shown.matches("build  | == flaky").count(), 1, "what succeeded isn't run twice: {shown}");
}

#[test]
fn jobs_of_a_serial_group_wait_for_one_another_across_pipelines() {
    let config = jobs(
        "  build:\n    executor: e\n    steps: [{run: echo begins >> $LOG; sleep 2; echo ends >> $LOG}]",
        "      - build: {serial-group: << pipeline.project.slug >>/tests, context: [here]}",
    );
    let app = app(&config);
    app.write("contexts.toml", &format!("[here]\nLOG = \"{}/log\"\n", app.path().display()));
    let both =
        [0, 1].map(|_| app.command("gyron-rehearse", &["ci", "run", "--contexts", "contexts.toml"]).spawn().unwrap());
    for mut one in both {
        assert!(one.wait().unwrap().success());
    }
    assert_eq!(app.read("log"), "begins\nends\nbegins\nends\n");
}
