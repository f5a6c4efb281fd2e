//! A steady load of requests, each on a connection of its own, and what became of every one of them.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The longest that an answer may take.
const LONGEST: Duration = Duration::from_secs(2);

/// What became of the requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many were sent.
    pub sent: u64,
    /// Right answers, by their body.
    pub answers: BTreeMap<String, u64>,
    /// Failures, by what was wrong: not 2xx, a reset, or longer than 2 s.
    pub failures: BTreeMap<String, u64>,
}

/// A load that is running.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<Tally>>,
}

impl Load {
    /// GETs `path` from `address` `rate` times a second, from several threads, until it is ended.
    #[must_use]
    pub fn start(address: SocketAddr, host: &str, path: &str, rate: u32) -> Self {
        const WORKERS: u32 = 8;
        let stop = Arc::new(AtomicBool::new(false));
        let pause = Duration::from_secs(1) * WORKERS / rate;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let workers = (0..WORKERS).map(|worker| {
            let (stop, request) = (Arc::clone(&stop), request.clone());
            std::thread::spawn(move || {
                let mut tally = Tally::default();
                // Spread over the pause, and paced by the clock: a slow answer doesn't thin the load out.
                let mut next = Instant::now() + pause * worker / WORKERS;
                while !stop.load(Ordering::Relaxed) {
                    std::thread::sleep(next.saturating_duration_since(Instant::now()));
                    next += pause;
                    tally.sent += 1;
                    match ask(address, &request) {
                        Ok(body) => *tally.answers.entry(body).or_default() += 1,
                        Err(why) => *tally.failures.entry(why).or_default() += 1,
                    }
                }
                tally
            })
        });
        Load { workers: workers.collect(), stop }
    }

    /// Ends it, and says what became of all requests.
    ///
    /// # Panics
    /// Where a worker has panicked.
    #[must_use]
    pub fn end(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut whole = Tally::default();
        for worker in self.workers {
            let part = worker.join().expect("a worker ends");
            whole.sent += part.sent;
            for (body, count) in part.answers {
                *whole.answers.entry(body).or_default() += count;
            }
            for (why, count) in part.failures {
                *whole.failures.entry(why).or_default() += count;
            }
        }
        whole
    }
}

/// The body of a 2xx answer, or what was wrong.
///
/// # Errors
/// In words.
pub fn ask(address: SocketAddr, request: &str) -> Result<String, String> {
    let begun = Instant::now();
    let wrong = |error: std::io::Error| error.kind().to_string();
    let mut stream = TcpStream::connect_timeout(&address, LONGEST).map_err(wrong)?;
    stream.set_read_timeout(Some(LONGEST)).map_err(wrong)?;
    stream.write_all(request.as_bytes()).map_err(wrong)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(wrong)?;
    let took = begun.elapsed();
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if !status.starts_with('2') {
        return Err(format!("status {status}"));
    }
    if took > LONGEST {
        return Err("longer than 2 s".to_owned());
    }
    Ok(body.trim().to_owned())
}
