//! The balancer's weights, by the AWS CLI alone: what anybody's tool would see of this cloud.

use gyron_tests::cloud::Cloud;

#[test]
fn a_call_the_rehearsal_cannot_serve_is_refused_in_awss_own_form() {
    let cloud = Cloud::of_tests();
    let output = cloud
        .rehearse(&["exec", "--", "aws", "autoscaling", "start-instance-refresh", "--auto-scaling-group-name", "none"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("An error occurred ("), "{said}");
    assert!(!said.contains("<html") && !said.contains("Traceback"), "{said}");
}

#[test]
fn in_another_region_nothing_answers_for_what_stands_at_home() {
    let cloud = Cloud::of_tests();
    let there = |args: &[&str]| {
        let all = [&["exec", "--", "aws", "--output", "json", "--region", "eu-west-1"], args].concat();
        let output = cloud.rehearse(&all).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let base = "ami-0deb1200000000002";
    let (_, said) = there(&["ec2", "describe-images", "--image-ids", base]);
    assert!(said.contains("(InvalidAMIID.NotFound)"), "{said}");
    let command =
        ["ssm", "send-command", "--document-name", "AWS-RunShellScript", "--instance-ids", "i-0123456789abcdef0"];
    let (sent, said) = there(&command);
    assert!(!sent && said.contains("the rehearsal has agents only in us-east-1"), "{said}");
    let parameter = "/aws/service/debian/release/12/latest/amd64";
    let (found, said) = there(&["ssm", "get-parameter", "--name", parameter]);
    assert!(!found && said.contains("the rehearsal has Debian's image only in us-east-1"), "{said}");
}
