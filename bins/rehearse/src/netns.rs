//! Sockets that live in another network namespace.
//!
//! A socket stays in the namespace in which it was made, and setns is per thread: so one thread goes inside, makes
//! sockets and hands them out, and the rest of the process uses them from where it is.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::mpsc;
use std::thread;

use nix::sched::{CloneFlags, setns};
use tokio::sync::oneshot;

/// A place in which sockets are made: a network namespace, or where this process is.
#[derive(Clone, Debug)]
pub struct Netns {
    asks: Option<mpsc::Sender<Ask>>,
}

type Job = Box<dyn FnOnce() + Send>;

struct Ask(Job);

impl Netns {
    /// Where this process is: for tests, and for the host's own addresses.
    #[must_use]
    pub fn here() -> Self {
        Netns { asks: None }
    }

    /// Goes into `/run/netns/NAME` with a thread of its own, which lives as long as the returned value.
    ///
    /// # Errors
    /// Where there is no such namespace, or no right to enter it.
    pub fn enter(name: &str) -> io::Result<Self> {
        let namespace = File::open(format!("/run/netns/{name}"))?;
        let (asks, jobs) = mpsc::channel::<Ask>();
        let (entered, was_entered) = mpsc::channel();
        thread::Builder::new().name(format!("netns-{name}")).spawn(move || {
            let result = setns(namespace, CloneFlags::CLONE_NEWNET).map_err(io::Error::from);
            let inside = result.is_ok();
            let _ = entered.send(result);
            if inside {
                for Ask(job) in jobs {
                    job();
                }
            }
        })?;
        was_entered.recv().map_err(io::Error::other)??;
        Ok(Netns { asks: Some(asks) })
    }

    /// Runs `make` inside and brings back what it made; `make` should do no more than a few system calls.
    ///
    /// # Errors
    /// What `make` says.
    pub async fn make<T: Send + 'static>(
        &self,
        make: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let Some(asks) = &self.asks else { return make() };
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move || {
            let _ = answer.send(make());
        });
        asks.send(Ask(job)).map_err(|_| io::Error::other("the namespace's thread is gone"))?;
        answered.await.map_err(io::Error::other)?
    }

    /// Connects to an address as seen from inside.
    ///
    /// # Errors
    /// As `connect(2)`.
    pub async fn connect(&self, to: SocketAddr) -> io::Result<tokio::net::TcpStream> {
        let socket = self
            .make(move || {
                let family = if to.is_ipv4() {
                    nix::sys::socket::AddressFamily::Inet
                } else {
                    nix::sys::socket::AddressFamily::Inet6
                };
                let flags = nix::sys::socket::SockFlag::SOCK_NONBLOCK | nix::sys::socket::SockFlag::SOCK_CLOEXEC;
                let socket = nix::sys::socket::socket(family, nix::sys::socket::SockType::Stream, flags, None)?;
                Ok(std::net::TcpStream::from(socket))
            })
            .await?;
        tokio::net::TcpSocket::from_std_stream(socket).connect(to).await
    }

    /// Listens inside (SO_REUSEADDR, non-blocking): `tokio::net::TcpListener::from_std` takes it.
    ///
    /// # Errors
    /// As `bind(2)`.
    pub async fn listen(&self, at: SocketAddr) -> io::Result<TcpListener> {
        self.make(move || {
            let listener = TcpListener::bind(at)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        })
        .await
    }

    /// A UDP socket bound inside, non-blocking.
    ///
    /// # Errors
    /// As `bind(2)`.
    pub async fn datagrams(&self, at: SocketAddr) -> io::Result<UdpSocket> {
        self.make(move || {
            let socket = UdpSocket::bind(at)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        })
        .await
    }
}
