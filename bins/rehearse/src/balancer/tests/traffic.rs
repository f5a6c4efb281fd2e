//! Requests that are carried.

use super::*;

#[tokio::test]
async fn a_request_arrives_with_the_balancers_headers_over_a_connection_that_is_kept() {
    let app = App::start("blue").await;
    let rig = Rig::simple(&[app.at]).await;
    let mut client = Client::connect(rig.at).await;
    for _ in 0..30 {
        assert_eq!(client.get("/").await.unwrap().body, "blue");
        // A connection is free again only after its answer's end has been seen.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!((app.requests(), app.connections()), (30, 1));
    let headers = app.seen.headers.lock().unwrap().clone();
    assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
    assert_eq!(headers["x-forwarded-proto"], "http");
    assert_eq!(headers["x-forwarded-port"], "8080");
    assert!(headers["x-amzn-trace-id"].to_str().unwrap().starts_with("Root=1-"));
    assert_eq!(headers["host"], rig.at.to_string());
    assert_eq!(rig.get("/missing").await.status, 404);
    let counted = rig.plane.counters("blue").unwrap();
    let classes: Vec<u64> = counted.target.iter().map(|class| class.load(Ordering::Relaxed)).collect();
    assert_eq!((counted.requests.load(Ordering::Relaxed), classes), (31, vec![30, 0, 1, 0]));
}

#[tokio::test]
async fn weights_flip_under_load_without_a_failure_and_hold_for_the_next_request() {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let groups = vec![group("blue", &[blue.at]), group("green", &[green.at])];
    let mut rig = Rig::start(vec![rule(vec![], forward(&[("blue", 100), ("green", 0)]))], groups).await;
    let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (at, over) = (rig.at, Arc::clone(&over));
            tokio::spawn(async move {
                let mut client = Client::connect(at).await;
                let mut bodies = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let answer = client.get("/").await.unwrap();
                    assert_eq!(answer.status, 200);
                    bodies.push(answer.body);
                }
                bodies
            })
        })
        .collect();
    let mut witness = Client::connect(rig.at).await;
    assert_eq!(witness.get("/").await.unwrap().body, "blue");
    for (weights, body) in [((0, 100), "green"), ((100, 0), "blue"), ((0, 1), "green")] {
        tokio::time::sleep(Duration::from_millis(60)).await;
        rig.world.balancers[0].listeners[0].rules =
            vec![rule(vec![], forward(&[("blue", weights.0), ("green", weights.1)]))];
        rig.apply().await;
        for _ in 0..5 {
            assert_eq!(witness.get("/").await.unwrap().body, body, "on a connection from before the flip");
        }
    }
    over.store(true, Ordering::Relaxed);
    for client in clients {
        let mut bodies = client.await.unwrap();
        bodies.dedup();
        assert_eq!(bodies, ["blue", "green", "blue", "green"]);
    }
}

#[tokio::test]
async fn weights_share_traffic_and_targets_take_turns() {
    let apps = [App::start("one").await, App::start("two").await, App::start("three").await];
    let groups = vec![group("blue", &[apps[0].at, apps[1].at]), group("green", &[apps[2].at])];
    let rig = Rig::start(vec![rule(vec![], forward(&[("blue", 600), ("green", 200)]))], groups).await;
    rig.until_healthy().await;
    let mut client = Client::connect(rig.at).await;
    for _ in 0..400 {
        client.get("/").await.unwrap();
    }
    let [one, two, three] = apps.map(|app| app.requests());
    assert_eq!(one + two + three, 400);
    assert!(one.abs_diff(two) <= 1, "{one} {two}");
    // 100 expected with a standard deviation of 8.7: one run in 10^8 is outside.
    assert!((50..=150).contains(&three), "{three}");
}

#[tokio::test]
async fn a_connection_that_the_target_closed_while_idle_fails_no_request() {
    // Answers one request as if it kept the connection, then closes it at once.
    let (at, requests) = rude(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
    })
    .await;
    let rig = Rig::simple(&[at]).await;
    let mut client = Client::connect(rig.at).await;
    for _ in 0..50 {
        assert_eq!(client.get("/").await.unwrap().status, 200);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(requests.load(Ordering::Relaxed), 50);
}

#[tokio::test]
async fn a_target_killed_in_the_middle_fails_what_it_had_and_nobody_tries_again() {
    let (blue, other) = (App::start("blue").await, App::start("other").await);
    let rig = Rig::simple(&[blue.at, other.at]).await;
    rig.until_healthy().await;
    let at = rig.at;
    let pending: Vec<_> =
        (0..4).map(|_| tokio::spawn(async move { Client::connect(at).await.get("/slow").await.unwrap() })).collect();
    until(|| blue.requests() + other.requests() == 4, || "requests have not arrived".to_owned()).await;
    assert_eq!((blue.requests(), other.requests()), (2, 2));
    blue.kill().await;
    let mut statuses = Vec::new();
    for answer in pending {
        statuses.push(answer.await.unwrap().status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 502, 502]);
    assert_eq!(other.requests(), 2, "what the killed target had is not sent to the other");
    rig.until_states(&[State::Unhealthy, State::Healthy]).await;
    for _ in 0..6 {
        assert_eq!(rig.get("/").await.body, "other");
    }
}

#[tokio::test]
async fn an_old_client_and_one_that_asks_to_close_are_served() {
    let app = App::start("blue").await;
    let rig = Rig::simple(&[app.at]).await;
    let answer = raw(rig.at, "GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.ends_with("\r\n\r\nblue"), "{answer}");
    let answer = raw(rig.at, "GET / HTTP/1.1\r\nhost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nblue"), "{answer}");
    let answer = raw(rig.at, "GET http://a/missing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
}

#[tokio::test]
async fn bodies_stream_in_both_directions_at_once() {
    let app = App::start("blue").await;
    let rig = Rig::simple(&[app.at]).await;
    let mut stream = TcpStream::connect(rig.at).await.unwrap();
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut heard = String::new();
    for word in ["one", "two"] {
        stream.write_all(format!("3\r\n{word}\r\n").as_bytes()).await.unwrap();
        // The answer to the first piece comes before the second is sent.
        while !heard.contains(word) {
            let mut piece = [0; 1024];
            let length = stream.read(&mut piece).await.unwrap();
            assert!(length > 0, "{heard}");
            heard.push_str(std::str::from_utf8(&piece[..length]).unwrap());
        }
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    assert!(heard.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"), "{heard}");
    assert!(!app.seen.headers.lock().unwrap().contains_key("expect"));

    let large = "x".repeat(3_000_000);
    let request = format!(
        "POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{large}",
        large.len()
    );
    let (mut reading, mut writing) = TcpStream::connect(rig.at).await.unwrap().into_split();
    let sent = tokio::spawn(async move {
        writing.write_all(request.as_bytes()).await.unwrap();
        writing
    });
    let mut answer = Vec::new();
    reading.read_to_end(&mut answer).await.unwrap();
    drop(sent.await.unwrap());
    assert!(answer.ends_with(large.as_bytes()));
}

#[tokio::test]
async fn an_upgraded_connection_is_passed_through() {
    let app = App::start("blue").await;
    let rig = Rig::simple(&[app.at]).await;
    let mut stream = TcpStream::connect(rig.at).await.unwrap();
    let head = "GET /switch HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x-test\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut heard = String::new();
    while !heard.ends_with("\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        heard.push(char::from(byte[0]));
    }
    assert!(heard.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{heard}");
    stream.write_all(b"ping").await.unwrap();
    let mut pong = [0; 4];
    stream.read_exact(&mut pong).await.unwrap();
    assert_eq!(&pong, b"pong");
}
