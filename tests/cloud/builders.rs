//! Builders that outlive their bake: on purpose, or not for long.

use std::process::Stdio;
use std::time::{Duration, Instant};

use gyron_tests::App;
use gyron_tests::cloud::Cloud;

use crate::bake::{machines, packaged, until_a_builder_stands, until_it_is_played};

fn takes_long(app: &App) {
    app.replace(
        "ansible/site.yml",
        "  tasks:\n",
        "  tasks:\n    - name: Take long\n      ansible.builtin.command: sleep 300\n",
    );
}

/// The app's instances with their states and what the owner's side says of them.
fn states(cloud: &Cloud, app: &str, query: &str) -> Vec<String> {
    let filter = format!("Name=tag:gyron:app,Values={app}");
    let query = format!("Reservations[].Instances[].{query}");
    cloud.select(&["ec2", "describe-instances", "--filters", &filter], &query).into_iter().collect()
}

#[test]
fn a_builder_whose_bake_was_killed_ends_itself() {
    let cloud = Cloud::of_tests();
    let app = packaged(&cloud, "orphaned");
    takes_long(&app);
    let mut child = cloud
        .command(&app, "gyron-bake", &["--set", "bake.patience=20s"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until_a_builder_stands(&cloud, "orphaned");
    // As long as the bake lives, the builder does, past its patience.
    std::thread::sleep(Duration::from_secs(35));
    assert_eq!(states(&cloud, "orphaned", "State.Name"), ["running"]);
    child.kill().unwrap();
    child.wait().unwrap();
    let begun = Instant::now();
    while states(&cloud, "orphaned", "State.Name") != ["terminated"] {
        assert!(begun.elapsed() < Duration::from_secs(90), "the builder lives on");
        std::thread::sleep(Duration::from_secs(2));
    }
    // By itself: nobody told AWS to.
    assert_eq!(states(&cloud, "orphaned", "StateReason.Code"), ["Client.InstanceInitiatedShutdown"]);
    // What is left costs next to nothing, and goes with a sweep.
    let _ = cloud.succeed(&app, "gyron-bake", &["sweep", "--yes"]);
    assert_eq!(machines(&cloud, "orphaned"), Vec::<String>::new());
    let leases = ["s3api", "list-objects-v2", "--bucket", "orphaned-releases", "--prefix", "orphaned/leases/"];
    assert!(cloud.select(&leases, "Contents[].Key").is_empty());
}

#[test]
fn a_failed_bake_is_kept_for_looking_when_asked() {
    let cloud = Cloud::of_tests();
    let app = packaged(&cloud, "kept");
    app.replace(
        "ansible/site.yml",
        "  tasks:\n",
        "  tasks:\n    - name: Fail\n      ansible.builtin.command: /bin/false\n",
    );
    let output = cloud.run(&app, "gyron-bake", &["--keep-on-failure=25s", "--set", "bake.patience=10s"]);
    let shown = app.show(&output);
    let error: Vec<&str> = shown.lines().skip_while(|line| !line.starts_with("error:")).collect();
    let error = regex::Regex::new(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
        .unwrap()
        .replace_all(&error.join("\n"), "TIME")
        .into_owned();
    insta::assert_snapshot!(error, @"
    error: the play failed at the task `Fail`
      --> site.yml:5
      | non-zero return code
      already: the builder i-ID is kept until TIME, costs money till then, and ends itself
    hint: the whole log is in .gyron/logs/ansible.log
    hint: look at it: aws ssm start-session --target i-ID --region us-east-1
    hint: end it sooner: aws ec2 terminate-instances --instance-ids i-ID --region us-east-1
    ");
    // Neither a sweep nor the next bake takes it from under the person who looks.
    let output = cloud.run(&app, "gyron-bake", &["sweep", "--yes"]);
    assert!(app.show(&output).contains(": kept until "), "{}", app.show(&output));
    assert_eq!(states(&cloud, "kept", "State.Name"), ["running"]);
    let begun = Instant::now();
    while states(&cloud, "kept", "State.Name") != ["terminated"] {
        assert!(begun.elapsed() < Duration::from_secs(90), "the builder lives on");
        std::thread::sleep(Duration::from_secs(2));
    }
    assert_eq!(machines(&cloud, "kept"), Vec::<String>::new());
}

#[test]
fn a_builder_that_is_gone_in_the_middle_ends_its_bake() {
    let cloud = Cloud::of_tests();
    let app = packaged(&cloud, "gone");
    takes_long(&app);
    let command = cloud.command(&app, "gyron-bake", &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    until_it_is_played(&cloud, "gone");
    let begun = Instant::now();
    for id in states(&cloud, "gone", "InstanceId") {
        let _ = cloud.aws(&["ec2", "terminate-instances", "--instance-ids", &id]);
    }
    let output = command.unwrap().wait_with_output().unwrap();
    let shown = app.show(&output);
    // Not at the play's deadline, three quarters of an hour later, and with the reason.
    assert!(begun.elapsed() < Duration::from_secs(150), "{shown}");
    assert_eq!(output.status.code(), Some(4), "{shown}");
    assert!(shown.contains("came to nothing"), "{shown}");
    assert_eq!(machines(&cloud, "gone"), Vec::<String>::new());
}

#[test]
fn a_builder_that_is_gone_before_its_agent_comes_ends_its_bake() {
    let cloud = Cloud::of_tests();
    let app = packaged(&cloud, "goneearly");
    let own = cloud.called_by("goneearly");
    let fault = own.fault(&["no-agent"]);
    let command = own.command(&app, "gyron-bake", &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let begun = Instant::now();
    while !own.calls().iter().any(|call| call["action"] == "DescribeInstanceInformation") {
        assert!(begun.elapsed() < Duration::from_secs(300), "no agent is waited for");
        std::thread::sleep(Duration::from_secs(1));
    }
    let begun = Instant::now();
    for id in states(&cloud, "goneearly", "InstanceId") {
        let _ = cloud.aws(&["ec2", "terminate-instances", "--instance-ids", &id]);
    }
    let output = command.unwrap().wait_with_output().unwrap();
    drop(fault);
    let shown = app.show(&output);
    // Not when an agent would be given up, ten minutes later.
    assert!(begun.elapsed() < Duration::from_secs(150), "{shown}");
    assert_eq!(output.status.code(), Some(4), "{shown}");
    let error = shown.lines().find(|line| line.starts_with("error:")).unwrap_or_default();
    insta::assert_snapshot!(error, @"error: waiting for the SSM agent of i-ID came to nothing: the instance is terminated: Client.UserInitiatedShutdown: User initiated shutdown");
    assert_eq!(machines(&cloud, "goneearly"), Vec::<String>::new());
}

#[test]
fn an_agent_that_never_comes_says_what_can_be_seen_of_why() {
    let cloud = Cloud::of_tests();
    let app = packaged(&cloud, "agentless");
    let own = cloud.called_by("agentless");
    let fault = own.fault(&["no-agent"]);
    let output = own.run(&app, "gyron-bake", &["--set", "bake.agent-deadline=20s"]);
    drop(fault);
    assert_eq!(output.status.code(), Some(6), "{}", app.show(&output));
    let shown = app.show(&output);
    let error: Vec<&str> = shown.lines().skip_while(|line| !line.starts_with("error:")).collect();
    let (console, rest): (Vec<&str>, Vec<&str>) = error.into_iter().partition(|line| line.starts_with("  | "));
    assert!(!console.is_empty(), "the console's end is shown: {shown}");
    insta::assert_snapshot!(rest.join("\n").replace("arn:aws:iam::123456789012:", "ARN:"), @"
    error: waited 20s in vain for the SSM agent of i-ID: not registered yet
      - the instance is running
      - it has the instance profile ARN:instance-profile/gyron-builder: does that allow SSM?
      - its subnet's default route leads to igw-ID
      the console of i-ID ends so:
      already: no instance and no image of this bake are left
    hint: the agent must be installed, have an instance profile with AmazonSSMManagedInstanceCore from its first moment (denied once, it sleeps up to half an hour), and reach the endpoints ssm, ssmmessages and ec2messages
    hint: bake.agent-deadline in gyron.toml says how long it may take
    ");
    assert_eq!(machines(&cloud, "agentless"), Vec::<String>::new());
}

#[test]
fn credentials_that_expire_in_the_middle_leave_nothing_for_long() {
    let cloud = Cloud::of_tests();
    let app = packaged(&cloud, "expired");
    app.replace(
        "ansible/site.yml",
        "  tasks:\n",
        "  tasks:\n    - name: Take a while\n      ansible.builtin.command: sleep 25\n",
    );
    let own = cloud.called_by("expired");
    let bake = own.command(&app, "gyron-bake", &["--set", "bake.patience=20s"]);
    let bake = { bake }.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until_a_builder_stands(&cloud, "expired");
    std::thread::sleep(Duration::from_secs(8));
    let fault = own.fault(&["fail", "--error", "ExpiredToken", "--status", "400"]);
    let output = bake.wait_with_output().unwrap();
    let shown = app.show(&output);
    assert_eq!(output.status.code(), Some(4), "{shown}");
    assert!(shown.contains("(ExpiredToken") && shown.contains("i-ID may still run and cost money"), "{shown}");
    // Nobody can clean up any more: the builder does so itself.
    let begun = Instant::now();
    while states(&cloud, "expired", "State.Name") != ["terminated"] {
        assert!(begun.elapsed() < Duration::from_secs(90), "the builder lives on");
        std::thread::sleep(Duration::from_secs(2));
    }
    drop(fault);
    let image = own.succeed(&app, "gyron-bake", &[]);
    let left = machines(&cloud, "expired");
    assert!(left.len() == 2 && left.contains(&image), "{left:?}");
}
