//! Releases that S3 holds.

use gyron_tests::App;
use gyron_tests::cloud::Cloud;

#[test]
fn the_same_content_again_is_success_and_other_content_is_refused() {
    let cloud = Cloud::of_tests();
    let app = App::small_named("twice");
    cloud.prepare(&app);
    let first = cloud.succeed(&app, "gyron-package", &["--release", "1.0.0"]);
    assert_eq!(first, "s3://twice-releases/twice/releases/1.0.0/twice.tar.zst");
    assert_eq!(cloud.succeed(&app, "gyron-package", &["--release", "1.0.0"]), first);
    app.write("app/index.html", "other\n");
    app.commit();
    insta::assert_snapshot!(app.show(&cloud.run(&app, "gyron-package", &["--release", "1.0.0"])), @"
    exit 3
    --- stdout
    --- stderr
    package twice 1.0.0
      twice.tar.zst of SIZE, sha256 DIGEST (TIME)
    error: version 1.0.0 has already been released with other content
      there: sha256 DIGEST
      here:  sha256 DIGEST
      already: s3://twice-releases/twice/releases/1.0.0/twice.tar.zst is as it was: a release is never overwritten
    hint: commit, or name another version with --release
    ");
}

#[test]
fn a_bucket_that_is_not_there_is_said_with_what_makes_it() {
    let cloud = Cloud::of_tests();
    let app = App::small_named("nobucket");
    insta::assert_snapshot!(app.show(&cloud.run(&app, "gyron-package", &["--release", "1.0.0"])), @"
    exit 2
    --- stdout
    --- stderr
    package nobucket 1.0.0
      nobucket.tar.zst of SIZE, sha256 DIGEST (TIME)
    error: there is no bucket nobucket-releases in us-east-1
    hint: aws s3 mb s3://nobucket-releases --region us-east-1, or mend `bucket` in gyron.toml
    ");
}

#[test]
fn a_dirty_version_is_not_for_a_protected_environment() {
    let cloud = Cloud::of_tests();
    let app = App::small_named("dirty");
    cloud.prepare(&app);
    app.write("app/index.html", "edited\n");
    let place = cloud.succeed(&app, "gyron-package", &[]);
    assert!(place.contains("-dirty-"), "{place}");
    // Said before anything is baked for nothing.
    insta::assert_snapshot!(app.show(&cloud.run(&app, "gyron-launch", &["--env", "production"])), @"
    exit 3
    --- stdout
    --- stderr
    error: VERSION is of a work tree that no commit holds, and production is protected
    hint: commit, then package, bake and test again
    ");
}
