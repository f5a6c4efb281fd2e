//! The plane end to end, in this process: real listeners and real targets on loopback addresses of their own.
#![allow(clippy::unwrap_used)]

mod answers;
mod targets;
mod traffic;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::{Plane, State, TargetHealth};
use crate::netns::Netns;
use crate::world::{
    Action, Balancer, HealthCheck, Instance, InstanceState, Listener, Rule, Target, TargetGroup, World,
};

/// The port of every listener and target: each has a loopback address of its own, so tests never meet.
const PORT: u16 = 8080;

fn own_address() -> Ipv4Addr {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let n = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    assert!(n < 250, "too many addresses for one test process");
    let process = std::process::id();
    let [_, _, high, low] = process.to_be_bytes();
    Ipv4Addr::new(127, 64 + (high % 64), low, u8::try_from(n).unwrap())
}

async fn bound() -> (TcpListener, SocketAddrV4) {
    let at = SocketAddrV4::new(own_address(), PORT);
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(at.into()).unwrap();
    (socket.listen(1024).unwrap(), at)
}

/// A small app. It answers its name, and whatever the path asks for.
struct App {
    at: SocketAddrV4,
    seen: Arc<Seen>,
    serving: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    requests: AtomicU32,
    peers: Mutex<BTreeSet<u16>>,
    headers: Mutex<HeaderMap>,
    checks: Mutex<HeaderMap>,
    /// The status of `/health`.
    health: AtomicU16,
}

impl App {
    async fn start(name: &'static str) -> Self {
        let (listener, at) = bound().await;
        let seen = Arc::new(Seen { health: AtomicU16::new(200), ..Seen::default() });
        let shown = Arc::clone(&seen);
        let serving = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            loop {
                let (stream, peer) = listener.accept().await.unwrap();
                let seen = Arc::clone(&shown);
                let service = service_fn(move |request| app(name, peer, Arc::clone(&seen), request));
                open.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades());
            }
        });
        App { at, seen, serving }
    }

    fn requests(&self) -> u32 {
        self.seen.requests.load(Ordering::Relaxed)
    }

    fn connections(&self) -> usize {
        self.seen.peers.lock().unwrap().len()
    }

    /// Closes the listener and every connection, as a killed process does.
    async fn kill(self) -> SocketAddrV4 {
        self.serving.abort();
        let _ = self.serving.await;
        self.at
    }
}

async fn app(
    name: &'static str,
    peer: SocketAddr,
    seen: Arc<Seen>,
    mut request: Request<Incoming>,
) -> Result<Response<http_body_util::Either<Full<Bytes>, Incoming>>, Infallible> {
    use http_body_util::Either;
    let text = |body: &'static str| Response::new(Either::Left(Full::new(Bytes::from(body))));
    if request.uri().path() == "/health" {
        *seen.checks.lock().unwrap() = request.headers().clone();
        let mut response = text("");
        *response.status_mut() = StatusCode::from_u16(seen.health.load(Ordering::Relaxed)).unwrap();
        return Ok(response);
    }
    seen.requests.fetch_add(1, Ordering::Relaxed);
    seen.peers.lock().unwrap().insert(peer.port());
    *seen.headers.lock().unwrap() = request.headers().clone();
    Ok(match request.uri().path() {
        "/slow" => {
            tokio::time::sleep(Duration::from_millis(400)).await;
            text(name)
        }
        "/echo" => Response::new(Either::Right(request.into_body())),
        "/missing" => {
            let mut response = text("nothing here");
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
        "/switch" => {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut stream = TokioIo::new(upgrade.await.unwrap());
                let mut heard = [0; 4];
                stream.read_exact(&mut heard).await.unwrap();
                assert_eq!(&heard, b"ping");
                stream.write_all(b"pong").await.unwrap();
            });
            let mut response = text("");
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response.headers_mut().insert("connection", "upgrade".parse().unwrap());
            response.headers_mut().insert("upgrade", "x-test".parse().unwrap());
            response
        }
        _ => text(name),
    })
}

/// A target that does with each connection what `behave` says, once it has read the head of a request.
async fn rude<F>(behave: impl Fn(TcpStream) -> F + Send + 'static) -> (SocketAddrV4, Arc<AtomicU32>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (listener, at) = bound().await;
    let requests = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&requests);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4096];
            let length = stream.read(&mut head).await.unwrap();
            if String::from_utf8_lossy(&head[..length]).contains("ELB-HealthChecker") {
                continue;
            }
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(behave(stream));
        }
    });
    (at, requests)
}

fn target(n: usize, at: SocketAddrV4) -> Target {
    Target {
        id: format!("i-{n}"),
        port: at.port(),
        address: Some(*at.ip()),
        state: Some(InstanceState::Running),
        zone: Some("us-east-1a".to_owned()),
    }
}

fn group(arn: &str, targets: &[SocketAddrV4]) -> TargetGroup {
    TargetGroup {
        arn: arn.to_owned(),
        name: arn.to_owned(),
        protocol: "HTTP".to_owned(),
        port: PORT,
        health_check: HealthCheck {
            enabled: true,
            protocol: "HTTP".to_owned(),
            port: None,
            path: "/health".to_owned(),
            interval: Duration::from_millis(20),
            timeout: Duration::from_millis(500),
            healthy_threshold: 3,
            unhealthy_threshold: 2,
            matcher: "200".to_owned(),
        },
        deregistration_delay: Duration::from_secs(300),
        stickiness: None,
        targets: targets.iter().enumerate().map(|(n, at)| target(n, *at)).collect(),
    }
}

fn forward(groups: &[(&str, u32)]) -> Action {
    let groups = groups.iter().map(|(arn, weight)| ((*arn).to_owned(), *weight)).collect();
    Action::Forward { groups, stickiness: None }
}

fn rule(conditions: Vec<crate::world::Condition>, action: Action) -> Rule {
    Rule { arn: "rule".to_owned(), priority: None, conditions, actions: vec![action] }
}

/// A plane with one balancer and one listener, and the world it follows.
struct Rig {
    plane: Plane,
    world: World,
    at: SocketAddrV4,
}

impl Rig {
    async fn start(rules: Vec<Rule>, groups: Vec<TargetGroup>) -> Self {
        let at = SocketAddrV4::new(own_address(), PORT);
        let listener = Listener { arn: "listener".to_owned(), protocol: "HTTP".to_owned(), port: PORT, rules };
        let balancer = Balancer {
            arn: "balancer".to_owned(),
            dns_name: "shop.us-east-1.elb.amazonaws.com".to_owned(),
            addresses: vec![*at.ip()],
            idle_timeout: Duration::from_secs(60),
            listeners: vec![listener],
        };
        let world = World {
            instances: Vec::<Instance>::new(),
            balancers: vec![balancer],
            target_groups: groups.into_iter().map(|group| (group.arn.clone(), group)).collect(),
        };
        let rig = Rig { plane: Plane::new(Netns::here()), world, at };
        rig.apply().await;
        rig
    }

    /// One group, `blue`, that gets everything.
    async fn simple(targets: &[SocketAddrV4]) -> Self {
        Rig::start(vec![rule(vec![], forward(&[("blue", 1)]))], vec![group("blue", targets)]).await
    }

    async fn apply(&self) {
        let unopened = self.plane.apply(&self.world).await;
        assert!(unopened.is_empty(), "{unopened:?}");
    }

    fn blue(&mut self) -> &mut TargetGroup {
        self.world.target_groups.get_mut("blue").unwrap()
    }

    fn health(&self) -> Vec<TargetHealth> {
        self.plane.health("blue")
    }

    async fn until_states(&self, states: &[State]) {
        until(
            || self.health().iter().map(|h| h.state).collect::<Vec<_>>() == states,
            || format!("{:?}", self.health()),
        )
        .await;
    }

    async fn until_healthy(&self) {
        until(|| self.health().iter().all(|h| h.state == State::Healthy), || format!("{:?}", self.health())).await;
    }

    async fn get(&self, path: &str) -> Answer {
        Client::connect(self.at).await.get(path).await.unwrap()
    }
}

async fn until(holds: impl Fn() -> bool, otherwise: impl Fn() -> String) {
    for _ in 0..1000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not within 5 s: {}", otherwise());
}

/// What a client got.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

/// One kept-alive connection of a client.
struct Client {
    at: SocketAddrV4,
    sender: SendRequest<Empty<Bytes>>,
}

impl Client {
    async fn connect(at: SocketAddrV4) -> Self {
        let stream = TcpStream::connect(at).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Client { at, sender }
    }

    async fn get(&mut self, path: &str) -> Result<Answer, hyper::Error> {
        self.sender.ready().await?;
        let request = Request::get(path).header("host", self.at.to_string()).body(Empty::new()).unwrap();
        let response = self.sender.send_request(request).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        })
    }
}

/// Sends bytes as they are and reads until the other side closes.
async fn raw(at: SocketAddrV4, request: &str) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}
