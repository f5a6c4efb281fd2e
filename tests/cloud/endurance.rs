//! Bakes that AWS makes hard: each ends with its image, and with nothing else.

use gyron_tests::App;
use gyron_tests::cloud::Cloud;

use crate::bake::machines;

/// A small app whose calls are signed with a key of its own, packaged.
fn packaged(cloud: &Cloud, name: &str) -> (Cloud, App) {
    let app = App::small_named(name);
    app.write(
        "ansible/site.yml",
        "- hosts: all\n  gather_facts: false\n  tasks: [{ansible.builtin.debug: {msg: thin}}]\n",
    );
    app.commit();
    cloud.prepare(&app);
    cloud.succeed(&app, "gyron-package", &[]);
    (cloud.called_by(name), app)
}

/// Bakes, and demands an image with its snapshot and nothing else.
fn bake(own: &Cloud, app: &App, name: &str, more: &[&str]) -> String {
    let output = own.run(app, "gyron-bake", more);
    let shown = app.show(&output);
    assert!(output.status.success(), "{shown}");
    let image = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let stands = machines(own, name);
    assert_eq!(stands.len(), 2, "an image and its snapshot, nothing else: {stands:?}\n{shown}");
    assert!(stands.contains(&image), "{stands:?}\n{shown}");
    shown
}

#[test]
fn half_of_all_calls_are_throttled() {
    let (own, app) = packaged(&Cloud::of_tests(), "throttlestorm");
    let storm = own.fault(&["throttle", "--share", "0.5", "--seed", "5"]);
    bake(&own, &app, "throttlestorm", &[]);
    let calls = own.calls();
    let refused = calls.iter().filter(|call| call["faults"].is_array()).count();
    assert!(refused > 20 && refused * 3 > calls.len(), "{refused} of {} calls were refused", calls.len());
    drop(storm);
}

#[test]
fn describes_show_what_was_so_half_a_minute_ago() {
    let (own, app) = packaged(&Cloud::of_tests(), "stalebake");
    let stale = own.fault(&["stale", "30s"]);
    let output = own.run(&app, "gyron-bake", &[]);
    assert!(output.status.success(), "{}", app.show(&output));
    // The next one, a moment later, takes its image.
    let again = own.run(&app, "gyron-bake", &[]);
    assert_eq!(output.stdout, again.stdout, "{}", app.show(&again));
    drop(stale);
    assert_eq!(machines(&own, "stalebake").len(), 2);
}

#[test]
fn three_of_four_choices_have_no_capacity() {
    let (own, app) = packaged(&Cloud::of_tests(), "crowdedbake");
    let subnet = |zone: &str| {
        let filter = format!("Name=availability-zone,Values={zone}");
        let filters = ["ec2", "describe-subnets", "--filters", &filter, "Name=default-for-az,Values=true"];
        own.select(&filters, "Subnets[].SubnetId").into_iter().next().unwrap()
    };
    let subnets = format!("bake.subnets=[\"{}\", \"{}\"]", subnet("us-east-1a"), subnet("us-east-1b"));
    let _faults = [
        own.fault(&["no-capacity", "--type", "t3.small"]),
        own.fault(&["no-capacity", "--type", "t3.medium", "--zone", "us-east-1a"]),
    ];
    let set = ["--set", &subnets, "--set", "bake.instance-types=[\"t3.small\", \"t3.medium\"]"];
    let shown = bake(&own, &app, "crowdedbake", &set);
    assert_eq!(shown.matches("no capacity for").count(), 3, "{shown}");
    let asked = own.calls().iter().filter(|call| call["action"] == "RunInstances").count();
    assert_eq!(asked, 4, "each choice is asked once: {shown}");
}

#[test]
fn what_ec2_does_not_know_of_yet_is_asked_for_again() {
    let (own, app) = packaged(&Cloud::of_tests(), "unsettled");
    let lag = |action: &str, code: &str, message: &str| {
        own.fault(&["fail", action, "--error", code, "--status", "400", "--message", message, "--first", "2"])
    };
    let profile =
        "Value (gyron-builder) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name";
    let state = "Invalid value 'i-0' for instanceId. Instance is not in state 'running' or 'stopping' or 'stopped'";
    let faults = [
        lag("RunInstances", "InvalidParameterValue", profile),
        lag("StopInstances", "InvalidInstanceID.NotFound", "The instance ID 'i-0' does not exist"),
        lag("CreateImage", "InvalidParameterValue", state),
        lag("TerminateInstances", "InvalidInstanceID.NotFound", "The instance ID 'i-0' does not exist"),
    ];
    bake(&own, &app, "unsettled", &[]);
    assert!(faults.iter().all(|fault| fault.hits() == 2));
}

/// A bake dies right after a call, EC2 shows its effect late, and the next bake begins at once.
fn killed_after(action: &str, name: &str) {
    let (own, app) = packaged(&Cloud::of_tests(), name);
    let stale = own.fault(&["stale", "10s"]);
    let kill = own.fault(&["kill", action, "--after", "--nth", "1"]);
    assert_eq!(own.run(&app, "gyron-bake", &[]).status.code(), None, "it is killed");
    assert_eq!(kill.hits(), 1);
    drop(kill);
    let output = own.run(&app, "gyron-bake", &[]);
    assert!(output.status.success(), "{}", app.show(&output));
    drop(stale);
    let stands = machines(&own, name);
    assert_eq!(stands.len(), 2, "an image and its snapshot, nothing else: {stands:?}\n{}", app.show(&output));
}

#[test]
fn a_builder_that_does_not_show_yet_is_cleared_away_all_the_same() {
    killed_after("RunInstances", "latebuilder");
}

#[test]
fn an_image_that_does_not_show_yet_is_taken_up_all_the_same() {
    killed_after("CreateImage", "lateimage");
}
