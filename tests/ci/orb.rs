//! gyron's orb: CircleCI's review rules (<https://github.com/CircleCI-Public/orb-tools-orb>, `src/scripts/review.bats`), written out
//! anew since some of the originals pass where there is nothing to look at, and what its parameters and the programs' flags
//! have to do with each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use gyron_tests::{App, programs};
use serde_json::{Map, Value};

fn orb() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../orb")
}

fn packed() -> Value {
    let output = Command::new(programs().join("gyron-rehearse")).args(["ci", "pack", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn section<'a>(orb: &'a Value, name: &str) -> &'a Map<String, Value> {
    let found = orb[name].as_object().unwrap_or_else(|| panic!("the orb has no {name}"));
    assert!(!found.is_empty(), "{name} is empty");
    found
}

/// Every component with its kind.
fn components(orb: &Value) -> Vec<(&'static str, &String, &Value)> {
    let kinds = ["commands", "jobs", "executors", "examples"];
    kinds.iter().flat_map(|kind| section(orb, kind).iter().map(|(name, body)| (*kind, name, body))).collect()
}

/// Calls `see` with every map below a value that has the key, and the key's value.
fn each<'a>(value: &'a Value, key: &str, see: &mut dyn FnMut(&'a Value)) {
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                if name == key {
                    see(inner);
                }
                each(inner, key, see);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| each(item, key, see)),
        _ => {}
    }
}

#[test]
fn rc001_to_rc006_what_an_orb_says_of_itself() {
    let orb = packed();
    let text = |value: &Value| value.as_str().unwrap_or_default().trim().to_owned();
    // RC001 and RC011: where the source is, and the home.
    for url in ["source_url", "home_url"] {
        assert!(text(&orb["display"][url]).starts_with("https://"), "RC001 {url}");
    }
    // RC002: a description on every component, and on every parameter.
    for (kind, name, body) in components(&orb) {
        assert!(text(&body["description"]).len() > 20, "RC002 {kind}/{name} has no description");
        for (parameter, declared) in body["parameters"].as_object().into_iter().flatten() {
            assert!(!text(&declared["description"]).is_empty(), "RC002 {kind}/{name}: {parameter} has no description");
        }
    }
    // RC003: an example. RC004: with a name that says what it shows.
    for name in section(&orb, "examples").keys() {
        assert!(!name.to_lowercase().contains("example") && name.len() > 8, "RC004 {name}");
    }
    // RC005: a description of 64 characters or more.
    assert!(text(&orb["description"]).len() >= 64, "RC005");
    #[expect(clippy::print_stdout, reason = "what is skipped is said")]
    {
        println!("RC006 and RC007 (the URLs answer) need the network: skipped");
    }
}

#[test]
fn rc008_to_rc012_how_an_orb_is_written() {
    let orb = packed();
    let source = |kind: &str, name: &str| {
        std::fs::read_to_string(orb_file(kind, name)).unwrap_or_else(|error| panic!("{kind}/{name}: {error}"))
    };
    let mut runs = 0;
    for (kind, name, body) in components(&orb) {
        // RC010: snake_case names of components and parameters.
        let snake = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        assert!(snake(name), "RC010 {kind}/{name}");
        for parameter in body["parameters"].as_object().into_iter().flatten().map(|(name, _)| name) {
            assert!(snake(parameter), "RC010 {kind}/{name}: {parameter}");
        }
        if kind == "examples" {
            // RC011: examples on the current major.
            assert_eq!(body["usage"]["orbs"]["gyron"], "tama/gyron@1", "RC011 {name}");
            continue;
        }
        each(&body["steps"], "run", &mut |run| {
            runs += 1;
            // RC008: a run step is a map with a name.
            assert!(run["name"].is_string(), "RC008 {kind}/{name}: {run}");
        });
        // RC009: a command of more than 64 characters is included from a script.
        for line in source(kind, name).lines().filter_map(|line| line.trim().strip_prefix("command:")) {
            assert!(line.len() <= 64 && !line.trim().starts_with('|'), "RC009 {kind}/{name}: {line}");
        }
        // RC012: no key of a cache has a parameter in it whose default is a variable.
        each(&body["steps"], "key", &mut |key| {
            assert!(!key.as_str().unwrap_or_default().contains("parameters."), "RC012 {kind}/{name}: {key}");
        });
    }
    assert!(runs >= 10, "only {runs} run steps were looked at");
}

fn orb_file(kind: &str, name: &str) -> PathBuf {
    orb().join(kind).join(format!("{name}.yml"))
}

#[test]
fn a_parameter_of_one_name_is_the_same_everywhere() {
    let orb = packed();
    let mut known: BTreeMap<&String, (&String, &Value)> = BTreeMap::new();
    for (_, name, body) in components(&orb).into_iter().filter(|(kind, ..)| matches!(*kind, "commands" | "jobs")) {
        for (parameter, declared) in body["parameters"].as_object().into_iter().flatten() {
            let (first, same) = known.entry(parameter).or_insert((name, declared));
            assert_eq!(*same, declared, "{parameter} differs between {first} and {name}");
        }
    }
    assert!(known.len() <= 15, "few parameters: {:?}", known.keys());
}

/// What the orb leaves to a person at a laptop.
const BY_HAND: [&str; 8] =
    ["--keep-on-failure", "--yes", "--set", "--plan", "--json", "--target", "--help", "--version"];

#[test]
fn the_programs_flags_are_the_orbs_parameters_or_are_left_out_on_purpose() {
    let orb = packed();
    let flag = regex::Regex::new(r"(?m)^ {2,}(?:-\w, )?(--[a-z-]+)").unwrap();
    for step in ["package", "bake", "spec", "launch", "smoke", "swap"] {
        let help = Command::new(programs().join(format!("gyron-{step}"))).arg("--help").output().unwrap();
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        let of_program: BTreeSet<String> = flag.captures_iter(&help).map(|found| found[1].to_owned()).collect();
        assert!(of_program.contains("--directory"), "{help}");
        let command = &orb["commands"][step]["parameters"];
        let of_orb = command.as_object().unwrap_or_else(|| panic!("there is no command {step}"));
        for flag in of_program.iter().filter(|flag| !BY_HAND.contains(&flag.as_str())) {
            let parameter = flag.trim_start_matches('-').replace('-', "_");
            let needless = (parameter == "env" && ["package", "bake", "spec"].contains(&step))
                || (parameter == "release" && step == "smoke");
            assert!(needless || of_orb.contains_key(&parameter), "gyron-{step} has {flag}, the orb's command doesn't");
        }
        // The other way round: a flag of the program, or a word behind it.
        for parameter in of_orb.keys() {
            let flag = format!("--{}", parameter.replace('_', "-"));
            assert!(
                of_program.contains(&flag) || help.contains(&format!("- {parameter}:")),
                "gyron-{step} has no {parameter}:\n{help}"
            );
        }
    }
}

#[test]
fn a_bake_is_fresh_where_the_config_says_so() {
    let config = r#"version: 2.1
orbs: {gyron: tama/gyron@1}
jobs:
  bake:
    executor: gyron/default
    steps:
      - run:
          name: stand in for gyron-bake
          command: |
            mkdir -p ~/bin && printf '#!/bin/sh\necho given $*\n' >~/bin/gyron-bake && chmod +x ~/bin/gyron-bake
            echo 'export PATH=~/bin:$PATH' >>$BASH_ENV
      - gyron/bake: {fresh: true}
      - gyron/bake
workflows: {main: {jobs: [bake]}}
"#;
    let shown = super::run(&super::app(config), &[]);
    let given: Vec<&str> = shown.lines().filter_map(|line| line.split_once("|   given ")).map(|(_, it)| it).collect();
    assert_eq!(given, ["--directory . --fresh", "--directory ."], "{shown}");
}

#[test]
fn the_orb_carries_the_crates_version_and_terraforms_sums() {
    let sums = std::fs::read_to_string(orb().join("scripts/sums")).unwrap();
    for architecture in ["amd64", "arm64"] {
        assert!(sums.contains(&format!("gyron-{}-linux-{architecture}.tar.xz", env!("CARGO_PKG_VERSION"))), "{sums}");
    }
    let own = std::fs::read_to_string(orb().join("../bins/rehearse/src/install/terraform.rs")).unwrap();
    for line in std::fs::read_to_string(orb().join("scripts/terraform-sums")).unwrap().lines() {
        let (sum, archive) = line.split_once("  ").unwrap();
        assert!(own.contains(sum), "{archive} is another Terraform than the rehearsal's");
    }
}

#[test]
fn every_example_and_the_shops_config_can_be_expanded() {
    let orb = packed();
    let app = App::empty();
    for (name, example) in section(&orb, "examples") {
        app.write(".circleci/config.yml", &example["usage"].to_string());
        app.commit();
        let shown = app.run("gyron-rehearse", &["ci", "validate"]);
        assert!(shown.starts_with("exit 0\n"), "{name}: {shown}");
    }
    let shop = Path::new(env!("CARGO_MANIFEST_DIR")).join("apps/shop/.circleci/config.yml");
    let lines = std::fs::read_to_string(shop).unwrap().lines().count();
    assert!(lines <= 15, "the shop's CI has {lines} lines");
}
