#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use gyron_core::ids::InstanceId;
use gyron_core::run_command::Reply;

use super::{ASK, answers, headers};
use crate::check::Seen;

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn an_instance_is_asked_as_the_balancer_would_ask_it() {
    let given = headers("https://shop.example:8443", &pairs(&[("host", "shop.test"), ("Accept", "text/html")]));
    let expected = [
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Port", "8443"),
        ("User-Agent", concat!("gyron/", env!("CARGO_PKG_VERSION"))),
        ("host", "shop.test"),
        ("Accept", "text/html"),
    ];
    assert_eq!(given, pairs(&expected));
    assert!(headers("http://shop.example", &[]).contains(&("X-Forwarded-Port".to_owned(), "80".to_owned())));
}

/// Answers each request by its path, once: `/big` with what can't be compressed, `/long` with what can.
fn serve(requests: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(requests) {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            let host =
                lines.map_while(Result::ok).take_while(|line| !line.is_empty()).find(|line| line.starts_with("Host"));
            let mut chance = 1u32;
            let body: Vec<u8> = match first.split(' ').nth(1).unwrap() {
                "/big" => std::iter::repeat_with(|| {
                    chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    b'0' + (chance >> 24) as u8 % 64
                })
                .take(90_000)
                .collect(),
                "/long" => "The Corner Shop\n".repeat(20_000).into_bytes(),
                _ => host.unwrap_or_default().into_bytes(),
            };
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).unwrap();
            stream.write_all(&body).unwrap();
        }
    });
    port
}

fn ask(port: u16, paths: &[&str]) -> Reply {
    let checks: Vec<_> =
        paths.iter().map(|path| serde_json::json!({ "path": path, "headers": [["Host", "shöp.example"]] })).collect();
    let order = serde_json::json!({ "port": port, "timeout": 5, "checks": checks }).to_string();
    let mut child =
        Command::new("python3").args(["-c", ASK]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(order.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Reply {
        status: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::new(),
    }
}

#[test]
fn answers_come_back_as_far_as_they_fit() {
    let reply = ask(serve(3), &["/", "/long", "/big"]);
    assert!(reply.stdout.len() < 22_100);
    let seen = answers(&reply, &InstanceId::new("i-1")).unwrap();
    let [
        Seen::Answer { status: 200, body: first, cut_from: None, .. },
        Seen::Answer { body: long, cut_from: None, .. },
    ] = seen.as_slice()
    else {
        panic!("two answers fit, the third is left to the next command: {seen:?}");
    };
    assert_eq!(first, "Host: shöp.example");
    assert_eq!(long.len(), 320_000);

    let reply = ask(serve(1), &["/big"]);
    assert!(reply.stdout.len() < 22_100);
    let seen = answers(&reply, &InstanceId::new("i-1")).unwrap();
    let [Seen::Answer { body, cut_from: Some(90_000), .. }] = seen.as_slice() else {
        panic!("one answer, cut: {seen:?}")
    };
    assert!((10_000..90_000).contains(&body.len()));
}

#[test]
fn where_nobody_listens_there_is_no_answer() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    std::thread::sleep(Duration::from_millis(10));
    let seen = answers(&ask(port, &["/"]), &InstanceId::new("i-1")).unwrap();
    assert_eq!(seen, [Seen::Nothing("[Errno 111] Connection refused".to_owned())]);
}

#[test]
fn an_instance_that_cant_be_asked_is_no_verdict() {
    let reply =
        |status, stdout: &str, stderr: &str| Reply { status, stdout: stdout.to_owned(), stderr: stderr.to_owned() };
    let said = |reply: &Reply| answers(reply, &InstanceId::new("i-1")).unwrap_err().report();
    insta::assert_snapshot!(said(&reply(127, "", "sh: 5: python3: not found")), @"
    error: i-1 can't be asked: it has no python3 (exit status 127)
      | sh: 5: python3: not found
    hint: install python3 in the playbook, or set smoke.instances = false
    ");
    insta::assert_snapshot!(said(&reply(0, "[]", "")), @"error: i-1 can't be asked: it gave no answers (exit status 0)");
    insta::assert_snapshot!(said(&reply(1, "", "Traceback")), @"
    error: i-1 can't be asked: the script failed (exit status 1)
      | Traceback
    ");
}
