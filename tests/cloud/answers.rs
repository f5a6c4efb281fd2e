//! What boto3, and with it the AWS CLI, makes of the cloud's answers.

use gyron_tests::cloud::{Cloud, cache};

const SCRIPT: &str = include_str!("answers.py");

#[test]
fn boto3_finds_every_answer_as_its_model_says() {
    let cloud = Cloud::of_tests();
    let python = cache().join("venv/bin/python3").display().to_string();
    let output = cloud.rehearse(&["exec", "--", &python, "-c", SCRIPT]).output().unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{errors}");
    let end = said.lines().last().unwrap_or_default();
    assert!(end.ends_with(", 0 answers wrong"), "{said}{errors}");
}
