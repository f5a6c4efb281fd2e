//! Where an image goes, what is in it, and when it goes away.

use std::time::Instant;

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
