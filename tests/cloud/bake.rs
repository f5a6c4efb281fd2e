//! Images, and bakes that come to nothing.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gyron_tests::App;
use gyron_tests::cloud::{Cloud, Inventory, difference};
use serde_json::Value;

/// What a bake that came to nothing must leave alone.
fn machines(cloud: &Cloud, app: &str) -> Vec<String> {
    let filter = format!("Name=tag:gyron:app,Values={app}");
    let states = "Name=instance-state-name,Values=pending,running,stopping,stopped,shutting-down";
    let instances = cloud
        .select(&["ec2", "describe-instances", "--filters", &filter, states], "Reservations[].Instances[].InstanceId");
    let images =
        cloud.select(&["ec2", "describe-images", "--owners", "self", "--filters", &filter], "Images[].ImageId");
    let snapshots = cloud
        .select(&["ec2", "describe-snapshots", "--owner-ids", "self", "--filters", &filter], "Snapshots[].SnapshotId");
    let objects = cloud.select(
        &["s3api", "list-objects-v2", "--bucket", &format!("{app}-releases"), "--prefix", &format!("{app}/runs/")],
        "Contents[].Key",
    );
    [instances, images, snapshots, objects].into_iter().flatten().collect()
}

fn packaged(cloud: &Cloud, name: &str) -> App {
    let app = App::small_named(name);
    cloud.prepare(&app);
    cloud.succeed(&app, "gyron-package", &[]);
    app
}

#[test]
fn a_base_image_that_is_not_there() {
    let cloud = Cloud::of_tests();
    let app = packaged(&cloud, "nobase");
    let set = "bake.base.ssm=/aws/service/debian/release/99/latest/amd64";
    insta::assert_snapshot!(app.show(&cloud.run(&app, "gyron-bake", &["--set", set])), @"
    exit 2
    --- stdout
    --- stderr
    error: the base image was not found: no SSM parameter /aws/service/debian/release/99/latest/amd64 in us-east-1
    hint: bake.base in gyron.toml names it: by `ssm`, `id`, or `name` and `owner`
    ");
    app.replace("gyron.toml", "{ ssm = \"/aws/service/debian/release/12/latest/amd64\" }", "{ id = \"ami-12345678\" }");
    insta::assert_snapshot!(app.show(&cloud.run(&app, "gyron-bake", &[])), @"
    exit 2
    --- stdout
    --- stderr
    error: the base image was not found: ami-ID in us-east-1
    hint: bake.base in gyron.toml names it: by `ssm`, `id`, or `name` and `owner`
    ");
}

#[test]
fn a_play_that_fails_shows_the_task_and_leaves_nothing() {
    let cloud = Cloud::of_tests();
    let app = packaged(&cloud, "badplay");
    app.replace(
        "ansible/site.yml",
        "src: \"{{ gyron_release_dir }}/app/\"",
        "src: \"{{ gyron_release_dir }}/nowhere/\"",
    );
    let output = cloud.run(&app, "gyron-bake", &[]);
    let shown = app.show(&output);
    assert_eq!(output.status.code(), Some(5), "{shown}");
    let error: String =
        shown.lines().skip_while(|line| !line.starts_with("error:")).fold(String::new(), |all, line| all + line + "\n");
    let error = regex_free(&error);
    insta::assert_snapshot!(error, @"
    error: the play failed at the task `Bring the pages`
      --> site.yml:5
      | Unexpected AnsibleActionFail error: Could not find or access '/var/lib/gyron.X/release/nowhere/' on the Ansible Controller.
      | If you are using a module and expect the file to exist on the remote, see the remote_src option
      already: no instance and no image of this bake are left
    hint: the whole log is in .gyron/logs/ansible.log
    ");
    assert_eq!(machines(&cloud, "badplay"), Vec::<String>::new());
    assert!(app.read(".gyron/logs/ansible.log").contains("Bring the pages"));
}

/// The builder's folder has a name of chance.
fn regex_free(text: &str) -> String {
    text.split("/var/lib/gyron.").enumerate().fold(String::new(), |all, (index, part)| match index {
        0 => part.to_owned(),
        _ => all + "/var/lib/gyron.X" + part.get(8..).unwrap_or_default(),
    })
}

#[test]
fn ctrl_c_in_the_middle_of_a_bake_leaves_nothing() {
    let cloud = Cloud::of_tests();
    let app = packaged(&cloud, "ctrlc");
    app.replace(
        "ansible/site.yml",
        "  tasks:\n",
        "  tasks:\n    - name: Take long\n      ansible.builtin.command: sleep 300\n",
    );
    let mut command = cloud.command(&app, "gyron-bake", &[]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while machines(&cloud, "ctrlc").iter().all(|id| !id.starts_with("i-")) {
        assert!(begun.elapsed() < Duration::from_secs(120), "no builder was started");
        std::thread::sleep(Duration::from_secs(1));
    }
    std::thread::sleep(Duration::from_secs(5));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let shown = app.show(&output);
    assert_eq!(output.status.code(), Some(130), "{shown}");
    assert!(shown.contains("error: stopped by SIGINT\n"), "{shown}");
    assert!(shown.contains("already: no instance and no image of this bake are left\n"), "{shown}");
    assert_eq!(machines(&cloud, "ctrlc"), Vec::<String>::new());
}

#[test]
fn a_builder_is_reached_by_nobody_and_its_image_is_clean() {
    let cloud = Cloud::of_tests();
    let app = packaged(&cloud, "clean");
    let image = cloud.succeed(&app, "gyron-bake", &[]);
    assert!(image.starts_with("ami-"), "{image}");

    let filter = "Name=tag:gyron:app,Values=clean";
    let described = cloud.aws(&["ec2", "describe-instances", "--filters", filter]);
    let builder = &described["Reservations"][0]["Instances"][0];
    assert_eq!(builder["KeyName"], Value::Null);
    assert_eq!(builder["MetadataOptions"]["HttpTokens"], "required");
    assert_eq!(builder["State"]["Name"], "terminated");

    // A boot of the image is what a look inside is worth: as root, on the instance, before anything else is changed.
    let found = look_inside(&cloud, &image);
    assert_eq!(found, "", "the image holds what it should not");
}

/// Mounts the image's file system and lists what must not be in it.
fn look_inside(cloud: &Cloud, image: &str) -> String {
    let mut podman = gyron_tests::cloud::podman();
    let names = podman.args(["images", "--noheading", "--format", "{{.Repository}}:{{.Tag}}"]).output().unwrap();
    let names = String::from_utf8_lossy(&names.stdout).into_owned();
    let _ = cloud;
    let name = names.lines().find(|name| name.contains(image)).unwrap_or_else(|| panic!("{image} in\n{names}"));
    let mounted = gyron_tests::cloud::podman().args(["image", "mount", name]).output().unwrap();
    let root = String::from_utf8_lossy(&mounted.stdout).trim().to_owned();
    assert!(!root.is_empty(), "{}", String::from_utf8_lossy(&mounted.stderr));
    let script = r#"cd "$1"
        find . -xdev \( -path ./usr/share/doc/cloud-init -o -path '*/cloudinit/config' \) -prune -o \( -iname '*ansible*' -o -iname '*serverspec*' -o -iname '*gyron*' -o -name 'ssh_host_*' \) -print
        find root home tmp var/tmp var/lib/amazon/ssm -mindepth 1 -name '.ansible*' -print 2>/dev/null
        find tmp var/tmp -mindepth 1 -print
        ls -d var/lib/amazon/ssm/i-* var/lib/cloud/instance root/.bash_history 2>/dev/null
        test ! -s etc/machine-id || echo "etc/machine-id is not empty"
        find var/lib/apt/lists var/cache/apt/archives -type f ! -name lock -print
        grep -rIl 'X-Amz-Signature' etc root srv var/lib var/log 2>/dev/null
        true"#;
    let found = Command::new("sh").args(["-c", script, "sh", &root]).output().unwrap();
    let _ = gyron_tests::cloud::podman().args(["image", "unmount", name]).output();
    String::from_utf8_lossy(&found.stdout).into_owned()
}

#[test]
fn a_plan_touches_nothing() {
    let cloud = Cloud::of_tests();
    let app = packaged(&cloud, "planned");
    let objects = |cloud: &Cloud| -> Inventory {
        let keys = cloud.select(&["s3api", "list-objects-v2", "--bucket", "planned-releases"], "Contents[].Key");
        [("objects", keys)].into()
    };
    let before = objects(&cloud);
    insta::assert_snapshot!(app.show(&cloud.run(&app, "gyron-bake", &["--plan"])), @"
    exit 0
    --- stdout
    would make the Ansible toolkit, once
    would start a builder (t3.small) from ami-ID, debian-12-amd64-20260101-1
    would run ansible/site.yml (sha256 DIGEST) with the release VERSION
    would clean up, stop the builder, make an image of it, terminate the builder
    --- stderr
    ");
    assert_eq!(difference(&before, &objects(&cloud)), Vec::<String>::new());
    assert_eq!(machines(&cloud, "planned"), Vec::<String>::new());
}
