//! `gyron.lock`: a new base image is a commit like any other.

use std::process::Command;

use gyron_tests::App;
use gyron_tests::cloud::Cloud;

/// Images of one machine, as a team that makes its own base registers them; all gone at the end.
struct Bases<'a> {
    cloud: &'a Cloud,
    instance: String,
    images: Vec<String>,
}

impl<'a> Bases<'a> {
    fn new(cloud: &'a Cloud) -> Self {
        let parameter = ["ssm", "get-parameter", "--name", "/aws/service/debian/release/12/latest/amd64"];
        let debian = cloud.aws(&parameter)["Parameter"]["Value"].as_str().unwrap().to_owned();
        let started = cloud.aws(&["ec2", "run-instances", "--image-id", &debian, "--instance-type", "t3.small"]);
        let instance = started["Instances"][0]["InstanceId"].as_str().unwrap().to_owned();
        let _ = cloud.aws(&["ec2", "wait", "instance-running", "--instance-ids", &instance]);
        Bases { cloud, instance, images: Vec::new() }
    }

    fn register(&mut self, name: &str) -> String {
        let made = self.cloud.aws(&["ec2", "create-image", "--instance-id", &self.instance, "--name", name]);
        let image = made["ImageId"].as_str().unwrap().to_owned();
        let _ = self.cloud.aws(&["ec2", "wait", "image-available", "--image-ids", &image]);
        self.images.push(image.clone());
        image
    }

    fn deregister(&mut self, image: &str) {
        let _ = self.cloud.aws(&["ec2", "deregister-image", "--image-id", image, "--delete-associated-snapshots"]);
        self.images.retain(|there| there != image);
    }
}

impl Drop for Bases<'_> {
    fn drop(&mut self) {
        for image in std::mem::take(&mut self.images) {
            self.deregister(&image);
        }
        let _ = self.cloud.aws(&["ec2", "terminate-instances", "--instance-ids", &self.instance]);
    }
}

/// Times differ from run to run.
fn timeless(text: &str) -> String {
    let patterns = [(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "TIME"), (r"(?m)^index .*\n", "")];
    patterns.iter().fold(text.to_owned(), |text, (pattern, name)| {
        regex::Regex::new(pattern).unwrap().replace_all(&text, *name).into_owned()
    })
}

#[test]
fn a_new_base_image_is_a_commit_like_any_other() {
    let cloud = Cloud::of_tests();
    let app = App::small_named("pins");
    app.replace(
        "gyron.toml",
        "{ ssm = \"/aws/service/debian/release/12/latest/amd64\" }",
        "{ name = \"pins-base-*\", owner = \"self\" }",
    );
    app.commit();
    cloud.prepare(&app);
    cloud.succeed(&app, "gyron-package", &[]);
    let mut bases = Bases::new(&cloud);
    let first = bases.register("pins-base-1");
    let run = |args: &[&str]| app.show(&cloud.run(&app, "gyron-bake", args));
    let starts_from = |image: &str| {
        let plan = cloud.succeed(&app, "gyron-bake", &["--plan"]);
        assert!(plan.contains(&format!("from {image}, ")), "{plan}");
    };

    // Without a lock the newest is taken, and there is nothing that could be outdated.
    starts_from(&first);
    insta::assert_snapshot!(run(&["outdated"]), @"
    exit 3
    --- stdout
    --- stderr
    error: gyron.lock is missing: nothing is pinned yet
    hint: `gyron-bake update` makes it; commit it beside gyron.toml
    ");
    insta::assert_snapshot!(run(&["update", "--plan"]), @"
    exit 0
    --- stdout
    would pin base: ami-ID (pins-base-1, of today)
    --- stderr
    ");
    assert!(!app.path().join("gyron.lock").exists(), "a plan touches nothing");
    insta::assert_snapshot!(run(&["update"]), @"
    exit 0
    --- stdout
    base: ami-ID (pins-base-1, of today)
    --- stderr
    ");
    insta::assert_snapshot!(timeless(&gyron_tests::plain(&app.read("gyron.lock"))), @r#"
    # Written by `gyron-bake update`: commit it. `gyron-bake outdated` says whether there is anything newer.
    version = 1

    [base]
    id = "ami-ID"
    name = "pins-base-1"
    architecture = "x86_64"
    created = "TIME"

    [base.by]
    region = "us-east-1"
    name = "pins-base-*"
    owner = "self"
    "#);
    app.commit();
    insta::assert_snapshot!(run(&["outdated"]), @"
    exit 0
    --- stdout
    gyron.lock is up to date
    --- stderr
    ");
    insta::assert_snapshot!(run(&["update"]), @"
    exit 0
    --- stdout
    gyron.lock is up to date
    --- stderr
    ");

    // A newer one changes nothing until it is committed.
    let second = bases.register("pins-base-2");
    starts_from(&first);
    insta::assert_snapshot!(run(&["outdated"]), @"
    exit 1
    --- stdout
    base: ami-ID (pins-base-1, of today) -> ami-ID (pins-base-2, of today)
    --- stderr
    error: gyron.lock is outdated
    hint: `gyron-bake update` writes it anew: a diff to test and to review
    ");
    insta::assert_snapshot!(timeless(&run(&["outdated", "--json"])), @r#"
    exit 1
    --- stdout
    {"changes":[{"newest":{"architecture":"x86_64","by":{"name":"pins-base-*","owner":"self","region":"us-east-1"},"created":"TIME","id":"ami-ID","name":"pins-base-2"},"pinned":{"architecture":"x86_64","by":{"name":"pins-base-*","owner":"self","region":"us-east-1"},"created":"TIME","id":"ami-ID","name":"pins-base-1"},"what":"base"}],"outdated":true}
    --- stderr
    error: gyron.lock is outdated
    hint: `gyron-bake update` writes it anew: a diff to test and to review
    "#);
    starts_from(&first);
    insta::assert_snapshot!(run(&["update"]), @"
    exit 0
    --- stdout
    base: ami-ID (pins-base-1, of today) -> ami-ID (pins-base-2, of today)
    --- stderr
    ");
    starts_from(&second);
    let diff = Command::new("git").current_dir(app.path()).args(["diff", "--unified=1"]).output().unwrap();
    insta::assert_snapshot!(timeless(&gyron_tests::plain(&String::from_utf8_lossy(&diff.stdout))), @r#"
    diff --git a/gyron.lock b/gyron.lock
    --- a/gyron.lock
    +++ b/gyron.lock
    @@ -4,6 +4,6 @@ version = 1
     [base]
    -id = "ami-ID"
    -name = "pins-base-1"
    +id = "ami-ID"
    +name = "pins-base-2"
     architecture = "x86_64"
    -created = "TIME"
    +created = "TIME"
    "#);

    // What was pinned and is gone is not silently another.
    bases.deregister(&second);
    insta::assert_snapshot!(run(&[]), @"
    exit 3
    --- stdout
    --- stderr
    error: the base image ami-ID (pins-base-2), which gyron.lock pins, is no longer there in us-east-1
    hint: `gyron-bake update` pins the newest
    ");
    insta::assert_snapshot!(run(&["outdated"]), @"
    exit 1
    --- stdout
    base: ami-ID (pins-base-2, of today) -> ami-ID (pins-base-1, of today)
    --- stderr
    error: gyron.lock is outdated
    hint: `gyron-bake update` writes it anew: a diff to test and to review
    ");

    // Nor is the answer to another question.
    let other = ["--set", "bake.base.name=pins-*"];
    insta::assert_snapshot!(run(&other), @"
    exit 3
    --- stdout
    --- stderr
    error: gyron.lock pins ami-ID as `pins-base-*` of self in us-east-1, but gyron.toml asks for `pins-*` of self in us-east-1
    hint: `gyron-bake update` pins what gyron.toml asks for now
    ");
    insta::assert_snapshot!(run(&[&["update"][..], &other].concat()), @"
    exit 0
    --- stdout
    base: ami-ID (pins-base-2, of today) -> ami-ID (pins-base-1, of today)
    --- stderr
    ");
    assert!(app.read("gyron.lock").contains("name = \"pins-*\""));
}
