//! The journal of calls, and what it costs to forward one.

use gyron_tests::cloud::Cloud;
use serde_json::Value;

#[test]
fn every_call_is_a_line_of_json() {
    let cloud = Cloud::of_tests();
    let _ = cloud.aws(&["ec2", "describe-vpcs"]);
    let calls = cloud.ask(&["calls"]);
    let calls: Vec<Value> = calls.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let call = calls.iter().rev().find(|call| call["action"] == "DescribeVpcs").unwrap();
    assert_eq!(call["service"], "ec2");
    assert_eq!(call["status"], 200);
    assert!(call["ms"].is_number(), "{call}");
}
