//! What the balancer says itself, and when.

use super::*;
use crate::world::Condition;

fn assert_own(answer: &Answer, status: u16, title: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.headers["server"], "awselb/2.0");
    assert_eq!(answer.headers["content-type"], "text/html");
    assert!(answer.body.contains(&format!("<center><h1>{title}</h1></center>\r\n")), "{}", answer.body);
}

#[tokio::test]
async fn a_group_without_targets_is_a_503_and_so_are_weights_of_zero() {
    let app = App::start("blue").await;
    let zero = rule(vec![Condition::Path(vec!["/zero".to_owned()])], forward(&[("blue", 0), ("empty", 0)]));
    let empty = rule(vec![Condition::Path(vec!["/empty".to_owned()])], forward(&[("empty", 1)]));
    let rules = vec![zero, empty, rule(vec![], forward(&[("blue", 1)]))];
    let rig = Rig::start(rules, vec![group("blue", &[app.at]), group("empty", &[])]).await;
    assert_own(&rig.get("/zero").await, 503, "503 Service Temporarily Unavailable");
    assert_own(&rig.get("/empty").await, 503, "503 Service Temporarily Unavailable");
    assert_eq!(rig.get("/").await.body, "blue");
    let counted = rig.plane.counters("balancer").unwrap();
    assert_eq!((counted.elb_5xx.load(Ordering::Relaxed), counted.requests.load(Ordering::Relaxed)), (2, 1));
}

#[tokio::test]
async fn a_target_that_refuses_breaks_off_or_babbles_is_a_502_and_asked_once() {
    let (refusing, at) = bound().await;
    drop(refusing);
    let rig = Rig::simple(&[at]).await;
    assert_own(&rig.get("/").await, 502, "502 Bad Gateway");
    let counted = rig.plane.counters("blue").unwrap();
    assert_eq!(counted.connection_errors.load(Ordering::Relaxed), 1);
    assert_eq!(counted.elb_5xx.load(Ordering::Relaxed), 1);

    let (at, requests) = rude(|stream| async move { drop(stream) }).await;
    let rig = Rig::simple(&[at]).await;
    assert_own(&rig.get("/").await, 502, "502 Bad Gateway");
    assert_eq!(requests.load(Ordering::Relaxed), 1, "nothing is sent again");

    let babble = |mut stream: TcpStream| async move { stream.write_all(b"SSH-2.0-OpenSSH\r\n\r\n").await.unwrap() };
    let (at, requests) = rude(babble).await;
    let rig = Rig::simple(&[at]).await;
    assert_own(&rig.get("/").await, 502, "502 Bad Gateway");
    assert_eq!(requests.load(Ordering::Relaxed), 1, "nothing is sent again");
}

#[tokio::test]
async fn a_target_that_says_nothing_is_a_504_after_the_idle_timeout() {
    let (at, requests) = rude(|stream| async move {
        tokio::time::sleep(Duration::from_secs(10)).await;
        drop(stream);
    })
    .await;
    let mut rig = Rig::simple(&[at]).await;
    rig.world.balancers[0].idle_timeout = Duration::from_millis(150);
    rig.apply().await;
    assert_own(&rig.get("/").await, 504, "504 Gateway Time-out");
    assert_eq!(requests.load(Ordering::Relaxed), 1, "nothing is sent again");
}

#[tokio::test]
async fn fixed_responses_and_redirects_are_the_balancers_own() {
    let fixed = Action::FixedResponse { status: 418, content_type: "text/plain".to_owned(), body: "short".to_owned() };
    let redirect = Action::Redirect {
        status: 301,
        protocol: "HTTPS".to_owned(),
        host: "#{host}".to_owned(),
        port: "443".to_owned(),
        path: "/#{path}".to_owned(),
        query: "#{query}".to_owned(),
    };
    let rules = vec![rule(vec![Condition::Path(vec!["/go/*".to_owned()])], redirect), rule(vec![], fixed)];
    let rig = Rig::start(rules, vec![]).await;
    let answer = rig.get("/tea").await;
    assert_eq!((answer.status, answer.body.as_str()), (418, "short"));
    assert_eq!(answer.headers["server"], "awselb/2.0");
    let answer = rig.get("/go/there?a=b").await;
    assert_own(&answer, 301, "301 Moved Permanently");
    assert_eq!(answer.headers["location"], format!("https://{}:443/go/there?a=b", rig.at.ip()));
}

#[tokio::test]
async fn malformed_requests_are_a_400() {
    let app = App::start("blue").await;
    let rig = Rig::simple(&[app.at]).await;
    for request in [
        "GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nBro ken: x\r\n\r\n",
        "nonsense\r\n\r\n",
    ] {
        let answer = raw(rig.at, request).await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{request:?}: {answer}");
    }
    let traced = raw(rig.at, "TRACE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(traced.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{traced}");
    assert_eq!(app.requests(), 0);
}

#[tokio::test]
async fn the_phrase_of_a_503_and_the_case_of_headers_are_the_real_ones() {
    let rig = Rig::start(vec![rule(vec![], forward(&[("none", 1)]))], vec![]).await;
    let answer = raw(rig.at, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 503 Service Temporarily Unavailable\r\n"), "{answer}");
    assert!(
        answer.contains("\r\nServer: awselb/2.0\r\n") && answer.contains("\r\nContent-Length: 162\r\n"),
        "{answer}"
    );
}
