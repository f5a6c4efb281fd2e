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
    insta::assert_snapshot!(app.show(&cloud.run(&app, "gyron-package", &["--release", "1.0.0"])), @"");
}

#[test]
fn a_bucket_that_is_not_there_is_said_with_what_makes_it() {
    let cloud = Cloud::of_tests();
    let app = App::small_named("nobucket");
    insta::assert_snapshot!(app.show(&cloud.run(&app, "gyron-package", &["--release", "1.0.0"])), @"");
}

#[test]
fn a_dirty_version_is_not_for_a_protected_environment() {
    let cloud = Cloud::of_tests();
    let app = App::small_named("dirty");
    cloud.prepare(&app);
    app.write("app/index.html", "edited\n");
    let place = cloud.succeed(&app, "gyron-package", &[]);
    assert!(place.contains("-dirty-"), "{place}");
}
