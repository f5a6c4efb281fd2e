//! The journal of calls, and what it costs to forward one.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use gyron_tests::cloud::Cloud;
use gyron_tests::load::ask;
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

#[test]
fn what_the_gateway_adds_to_a_call_that_it_only_forwards() {
    let cloud = Cloud::of_tests();
    let (endpoint, moto) = (cloud.endpoint(), cloud.moto());
    // Turn by turn: what else runs on the machine then slows both.
    let (mut through, mut direct) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        through.push(took(endpoint));
        direct.push(took(moto));
    }
    let (through, direct) = (median(through), median(direct));
    #[expect(clippy::print_stdout, reason = "figures are printed, not asserted")]
    {
        println!("DescribeVpcs, median of 100: {through:?} through the gateway, {direct:?} from moto itself");
    }
}

fn took(address: SocketAddr) -> Duration {
    let form = "Action=DescribeVpcs&Version=2016-11-15";
    let scope = "Credential=AKIAEXAMPLE/20260101/us-east-1/ec2/aws4_request, SignedHeaders=host, Signature=0";
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nAuthorization: AWS4-HMAC-SHA256 {scope}\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    let begun = Instant::now();
    let answer = ask(address, &request).unwrap();
    assert!(answer.contains("<vpcId>"), "{answer}");
    begun.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
