//! What says no: specs, health, smoke checks, and records that are stale. One image serves them all.

use std::sync::{Mutex, OnceLock};

use gyron_tests::App;
use gyron_tests::cloud::Cloud;
use serde_json::{Value, json};

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

    // The right checks, but there is no Terraform for the next launch.
    cloud.succeed(app, "gyron-smoke", &ENV);
    let bare = tempfile::tempdir().unwrap();
    let path = format!("PATH={}", bare.path().display());
    let launch = gyron_tests::programs().join("gyron-launch");
    let mut command = cloud.rehearse(&["exec", "--", "/usr/bin/env", &path]);
    command.arg(launch).args(ENV).current_dir(app.path());
    insta::assert_snapshot!(app.show(&command.output().unwrap()), @"
    exit 5
    --- stdout
    --- stderr
    launch verdicts VERSION as blue in production
      no colour has the traffic, blue is idle (TIME)
    error: terraform is not on this machine's PATH
      caused by: cannot find binary path
    hint: install Terraform 1.11 or newer: https://developer.hashicorp.com/terraform/install
    ");

    insta::assert_snapshot!(app.show(&cloud.run(app, "gyron-swap", &["back", "--env", "production"])), @"
    exit 3
    --- stdout
    --- stderr
    error: nothing was ever swapped in production: there is no way back
    hint: gyron-swap --env production swaps what was launched and smoke-tested
    ");
    let rule = Rule::of_production(&cloud);
    rule.weigh(0, 100);
    insta::assert_snapshot!(app.show(&cloud.run(app, "gyron-swap", &ENV)), @"
    exit 3
    --- stdout
    --- stderr
    swap verdicts VERSION as blue in production
    error: no colour had the traffic when this was launched, now the production rule says blue 0, green 100
    hint: somebody swapped since: gyron-launch --env production launches against what is live now
    ");
    rule.weigh(50, 50);
    insta::assert_snapshot!(app.show(&cloud.run(app, "gyron-swap", &ENV)), @"
    exit 3
    --- stdout
    --- stderr
    swap verdicts VERSION as blue in production
    error: no colour had the traffic when this was launched, now the production rule says blue 50, green 50
    hint: somebody shared the traffic out by hand: give one colour all of it (aws elbv2 modify-rule), then launch
    ");
    insta::assert_snapshot!(app.show(&cloud.run(app, "gyron-launch", &ENV)), @"
    exit 3
    --- stdout
    --- stderr
    error: both colours have traffic (blue 50, green 50), so none is idle: a swap was left half-way, or somebody set the weights
    hint: gyron-swap --env production, with the records of that swap, ends it
    ");
    rule.weigh(0, 0);
    cloud.succeed(app, "gyron-swap", &ENV);

    // A record that was changed since it was written.
    let smoke = app.read(".gyron/production/smoke.json");
    app.write(".gyron/production/smoke.json", &smoke.replace("\"passed\": true", "\"passed\": false"));
    insta::assert_snapshot!(app.show(&cloud.run(app, "gyron-swap", &ENV)), @"
    exit 3
    --- stdout
    --- stderr
    error: .gyron/production/smoke.json is not to be believed: its content has the digest DIGEST, it says DIGEST
    hint: gyron-smoke --env production makes it
    ");
    app.write(".gyron/production/smoke.json", &smoke);
}

/// The production rule, in somebody's hands.
struct Rule<'a> {
    cloud: &'a Cloud,
    arn: String,
    groups: [String; 2],
}

impl<'a> Rule<'a> {
    fn of_production(cloud: &'a Cloud) -> Self {
        let place = "s3://verdicts-releases/verdicts/envs/production/edge.json";
        let edge: Value = serde_json::from_str(&cloud.ask(&["exec", "--", "aws", "s3", "cp", place, "-"])).unwrap();
        let text = |name: &str| edge[name].as_str().unwrap_or_else(|| panic!("no {name} in {edge}")).to_owned();
        let groups = ["blue", "green"]
            .map(|colour| edge["target_groups"][colour].as_str().unwrap_or_else(|| panic!("{edge}")).to_owned());
        Rule { cloud, arn: text("production_rule"), groups }
    }

    fn weigh(&self, blue: u32, green: u32) {
        let [one, other] = &self.groups;
        let group = |arn: &str, weight: u32| json!({"TargetGroupArn": arn, "Weight": weight});
        let forward = json!({"TargetGroups": [group(one, blue), group(other, green)]});
        let actions = json!([{"Type": "forward", "ForwardConfig": forward}]).to_string();
        let _ = self.cloud.aws(&["elbv2", "modify-rule", "--rule-arn", &self.arn, "--actions", &actions]);
    }
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
