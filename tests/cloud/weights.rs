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
