//! The metadata service at 169.254.169.254, per instance (IMDSv2), and the door through which the agents ask for work.

mod token;
mod tree;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, SERVER, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cloud::Cloud;
use crate::ssm::{Question, Report, Service};
use crate::world::{Instance, InstanceState, World};

pub use tree::private_name;
#[cfg(test)]
pub(crate) use tree::tests;

const TOKEN: &str = "x-aws-ec2-metadata-token";
const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN_PATH: &str = "/latest/api/token";
const DOOR: &str = "/_agent/";

/// An agent's message is at most so long: two streams of 32 KiB as base64, and all ids it has in hand.
const MESSAGE: usize = 1 << 20;

/// cloud-init reads all it wants within so many seconds of its first question.
const CRAWL: i64 = 30;

/// What the service answers from.
pub struct State {
    cloud: Cloud,
    world: watch::Receiver<Arc<World>>,
    ssm: Arc<Service>,
    seal: token::Seal,
    /// When cloud-init first asked without a token, by instance.
    crawls: Mutex<BTreeMap<String, Timestamp>>,
}

impl State {
    /// The metadata of the instances of a world that changes.
    #[must_use]
    pub fn new(cloud: Cloud, world: watch::Receiver<Arc<World>>, ssm: Arc<Service>) -> Arc<Self> {
        Arc::new(State { cloud, world, ssm, seal: token::Seal::new(), crawls: Mutex::default() })
    }

    /// Whether this is cloud-init at boot, which may go without a token even where tokens are required.
    ///
    /// It knows that it is on EC2 by DMI, doesn't read that in a container, and so never gets a token: the cloud-init
    /// of a virtual machine would have one. Its first questions bear its name, those of the crawl that follows only
    /// that of Python's library (seen with 22.4.2): so that name is good for a moment, and for nobody later.
    fn is_cloud_init(&self, instance: &str, agent: &str, now: Timestamp) -> bool {
        let mut crawls = self.crawls.lock().unwrap_or_else(PoisonError::into_inner);
        crawls.retain(|_, began| now.as_second() - began.as_second() < CRAWL);
        if agent.starts_with("Cloud-Init/") {
            crawls.entry(instance.to_owned()).or_insert(now);
            return true;
        }
        agent.starts_with("python-requests/") && crawls.contains_key(instance)
    }
}

/// Serves until it is dropped, which ends all connections too. Who asks is known by the address it asks from.
///
/// # Errors
/// Where the listener can't be given to the runtime; a connection that fails ends alone.
pub async fn run(listener: std::net::TcpListener, state: Arc<State>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // Out of file descriptors or the like: the listener is still good, the next moment may be better.
                let Ok((stream, peer)) = accepted else {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    continue;
                };
                let state = Arc::clone(&state);
                connections.spawn(async move {
                    let service = service_fn(|request| {
                        let state = Arc::clone(&state);
                        async move { Ok::<_, std::convert::Infallible>(answer(&state, peer.ip(), request).await) }
                    });
                    let connection = hyper::server::conn::http1::Builder::new()
                        .timer(TokioTimer::new())
                        .serve_connection(TokioIo::new(stream), service);
                    let _ = connection.await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

type Answer = Response<Full<Bytes>>;

async fn answer(state: &State, peer: IpAddr, request: Request<Incoming>) -> Answer {
    let instance = match peer {
        IpAddr::V4(address) => at_address(&state.world.borrow(), address),
        IpAddr::V6(_) => None,
    };
    let Some(instance) = instance else {
        return refusal(StatusCode::FORBIDDEN);
    };
    if let Some(errand) = request.uri().path().strip_prefix(DOOR) {
        let errand = errand.to_owned();
        return match door(&state.ssm, &instance, &errand, request).await {
            Ok(value) => reply(StatusCode::OK, "application/json", value.to_string()),
            Err(status) => refusal(status),
        };
    }
    metadata(state, &instance, request.method(), request.uri().path(), request.headers(), Timestamp::now())
}

/// The instance that has an address now: an address is used again after an instance has gone.
fn at_address(world: &World, address: Ipv4Addr) -> Option<Instance> {
    let runs = |i: &&Instance| matches!(i.state, InstanceState::Pending | InstanceState::Running);
    let here = || world.instances.iter().filter(|i| i.private_ip == address && i.state != InstanceState::Terminated);
    here().find(runs).or_else(|| here().next()).cloned()
}

fn metadata(
    state: &State,
    instance: &Instance,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    now: Timestamp,
) -> Answer {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if path.trim_start_matches('/') == TOKEN_PATH.trim_start_matches('/') {
        if method != Method::PUT {
            return refusal(StatusCode::METHOD_NOT_ALLOWED);
        }
        // A request that came through a proxy gets no token: what IMDSv2 is for.
        if headers.contains_key("x-forwarded-for") {
            return refusal(StatusCode::FORBIDDEN);
        }
        let Some(ttl) = token::ttl(header(TTL)) else { return refusal(StatusCode::BAD_REQUEST) };
        let mut answer = reply(StatusCode::OK, "text/plain", state.seal.token(&instance.id, ttl, now));
        answer.headers_mut().insert(TTL, ttl.into());
        return answer;
    }
    if method != Method::GET && method != Method::HEAD {
        return refusal(StatusCode::METHOD_NOT_ALLOWED);
    }
    let allowed = match header(TOKEN) {
        Some(token) => state.seal.accepts(token, &instance.id, now),
        None => {
            let agent = header(USER_AGENT.as_str()).unwrap_or_default();
            !instance.metadata_tokens_required || state.is_cloud_init(&instance.id, agent, now)
        }
    };
    if !allowed {
        return refusal(StatusCode::UNAUTHORIZED);
    }
    match tree::look_up(&percent_decoded(path), instance, &state.cloud, now) {
        tree::Found::Leaf(bytes) => {
            let kind = if path.ends_with("/user-data") { "application/octet-stream" } else { "text/plain" };
            reply(StatusCode::OK, kind, bytes)
        }
        tree::Found::Listing(listing) => reply(StatusCode::OK, "text/plain", listing),
        tree::Found::Nothing => refusal(StatusCode::NOT_FOUND),
    }
}

/// What agents ask. An agent without credentials is turned away, as on AWS.
async fn door(
    ssm: &Service,
    instance: &Instance,
    errand: &str,
    request: Request<Incoming>,
) -> Result<Value, StatusCode> {
    #[derive(Deserialize)]
    struct Take {
        id: String,
    }

    if request.method() != Method::POST {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    if instance.instance_profile_arn.is_none() {
        return Err(StatusCode::FORBIDDEN);
    }
    if ssm.is_mute(&instance.id) {
        // Nothing that it says arrives: it waits until it gives up.
        tokio::time::sleep(crate::ssm::LONGEST_WAIT).await;
        return Err(StatusCode::GATEWAY_TIMEOUT);
    }
    let body = Limited::new(request.into_body(), MESSAGE).collect().await;
    let body = body.map_err(|_| StatusCode::BAD_REQUEST)?.to_bytes();
    match errand {
        "work" => {
            let question: Question = read(&body)?;
            Ok(json!(ssm.wait_for_work(&instance.id, question).await))
        }
        "take" => Ok(json!({ "go": ssm.take(&instance.id, &read::<Take>(&body)?.id) })),
        "end" => {
            ssm.end(&instance.id, &read::<Report>(&body)?);
            Ok(json!({}))
        }
        _ => Err(StatusCode::NOT_FOUND),
    }
}

fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, StatusCode> {
    serde_json::from_slice(body).map_err(|_| StatusCode::BAD_REQUEST)
}

/// A plus stays a plus, other than in a query: tag keys may hold one.
fn percent_decoded(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| path.get(at + 1..at + 3)).flatten();
        if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            decoded.push(byte);
            at += 3;
        } else {
            decoded.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn refusal(status: StatusCode) -> Answer {
    let title = format!("{} - {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
    let page = format!(
        "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n\
         <!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Transitional//EN\"\n\
         \t\"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd\">\n\
         <html xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"en\" lang=\"en\">\n \
         <head>\n  <title>{title}</title>\n </head>\n <body>\n  <h1>{title}</h1>\n </body>\n</html>\n"
    );
    reply(status, "text/html", page)
}

fn reply(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(kind));
    answer.headers_mut().insert(SERVER, http::HeaderValue::from_static("EC2ws"));
    answer
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod service_tests {
    use super::*;

    fn state(instance: Instance) -> Arc<State> {
        let world = World { instances: vec![instance], ..World::default() };
        let (_, world) = watch::channel(Arc::new(world));
        let cloud = tests::cloud();
        State::new(cloud.clone(), world.clone(), Service::new(&cloud, world))
    }

    fn ask(state: &State, method: Method, path: &str, headers: &[(&'static str, &str)]) -> (u16, HeaderMap) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let instance = state.world.borrow().instances[0].clone();
        let answer = metadata(state, &instance, &method, path, &map, Timestamp::now());
        (answer.status().as_u16(), answer.headers().clone())
    }

    #[test]
    fn tokens_are_asked_for_and_required() {
        let instance = tests::instance();
        let required = state(instance.clone());
        let optional = state(Instance { metadata_tokens_required: false, ..instance.clone() });
        let token = required.seal.token(&instance.id, 60, Timestamp::now());
        let other = optional.seal.token(&instance.id, 60, Timestamp::now());
        let id = "/latest/meta-data/instance-id";
        type Row<'a> = (&'a State, Method, &'a str, &'a [(&'static str, &'a str)], u16);
        let table: &[Row<'_>] = &[
            (&required, Method::PUT, TOKEN_PATH, &[(TTL, "60")], 200),
            (&required, Method::PUT, TOKEN_PATH, &[], 400),
            (&required, Method::PUT, TOKEN_PATH, &[(TTL, "21601")], 400),
            (&required, Method::PUT, TOKEN_PATH, &[(TTL, "60"), ("x-forwarded-for", "1.2.3.4")], 403),
            (&required, Method::GET, TOKEN_PATH, &[(TTL, "60")], 405),
            (&required, Method::GET, id, &[(TOKEN, &token)], 200),
            (&required, Method::HEAD, id, &[(TOKEN, &token)], 200),
            (&required, Method::POST, id, &[(TOKEN, &token)], 405),
            (&required, Method::GET, id, &[], 401),
            (&required, Method::GET, id, &[("user-agent", "Cloud-Init/22.4.2")], 200),
            (&required, Method::GET, id, &[("user-agent", "curl/7.88")], 401),
            (&required, Method::GET, id, &[(TOKEN, &other)], 401),
            (&optional, Method::GET, id, &[], 200),
            (&optional, Method::GET, id, &[(TOKEN, "nonsense")], 401),
            (&required, Method::GET, "/latest/meta-data/no", &[(TOKEN, &token)], 404),
            (&required, Method::GET, "/latest/meta-data/no", &[], 401),
            (&required, Method::GET, "/latest/meta-data/tags/instance/gyron%3Aapp", &[(TOKEN, &token)], 200),
        ];
        for (state, method, path, headers, want) in table {
            assert_eq!(ask(state, method.clone(), path, headers).0, *want, "{method} {path} {headers:?}");
        }
        let (_, headers) = ask(&required, Method::PUT, TOKEN_PATH, &[(TTL, "60")]);
        assert_eq!(headers[TTL], "60");
    }

    #[test]
    fn without_a_token_only_cloud_init_gets_through_and_only_at_boot() {
        let state = state(tests::instance());
        let at = |second: i64| Timestamp::from_second(1_767_000_000 + second).unwrap();
        let library = "python-requests/2.28.1";
        assert!(!state.is_cloud_init("i-1", library, at(0)));
        assert!(state.is_cloud_init("i-1", "Cloud-Init/22.4.2", at(1)));
        assert!(state.is_cloud_init("i-1", library, at(30)));
        assert!(!state.is_cloud_init("i-1", "curl/7.88.1", at(2)));
        assert!(!state.is_cloud_init("i-2", library, at(2)), "another instance");
        assert!(!state.is_cloud_init("i-1", library, at(31)), "later");
    }

    #[test]
    fn an_address_belongs_to_who_runs_there_now() {
        let with = |id: &str, state| Instance { id: id.into(), state, ..tests::instance() };
        let world = World {
            instances: vec![
                with("i-gone", InstanceState::Terminated),
                with("i-going", InstanceState::ShuttingDown),
                with("i-here", InstanceState::Running),
            ],
            ..World::default()
        };
        assert_eq!(at_address(&world, Ipv4Addr::new(172, 31, 5, 6)).unwrap().id, "i-here");
        assert_eq!(at_address(&world, Ipv4Addr::new(172, 31, 5, 7)), None);
    }

    #[test]
    fn percent_signs() {
        for (path, want) in [("/a%3Ab+c", "/a:b+c"), ("/%", "/%"), ("/%4", "/%4"), ("/%zz", "/%zz"), ("/%c3%a9", "/é")]
        {
            assert_eq!(percent_decoded(path), want);
        }
    }
}
