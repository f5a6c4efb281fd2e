//! Images, and bakes that come to nothing.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gyron_tests::App;
use gyron_tests::cloud::{Cloud, Inventory, difference};
use serde_json::Value;

/// What a bake that came to nothing must leave alone.
pub(crate) fn machines(cloud: &Cloud, app: &str) -> Vec<String> {
    let runs = format!("{app}/runs/");
    let of_runs = |(kind, thing): &(String, String)| kind != "objects" || thing.starts_with(&runs);
    let stands = cloud.inventory_of(app).into_iter();
    let things = stands.flat_map(|(kind, things)| things.into_iter().map(move |thing| (kind.clone(), thing)));
    things.filter(of_runs).map(|(_, thing)| thing).collect()
}

pub(crate) fn until_a_builder_stands(cloud: &Cloud, app: &str) {
    let begun = Instant::now();
    while machines(cloud, app).iter().all(|id| !id.starts_with("i-")) {
        assert!(begun.elapsed() < Duration::from_secs(300), "no builder was started");
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Until the first of a play's log has come.
pub(crate) fn until_it_is_played(cloud: &Cloud, app: &str) {
    let begun = Instant::now();
    while !machines(cloud, app).iter().any(|thing| thing.contains("/log/")) {
        assert!(begun.elapsed() < Duration::from_secs(300), "nothing is played");
        std::thread::sleep(Duration::from_secs(1));
    }
}

pub(crate) fn packaged(cloud: &Cloud, name: &str) -> App {
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
    hint: to look inside the builder: gyron-bake --keep-on-failure, of the same commit
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
    until_a_builder_stands(&cloud, "ctrlc");
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
    app.replace("ansible/site.yml", "  tasks:\n", &format!("  tasks:\n{TRACES}"));
    // What stands in an ansible.cfg on a laptop is no hindrance, and the app's own callback prints what it prints there.
    app.write(
        "ansible/ansible.cfg",
        "[defaults]\nask_vault_pass = true\ncallback_plugins = own ; ours\nstdout_callback = loud\n",
    );
    app.write("ansible/own/loud.py", LOUD);
    let image = cloud.succeed(&app, "gyron-bake", &[]);
    assert!(app.read(".gyron/logs/ansible.log").contains("LOUD Leave traces"));
    assert!(image.starts_with("ami-"), "{image}");

    let filter = "Name=tag:gyron:app,Values=clean";
    let described = cloud.aws(&["ec2", "describe-instances", "--filters", filter]);
    let builder = &described["Reservations"][0]["Instances"][0];
    assert_eq!(builder["KeyName"], Value::Null);
    assert_eq!(builder["MetadataOptions"]["HttpTokens"], "required");
    assert_eq!(builder["State"]["Name"], "terminated");

    // A boot of the image is what a look inside is worth: as root, on the instance, before anything else is changed.
    let found = look_inside(&image);
    assert_eq!(found, "", "the image holds what it should not");
}

/// A callback of an app's own.
const LOUD: &str = "DOCUMENTATION = 'name: loud\\ntype: stdout\\nshort_description: loud\\nextends_documentation_fragment: [default_callback]'
from ansible.plugins.callback.default import CallbackModule as Default


class CallbackModule(Default):
    CALLBACK_NAME = 'loud'

    def v2_playbook_on_task_start(self, task, is_conditional):
        self._display.display('LOUD ' + task.get_name())
";

/// What plays, and people who look at a builder, leave behind.
const TRACES: &str = "    - name: Go on beside the play, as somebody else
      ansible.builtin.command: 'true'
      async: 30
      poll: 1
      become: true
      become_user: nobody
    - name: Leave traces
      ansible.builtin.shell: |
        useradd --create-home somebody
        for home in /root /home/somebody; do
          mkdir -p $home/.cache/pip/http $home/.cache/kept $home/.npm/_cacache $home/.ansible/tmp
          touch $home/.cache/pip/http/a $home/.cache/kept/a $home/.bash_history $home/.python_history
        done
        mkdir -p /var/log/app /var/crash /var/lib/systemd/timers
        echo secret | tee /var/log/app/a.log /var/log/app/a.log.1 /var/log/app/a.log.2.gz /var/crash/a > /tmp/a
        touch /var/lib/systemd/timers/stamp-a.timer /var/tmp/a /var/cache/debconf/a-old
        mkdir -p /home/somebody/.ssh /home/somebody/.ansible/collections
        touch /home/somebody/.ssh/authorized_keys /home/somebody/.ansible/collections/a
        logger said by the play
        logger -p cron.info said by cron
        for look in $(seq 100); do [ -s /var/log/cron.log ] && exit 0; sleep 0.1; done
        echo 'syslog has not written what cron said' >&2
        exit 1
";

/// What a shell script prints of an image's file system; `$1` is its root.
pub(crate) fn inside(image: &str, script: &str) -> String {
    let mut podman = gyron_tests::cloud::podman();
    let names = podman.args(["images", "--noheading", "--format", "{{.Repository}}:{{.Tag}}"]).output().unwrap();
    let names = String::from_utf8_lossy(&names.stdout).into_owned();
    let name = names.lines().find(|name| name.contains(image)).unwrap_or_else(|| panic!("{image} in\n{names}"));
    let mounted = gyron_tests::cloud::podman().args(["image", "mount", name]).output().unwrap();
    let root = String::from_utf8_lossy(&mounted.stdout).trim().to_owned();
    assert!(!root.is_empty(), "{}", String::from_utf8_lossy(&mounted.stderr));
    let found = Command::new("sh").args(["-c", script, "sh", &root]).output().unwrap();
    let _ = gyron_tests::cloud::podman().args(["image", "unmount", name]).output();
    String::from_utf8_lossy(&found.stdout).into_owned()
}

/// Lists what must not be in an image.
fn look_inside(image: &str) -> String {
    let script = r#"cd "$1"
        find . -xdev \( -path ./usr/share/doc/cloud-init -o -path '*/cloudinit/config' -o -path ./home/somebody/.ansible \) -prune -o \( -iname '*ansible*' -o -iname '*serverspec*' -o -iname '*gyron*' -o -name 'ssh_host_*' \) -print
        find root home tmp var/tmp var/lib/amazon/ssm -mindepth 1 -name '.ansible*' ! -path home/somebody/.ansible -print 2>/dev/null
        for kept in .ssh/authorized_keys .ansible/collections/a; do
          test -e home/somebody/$kept || echo "somebody's $kept is gone"
        done
        find tmp var/tmp -mindepth 1 -print
        ls -d var/lib/amazon/ssm/i-* var/lib/cloud/instance root/.bash_history 2>/dev/null
        test ! -s etc/machine-id || echo "etc/machine-id is not empty"
        grep -l '127.0.1.1' etc/hosts
        find var/lib/apt/lists var/cache/apt/archives -type f ! -name lock -print
        grep -rIl 'X-Amz-Signature' etc root srv var/lib var/log 2>/dev/null
        find var/log var/crash var/lib/systemd/coredump -type f -size +0 -print 2>/dev/null
        find var/log -type f \( -name '*.gz' -o -name '*.[0-9]' \) -print
        find var/lib/systemd/timers var/lib/cloud -type f -print 2>/dev/null
        find var/cache/debconf var/lib/dpkg -maxdepth 1 -name '*-old' -print
        find var/cache/apt -type f ! -name lock -print
        find root home -name '.*_history' -print -o -path '*/.cache/pip' -print -o -name _cacache -print
        grep -l 'ip-172-31' etc/hosts etc/hostname
        test -f var/log/mail.log || echo "whether syslog has written something is to be seen"
        test -e var/log/app/a.log || echo "a log that the play made is gone"
        test -e root/.cache/kept/a || echo "the cache of a program is gone"
        true"#;
    inside(image, script)
}

#[test]
fn a_plan_touches_nothing() {
    let cloud = Cloud::of_tests();
    let app = packaged(&cloud, "planned");
    let objects = |cloud: &Cloud| -> Inventory {
        let keys = cloud.select(&["s3api", "list-objects-v2", "--bucket", "planned-releases"], "Contents[].Key");
        [("objects".to_owned(), keys)].into()
    };
    let before = objects(&cloud);
    insta::assert_snapshot!(app.show(&cloud.run(&app, "gyron-bake", &["--plan"])), @"
    exit 0
    --- stdout
    would make the Ansible toolkit, once
    would start a builder (t3.small) from ami-ID, debian-12-amd64-20260101-1
    would run ansible/site.yml (sha256 DIGEST) with the release VERSION
    would clean up, stop the builder, make an image of it, terminate the builder
    would make it of architecture = x86_64
    would make it of base = ami-ID
    would make it of playbook = site.yml
    would make it of playbook site.yml = DIGEST
    would make it of recipe = DIGEST
    would make it of release = DIGEST
    would make it of release's file = planned.tar.zst
    would make it of toolkit = DIGEST
    would make it of variable gyron_app = DIGEST
    would make it of variable gyron_version = DIGEST
    would make it of volume = as the base has it, encrypted
    would bake for the first time: no image of it is known
    --- stderr
    ");
    assert_eq!(difference(&before, &objects(&cloud)), Vec::<String>::new());
    assert_eq!(machines(&cloud, "planned"), Vec::<String>::new());
}

#[test]
fn an_image_is_reused_until_something_that_decides_it_changes() {
    let cloud = Cloud::of_tests();
    let app = packaged(&cloud, "reused");
    let first = cloud.succeed(&app, "gyron-bake", &[]);
    let output = cloud.run(&app, "gyron-bake", &[]);
    insta::assert_snapshot!(ago(&app.show(&output)), @"
    exit 0
    --- stdout
    ami-ID
    --- stderr
    bake reused VERSION on ami-ID (debian-12-amd64-20260101-1)
      hint: `gyron-bake update` pins the base image, so that a newer one comes by a commit
      the image is there: ami-ID, baked AGE ago: nothing that decides it has changed
    ");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), first);

    // The same again from a checkout that has nothing but the release's record.
    let elsewhere = App::empty();
    for name in ["gyron.toml", "ansible/site.yml", ".gyron/package.json"] {
        elsewhere.write(name, &app.read(name));
    }
    elsewhere.commit();
    assert_eq!(cloud.succeed(&elsewhere, "gyron-bake", &[]), first);

    // A change is named, file by file, before anything is baked.
    app.replace("ansible/site.yml", "Say which version they are", "Say which version these are");
    app.write("ansible/files/more", "more\n");
    let plan = cloud.succeed(&app, "gyron-bake", &["--plan"]);
    let changes: Vec<&str> = plan.lines().filter(|line| line.contains("bring in")).collect();
    insta::assert_snapshot!(gyron_tests::plain(&changes.join("\n")), @"
    would bring in, since ami-ID of VERSION: + playbook files/more
    would bring in, since ami-ID of VERSION: ~ playbook site.yml
    ");
    app.replace("ansible/site.yml", "Say which version these are", "Say which version they are");
    std::fs::remove_file(app.path().join("ansible/files/more")).unwrap();

    // Too old is as good as gone, and what is asked for anew is baked anew.
    let plan = cloud.succeed(&app, "gyron-bake", &["--plan", "--set", "bake.max-age=1s"]);
    assert!(plan.contains("it is older than max-age (1s), or gone"), "{plan}");
    let anew = cloud.succeed(&app, "gyron-bake", &["--fresh"]);
    assert_ne!(anew, first);
    assert_eq!(cloud.succeed(&app, "gyron-bake", &[]), anew, "the youngest is taken");

    // Old images go, but for what is in use.
    let one = ["--set", "bake.keep=1"];
    let prune = |more: &[&str]| cloud.run(&app, "gyron-bake", &[&["prune"][..], &one, more].concat());
    let _ = cloud.aws(&["ec2", "run-instances", "--image-id", &first, "--instance-type", "t3.small"]);
    let shown = app.show(&prune(&[]));
    assert!(shown.contains("would change nothing") && shown.contains("): used by i-ID"), "{shown}");
    let filter = format!("Name=image-id,Values={first}");
    let started =
        cloud.select(&["ec2", "describe-instances", "--filters", &filter], "Reservations[].Instances[].InstanceId");
    let _ = cloud.aws(&["ec2", "terminate-instances", "--instance-ids", started.first().unwrap()]);
    let terminated = "Name=instance-state-name,Values=terminated";
    let begun = Instant::now();
    while cloud
        .select(
            &["ec2", "describe-instances", "--filters", &filter, terminated],
            "Reservations[].Instances[].InstanceId",
        )
        .is_empty()
    {
        assert!(begun.elapsed() < Duration::from_secs(60), "the instance does not end");
        std::thread::sleep(Duration::from_millis(500));
    }
    insta::assert_snapshot!(gyron_tests::plain(&cloud.succeed(&app, "gyron-bake", &["prune", "--set", "bake.keep=1"])).replace(char::is_numeric, "N"), @"
    would keep ami-ID (image, NNNN-NN-NNTNN:NN:NN.NNNZ): the newest of image
    would deregister ami-ID (image, NNNN-NN-NNTNN:NN:NN.NNNZ), with snapshots: older than the newest of image, and nothing refers to it
    ");
    let output = prune(&["--yes"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), first, "{}", app.show(&output));
    let left = machines(&cloud, "reused");
    assert_eq!(left.len(), 2, "the youngest image and its snapshot: {left:?}");
    assert!(left.contains(&anew), "{left:?}");
}

#[test]
fn a_bake_that_was_killed_is_cleared_away_by_the_next_one() {
    let cloud = Cloud::of_tests();
    let app = packaged(&cloud, "killed");
    app.replace(
        "ansible/site.yml",
        "  tasks:\n",
        "  tasks:\n    - name: Take long\n      ansible.builtin.command: sleep 20\n",
    );
    let mut child = cloud
        .command(&app, "gyron-bake", &[])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until_a_builder_stands(&cloud, "killed");
    // exec replaces itself by the program: the child is gyron-bake.
    child.kill().unwrap();
    child.wait().unwrap();
    // Its script goes on for a while, and writes its log.
    let standing =
        || -> Vec<String> { machines(&cloud, "killed").into_iter().filter(|thing| !thing.contains('/')).collect() };
    let left = standing();
    assert!(left.iter().any(|id| id.starts_with("i-")), "{left:?}");

    // From another machine nobody can know yet that it is dead: its lease runs on.
    let elsewhere = |args: &[&str]| cloud.command_elsewhere(&app, "gyron-bake", args).output().unwrap();
    let output = elsewhere(&["sweep", "--yes"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("somebody works with it"), "{}", app.show(&output));
    assert_eq!(standing(), left);
    // Here it can be seen.
    let output = cloud.run(&app, "gyron-bake", &["sweep"]);
    assert!(app.show(&output).contains("would terminate i-ID"), "{}", app.show(&output));

    let output = elsewhere(&[]);
    let shown = app.show(&output);
    assert!(output.status.success(), "{shown}");
    assert!(
        shown.contains("waiting for another bake of the same") && shown.contains("is left of a bake that was killed"),
        "{shown}"
    );
    let stands = machines(&cloud, "killed");
    assert_eq!(stands.iter().filter(|id| id.starts_with("ami-")).count(), 1, "{stands:?}");
    assert_eq!(stands.len(), 2, "an image and its snapshot, nothing else: {stands:?}");
}

#[test]
fn a_sweep_shows_what_is_left_and_takes_it_away_when_told() {
    let cloud = Cloud::of_tests();
    let app = packaged(&cloud, "swept");
    let image =
        cloud.select(&["ec2", "describe-images", "--owners", "self"], "Images[?Name=='gyron-debian-12-ssm'].ImageId");
    let tags = "ResourceType=instance,Tags=[{Key=gyron:app,Value=swept},{Key=gyron:step,Value=spec},{Key=gyron:run,Value=r1},\
                {Key=gyron:expires,Value=2020-01-01T00:00:00Z}]";
    let image = image.first().unwrap();
    let _ = cloud.aws(&[
        "ec2",
        "run-instances",
        "--image-id",
        image,
        "--instance-type",
        "t3.small",
        "--tag-specifications",
        tags,
    ]);
    insta::assert_snapshot!(gyron_tests::plain(&cloud.succeed(&app, "gyron-bake", &["sweep"])).replace(char::is_numeric, "N"), @"would terminate i-ID (tN.small, spec, run rN, Ns old): costs by the hour");
    let gone = cloud.succeed(&app, "gyron-bake", &["sweep", "--yes"]);
    assert!(gone.starts_with("i-"), "{gone}");
    assert_eq!(machines(&cloud, "swept"), Vec::<String>::new());
    assert_eq!(cloud.succeed(&app, "gyron-bake", &["sweep"]), "would change nothing: nothing is left");
}

/// An image's age differs from run to run.
fn ago(text: &str) -> String {
    regex::Regex::new(r"baked .* ago").unwrap().replace_all(text, "baked AGE ago").into_owned()
}

#[test]
fn an_app_only_change_bakes_only_the_layer_that_has_the_release() {
    let cloud = Cloud::of_tests();
    let app = App::small_named("layered");
    app.replace(
        "gyron.toml",
        "playbook         = \"ansible/site.yml\"",
        "layers = [{ name = \"below\", playbook = \"ansible/below.yml\", files = [] }, { name = \"app\", playbook = \"ansible/site.yml\", files = [\"files/**\"], release = true }]",
    );
    app.write(
        "ansible/below.yml",
        "- hosts: all\n  gather_facts: false\n  tasks: [{ansible.builtin.copy: {content: below, dest: /srv/below}}]\n",
    );
    app.write("ansible/files/of-the-app", "one\n");
    app.commit();
    cloud.prepare(&app);
    cloud.succeed(&app, "gyron-package", &[]);
    let first = cloud.succeed(&app, "gyron-bake", &[]);
    let layers = |app: &App| -> Vec<String> {
        let record: Value = serde_json::from_str(&app.read(".gyron/bake.json")).unwrap();
        let layers = record["so"]["facts"]["layers"].as_array().unwrap();
        layers.iter().map(|layer| layer["image"].as_str().unwrap().to_owned()).collect()
    };
    let before = layers(&app);
    assert_eq!(before[1], first);
    assert_eq!(
        inside(&first, "cd \"$1\" && ls -d srv/below srv/small/index.html"),
        "srv/below\nsrv/small/index.html\n"
    );

    // Both stand in one folder, and each counts its own files.
    app.write("app/index.html", "other\n");
    app.write("ansible/files/of-the-app", "other\n");
    app.commit();
    cloud.succeed(&app, "gyron-package", &[]);
    let output = cloud.run(&app, "gyron-bake", &[]);
    let shown = app.show(&output);
    assert!(
        shown.contains("layer below is there: ami-ID") && shown.matches("builder i-ID is up").count() == 1,
        "{shown}"
    );
    let after = layers(&app);
    assert_eq!(after[0], before[0]);
    assert_ne!(after[1], before[1]);

    // Whoever forgets the release is told.
    insta::assert_snapshot!(app.show(&cloud.run(&app, "gyron-bake", &["--set", "bake.layers=[{ name = \"a\", playbook = \"ansible/below.yml\" }]"])), @"
    exit 2
    --- stdout
    --- stderr
    error: gyron.toml line 8: [bake] is wrong
     --> gyron.toml:8:1
      |
    8 | [bake]
      | ^^^^^^ the last of `layers` has `release = true`: an image without its release is no app's
    ");
}
