//! What a client meets: a listener's connections, and each request by the rules of that moment.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use http::header::HOST;
use http::{Method, Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::answers::{self, Body, Refusal};
use super::forward::forward;
use super::groups::{Front, Snapshot};
use super::headers::{self, Route};
use super::rules::{self, Question, Redirection};
use crate::world::{Action, Rule};

/// Takes connections until told to stop; those that are open then finish the request they carry.
pub async fn listen(listener: TcpListener, at: SocketAddrV4, shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, SocketAddr::V4(client))) => {
                let connection = converse(stream, *client.ip(), at, Arc::clone(&shared), stop.clone());
                shared.conversations.spawn(connection);
            }
            Ok((_, SocketAddr::V6(_))) => {}
            // A client that went away, or no file descriptor left: there will be some when others end.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// One client's connection, from its first request to its last.
async fn converse(stream: TcpStream, client: Ipv4Addr, at: SocketAddrV4, shared: Arc<Shared>, stop: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let Some(idle_timeout) = shared.snapshot().fronts.get(&at).map(|front| front.idle_timeout) else { return };
    let over = shared.over.clone();
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, std::convert::Infallible>(serve(&shared, Route { client, at }, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(idle_timeout)
        .preserve_header_case(true)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        biased;
        // What goes wrong between client and balancer is the client's to see.
        _ = connection.as_mut() => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = connection => {}
        () = over.cancelled() => {}
    }
}

/// One request. The snapshot is taken here: a change of rules holds for the next request, on old connections too.
async fn serve(shared: &Shared, route: Route, request: Request<Incoming>) -> Response<Body> {
    let snapshot = shared.snapshot();
    let Some(front) = snapshot.fronts.get(&route.at) else { return Refusal::ServiceUnavailable.answer() };
    match answer(&snapshot, front, route, request).await {
        Ok(response) => response,
        Err(refusal) => {
            if refusal.status().0.is_server_error() {
                front.counters.elb_5xx.fetch_add(1, Ordering::Relaxed);
            }
            refusal.answer()
        }
    }
}

async fn answer(
    snapshot: &Snapshot,
    front: &Front,
    route: Route,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    check(&request)?;
    let to = {
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let question = Question {
            method: request.method().as_str(),
            host: headers::split_port(host).0,
            path: request.uri().path(),
            query: request.uri().query().unwrap_or_default(),
            headers: request.headers(),
            source: route.client,
        };
        let rule = rules::choose(&front.rules, &question).ok_or(Refusal::ServiceUnavailable)?;
        match terminal(rule).ok_or(Refusal::ServiceUnavailable)? {
            Action::FixedResponse { status, content_type, body } => {
                return Ok(answers::fixed(*status, content_type, body));
            }
            Action::Redirect { status, protocol, host, port, path, query } => {
                let to = Redirection { protocol, host, port, path, query };
                let location = rules::location(&to, &question, &front.protocol, route.at.port());
                return Ok(answers::redirect(*status, &location));
            }
            Action::Forward { groups, .. } => {
                let total = rules::total_weight(groups);
                let drawn = if total == 0 { 0 } else { rand::random_range(0..total) };
                rules::weigh(groups, drawn).ok_or(Refusal::ServiceUnavailable)?
            }
        }
    };
    let group = snapshot.groups.get(to).ok_or(Refusal::ServiceUnavailable)?;
    let result = async {
        let member = group.next().ok_or(Refusal::ServiceUnavailable)?;
        if group.encrypted {
            return Err(Refusal::BadGateway);
        }
        group.counters.requests.fetch_add(1, Ordering::Relaxed);
        front.counters.requests.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        headers::rewrite(request.headers_mut(), route, (now, rand::random()));
        *request.uri_mut() = origin_form(request.uri());
        *request.version_mut() = Version::HTTP_11;
        forward(member, &group.counters, request, front.idle_timeout).await
    };
    result.await.inspect_err(|_| {
        group.counters.elb_5xx.fetch_add(1, Ordering::Relaxed);
    })
}

/// What the real balancer refuses before it looks at any rule.
fn check(request: &Request<Incoming>) -> Result<(), Refusal> {
    let hosts = request.headers().get_all(HOST).iter().count();
    if request.method() == Method::TRACE {
        return Err(Refusal::MethodNotAllowed);
    }
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) || request.method() == Method::CONNECT {
        return Err(Refusal::BadRequest);
    }
    Ok(())
}

/// The action that ends a rule; what may stand before it is authentication, which isn't there.
fn terminal(rule: &Rule) -> Option<&Action> {
    rule.actions.last()
}

/// Path and query alone, as a server that isn't a proxy expects them.
fn origin_form(uri: &Uri) -> Uri {
    uri.path_and_query().map_or_else(|| Uri::from_static("/"), |path| Uri::from(path.clone()))
}
