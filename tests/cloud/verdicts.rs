//! What says no: specs, health, smoke checks, and records that are stale. One image serves them all.

use std::sync::{Mutex, OnceLock};

use gyron_tests::App;
use gyron_tests::cloud::Cloud;

const ENV: [&str; 2] = ["--env", "production"];

/// The small app, delivered up to its spec, with an edge in front: made once for all tests of this file.
fn app() -> &'static App {
    static APP: OnceLock<App> = OnceLock::new();
    APP.get_or_init(|| {
        let cloud = Cloud::of_tests();
        let app = App::small_named("verdicts");
        app.replace("gyron.toml", "capacity ", "deadline         = \"40s\"\ncapacity ");
        app.replace("gyron.toml", "[[smoke.check]]", "[smoke]\ndeadline = \"10s\"\n\n[[smoke.check]]");
        app.commit();
        cloud.prepare(&app);
        for (program, args) in [("gyron-package", &[][..]), ("gyron-bake", &[]), ("gyron-spec", &[])] {
            cloud.succeed(&app, program, args);
        }
        cloud.succeed(&app, "gyron-launch", &["edge", "--env", "production"]);
        app
    })
}

/// One at a time: they share an environment.
static ENVIRONMENT: Mutex<()> = Mutex::new(());

#[test]
fn a_spec_that_fails_shows_the_expectation_and_its_line() {
    // Its verdict marks the image that the other tests launch.
    let _one_at_a_time = ENVIRONMENT.lock();
    let cloud = Cloud::of_tests();
    let app = app();
    let copy = App::empty();
    for name in
        ["gyron.toml", "app/index.html", "app/health", "ansible/site.yml", ".gyron/package.json", ".gyron/bake.json"]
    {
        copy.write(name, &app.read(name));
    }
    copy.write("spec/small_spec.rb", &app.read("spec/small_spec.rb").replace("port(80)", "port(81)"));
    copy.commit();
    let output = cloud.run(&copy, "gyron-spec", &[]);
    let shown = copy.show(&output);
    assert_eq!(output.status.code(), Some(1), "{shown}");
    assert!(shown.contains("small_spec.rb:10"), "{shown}");
    assert!(shown.contains("Port \"81\""), "{shown}");
    assert!(copy.read(".gyron/junit/spec.xml").contains("<failure"));
    let error: String = shown.lines().skip_while(|line| !line.starts_with("error:")).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(error, @r#"
    error: ami-ID does not meet 1 of 3 expectations
      spec/small_spec.rb:10: Port "81" is expected to be listening
      | Failure/Error: it { should be_listening }
      |   expected Port "81" to be listening
      |   /bin/sh -c ss\ -tunl\ \|\ grep\ -E\ --\ :81\\\
      already: ami-ID is marked gyron:spec=failed, and gyron-launch refuses it
    hint: mend the playbook or the spec, then run gyron-bake (or gyron-package, if the app changed) and gyron-spec
    "#);
    // What the image says of itself has changed with the verdict: the shared app's own spec puts it right again.
    cloud.succeed(app, "gyron-spec", &[]);
}

#[test]
fn the_second_half_says_no_where_it_should() {
    let _one_at_a_time = ENVIRONMENT.lock();
    let cloud = Cloud::of_tests();
    let app = app();

    // Never healthy: the page of the health check is not there.
    cloud.succeed(app, "gyron-launch", &["edge", "--env", "production", "--set", "launch.health.path=/nowhere"]);
    let output = cloud.run(app, "gyron-launch", &ENV);
    let shown = app.show(&output);
    assert_eq!(output.status.code(), Some(6), "{shown}");
    assert!(shown.contains("Target.ResponseCodeMismatch"), "the targets' states are shown: {shown}");
    assert!(shown.contains("404"), "the app's last log lines are shown: {shown}");
    cloud.succeed(app, "gyron-launch", &["edge", "--env", "production"]);
    cloud.succeed(app, "gyron-launch", &ENV);

    // A smoke check that fails.
    let checks = "smoke.check=[{ get = \"/health\", contains = \"fine\" }]";
    let output = cloud.run(app, "gyron-smoke", &["--env", "production", "--set", checks]);
    let shown = app.show(&output);
    assert_eq!(output.status.code(), Some(1), "{shown}");
    let error: String = shown.lines().skip_while(|line| !line.starts_with("error:")).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(error, @"
    error: 2 of 2 checks failed on blue in production
      check 1, GET /health
        expected: status 200, a body with `fine`
        through the balancer: status 200, a body without that text: ok
        on i-ID: status 200, a body without that text: ok
      already: the record says so, and gyron-swap refuses blue; the traffic is where it was
    hint: mend the app or the checks; gyron-smoke --env production asks again
    ");
    assert!(app.read(".gyron/junit/smoke-production.xml").contains("<failure"));

    // Its verdict keeps the swap from beginning.
    let output = cloud.run(app, "gyron-swap", &ENV);
    assert_eq!(output.status.code(), Some(3), "{}", app.show(&output));

    // The right checks, the first swap, and then a record that is stale: somebody moved the weights by hand.
    cloud.succeed(app, "gyron-smoke", &ENV);
    insta::assert_snapshot!(app.show(&cloud.run(app, "gyron-swap", &["back", "--env", "production"])), @"
    exit 3
    --- stdout
    --- stderr
    error: nothing was ever swapped in production: there is no way back
    hint: gyron-swap --env production swaps what was launched and smoke-tested
    ");
    cloud.succeed(app, "gyron-swap", &ENV);
}

#[test]
fn a_plan_of_every_step_touches_nothing() {
    let _one_at_a_time = ENVIRONMENT.lock();
    let cloud = Cloud::of_tests();
    let app = app();
    let before = cloud.inventory("verdicts-releases");
    for program in ["gyron-package", "gyron-bake", "gyron-spec"] {
        let output = cloud.run(app, program, &["--plan"]);
        assert!(output.status.success(), "{}", app.show(&output));
        assert!(String::from_utf8_lossy(&output.stdout).starts_with("would "), "{}", app.show(&output));
    }
    let own = |inventory: gyron_tests::cloud::Inventory| inventory.get("objects").cloned();
    assert_eq!(own(before), own(cloud.inventory("verdicts-releases")));
}
