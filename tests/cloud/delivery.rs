//! The whole way of the shop: twice, under load, and back.

use std::process::Command;
use std::time::Instant;

use gyron_tests::App;
use gyron_tests::cloud::{Cloud, Inventory, OwnCloud, counts, difference};
use gyron_tests::load::{Load, ask};
use serde_json::Value;

const BUCKET: &str = "shop-releases";
const ENV: [&str; 2] = ["--env", "production"];

/// Where production is asked, as the environment's edge says.
fn dns_name(cloud: &Cloud) -> String {
    let text =
        cloud.ask(&["exec", "--", "aws", "s3", "cp", &format!("s3://{BUCKET}/shop/envs/production/edge.json"), "-"]);
    let edge: Value = serde_json::from_str(&text).unwrap();
    edge["url"].as_str().unwrap().trim_start_matches("http://").to_owned()
}

fn fact(app: &App, step: &str, name: &str) -> String {
    let record: Value = serde_json::from_str(&app.read(&format!(".gyron/{step}.json"))).unwrap();
    record["so"]["facts"][name].as_str().unwrap_or_default().to_owned()
}

fn version(app: &App) -> String {
    let record: Value = serde_json::from_str(&app.read(".gyron/package.json")).unwrap();
    record["so"]["version"]["name"].as_str().unwrap().to_owned()
}

#[test]
fn the_shop_goes_all_the_way_twice_and_back_under_load() {
    // The whole of a cloud is compared below, so it is one that no other test changes; it stands beside theirs.
    let own = OwnCloud::up("shop");
    assert!(!own.traces().is_empty(), "a look that finds nothing of a cloud that is up proves nothing");
    let cloud = own.cloud.clone();
    let app = App::example("shop");
    cloud.prepare(&app);
    let gyron = |program: &str, args: &[&str]| cloud.succeed(&app, program, args);

    // The first half: an image a layer, their snapshots, and what the registry holds, nothing else.
    gyron("gyron-package", &[]);
    let before = cloud.inventory(BUCKET);
    let kept = |lines: Vec<String>| lines.into_iter().filter(|line| !line.contains(" objects")).collect::<Vec<_>>();
    // A step that comes to nothing, by itself or by a signal, leaves nothing at all: no object either.
    let says = |program: &str, args: &[&str], code: i32, stands: &Inventory| {
        let output = cloud.run(&app, program, args);
        assert_eq!(output.status.code(), Some(code), "{}", app.show(&output));
        let left = difference(stands, &cloud.inventory(BUCKET));
        assert_eq!(left, Vec::<String>::new(), "{program} {args:?} left something");
    };
    app.write("broken/site.yml", "- hosts: all\n  gather_facts: false\n  tasks: [{ansible.builtin.fail: {msg: no}}]\n");
    // The toolkit is made by the first bake of all, and kept.
    let broken = ["--set", "bake.layers=[{ name = \"broken\", playbook = \"broken/site.yml\", release = true }]"];
    let _ = cloud.run(&app, "gyron-bake", &broken);
    let prepared = cloud.inventory(BUCKET);
    assert_eq!(kept(counts(&before, &prepared)), Vec::<String>::new(), "{:?}", difference(&before, &prepared));
    says("gyron-bake", &broken, 5, &prepared);
    std::fs::remove_dir_all(app.path().join("broken")).unwrap();
    gyron("gyron-bake", &[]);
    let baked = cloud.inventory(BUCKET);
    assert_eq!(kept(counts(&before, &baked)), ["+2 images", "+2 snapshots"], "{:?}", difference(&before, &baked));
    app.write(
        "broken/small_spec.rb",
        "require 'serverspec'\nset :backend, :exec\ndescribe(port(9)) { it { should be_listening } }\n",
    );
    let output = cloud.run(&app, "gyron-spec", &["--set", "spec.path=broken"]);
    assert_eq!(output.status.code(), Some(1), "{}", app.show(&output));
    assert_eq!(kept(counts(&baked, &cloud.inventory(BUCKET))), Vec::<String>::new(), "but for the verdict, nothing");
    std::fs::remove_dir_all(app.path().join("broken")).unwrap();
    gyron("gyron-spec", &[]);
    assert!(app.read(".gyron/junit/spec.xml").contains("<testcase"));
    assert_eq!(kept(counts(&baked, &cloud.inventory(BUCKET))), Vec::<String>::new());

    // The second half, where no colour is live yet. Whatever a step leaves is counted, tagged or not.
    let tested = cloud.inventory(BUCKET);
    gyron("gyron-launch", &["edge", "--env", "production"]);
    let fronted = cloud.inventory(BUCKET);
    let edge = ["+1 balancers", "+2 security groups", "+2 target groups"];
    assert_eq!(kept(counts(&tested, &fronted)), edge, "{:?}", difference(&tested, &fronted));
    // A launch whose deadline passes leaves what it made for looking; the next one goes on with it.
    let late = cloud.run(&app, "gyron-launch", &["--env", "production", "--set", "launch.deadline=1s"]);
    assert_eq!(late.status.code(), Some(6), "{}", app.show(&late));
    gyron("gyron-launch", &ENV);
    assert_eq!(fact(&app, "production/launch", "colour"), "blue");
    assert_eq!(fact(&app, "production/launch", "live"), "");
    let launched = cloud.inventory(BUCKET);
    let stack = ["+1 groups", "+2 instances", "+2 interfaces", "+1 launch templates", "+2 volumes"];
    assert_eq!(kept(counts(&fronted, &launched)), stack, "{:?}", difference(&fronted, &launched));
    let unmet = "smoke.check=[{ get = \"/nowhere\" }]";
    let output = cloud.run(&app, "gyron-smoke", &["--env", "production", "--set", unmet, "--set", "smoke.deadline=3s"]);
    assert_eq!(output.status.code(), Some(1), "{}", app.show(&output));
    gyron("gyron-smoke", &ENV);
    assert_eq!(kept(counts(&launched, &cloud.inventory(BUCKET))), Vec::<String>::new(), "a smoke test makes nothing");
    assert!(app.read(".gyron/junit/smoke-production.xml").contains("<testcase"));
    let name = dns_name(&cloud);
    let listener = cloud.listener(&name);
    let request = format!("GET /version HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
    assert_eq!(ask(listener, &request), Err("status 503".to_owned()), "no colour is live before the first swap");
    // A swap that can't prove itself takes the traffic back.
    let smoked = cloud.inventory(BUCKET);
    let nowhere = ["--env", "production", "--set", "swap.version-path=/nowhere", "--set", "swap.deadline=3s"];
    says("gyron-swap", &nowhere, 1, &smoked);
    gyron("gyron-swap", &ENV);
    assert_eq!(kept(counts(&launched, &cloud.inventory(BUCKET))), Vec::<String>::new(), "a swap makes nothing");
    let old = version(&app);
    assert_eq!(ask(listener, &request), Ok(old.clone()));

    // An edit, and the other colour takes over, while production is being asked.
    let load = Load::start(listener, &name, "/version", 200);
    app.write("app/EDITED", "one line more\n");
    app.commit();
    gyron("gyron-package", &[]);
    let before = cloud.inventory(BUCKET);
    gyron("gyron-bake", &[]);
    let layer = ["+1 images", "+1 snapshots"];
    assert_eq!(kept(counts(&before, &cloud.inventory(BUCKET))), layer, "the middleware is not baked again");
    gyron("gyron-spec", &[]);
    gyron("gyron-launch", &ENV);
    assert_eq!(fact(&app, "production/launch", "colour"), "green");
    assert_eq!(fact(&app, "production/launch", "live"), "blue");
    gyron("gyron-smoke", &ENV);
    gyron("gyron-swap", &ENV);
    let new = version(&app);
    assert_ne!(new, old);
    assert_eq!(ask(listener, &request), Ok(new.clone()));

    // The record of a swap that has been done is stale for another one.
    let begun = Instant::now();
    gyron("gyron-swap", &["back", "--env", "production"]);
    let back = begun.elapsed();
    assert_eq!(ask(listener, &request), Ok(old.clone()));
    let tally = load.end();
    #[expect(clippy::print_stdout, reason = "figures are printed, not asserted")]
    {
        println!("swap back took {back:?}; {} requests: {:?}", tally.sent, tally.answers);
    }
    assert_eq!(tally.failures.len(), 0, "{tally:?}");
    assert_eq!(tally.answers.keys().cloned().collect::<Vec<_>>(), sorted([old.clone(), new]), "both versions are seen");
    assert_eq!(tally.answers.values().sum::<u64>(), tally.sent);

    // The same load does see a failure: the instances with the traffic are killed before a flip.
    let load = Load::start(listener, &name, "/version", 200);
    kill_bodies(&cloud, &fact_of_current(&cloud));
    std::thread::sleep(std::time::Duration::from_secs(4));
    let tally = load.end();
    assert!(tally.failures.values().sum::<u64>() > 0, "a load that can't fail proves nothing: {tally:?}");

    assert_eq!(own.down(), Vec::<String>::new(), "a cloud that is down leaves nothing on the machine");
}

fn sorted(mut names: [String; 2]) -> Vec<String> {
    names.sort();
    names.to_vec()
}

/// The group that has the traffic, as the environment's own record says.
fn fact_of_current(cloud: &Cloud) -> String {
    let place = format!("s3://{BUCKET}/shop/envs/production/current.json");
    let current: Value = serde_json::from_str(&cloud.ask(&["exec", "--", "aws", "s3", "cp", &place, "-"])).unwrap();
    current["live"]["group"].as_str().unwrap_or_else(|| panic!("no group in {current}")).to_owned()
}

/// Kills the containers of a group's instances, as a host that dies would.
fn kill_bodies(cloud: &Cloud, group: &str) {
    let filter = format!("Name=tag:aws:autoscaling:groupName,Values={group}");
    let instances = cloud.select(
        &["ec2", "describe-instances", "--filters", &filter, "Name=instance-state-name,Values=running"],
        "Reservations[].Instances[].InstanceId",
    );
    assert!(!instances.is_empty(), "the group {group} has no instance");
    let listed = gyron_tests::cloud::podman().args(["ps", "--format", "{{.Names}}"]).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    for id in instances {
        let name = listed.lines().find(|name| name.contains(&id)).unwrap_or_else(|| panic!("{id} in\n{listed}"));
        let pid = gyron_tests::cloud::podman().args(["inspect", "--format", "{{.State.Pid}}", name]).output().unwrap();
        let pid = String::from_utf8_lossy(&pid.stdout).trim().to_owned();
        assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
    }
}
