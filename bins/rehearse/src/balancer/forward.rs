//! One request on its way to a target and its answer on the way back. Nothing is ever sent twice.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::answers::{Body, BodyError, Refusal};
use super::connections::{Connection, Unreachable};
use super::groups::{Counters, Member};
use super::headers;

/// Sends a request to a target and brings back what it says, or how it failed.
///
/// # Errors
/// What the balancer answers instead.
pub async fn forward(
    member: &Arc<Member>,
    counters: &Counters,
    request: Request<Incoming>,
    idle_timeout: Duration,
) -> Result<Response<Body>, Refusal> {
    tokio::select! {
        biased;
        // "The deregistration delay period elapsed for a request being handled by a target that was deregistered":
        // one of the documented causes of a 502.
        () = member.cut.cancelled() => Err(Refusal::BadGateway),
        answer = exchange(member, counters, request, idle_timeout) => answer,
    }
}

async fn exchange(
    member: &Arc<Member>,
    counters: &Counters,
    mut request: Request<Incoming>,
    idle_timeout: Duration,
) -> Result<Response<Body>, Refusal> {
    let Some(connections) = &member.connections else { return Err(Refusal::ServiceUnavailable) };
    let upgrade = headers::upgrade(request.headers()).is_some().then(|| hyper::upgrade::on(&mut request));
    let activity = Arc::new(Activity::default());
    let mut request = request.map(|body| Upload { body, activity: Arc::clone(&activity) });
    let (connection, response) = loop {
        let (mut connection, fresh) = match connections.take() {
            Some(connection) => (connection, false),
            None => {
                let opened = connections.open().await.map_err(|unreachable| {
                    counters.connection_errors.fetch_add(1, Ordering::Relaxed);
                    match unreachable {
                        Unreachable::TimedOut => Refusal::GatewayTimeout,
                        Unreachable::Refused => Refusal::BadGateway,
                    }
                })?;
                (opened, true)
            }
        };
        activity.mark();
        let answer = connection.sender().try_send_request(request);
        match activity.watch(idle_timeout, answer).await.ok_or(Refusal::GatewayTimeout)? {
            Ok(response) => break (connection, response),
            // Handed back means that not a byte of it was written; see `connections` on why this is no retry.
            Err(mut error) => match error.take_message() {
                Some(unsent) if !fresh => request = unsent,
                _ => return Err(Refusal::BadGateway),
            },
        }
    };
    counters.answered(response.status().as_u16());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(switched(member, upgrade, response));
    }
    Ok(carry_back(member, connection, response, idle_timeout))
}

/// The target's answer, made the client's.
fn carry_back(
    member: &Arc<Member>,
    connection: Connection<Upload>,
    response: Response<Incoming>,
    idle_timeout: Duration,
) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    headers::strip_hop_by_hop(&mut parts.headers);
    parts.version = http::Version::HTTP_11;
    if let Some(connections) = &member.connections {
        connections.keep(connection);
    }
    let body = if body.is_end_stream() {
        body.map_err(BodyError::from).boxed_unsync()
    } else {
        Download::new(body, idle_timeout, member.cut.clone()).boxed_unsync()
    };
    Response::from_parts(parts, body)
}

/// Joins client and target for good, as after a websocket's handshake.
fn switched(
    member: &Arc<Member>,
    client: Option<hyper::upgrade::OnUpgrade>,
    mut response: Response<Incoming>,
) -> Response<Body> {
    let target = hyper::upgrade::on(&mut response);
    let cut = member.cut.clone();
    let Some(client) = client else { return Refusal::BadGateway.answer() };
    tokio::spawn(async move {
        let (Ok(client), Ok(target)) = tokio::join!(client, target) else { return };
        let (mut client, mut target) = (TokioIo::new(client), TokioIo::new(target));
        tokio::select! {
            () = cut.cancelled() => {}
            _ = tokio::io::copy_bidirectional(&mut client, &mut target) => {}
        }
    });
    response.map(|body| body.map_err(BodyError::from).boxed_unsync())
}

/// When a byte of the request last went on its way: the idle timeout runs from there.
#[derive(Debug)]
struct Activity {
    start: Instant,
    last_millis: AtomicU64,
}

impl Default for Activity {
    fn default() -> Self {
        Activity { start: Instant::now(), last_millis: AtomicU64::new(0) }
    }
}

impl Activity {
    fn mark(&self) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_millis.store(millis, Ordering::Relaxed);
    }

    /// What comes of `answer`, `None` if nothing moves for as long as `idle`.
    async fn watch<T>(&self, idle: Duration, answer: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(answer);
        loop {
            let deadline = self.start + Duration::from_millis(self.last_millis.load(Ordering::Relaxed)) + idle;
            tokio::select! {
                biased;
                answer = &mut answer => return Some(answer),
                () = sleep_until(deadline) => {
                    let last = self.start + Duration::from_millis(self.last_millis.load(Ordering::Relaxed));
                    if last + idle <= Instant::now() {
                        return None;
                    }
                }
            }
        }
    }
}

/// A client's body on its way to the target.
pub struct Upload {
    body: Incoming,
    activity: Arc<Activity>,
}

impl hyper::body::Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if frame.is_ready() {
            self.activity.mark();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A target's body on its way to the client, which ends with the target's silence or its deregistration delay.
struct Download {
    body: Incoming,
    idle_timeout: Duration,
    silence: Pin<Box<Sleep>>,
    /// Whether bytes have come since `silence` was set.
    heard: bool,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Download {
    fn new(body: Incoming, idle_timeout: Duration, cut: CancellationToken) -> Self {
        Download {
            body,
            idle_timeout,
            silence: Box::pin(sleep_until(Instant::now() + idle_timeout)),
            heard: false,
            cut: Box::pin(cut.cancelled_owned()),
        }
    }
}

impl hyper::body::Body for Download {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.heard = true;
            return Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)));
        }
        if std::mem::take(&mut self.heard) {
            let deadline = Instant::now() + self.idle_timeout;
            self.silence.as_mut().reset(deadline);
        }
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(BodyError::Deregistered)));
        }
        self.silence.as_mut().poll(cx).map(|()| Some(Err(BodyError::Idle)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
