//! What a user meets before anything reaches a cloud: one snapshot of the whole command each.

#![allow(clippy::unwrap_used, reason = "a test may")]

use gyron_tests::App;

#[test]
fn an_unknown_key_points_at_it_and_names_the_nearest() {
    let app = App::small();
    app.replace("gyron.toml", "include =", "inclde =");
    insta::assert_snapshot!(app.run("gyron-package", &[]), @"");
}

#[test]
fn a_wrong_type_points_at_the_value() {
    let app = App::small();
    app.replace("gyron.toml", "min = 1", "min = \"one\"");
    insta::assert_snapshot!(app.run("gyron-launch", &["--env", "production"]), @"");
}

#[test]
fn a_missing_table_says_what_to_add() {
    let app = App::small();
    app.replace("gyron.toml", "[spec]\npath = \"spec\"\n", "");
    insta::assert_snapshot!(app.run("gyron-spec", &[]), @"");
}

#[test]
fn a_folder_without_gyron_toml() {
    let app = App::empty();
    insta::assert_snapshot!(app.run("gyron-package", &[]), @"");
}

#[test]
fn a_folder_without_git_has_no_version() {
    let app = App::empty();
    app.write("gyron.toml", &App::small().read("gyron.toml"));
    app.write("app/index.html", "hello\n");
    insta::assert_snapshot!(app.run("gyron-package", &[]), @"");
}

#[test]
fn a_machine_without_git_is_told_how_to_get_it() {
    let app = App::small().with("PATH", "/nowhere");
    insta::assert_snapshot!(app.run("gyron-package", &[]), @"");
}

#[test]
fn a_missing_artifact_names_what_was_to_make_it() {
    let app = App::small();
    app.replace("gyron.toml", "include = [\"app/**\"]", "build = \"true\"\nartifact = \"target/shop.war\"");
    insta::assert_snapshot!(app.run("gyron-package", &[]), @"");
}

#[test]
fn a_build_that_fails_shows_its_last_lines() {
    let app = App::small();
    app.replace("gyron.toml", "include = [", "build = \"echo no rule to make dist >&2; exit 2\"\ninclude = [");
    insta::assert_snapshot!(app.run("gyron-package", &[]), @"");
}

#[test]
fn a_missing_playbook_says_where_it_was_looked_for() {
    let app = App::small();
    app.replace("gyron.toml", "ansible/site.yml", "ansible/sites.yml");
    insta::assert_snapshot!(app.run("gyron-bake", &[]), @"");
}

#[test]
fn a_step_without_the_record_before_it_says_which_command_makes_it() {
    let app = App::small();
    insta::assert_snapshot!(app.run("gyron-bake", &[]), @"");
    insta::assert_snapshot!(app.run("gyron-swap", &["--env", "production"]), @"");
}

#[test]
fn a_step_of_the_second_half_needs_an_environment() {
    insta::assert_snapshot!(App::small().run("gyron-launch", &[]), @"");
}

#[test]
fn without_credentials_nothing_is_begun() {
    insta::assert_snapshot!(App::small().run("gyron-package", &[]), @"");
}

#[test]
fn an_endpoint_that_does_not_answer_is_named() {
    let app = App::small()
        .with("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        .with("AWS_ACCESS_KEY_ID", "none")
        .with("AWS_SECRET_ACCESS_KEY", "none");
    insta::assert_snapshot!(app.run("gyron-package", &[]), @"");
}

#[test]
fn a_plan_of_package_needs_no_cloud_at_all() {
    insta::assert_snapshot!(App::small().run("gyron-package", &["--plan"]), @"");
    insta::assert_snapshot!(App::small().run("gyron-package", &["--plan", "--json"]), @"");
}

#[test]
fn a_flag_beats_the_variable_and_both_are_checked() {
    let app = App::small().with("GYRON_PACKAGE_INCLUDE", "[\"a/**\"]");
    insta::assert_snapshot!(app.run("gyron-package", &["--plan", "--set", "package.include=[\"b/**\"]"]), @"");
    insta::assert_snapshot!(app.run("gyron-package", &["--plan", "--set", "package.inclde=[]"]), @"");
}
