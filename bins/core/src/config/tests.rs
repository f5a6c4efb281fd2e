#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;

use super::{Config, Override};

const GOOD: &str = r#"
app = "shop"
region = "us-east-1"
bucket = "releases"

[package]
include = ["app/**"]

[launch]
instance-type = "t3.small"
instance-profile = "gyron-app"
capacity = { min = 2, max = 4 }

[env.staging.launch]
capacity = { min = 1, max = 1 }

[env.production]
protected = true
"#;

fn read(text: &str, env: Option<&str>, overrides: &[Override]) -> Result<Config, String> {
    Config::read(Path::new("/app"), text, env, overrides).map_err(|failure| failure.report())
}

#[test]
fn an_environments_table_is_laid_over_the_table() {
    let config = read(GOOD, Some("staging"), &[]).unwrap();
    assert_eq!(config.launch().unwrap().capacity.max, 1);
    assert_eq!(config.launch().unwrap().instance_type, "t3.small");
    assert!(read(GOOD, Some("production"), &[]).unwrap().tables.protected);
    assert_eq!(read(GOOD, None, &[]).unwrap().launch().unwrap().capacity.max, 4);
}

#[test]
fn flag_beats_variable_beats_environment_beats_table() {
    let variables = [("GYRON_LAUNCH_CAPACITY_MAX", "7"), ("GYRON_LAUNCH_INSTANCE_TYPE", "t3.large"), ("HOME", "/")];
    let mut overrides =
        Override::from_variables(variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))).unwrap();
    overrides.push(Override::from_flag("launch.capacity.max=9").unwrap());
    let config = read(GOOD, Some("staging"), &overrides).unwrap();
    assert_eq!(config.launch().unwrap().capacity.max, 9);
    assert_eq!(config.launch().unwrap().capacity.min, 1);
    assert_eq!(config.launch().unwrap().instance_type, "t3.large");
}

#[test]
fn an_unknown_key_shows_file_line_caret_and_the_nearest_key() {
    let text = GOOD.replace("include =", "inclde =");
    insta::assert_snapshot!(read(&text, None, &[]).unwrap_err(), @r#"
    error: gyron.toml line 7: unknown key `inclde`
     --> gyron.toml:7:1
      |
    7 | inclde = ["app/**"]
      | ^^^^^^ no such key here
    hint: did you mean `include`?
    "#);
}

#[test]
fn an_unknown_key_of_an_environment_that_is_not_asked_for_is_refused_too() {
    let text = GOOD.replace("capacity = { min = 1, max = 1 }", "capacty = 1");
    insta::assert_snapshot!(read(&text, None, &[]).unwrap_err(), @"
    error: gyron.toml line 15: unknown key `capacty`
      --> gyron.toml:15:1
       |
    15 | capacty = 1
       | ^^^^^^^ no such key here
    hint: did you mean `capacity`?
    ");
}

#[test]
fn a_wrong_type_points_at_the_value() {
    let text = GOOD.replace("max = 4", "max = \"many\"");
    insta::assert_snapshot!(read(&text, None, &[]).unwrap_err(), @r#"
    error: gyron.toml line 12: wrong type: string "many", expected a whole number
      --> gyron.toml:12:29
       |
    12 | capacity = { min = 2, max = "many" }
       |                             ^^^^^^ string "many", expected a whole number
    "#);
}

#[test]
fn a_missing_key_points_at_its_table() {
    let text = GOOD.replace("instance-type = \"t3.small\"\n", "");
    insta::assert_snapshot!(read(&text, None, &[]).unwrap_err(), @"
    error: gyron.toml line 9: the key `instance-type` is missing
     --> gyron.toml:9:1
      |
    9 | [launch]
      | ^^^^^^^^ this table needs `instance-type`
    ");
}

#[test]
fn a_missing_table_says_what_to_write() {
    let failure = read(GOOD, None, &[]).unwrap().bake().unwrap_err();
    insta::assert_snapshot!(failure.report(), @r#"
    error: gyron.toml has no [bake] table, which this step reads
    hint: add one:

        [bake]
        base = { ssm = "/aws/service/debian/release/12/latest/amd64" }
    "#);
}

#[test]
fn text_that_is_no_toml_points_at_the_place() {
    insta::assert_snapshot!(read("app = shop\n", None, &[]).unwrap_err(), @"
    error: gyron.toml line 1: string values must be quoted, expected literal string
     --> gyron.toml:1:7
      |
    1 | app = shop
      |       ^^^^ here
    ");
}

#[test]
fn an_unknown_environment_names_the_nearest() {
    insta::assert_snapshot!(read(GOOD, Some("prodution"), &[]).unwrap_err(), @"
    error: gyron.toml has no [env.prodution]
    hint: did you mean `production`?
    ");
}

#[test]
fn an_override_of_no_known_key_is_refused() {
    let flag = Override::from_flag("launch.instance-typ=x").unwrap_err().report();
    let variable =
        Override::from_variables([("GYRON_LAUNCH_INSTANCE_TYP".to_owned(), String::new())].into_iter()).unwrap_err();
    insta::assert_snapshot!(format!("{flag}{}", variable.report()), @"
    error: `--set launch.instance-typ=x`: gyron.toml knows no key `launch.instance-typ`
    hint: did you mean `launch.instance-type`?
    error: the variable GYRON_LAUNCH_INSTANCE_TYP names no key of gyron.toml
    hint: did you mean GYRON_LAUNCH_INSTANCE_TYPE?
    ");
}

#[test]
fn an_override_of_the_wrong_type_is_blamed_itself() {
    let overrides = [Override::from_flag("launch.port=http").unwrap()];
    insta::assert_snapshot!(read(GOOD, None, &overrides).unwrap_err(), @"error: `--set launch.port=http`: this is no value as TOML writes it");
    let overrides = [Override::from_flag("launch.port=true").unwrap()];
    insta::assert_snapshot!(read(GOOD, None, &overrides).unwrap_err(), @"error: `--set launch.port=true`: invalid type: boolean `true`, expected u16");
}

const BAKE: &str = r#"
app = "shop"
region = "us-east-1"
bucket = "releases"

[bake]
base = { id = "ami-1" }
playbook = "ansible/site.yml"
instance-types = ["t3.small"]
instance-profile = "gyron-builder"
vault-password = { ssm = "/shop/vault" }
vault = { prod = { secret = "shop/vault" } }

[bake.secrets]
db_password = { ssm = "/shop/db" }
api_token = { secret = "shop/api", key = "token" }
"#;

#[test]
fn secrets_are_named_and_never_given() {
    let config = read(BAKE, None, &[]).unwrap();
    let vault = config.bake().unwrap().vault_passwords();
    assert_eq!(vault.keys().collect::<Vec<_>>(), ["default", "prod"]);
    let wrong = |from: &str, to: &str| {
        let report = read(&BAKE.replace(from, to), None, &[]).unwrap_err();
        report.lines().last().unwrap().trim_start_matches(['|', ' ', '^']).to_owned()
    };
    insta::assert_snapshot!(wrong("{ ssm = \"/shop/db\" }", "{ ssm = \"/shop/db\", key = \"a\" }"), @"a secret takes exactly one of `ssm` and `secret`; `key` goes with `secret`");
    insta::assert_snapshot!(wrong("{ ssm = \"/shop/db\" }", "{}"), @"a secret takes exactly one of `ssm` and `secret`; `key` goes with `secret`");
    insta::assert_snapshot!(wrong("prod =", "default ="), @"an id in `vault` is of letters, digits, `_` and `-`; `default` is `vault-password`");
    insta::assert_snapshot!(wrong("api_token", "gyron_version"), @"each of `secrets` is an Ansible variable of its own: no `gyron_…`, none of `variables`");
    insta::assert_snapshot!(wrong("[bake.secrets]", "[bake.variables]\napi_token = \"x\"\n\n[bake.secrets]"), @"each of `secrets` is an Ansible variable of its own: no `gyron_…`, none of `variables`");
    insta::assert_snapshot!(wrong("{ ssm = \"/shop/db\" }", "\"hunter2\""), @r#"string "hunter2", expected a table"#);
}

/// The README's table of a step's settings, as it stands there.
fn of_readme(table: &str) -> String {
    let readme = include_str!("../../../../README.md");
    let begin = format!("```toml\n[{table}]\n");
    let (_, rest) = readme.split_once(&begin).unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    format!("[{table}]\n{text}")
}

#[test]
fn the_readme_shows_every_setting_of_a_bake_with_its_default() {
    let shown = of_readme("bake");
    // A setting begins a line, commented out or not; or it is the other way, behind an "or".
    let names =
        shown.lines().filter_map(|line| line.trim_start_matches("# ").split_once('=')).map(|(name, _)| name.trim());
    let names: BTreeSet<&str> = names.collect();
    let schema = schemars::schema_for!(super::schema::Bake).to_value();
    for name in schema["properties"].as_object().unwrap().keys() {
        assert!(names.contains(name.as_str()) || shown.contains(&format!("or {name} = ")), "{name} is not shown");
    }
    let head = "app = \"a\"\nregion = \"us-east-1\"\nbucket = \"b\"\n";
    let read = |text: &str| format!("{:#?}", read(&format!("{head}{text}"), None, &[]).unwrap().tables.bake.unwrap());
    let needed = ["[bake]", "base ", "instance-types ", "instance-profile ", "playbook "];
    let least: Vec<&str> = shown.lines().filter(|line| needed.iter().any(|name| line.starts_with(name))).collect();
    assert_eq!(least.len(), needed.len(), "{least:?}");
    assert_eq!(read(&shown), read(&least.join("\n")));
}

#[test]
fn a_base_by_name_is_somebodys() {
    let text = of_readme("bake");
    let text = text.replace("{ ssm = \"/aws/service/debian/release/12/latest/amd64\" }", "{ name = \"debian-12-*\" }");
    let text = format!("app = \"a\"\nregion = \"us-east-1\"\nbucket = \"b\"\n{text}");
    let error = read(&text, None, &[]).unwrap_err();
    assert!(
        error.contains("`name` and `owner` of `base` go together: anybody may publish an image of any name"),
        "{error}"
    );
}
