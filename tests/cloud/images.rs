//! Where an image goes, what is in it, and when it goes away.

use std::process::Stdio;
use std::time::{Duration, Instant};

use gyron_tests::App;
use gyron_tests::cloud::Cloud;
use serde_json::Value;

/// Another region than that of the tests' apps.
const ELSEWHERE: &str = "eu-west-1";

/// A customer key with an alias; gone at the end of the test.
struct Key<'a> {
    cloud: &'a Cloud,
    region: &'static str,
    alias: String,
    id: String,
}

impl<'a> Key<'a> {
    fn make(cloud: &'a Cloud, region: &'static str, alias: &str) -> Self {
        let made = cloud.aws(&["kms", "create-key", "--region", region]);
        let id = made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
        let alias = format!("alias/{alias}");
        let named = ["--alias-name", &alias, "--target-key-id", &id, "--region", region];
        let _ = cloud.aws(&[&["kms", "create-alias"][..], &named].concat());
        Key { cloud, region, alias, id }
    }

    fn arn(&self) -> String {
        let described = self.cloud.aws(&["kms", "describe-key", "--key-id", &self.id, "--region", self.region]);
        described["KeyMetadata"]["Arn"].as_str().unwrap().to_owned()
    }
}

impl Drop for Key<'_> {
    fn drop(&mut self) {
        let region = ["--region", self.region];
        let delete = ["kms", "delete-alias", "--alias-name", &self.alias];
        let schedule = ["kms", "schedule-key-deletion", "--key-id", &self.id, "--pending-window-in-days", "7"];
        for command in [&delete[..], &schedule] {
            let aws = [&["exec", "--", "aws"], command, &region].concat();
            let _ = self.cloud.rehearse(&aws).output();
        }
    }
}

fn image_of(cloud: &Cloud, region: &str, image: &str) -> Value {
    cloud.aws(&["ec2", "describe-images", "--image-ids", image, "--region", region])["Images"][0].clone()
}

fn snapshot_of(cloud: &Cloud, region: &str, image: &Value) -> Value {
    let id = image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"].as_str().unwrap();
    cloud.aws(&["ec2", "describe-snapshots", "--snapshot-ids", id, "--region", region])["Snapshots"][0].clone()
}

/// Images and snapshots of the app's in a region.
fn standing(cloud: &Cloud, region: &str, app: &str) -> usize {
    let filter = format!("Name=tag:gyron:app,Values={app}");
    let own = ["--filters", &filter, "--region", region];
    let images = cloud.select(&[&["ec2", "describe-images"][..], &own].concat(), "Images[].ImageId");
    let snapshots = cloud.select(&[&["ec2", "describe-snapshots"][..], &own].concat(), "Snapshots[].SnapshotId");
    images.len() + snapshots.len()
}

fn tag<'a>(of: &'a Value, key: &str) -> &'a str {
    let tags = of["Tags"].as_array().unwrap();
    tags.iter().find(|tag| tag["Key"] == key).and_then(|tag| tag["Value"].as_str()).unwrap_or_default()
}

#[test]
fn an_image_is_encrypted_copied_shared_and_deprecated_as_configured() {
    let cloud = Cloud::of_tests();
    let app = App::small_named("distributed");
    app.replace(
        "gyron.toml",
        "[bake]\n",
        "[bake]\nvolume = { size = 12, type = \"gp3\", iops = 4000 }\nkms-key = \"alias/distributed\"\n\
         copies = [{ region = \"eu-west-1\", kms-key = \"alias/distributed-there\" }]\n\
         share = { accounts = [\"111122223333\"], organisations = [\"arn:aws:organizations::111122223333:organization/o-a1b2c3d4e5\"] }\n\
         deprecate-after = \"90d\"\n",
    );
    app.commit();
    cloud.prepare(&app);
    cloud.succeed(&app, "gyron-package", &[]);
    let here = Key::make(&cloud, "us-east-1", "distributed");

    // There is no such key there yet: AWS sees that while it copies, and the bake takes back what it has begun.
    let output = cloud.run(&app, "gyron-bake", &[]);
    let shown = app.show(&output);
    assert_eq!(output.status.code(), Some(4), "{shown}");
    let error = shown.lines().skip_while(|line| !line.starts_with("error:")).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(error, @"
    error: the copy ami-ID in eu-west-1 failed: Given key ID is not accessible
      already: the image ami-ID is there
      already: no copy of this bake is left
    ");
    assert_eq!(standing(&cloud, ELSEWHERE, "distributed"), 0);
    assert_eq!(standing(&cloud, "us-east-1", "distributed"), 2, "the image and its snapshot");

    // What is missing is done by the next run, on the image that is there.
    let there = Key::make(&cloud, ELSEWHERE, "distributed-there");
    let output = cloud.run(&app, "gyron-bake", &["--plan"]);
    let plan = String::from_utf8_lossy(&output.stdout);
    assert!(plan.contains("would copy it to eu-west-1"), "{plan}");
    // A bake that is killed while the copy is on its way has it found by the next one.
    let mut child = cloud.command(&app, "gyron-bake", &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until(|| standing(&cloud, ELSEWHERE, "distributed") > 0);
    child.kill().unwrap();
    child.wait().unwrap();
    let output = cloud.run(&app, "gyron-bake", &[]);
    let shown = app.show(&output);
    assert!(output.status.success() && shown.contains("the image is there: ami-ID"), "{shown}");
    let image = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let record: Value = serde_json::from_str(&app.read(".gyron/bake.json")).unwrap();
    let copy = record["so"]["facts"]["copies"][ELSEWHERE].as_str().unwrap().to_owned();

    for (region, id, key) in [("us-east-1", &image, &here), (ELSEWHERE, &copy, &there)] {
        let described = image_of(&cloud, region, id);
        let root = &described["BlockDeviceMappings"][0];
        assert_eq!(root["DeviceName"], "/dev/xvda");
        let layout = ["VolumeSize", "VolumeType", "Iops", "Encrypted"].map(|name| root["Ebs"][name].to_string());
        assert_eq!(layout, ["12", "\"gp3\"", "4000", "true"]);
        assert_eq!(described["State"], "available");
        assert_eq!(described["ImdsSupport"], "v2.0");
        assert!(described["DeprecationTime"].is_string(), "{described}");
        let snapshot = snapshot_of(&cloud, region, &described);
        assert_eq!(snapshot["KmsKeyId"], key.arn());
        for of in [&described, &snapshot] {
            assert_eq!([tag(of, "gyron:app"), tag(of, "gyron:layer")], ["distributed", "image"]);
        }
        let asked = ["ec2", "describe-image-attribute", "--attribute", "launchPermission", "--image-id", id];
        let permissions = cloud.aws(&[&asked[..], &["--region", region]].concat())["LaunchPermissions"].clone();
        assert_eq!(permissions.as_array().unwrap().len(), 2, "{permissions}");
    }
    assert_eq!(tag(&image_of(&cloud, ELSEWHERE, &copy), "gyron:source"), image);

    // All of it stands: nothing is asked for again.
    let begun = Instant::now();
    let output = cloud.run(&app, "gyron-bake", &[]);
    let shown = app.show(&output);
    assert!(shown.contains("copies are there: ami-ID in eu-west-1"), "{shown}");
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    assert_eq!(standing(&cloud, ELSEWHERE, "distributed"), 2, "one copy and its snapshot");
}

#[test]
fn sharing_without_a_customer_key_is_refused_before_anything_is_touched() {
    let app = App::small_named("unshared");
    let set = "bake.share.accounts=[\"111122223333\"]";
    let cloud = Cloud::of_tests();
    insta::assert_snapshot!(app.show(&cloud.run(&app, "gyron-bake", &["--set", set])), @"
    exit 2
    --- stdout
    --- stderr
    error: gyron.toml line 8: [bake] is wrong
     --> gyron.toml:8:1
      |
    8 | [bake]
      | ^^^^^^ sharing an encrypted image needs a customer key in each region, since nobody else can use the one that AWS manages: [bake] has no `kms-key` of its own
    ");
}

/// A play that installs a package of that version, made where it runs.
fn installing(version: &str) -> String {
    format!(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - name: Install a package\n      ansible.builtin.shell: |\n        \
         set -e; cd \"$(mktemp -d)\"; mkdir -p proof/DEBIAN\n        \
         printf 'Package: proof\\nVersion: {version}\\nArchitecture: all\\nMaintainer: a\\nDescription: a\\n' > proof/DEBIAN/control\n        \
         dpkg-deb --build proof; dpkg -i proof.deb\n"
    )
}

#[test]
fn a_diff_shows_what_an_update_did_to_an_images_packages() {
    let cloud = Cloud::of_tests();
    let app = App::small_named("diffed");
    app.write("ansible/site.yml", &installing("1.0"));
    app.commit();
    cloud.prepare(&app);
    cloud.succeed(&app, "gyron-package", &[]);
    let first = cloud.succeed(&app, "gyron-bake", &[]);
    assert!(app.read(".gyron/packages.txt").contains("proof\t1.0\n"));
    let record: Value = serde_json::from_str(&app.read(".gyron/bake.json")).unwrap();
    let version = record["so"]["version"]["name"].as_str().unwrap().to_owned();
    insta::assert_snapshot!(app.show(&cloud.run(&app, "gyron-bake", &["diff"])), @"
    exit 2
    --- stdout
    --- stderr
    error: diffed has no two images in us-east-1: there is nothing to compare
    hint: gyron-bake diff IMAGE IMAGE, each by id or version
    ");

    app.write("ansible/site.yml", &installing("2.0"));
    app.commit();
    cloud.succeed(&app, "gyron-package", &[]);
    let second = cloud.succeed(&app, "gyron-bake", &[]);
    insta::assert_snapshot!(app.show(&cloud.run(&app, "gyron-bake", &["diff"])), @"
    exit 0
    --- stdout
    ~ proof 1.0 -> 2.0
    --- stderr
    packages from ami-ID (VERSION) to ami-ID (VERSION)
    ");
    // By ids or versions, forth and back; nothing differs from itself.
    assert_eq!(cloud.succeed(&app, "gyron-bake", &["diff", &second, &version]), "~ proof 2.0 -> 1.0");
    assert_eq!(cloud.succeed(&app, "gyron-bake", &["diff", &second]), "");
    let json: Value = serde_json::from_str(&cloud.succeed(&app, "gyron-bake", &["diff", &first, "--json"])).unwrap();
    assert_eq!(json["changes"], serde_json::json!([{ "package": "proof", "from": "1.0", "to": "2.0" }]));
    assert_eq!([&json["from"], &json["to"]], [&first, &second]);

    // What is none of gyron's is told apart from what is not there.
    let base = cloud.select(&["ec2", "describe-images"], "Images[?Name=='debian-12-amd64-20260101-1'].ImageId");
    let of_base = cloud.run(&app, "gyron-bake", &["diff", base.first().unwrap()]);
    insta::assert_snapshot!(app.show(&of_base), @"
    exit 2
    --- stdout
    --- stderr
    error: ami-ID was not baked by gyron: it has no tag gyron:fingerprint
    hint: only of images that gyron-bake made it is known which packages they hold
    ");
    insta::assert_snapshot!(app.show(&cloud.run(&app, "gyron-bake", &["diff", "9.9.9"])), @"
    exit 2
    --- stdout
    --- stderr
    error: there is no image of the version 9.9.9 of diffed in us-east-1
    hint: name an image by its id, or a version that has been baked
    ");
    insta::assert_snapshot!(app.show(&cloud.run(&app, "gyron-bake", &["sweep", "9.9.9"])), @"
    exit 2
    --- stdout
    --- stderr
    error: nothing can be made of `9.9.9` here
    hint: gyron-bake --help
    ");
}

/// Images as bakes leave them, made of one instance without any bake.
struct Images<'a> {
    cloud: &'a Cloud,
    app: &'a str,
    instance: String,
    made: usize,
}

impl<'a> Images<'a> {
    fn of(cloud: &'a Cloud, app: &'a str) -> Self {
        let base = cloud
            .select(&["ec2", "describe-images", "--owners", "self"], "Images[?Name=='gyron-debian-12-ssm'].ImageId");
        let base = base.first().unwrap();
        let run = cloud.aws(&["ec2", "run-instances", "--image-id", base, "--instance-type", "t3.small"]);
        let instance = run["Instances"][0]["InstanceId"].as_str().unwrap().to_owned();
        let state = ["ec2", "describe-instances", "--instance-ids", &instance];
        until(|| cloud.aws(&state)["Reservations"][0]["Instances"][0]["State"]["Name"] == "running");
        Images { cloud, app, instance, made: 0 }
    }

    fn make(&mut self, layer: &str, base: Option<&str>) -> String {
        self.made += 1;
        let (app, number) = (self.app, self.made);
        let base = base.map(|base| format!(",{{Key=gyron:base,Value={base}}}")).unwrap_or_default();
        let tags = format!(
            "Tags=[{{Key=gyron:app,Value={app}}},{{Key=gyron:step,Value=bake}},{{Key=gyron:layer,Value={layer}}},\
             {{Key=gyron:fingerprint,Value=f{number}}},{{Key=gyron:run,Value=r{number}}}{base}]"
        );
        let of = |kind: &str| format!("ResourceType={kind},{tags}");
        let name = format!("{app}-{number}");
        let create = ["ec2", "create-image", "--no-reboot", "--instance-id", &self.instance, "--name", &name];
        let tagged = ["--tag-specifications", &of("image"), &of("snapshot")];
        let made = self.cloud.aws(&[&create[..], &tagged].concat());
        let image = made["ImageId"].as_str().unwrap().to_owned();
        until(|| image_of(self.cloud, "us-east-1", &image)["State"] == "available");
        image
    }
}

impl Drop for Images<'_> {
    fn drop(&mut self) {
        let _ = self.cloud.aws(&["ec2", "terminate-instances", "--instance-ids", &self.instance]);
    }
}

fn until(mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(120), "it never came");
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Puts a JSON object into the app's bucket.
fn put(cloud: &Cloud, app: &App, bucket: &str, key: &str, value: &Value) {
    app.write("object.json", &value.to_string());
    let body = app.path().join("object.json").display().to_string();
    let _ = cloud.aws(&["s3api", "put-object", "--bucket", bucket, "--key", key, "--body", &body]);
}

#[test]
fn a_prune_shows_each_image_with_its_reason_and_takes_copies_along() {
    let cloud = Cloud::of_tests();
    let app = App::small_named("pruned");
    cloud.prepare(&app);
    let mut images = Images::of(&cloud, "pruned");
    let below = images.make("below", None);
    let in_template = images.make("app", Some(&below));
    let in_configuration = images.make("app", None);
    let in_production = images.make("app", None);
    let old = images.make("app", None);
    let baking = images.make("app", None);
    let newest = images.make("app", None);

    let template = format!("{{\"ImageId\":\"{in_template}\",\"InstanceType\":\"t3.small\"}}");
    let named = ["--launch-template-name", "pruned", "--launch-template-data", &template];
    let _ = cloud.aws(&[&["ec2", "create-launch-template"][..], &named].concat());
    let group = "LaunchTemplateName=pruned,Version=1";
    let sizes = ["--min-size", "0", "--max-size", "1", "--availability-zones", "us-east-1a"];
    let create = ["autoscaling", "create-auto-scaling-group", "--auto-scaling-group-name", "pruned"];
    let _ = cloud.aws(&[&create[..], &sizes, &["--launch-template", group]].concat());
    let create = ["autoscaling", "create-launch-configuration", "--launch-configuration-name", "pruned"];
    let _ = cloud.aws(&[&create[..], &["--image-id", &in_configuration, "--instance-type", "t3.small"]].concat());

    // What production runs is known by its records alone: a group of it may have gone to sleep.
    let bucket = "pruned-releases";
    let link = |after: Value, facts: Value| serde_json::json!({ "so": { "after": after, "facts": facts } });
    let smoke = "5".repeat(64);
    let launch = "4".repeat(64);
    put(
        &cloud,
        &app,
        bucket,
        &format!("pruned/records/{smoke}.json"),
        &link(Value::from(launch.as_str()), serde_json::json!({ "passed": true })),
    );
    put(
        &cloud,
        &app,
        bucket,
        &format!("pruned/records/{launch}.json"),
        &link(Value::Null, serde_json::json!({ "image": in_production })),
    );
    let live = serde_json::json!({ "colour": "blue", "version": "1.2.3", "group": "g", "record": smoke });
    let current = serde_json::json!({ "live": live, "previous": null, "at": "2026-01-01T00:00:00Z", "run": "r" });
    put(&cloud, &app, bucket, "pruned/envs/production/current.json", &current);
    let holder =
        serde_json::json!({ "run": "other", "host": "h", "doing": "it", "token": 1, "until": "2099-01-01T00:00:00Z" });
    put(&cloud, &app, bucket, "pruned/leases/bake-f6.json", &holder);

    let tags =
        format!("Tags=[{{Key=gyron:app,Value=pruned}},{{Key=gyron:step,Value=bake}},{{Key=gyron:source,Value={old}}}]");
    let tagged = [format!("ResourceType=image,{tags}"), format!("ResourceType=snapshot,{tags}")];
    let from = ["--source-region", "us-east-1", "--source-image-id", &old, "--name", "pruned", "--region", ELSEWHERE];
    let copied =
        cloud.aws(&[&["ec2", "copy-image"][..], &from, &["--tag-specifications", &tagged[0], &tagged[1]]].concat());
    let copy = copied["ImageId"].as_str().unwrap().to_owned();
    put(&cloud, &app, bucket, &format!("pruned/copies/{old}.json"), &serde_json::json!({ ELSEWHERE: 1 }));
    put(&cloud, &app, bucket, "pruned/packages/f5/r5.txt", &Value::Null);
    put(&cloud, &app, bucket, "pruned/packages/f9/r9.txt", &Value::Null);
    until(|| image_of(&cloud, ELSEWHERE, &copy)["State"] == "available");

    let prune = |more: &[&str]| cloud.run(&app, "gyron-bake", &[&["prune", "--set", "bake.keep=1"][..], more].concat());
    let dates = regex::Regex::new(r"\d{4}-\d\d-\d\dT[0-9:.]+Z").unwrap();
    insta::assert_snapshot!(dates.replace_all(&app.show(&prune(&[])), "DATE"), @"
    exit 0
    --- stdout
    would keep ami-ID (app, DATE): the newest of app
    would keep ami-ID (app, DATE): somebody bakes the same at this moment
    would deregister ami-ID (app, DATE), its copy ami-ID in eu-west-1, with snapshots: older than the newest of app, and nothing refers to it
    would keep ami-ID (app, DATE): production runs it (1.2.3)
    would keep ami-ID (app, DATE): used by the launch configuration pruned
    would keep ami-ID (app, DATE): used by the group pruned, by its launch template pruned
    would keep ami-ID (below, DATE): the newest of below
    would forget the packages of images that are gone (1)
    --- stderr
    nothing was touched: gyron-bake prune --yes takes away what goes
    ");
    let gone = prune(&["--yes"]);
    assert_eq!(String::from_utf8_lossy(&gone.stdout).trim(), old, "{}", app.show(&gone));
    let left = cloud.select(
        &["ec2", "describe-images", "--owners", "self", "--filters", "Name=tag:gyron:app,Values=pruned"],
        "Images[].ImageId",
    );
    assert_eq!(left, [below, in_template, in_configuration, in_production, baking, newest].into());
    assert_eq!(standing(&cloud, ELSEWHERE, "pruned"), 0);
    let objects = cloud.select(&["s3api", "list-objects-v2", "--bucket", bucket], "Contents[].Key");
    assert!(!objects.iter().any(|key| key.contains("/packages/") || key.contains("/copies/")), "{objects:?}");
    let again = app.show(&prune(&[]));
    assert!(again.contains("would change nothing: no image is too many"), "{again}");

    let _ = cloud.aws(&[
        "autoscaling",
        "delete-auto-scaling-group",
        "--auto-scaling-group-name",
        "pruned",
        "--force-delete",
    ]);
    let _ = cloud.aws(&["autoscaling", "delete-launch-configuration", "--launch-configuration-name", "pruned"]);
    let _ = cloud.aws(&["ec2", "delete-launch-template", "--launch-template-name", "pruned"]);
}
