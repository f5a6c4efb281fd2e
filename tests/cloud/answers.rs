//! What boto3, and with it the AWS CLI, makes of the cloud's answers.

use gyron_tests::cloud::Cloud;

#[test]
fn boto3_finds_every_answer_as_its_model_says() {
    let cloud = Cloud::of_tests();
    let said = cloud.boto3(include_str!("answers.py"), &[]);
    let end = said.lines().last().unwrap_or_default();
    assert!(end.ends_with(", 0 answers wrong"), "{said}");
}
