//! Faults: each goes wrong as on AWS, for the caller whose key it is set for and for nobody else.

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use gyron_tests::cloud::Cloud;

/// The AWS CLI without its own retries.
fn aws(cloud: &Cloud, args: &[&str]) -> Output {
    let mut all = vec!["exec", "--", "env", "AWS_MAX_ATTEMPTS=1", "aws", "--output", "json"];
    all.extend(args);
    cloud.rehearse(&all).output().unwrap()
}

/// What it says on stderr; empty where it succeeds.
fn refused(cloud: &Cloud, args: &[&str]) -> String {
    let output = aws(cloud, args);
    assert_eq!(output.status.success(), output.stderr.is_empty());
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

const VPCS: [&str; 2] = ["ec2", "describe-vpcs"];

/// The base image.
fn base(cloud: &Cloud) -> String {
    let name = "Images[?Name=='gyron-debian-12-ssm'].ImageId";
    let images = cloud.select(&["ec2", "describe-images", "--owners", "self"], name);
    images.first().unwrap().clone()
}

/// An order for an instance of the base image; the caller terminates it.
fn launch(cloud: &Cloud, more: &[&str]) -> Output {
    let image = base(cloud);
    aws(cloud, &[&["ec2", "run-instances", "--image-id", &image, "--instance-type", "t3.small"], more].concat())
}

fn launched(cloud: &Cloud, more: &[&str]) -> Instance {
    let output = launch(cloud, more);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    Instance { cloud: cloud.clone(), id: answer["Instances"][0]["InstanceId"].as_str().unwrap().to_owned() }
}

/// An instance that goes with its test.
struct Instance {
    cloud: Cloud,
    id: String,
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = aws(&self.cloud, &["ec2", "terminate-instances", "--instance-ids", &self.id]);
    }
}

impl Instance {
    fn state(&self) -> String {
        let query = "Reservations[].Instances[].State.Name";
        let states = self.cloud.select(&["ec2", "describe-instances", "--instance-ids", &self.id], query);
        states.into_iter().next().unwrap_or_default()
    }

    fn until(&self, state: &str) {
        let begun = Instant::now();
        while self.state() != state {
            assert!(begun.elapsed() < Duration::from_secs(60), "{} is {} and not {state}", self.id, self.state());
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

#[test]
fn a_throttled_call_is_refused_in_its_services_own_words() {
    let cloud = Cloud::of_tests();
    let own = cloud.called_by("throttled");
    for (service, args, said) in [
        ("ec2", &VPCS[..], "(RequestLimitExceeded) when calling the DescribeVpcs operation"),
        ("autoscaling", &["autoscaling", "describe-auto-scaling-groups"], "(Throttling) when calling"),
        ("ssm", &["ssm", "describe-instance-information"], "(ThrottlingException) when calling"),
        ("s3", &["s3api", "list-buckets"], "(SlowDown) when calling"),
    ] {
        let fault = own.fault(&["throttle", "--service", service, "--nth", "2"]);
        assert_eq!(refused(&own, args), "", "the first is served");
        assert_eq!(refused(&cloud, args), "", "another's call is none of its business");
        let second = refused(&own, args);
        assert!(second.contains(said), "{second}");
        assert_eq!(refused(&own, args), "", "the third is served");
        assert_eq!(fault.hits(), 1);
    }
    assert!(own.calls().iter().any(|call| call["status"] == 503 && call["error"] == "RequestLimitExceeded"));
}

#[test]
fn a_failing_call_has_the_code_and_status_that_were_wished() {
    let own = Cloud::of_tests().called_by("failing");
    let fault = own.fault(&["fail", "DescribeVpcs", "--error", "Unavailable", "--status", "503", "--every", "2"]);
    let said: Vec<bool> = (0..4).map(|_| refused(&own, &VPCS).contains("(Unavailable)")).collect();
    assert_eq!(said, [false, true, false, true]);
    drop(fault);
    let _first = own.fault(&["fail", "--service", "ec2", "--first", "1"]);
    assert!(refused(&own, &VPCS).contains("(InternalError) when calling the DescribeVpcs operation"));
    assert_eq!(refused(&own, &VPCS), "");
}

#[test]
fn a_share_of_calls_is_hit_the_same_way_for_the_same_seed() {
    let own = Cloud::of_tests().called_by("share");
    let once = || {
        let _fault = own.fault(&["throttle", "DescribeVpcs", "--share", "0.5", "--seed", "3"]);
        (0..8).map(|_| refused(&own, &VPCS).is_empty()).collect::<Vec<bool>>()
    };
    let first = once();
    assert!(first.contains(&true) && first.contains(&false), "{first:?}");
    assert_eq!(once(), first);
}

#[test]
fn a_delayed_call_is_served_later() {
    let own = Cloud::of_tests().called_by("delayed");
    let _fault = own.fault(&["delay", "3s", "DescribeVpcs"]);
    let begun = Instant::now();
    assert_eq!(refused(&own, &VPCS), "");
    assert!(begun.elapsed() >= Duration::from_secs(3));
}

#[test]
fn a_call_is_finished_though_its_caller_hung_up() {
    let own = Cloud::of_tests().called_by("hangup");
    let fault = own.fault(&["delay", "10s", "CreateKeyPair"]);
    let create = ["exec", "--", "aws", "ec2", "create-key-pair", "--key-name", "hangup"];
    let mut caller = own.rehearse(&create).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    let hit = |line: &str| line.contains(own.key()) && line.ends_with("(1 of 1 hit)");
    while !own.ask(&["fault", "list"]).lines().any(hit) {
        assert!(begun.elapsed() < Duration::from_secs(60), "it was never called");
        std::thread::sleep(Duration::from_millis(200));
    }
    caller.kill().unwrap();
    caller.wait().unwrap();
    drop(fault);
    let pairs = ["ec2", "describe-key-pairs", "--filters", "Name=key-name,Values=hangup"];
    while own.select(&pairs, "KeyPairs[].KeyName").is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(120), "it was never made");
        std::thread::sleep(Duration::from_millis(500));
    }
    let _ = own.aws(&["ec2", "delete-key-pair", "--key-name", "hangup"]);
}

#[test]
fn what_is_new_or_changed_shows_only_after_a_while() {
    let cloud = Cloud::of_tests();
    let own = cloud.called_by("stale");
    let old = launched(&own, &[]);
    old.until("running");
    // Nothing shows before it goes, however slow the machine.
    let fault = own.fault(&["stale", "50m"]);

    let tag = "ResourceType=instance,Tags=[{Key=stale,Value=yes}]";
    let new = launched(&own, &["--tag-specifications", tag]);
    let others = launched(&cloud, &["--tag-specifications", tag]);
    let by_id = refused(&own, &["ec2", "describe-instances", "--instance-ids", &new.id]);
    assert!(by_id.contains("(InvalidInstanceID.NotFound)"), "{by_id}");
    let listed = || {
        let tagged = ["ec2", "describe-instances", "--filters", "Name=tag:stale,Values=yes"];
        own.select(&tagged, "Reservations[].Instances[].InstanceId")
    };
    assert_eq!(listed(), [others.id.clone()].into(), "what another made shows at once");
    let _ = own.aws(&["ec2", "create-tags", "--resources", &old.id, "--tags", "Key=stale,Value=yes"]);
    let _ = own.aws(&["ec2", "stop-instances", "--instance-ids", &old.id]);
    assert_eq!(old.state(), "running");
    assert!(!listed().contains(&old.id));
    let running = ["ec2", "describe-instances", "--filters", "Name=instance-state-name,Values=running"];
    assert!(own.select(&running, "Reservations[].Instances[].InstanceId").contains(&old.id), "it is listed as it was");
    drop(fault);
    assert!(listed().contains(&new.id) && listed().contains(&old.id), "without the fault it shows at once");
    old.until("stopped");

    let fault = own.fault(&["stale", "10s"]);
    let begun = Instant::now();
    let _ = own.aws(&["ec2", "start-instances", "--instance-ids", &old.id]);
    while old.state() == "stopped" {
        assert!(begun.elapsed() < Duration::from_secs(120), "it never shows");
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(begun.elapsed() >= Duration::from_secs(10));
    drop(fault);
}

#[test]
fn a_stale_image_and_its_snapshot_are_not_found() {
    let own = Cloud::of_tests().called_by("staleimage");
    let instance = launched(&own, &[]);
    instance.until("running");
    let fault = own.fault(&["stale", "60s"]);
    let made = own.aws(&["ec2", "create-image", "--instance-id", &instance.id, "--name", "stale image", "--no-reboot"]);
    let image = made["ImageId"].as_str().unwrap().to_owned();
    let by_id = refused(&own, &["ec2", "describe-images", "--image-ids", &image]);
    assert!(by_id.contains("(InvalidAMIID.NotFound)"), "{by_id}");
    let snapshots = ["ec2", "describe-snapshots", "--owner-ids", "self"];
    let listed = own.select(&snapshots, "Snapshots[].SnapshotId");
    drop(fault);
    let images = ["ec2", "describe-images", "--image-ids", &image];
    let snapshot = own.select(&images, "Images[].BlockDeviceMappings[].Ebs.SnapshotId").into_iter().next().unwrap();
    assert!(!listed.contains(&snapshot));
    let fault = own.fault(&["stale", "60s"]);
    let _ = own.aws(&["ec2", "deregister-image", "--image-id", &image, "--delete-associated-snapshots"]);
    assert_eq!(own.select(&images, "Images[].ImageId"), [image.clone()].into(), "it still shows");
    drop(fault);
    assert!(!own.select(&["ec2", "describe-images", "--owners", "self"], "Images[].ImageId").contains(&image));
}

#[test]
fn a_copy_in_another_region_lags_there_as_at_home() {
    let cloud = Cloud::of_tests();
    let own = cloud.called_by("stalecopy");
    let there = ["--region", "eu-west-1"];
    let image = base(&cloud);
    let copy = |cloud: &Cloud, name: &str| {
        let from = ["ec2", "copy-image", "--source-region", "us-east-1", "--source-image-id", &image, "--name", name];
        cloud.aws(&[&from[..], &there].concat())["ImageId"].as_str().unwrap().to_owned()
    };
    let old = copy(&own, "a stale copy (old)");
    let fault = own.fault(&["stale", "60s"]);
    let new = copy(&own, "a stale copy (new)");
    let of_another = copy(&cloud, "a stale copy (another)");
    let asked = |id: &str| [&["ec2", "describe-images", "--image-ids", id][..], &there].concat().join(" ");
    let shows = |id: &str| refused(&own, &asked(id).split(' ').collect::<Vec<_>>());
    assert_eq!(shows(&old), "", "what stood before shows");
    assert_eq!(shows(&of_another), "", "what another made shows at once");
    assert!(shows(&new).contains("(InvalidAMIID.NotFound)"), "{}", shows(&new));
    drop(fault);
    assert_eq!(shows(&new), "");
    for image in [old, new, of_another] {
        let gone = ["ec2", "deregister-image", "--image-id", &image, "--delete-associated-snapshots"];
        let _ = cloud.aws(&[&gone[..], &there].concat());
    }
}

#[test]
fn capacity_lacks_by_type_and_zone() {
    let cloud = Cloud::of_tests();
    let own = cloud.called_by("crowded");
    let _fault = own.fault(&["no-capacity", "--type", "t3.small", "--zone", "us-east-1a"]);
    let there = "AvailabilityZone=us-east-1a";
    let refused = launch(&own, &["--placement", there]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("(InsufficientInstanceCapacity)") && said.contains("t3.small"), "{said}");
    assert!(own.calls().iter().any(|call| call["error"] == "InsufficientInstanceCapacity" && call["status"] == 500));
    // Who leaves the zone open gets one that has capacity.
    let elsewhere = launched(&own, &[]);
    let query = "Reservations[].Instances[].Placement.AvailabilityZone";
    let zone = own.select(&["ec2", "describe-instances", "--instance-ids", &elsewhere.id], query);
    assert!(!zone.contains("us-east-1a") && !zone.is_empty(), "{zone:?}");
    drop(launched(&cloud, &["--placement", there]));
}

#[test]
fn an_agent_that_never_comes_online() {
    let cloud = Cloud::of_tests();
    let own = cloud.called_by("mute");
    let app = gyron_tests::App::small_named("mute");
    cloud.prepare(&app);
    let profile = ["--iam-instance-profile", "Name=gyron-builder"];
    let fault = own.fault(&["no-agent"]);
    let (muted, heard) = (launched(&own, &profile), launched(&cloud, &profile));
    let online = |instance: &Instance| {
        let filter = format!("Key=InstanceIds,Values={}", instance.id);
        let asked = ["ssm", "describe-instance-information", "--filters", &filter];
        !cloud.select(&asked, "InstanceInformationList[].InstanceId").is_empty()
    };
    let begun = Instant::now();
    while !online(&heard) {
        assert!(begun.elapsed() < Duration::from_secs(90), "no agent comes online at all");
        std::thread::sleep(Duration::from_millis(500));
    }
    std::thread::sleep(Duration::from_secs(3));
    assert!(!online(&muted));
    assert_eq!(fault.hits(), 1);
}

#[test]
fn a_caller_is_killed_before_its_call_takes_effect_or_after() {
    let own = Cloud::of_tests().called_by("killed");
    let made = |name: &str| {
        let names = own.select(&["ec2", "describe-key-pairs"], "KeyPairs[].KeyName");
        let there = names.contains(name);
        let _ = own.aws(&["ec2", "delete-key-pair", "--key-name", name]);
        there
    };
    for (when, name, effect) in [("--before", "killed-before", false), ("--after", "killed-after", true)] {
        let fault = own.fault(&["kill", "CreateKeyPair", when, "--nth", "1"]);
        let output = aws(&own, &["ec2", "create-key-pair", "--key-name", name]);
        assert_eq!(output.status.code(), None, "it ends by a signal: {output:?}");
        assert_eq!(fault.hits(), 1);
        assert_eq!(made(name), effect, "{when}");
    }
    let killed = own.calls().into_iter().filter(|call| call["status"] == 0).count();
    assert_eq!(killed, 2);
}

#[test]
fn faults_are_listed_and_cleared_and_what_can_not_be_is_refused() {
    let own = Cloud::of_tests().called_by("listed");
    let fault = own.fault(&["throttle", "RunInstances", "--every", "2"]);
    let line = own.ask(&["fault", "list"]).lines().find(|line| line.contains(own.key())).unwrap().to_owned();
    assert!(line.ends_with("throttle: one in 2, of RunInstances, by AKIA0000000000LISTED (0 of 0 hit)"), "{line}");
    drop(fault);
    assert!(!own.ask(&["fault", "list"]).contains(own.key()));
    let output = own.rehearse(&["fault", "throttle", "--service", "lambda"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stderr), @"error: how lambda fails is not known here; known are autoscaling, cloudformation, ec2, elasticloadbalancing, iam, s3, ssm, sts");
}
