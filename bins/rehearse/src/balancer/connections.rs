//! Connections to one target, kept between requests.
//!
//! A target may close an idle connection at any moment, and a request sent into that is lost: the real balancer
//! answers 502 then and never sends it again, since it can't know how far the target came. That is kept, for a target
//! that closes while a request is on its way. But nothing shall fail that a real balancer would have carried, so:
//!
//! - A connection is used again only if it was idle for less than [`IDLE`], well below what servers allow (gunicorn 2 s,
//!   Node and Apache 5 s, nginx 75 s): no server closes for idleness what is about to be used.
//! - Before it is used, the kernel is asked (`MSG_PEEK`) whether the target has closed or said anything: hyper's own
//!   flag lags behind by a turn of the scheduler, which at 1,000 requests a second is long.
//! - A request that hyper hands back, since the connection closed before a byte of it was written, goes out on another
//!   connection. That is no retry: the target never saw it.
//!
//! A fresh connection a request would be simpler, but a thousand a second use up the ports in half a minute
//! (28,000 ports, 60 s of TIME_WAIT), and apps would never see a kept-alive connection, as they do on AWS.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use hyper::body::Body;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use tokio::time::Instant;

use crate::netns::Netns;

/// How long a connection may be idle to be used again.
pub const IDLE: Duration = Duration::from_secs(1);

/// How long the real balancer waits for a connection before it answers 504.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// More idle ones than this are not kept.
const KEPT: usize = 512;

/// The connections to one address.
pub struct Connections<B> {
    inside: Netns,
    to: SocketAddrV4,
    idle: Mutex<Idle<B>>,
}

struct Idle<B> {
    /// The latest used at the end, and used first: the others grow old and go.
    kept: Vec<(Instant, Connection<B>)>,
    sweeping: bool,
}

/// A connection that can take a request.
pub struct Connection<B> {
    sender: SendRequest<B>,
    /// The same socket once more, to ask the kernel about it.
    socket: OwnedFd,
}

/// Why there is no connection.
#[derive(Debug)]
pub enum Unreachable {
    /// Not within [`CONNECT_TIMEOUT`].
    TimedOut,
    /// Refused, reset, or no way there.
    Refused,
}

impl<B> Connections<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// None yet.
    #[must_use]
    pub fn new(inside: Netns, to: SocketAddrV4) -> Arc<Self> {
        Arc::new(Connections { inside, to, idle: Mutex::new(Idle { kept: Vec::new(), sweeping: false }) })
    }

    /// Where they lead.
    #[must_use]
    pub fn to(&self) -> SocketAddrV4 {
        self.to
    }

    /// One that is idle, young and alive, if there is one.
    #[must_use]
    pub fn take(&self) -> Option<Connection<B>> {
        loop {
            let (since, connection) = self.lock().kept.pop()?;
            if since.elapsed() < IDLE && connection.is_alive() {
                return Some(connection);
            }
        }
    }

    /// A new one.
    ///
    /// # Errors
    /// Where the target can't be reached.
    pub async fn open(&self) -> Result<Connection<B>, Unreachable> {
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, self.inside.connect(SocketAddr::V4(self.to)))
            .await
            .map_err(|_| Unreachable::TimedOut)?
            .map_err(|error| match error.kind() {
                io::ErrorKind::TimedOut => Unreachable::TimedOut,
                _ => Unreachable::Refused,
            })?;
        stream.set_nodelay(true).map_err(|_| Unreachable::Refused)?;
        let socket = stream.as_fd().try_clone_to_owned().map_err(|_| Unreachable::Refused)?;
        let (sender, connection) = http1::Builder::new()
            .preserve_header_case(true)
            .title_case_headers(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| Unreachable::Refused)?;
        tokio::spawn(async move {
            // What goes wrong on it is told to the request it carries.
            let _ = connection.with_upgrades().await;
        });
        Ok(Connection { sender, socket })
    }

    /// Keeps one for later once its answer has been read to the end; drops it if it can't take another request.
    pub fn keep(self: &Arc<Self>, mut connection: Connection<B>) {
        let connections = Arc::downgrade(self);
        tokio::spawn(async move {
            if connection.sender.ready().await.is_err() {
                return;
            }
            let Some(this) = connections.upgrade() else { return };
            let mut idle = this.lock();
            if idle.kept.len() < KEPT {
                idle.kept.push((Instant::now(), connection));
            }
            if !std::mem::replace(&mut idle.sweeping, true) {
                tokio::spawn(Connections::sweep(connections));
            }
        });
    }

    /// Closes what has been idle for too long, until nothing is left.
    async fn sweep(connections: Weak<Self>) {
        loop {
            tokio::time::sleep(IDLE).await;
            let Some(this) = connections.upgrade() else { return };
            let mut idle = this.lock();
            idle.kept.retain(|(since, _)| since.elapsed() < IDLE);
            if idle.kept.is_empty() {
                idle.sweeping = false;
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Idle<B>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B> Connection<B> {
    /// The way to send on it.
    pub fn sender(&mut self) -> &mut SendRequest<B> {
        &mut self.sender
    }

    /// Silence is the only sign of life of an idle connection: an end, a reset or unasked-for bytes rule it out.
    fn is_alive(&self) -> bool {
        let mut byte = [0];
        let heard = recv(self.socket.as_raw_fd(), &mut byte, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
        self.sender.is_ready() && heard == Err(Errno::EAGAIN)
    }
}
