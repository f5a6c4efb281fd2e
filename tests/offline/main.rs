//! What a user meets before anything reaches a cloud: one snapshot of the whole command each.

#![allow(clippy::unwrap_used, reason = "a test may")]

use gyron_tests::App;

#[test]
fn an_unknown_key_points_at_it_and_names_the_nearest() {
    let app = App::small();
    app.replace("gyron.toml", "include =", "inclde =");
    insta::assert_snapshot!(app.run("gyron-package", &[]), @r#"
    exit 2
    --- stdout
    --- stderr
    error: gyron.toml line 6: unknown key `inclde`
     --> gyron.toml:6:1
      |
    6 | inclde = ["app/**"]
      | ^^^^^^ no such key here
    hint: did you mean `include`?
    "#);
}

#[test]
fn a_wrong_type_points_at_the_value() {
    let app = App::small();
    app.replace("gyron.toml", "min = 1", "min = \"one\"");
    insta::assert_snapshot!(app.run("gyron-launch", &["--env", "production"]), @r#"
    exit 2
    --- stdout
    --- stderr
    error: gyron.toml line 20: wrong type: string "one", expected a whole number
      --> gyron.toml:20:28
       |
    20 | capacity         = { min = "one", max = 2 }
       |                            ^^^^^ string "one", expected a whole number
    "#);
}

#[test]
fn a_missing_table_says_what_to_add() {
    let app = App::small();
    app.replace("gyron.toml", "[spec]\npath = \"spec\"\n", "");
    insta::assert_snapshot!(app.run("gyron-spec", &[]), @r#"
    exit 2
    --- stdout
    --- stderr
    error: gyron.toml has no [spec] table, which this step reads
    hint: add one:

        [spec]
        path = "spec"
    "#);
}

#[test]
fn a_folder_without_gyron_toml() {
    let app = App::empty();
    insta::assert_snapshot!(app.run("gyron-package", &[]), @"
    exit 2
    --- stdout
    --- stderr
    error: no gyron.toml in APP or above it
    hint: run it in an app's repo, or name the folder with -C
    ");
}

#[test]
fn a_folder_without_git_has_no_version() {
    let app = App::empty();
    app.write("gyron.toml", &App::small().read("gyron.toml"));
    app.write("app/index.html", "hello\n");
    insta::assert_snapshot!(app.run("gyron-package", &[]), @"
    exit 2
    --- stdout
    --- stderr
    error: APP is in no git repository
    hint: the version is derived from git: run git init and commit, or name one with --release
    ");
}

#[test]
fn a_machine_without_git_is_told_how_to_get_it() {
    let app = App::small().with("PATH", "/nowhere");
    insta::assert_snapshot!(app.run("gyron-package", &[]), @"
    exit 5
    --- stdout
    --- stderr
    error: git is not on this machine's PATH
      caused by: cannot find binary path
    hint: install git: apt-get install git
    ");
}

#[test]
fn a_missing_artifact_names_what_was_to_make_it() {
    let app = App::small();
    app.replace("gyron.toml", "include = [\"app/**\"]", "build = \"true\"\nartifact = \"target/shop.war\"");
    insta::assert_snapshot!(app.run("gyron-package", &[]), @"
    exit 2
    --- stdout
    --- stderr
    package small VERSION
      the work tree differs from its commit: this version can't go to a protected environment
      built: true (TIME)
    error: the artifact target/shop.war can't be read
      caused by: No such file or directory (os error 2)
    hint: `true` was to make it: does it write it there?
    ");
}

#[test]
fn a_build_that_fails_shows_its_last_lines() {
    let app = App::small();
    app.replace("gyron.toml", "include = [", "build = \"echo no rule to make dist >&2; exit 2\"\ninclude = [");
    insta::assert_snapshot!(app.run("gyron-package", &[]), @"
    exit 5
    --- stdout
    --- stderr
    package small VERSION
      the work tree differs from its commit: this version can't go to a protected environment
      | no rule to make dist
    error: sh failed (exit status: 2)
      | no rule to make dist
    hint: `echo no rule to make dist >&2; exit 2` is package.build of gyron.toml: run it by hand
    ");
}

#[test]
fn a_missing_playbook_says_where_it_was_looked_for() {
    let app = App::small();
    app.replace("gyron.toml", "ansible/site.yml", "ansible/sites.yml");
    insta::assert_snapshot!(app.run("gyron-bake", &[]), @"
    exit 2
    --- stdout
    --- stderr
    error: the playbook ansible/sites.yml is not there
    hint: bake.playbook in gyron.toml is relative to it, and stands in a folder of its own
    ");
}

#[test]
fn files_of_a_layer_that_are_not_there_are_named() {
    let app = App::small();
    let layers = |files: &str| {
        format!(
            "bake.layers=[{{ name = \"web\", playbook = \"ansible/site.yml\", files = [\"{files}\"], release = true }}]"
        )
    };
    app.replace("gyron.toml", "playbook         = \"ansible/site.yml\"", "");
    app.replace("gyron.toml", "instance-types", &format!("{}\ninstance-types", &layers("roles/web")[5..]));
    insta::assert_snapshot!(app.run("gyron-bake", &[]), @"
    exit 2
    --- stdout
    --- stderr
    error: `roles/web` in the `files` of ansible/site.yml matches no file
    hint: globs are relative to APP/ansible; all that is in a folder is `FOLDER/**`
    ");
    insta::assert_snapshot!(app.run("gyron-bake", &["--set", &layers("roles/{web")]), @"
    exit 2
    --- stdout
    --- stderr
    error: `roles/{web` in the `files` of ansible/site.yml is no glob
      caused by: error parsing glob 'roles/{web': unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?)
    ");
    insta::assert_snapshot!(app.run("gyron-bake", &["--set", "bake.files=[]"]), @"
    exit 2
    --- stdout
    --- stderr
    error: gyron.toml line 8: [bake] is wrong
     --> gyron.toml:8:1
      |
    8 | [bake]
      | ^^^^^^ `files` goes with `playbook`: each of `layers` has its own
    ");
}

#[test]
fn a_base_image_given_by_its_id_needs_no_lock() {
    let app = App::small();
    app.replace(
        "gyron.toml",
        "{ ssm = \"/aws/service/debian/release/12/latest/amd64\" }",
        "{ id = \"ami-0123456789abcdef0\" }",
    );
    insta::assert_snapshot!(app.run("gyron-bake", &["outdated"]), @"
    exit 0
    --- stdout
    nothing is to be pinned: gyron.toml names the base image by its id, and no playbook has requirements
    --- stderr
    ");
    insta::assert_snapshot!(app.run("gyron-bake", &["update"]), @"
    exit 0
    --- stdout
    nothing is to be pinned: gyron.toml names the base image by its id, and no playbook has requirements
    --- stderr
    ");
    assert!(!app.path().join("gyron.lock").exists());
}

#[test]
fn a_lock_that_cannot_be_read_is_pointed_at() {
    let app = App::small();
    app.write("gyron.lock", "version = 1\n<<<<<<< HEAD\n");
    insta::assert_snapshot!(app.run("gyron-bake", &["outdated"]), @"
    exit 2
    --- stdout
    --- stderr
    error: gyron.lock line 2: key with no value, expected `=`
    hint: a conflict of two branches? `gyron-bake update` writes it anew
    ");
    app.write("gyron.lock", "version = 2\n");
    insta::assert_snapshot!(app.run("gyron-bake", &["update"]), @"
    exit 3
    --- stdout
    --- stderr
    error: gyron.lock has the format 2, this gyron reads 1
    hint: take the gyron that wrote it
    ");
}

#[test]
fn a_step_without_the_record_before_it_says_which_command_makes_it() {
    let app = App::small();
    insta::assert_snapshot!(app.run("gyron-bake", &[]), @"
    exit 3
    --- stdout
    --- stderr
    error: .gyron/package.json is missing: no package has been recorded here
    hint: gyron-package makes it
    ");
    insta::assert_snapshot!(app.run("gyron-swap", &["--env", "production"]), @"
    exit 3
    --- stdout
    --- stderr
    error: .gyron/production/smoke.json is missing: no smoke has been recorded here
    hint: gyron-smoke --env production makes it
    ");
}

#[test]
fn a_step_of_the_second_half_needs_an_environment() {
    insta::assert_snapshot!(App::small().run("gyron-launch", &[]), @"
    exit 2
    --- stdout
    --- stderr
    error: no environment is named
    hint: name one: --env production, or GYRON_ENV=production
    ");
}

#[test]
fn without_credentials_nothing_is_begun() {
    insta::assert_snapshot!(App::small().run("gyron-package", &[]), @"
    exit 2
    --- stdout
    --- stderr
    package small VERSION
      small.tar.zst of SIZE, sha256 DIGEST (TIME)
    error: no AWS credentials for PutObject s3://small-releases/small/releases/VERSION/small.tar.zst: neither variables, profile nor role gave any
    hint: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
    ");
}

#[test]
fn an_endpoint_that_does_not_answer_is_named() {
    let app = App::small()
        .with("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        .with("AWS_ACCESS_KEY_ID", "none")
        .with("AWS_SECRET_ACCESS_KEY", "none");
    insta::assert_snapshot!(app.run("gyron-package", &[]), @"
    exit 4
    --- stdout
    --- stderr
    package small VERSION
      small.tar.zst of SIZE, sha256 DIGEST (TIME)
    error: http://127.0.0.1:1 can't be reached for PutObject s3://small-releases/small/releases/VERSION/small.tar.zst: Connection refused (os error 111)
    hint: AWS_ENDPOINT_URL is http://127.0.0.1:1: does anything listen there?
    ");
}

#[test]
fn a_flag_without_its_word_starts_no_bake() {
    insta::assert_snapshot!(App::small().run("gyron-bake", &["--yes"]), @"
    exit 2
    --- stdout
    --- stderr
    error: nothing can be made of `--yes` here
    hint: it goes with sweep and prune: gyron-bake sweep --yes
    ");
    insta::assert_snapshot!(App::small().run("gyron-bake", &["sweep", "--fresh"]), @"
    exit 2
    --- stdout
    --- stderr
    error: nothing can be made of `--fresh` here
    hint: it goes with a bake alone: gyron-bake --fresh
    ");
}

#[test]
fn a_plan_of_package_needs_no_cloud_at_all() {
    insta::assert_snapshot!(App::small().run("gyron-package", &["--plan"]), @"
    exit 0
    --- stdout
    would make a reproducible archive of app/**
    would put it to s3://small-releases/small/releases/VERSION/, unless it is there
    --- stderr
    ");
    insta::assert_snapshot!(App::small().run("gyron-package", &["--plan", "--json"]), @r#"
    exit 0
    --- stdout
    {"plan":["make a reproducible archive of app/**","put it to s3://small-releases/small/releases/VERSION/, unless it is there"]}
    --- stderr
    "#);
}

#[test]
fn a_flag_beats_the_variable_and_both_are_checked() {
    let app = App::small().with("GYRON_PACKAGE_INCLUDE", "[\"a/**\"]");
    insta::assert_snapshot!(app.run("gyron-package", &["--plan", "--set", "package.include=[\"b/**\"]"]), @"
    exit 0
    --- stdout
    would make a reproducible archive of b/**
    would put it to s3://small-releases/small/releases/VERSION/, unless it is there
    --- stderr
    ");
    insta::assert_snapshot!(app.run("gyron-package", &["--plan", "--set", "package.inclde=[]"]), @"
    exit 2
    --- stdout
    --- stderr
    error: `--set package.inclde=[]`: gyron.toml knows no key `package.inclde`
    hint: did you mean `package.include`?
    ");
}
