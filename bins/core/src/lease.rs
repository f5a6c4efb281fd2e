//! A lease in S3: one holder at a time across machines, by compare-and-swap, with a term, renewal and a fencing token.
//!
//! S3 has the state as a small JSON object, changed only where it is as it was read (`If-Match`, `If-None-Match`). A holder that
//! dies loses the lease when its term is over, or at once where who asks for it can see that it is dead: on the same machine.
//! Whoever takes it then gets a higher token, so that a late writer can be told from the holder. Machines' clocks may differ: a
//! term is far longer than that.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::console::span;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::registry::Registry;
use crate::whereabouts::Whereabouts;

/// How long a lease lives without renewal.
pub const TERM: Duration = Duration::from_secs(60);

/// How often a holder renews it.
const RENEWAL: Duration = Duration::from_secs(15);

/// Who holds a lease, as S3 has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The run that holds it, or held it last.
    pub run: String,
    /// The machine.
    pub host: String,
    /// What it is doing, in words.
    pub doing: String,
    /// Counts the holders: the next one's is higher.
    pub token: u64,
    /// Until when it holds without renewal: RFC 3339, UTC. Past for a lease that was given back.
    pub until: String,
    /// Its process, for whoever asks on the same machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Whereabouts>,
}

impl Holder {
    /// Whether it holds the lease at this time, as far as its term says.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.parse::<Timestamp>().is_ok_and(|until| until > now)
    }

    /// Whether it can be seen from here that it has died.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.process.as_ref().is_some_and(Whereabouts::is_dead)
    }
}

/// What became of an attempt to take a lease.
#[derive(Debug)]
pub enum Taken {
    /// It is ours.
    Held(Box<Lease>),
    /// Somebody holds it.
    Busy(Holder),
}

/// A lease that is held; renewed in the background until it is given back or dropped.
#[derive(Debug)]
pub struct Lease {
    registry: Registry,
    key: String,
    holder: Holder,
    before: Option<Holder>,
    shared: Arc<Shared>,
    renewing: tokio::task::JoinHandle<()>,
}

/// What the holder and its renewal tell each other.
#[derive(Debug)]
struct Shared {
    doing: Mutex<String>,
    /// Others want to see at once what the holder does.
    said: Notify,
    /// When the last renewal that came through began.
    renewed: Mutex<Instant>,
    /// Somebody else has taken it.
    lost: AtomicBool,
}

/// Who is to hold the lease after `there`: us, with the next token, unless somebody else does who is not known to be dead.
fn next(
    there: Option<&Holder>,
    run: &str,
    doing: &str,
    now: Timestamp,
    dead: impl Fn(&Holder) -> bool,
) -> std::result::Result<Holder, Box<Holder>> {
    match there {
        Some(holder) if holder.holds(now) && holder.run != run && !dead(holder) => Err(Box::new(holder.clone())),
        _ => Ok(Holder {
            run: run.to_owned(),
            host: nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            doing: doing.to_owned(),
            token: there.map_or(1, |holder| holder.token + 1),
            until: until(now),
            process: Whereabouts::own(),
        }),
    }
}

fn until(now: Timestamp) -> String {
    let term = SignedDuration::try_from(TERM).unwrap_or(SignedDuration::from_secs(60));
    now.checked_add(term).unwrap_or(now).to_string()
}

impl Lease {
    /// Takes the lease at `key` for `run`, or says who holds it.
    ///
    /// # Errors
    /// AWS (4).
    pub async fn take(registry: &Registry, key: &str, run: &str, doing: &str) -> Result<Taken> {
        let mut busy = None;
        let mut taken = None;
        let mut before = None;
        let begun = Instant::now();
        let swapped = registry
            .swap(key, |there: Option<Holder>| {
                before.clone_from(&there);
                match next(there.as_ref(), run, doing, Timestamp::now(), Holder::is_dead) {
                    Ok(holder) => {
                        taken = Some(holder.clone());
                        Ok(holder)
                    }
                    Err(holder) => {
                        busy = Some(*holder);
                        Err(Failure::refused("the lease is held"))
                    }
                }
            })
            .await;
        match (swapped, taken, busy) {
            (Err(_), _, Some(holder)) => Ok(Taken::Busy(holder)),
            (Ok(()), Some(holder), _) => {
                // What was given back was given back in order.
                let died = before.filter(|before| before.until != given_back());
                Ok(Taken::Held(Box::new(Self::keep(registry, key, holder, died, begun))))
            }
            (Err(failure), ..) => Err(failure),
            (Ok(()), None, _) => Err(Failure::defect("a lease was taken by nobody")),
        }
    }

    /// Who holds the lease at `key`, if anybody does who may live.
    ///
    /// # Errors
    /// AWS (4).
    pub async fn holder(registry: &Registry, key: &str) -> Result<Option<Holder>> {
        let there = registry.get::<Holder>(key).await?;
        Ok(there.map(|there| there.value).filter(|holder| holder.holds(Timestamp::now()) && !holder.is_dead()))
    }

    fn keep(registry: &Registry, key: &str, holder: Holder, before: Option<Holder>, begun: Instant) -> Self {
        let shared = Arc::new(Shared {
            doing: Mutex::new(holder.doing.clone()),
            said: Notify::new(),
            renewed: Mutex::new(begun),
            lost: AtomicBool::new(false),
        });
        let renewing =
            tokio::spawn(renew_forever(registry.clone(), key.to_owned(), holder.clone(), Arc::clone(&shared)));
        Lease { registry: registry.clone(), key: key.to_owned(), holder, before, shared, renewing }
    }

    /// What others are told that the holder is doing, from now on.
    pub fn say(&self, doing: &str) {
        doing.clone_into(&mut lock(&self.shared.doing));
        self.shared.said.notify_one();
    }

    /// The fencing token: higher than that of every holder before.
    #[must_use]
    pub fn token(&self) -> u64 {
        self.holder.token
    }

    /// The holder from whom it was taken over, since that one had died: what it left may have to be cleared away.
    #[must_use]
    pub fn before(&self) -> Option<&Holder> {
        self.before.as_ref()
    }

    /// Goes on only while it is certainly ours: to be asked before each thing that must not be done twice.
    ///
    /// # Errors
    /// Refused (3): somebody else has taken it, or may have, since no renewal came through within its term.
    pub fn check(&self) -> Result<()> {
        let silent = lock(&self.shared.renewed).elapsed();
        if !self.shared.lost.load(Ordering::Acquire) && silent < TERM {
            return Ok(());
        }
        let silent = span(Duration::from_secs(silent.as_secs()));
        Err(Failure::refused(format!("the lease {} is not ours any more: the last renewal was {silent} ago", self.key))
            .hint("another run may have taken the work over: run it again, and it waits for that one, or takes what it made"))
    }

    /// Takes the lease away with its object, for work that is over for good: who takes it again begins to count anew.
    ///
    /// # Errors
    /// AWS (4).
    pub async fn remove(self) -> Result<()> {
        self.renewing.abort();
        let own = |there: &Holder| there.run == self.holder.run && there.token == self.holder.token;
        self.registry.remove_where(&self.key, own).await
    }

    /// Gives the lease back at once; a lease that was lost meanwhile is somebody else's and stays so.
    ///
    /// # Errors
    /// AWS (4).
    pub async fn give_back(self) -> Result<()> {
        self.renewing.abort();
        let mut own = self.holder.clone();
        own.until = given_back();
        match self.registry.swap(&self.key, |there: Option<Holder>| renewal(there, &own)).await {
            Err(failure) if failure.exit() == Exit::Refused => Ok(()),
            other => other,
        }
    }
}

/// The end of a term that was not waited for.
fn given_back() -> String {
    Timestamp::UNIX_EPOCH.to_string()
}

async fn renew_forever(registry: Registry, key: String, mut own: Holder, shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(RENEWAL) => {}
            () = shared.said.notified() => {}
        }
        let begun = Instant::now();
        own.doing = lock(&shared.doing).clone();
        own.until = until(Timestamp::now());
        match registry.swap(&key, |there: Option<Holder>| renewal(there, &own)).await {
            Ok(()) => *lock(&shared.renewed) = begun,
            // One that is lost stays lost.
            Err(failure) if failure.exit() == Exit::Refused => {
                shared.lost.store(true, Ordering::Release);
                return;
            }
            // A hiccup of S3 leaves three more renewals within the term.
            Err(_) => {}
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

/// What is written where it is still `own`'s lease.
fn renewal(there: Option<Holder>, own: &Holder) -> Result<Holder> {
    match there {
        Some(holder) if holder.run == own.run && holder.token == own.token => Ok(own.clone()),
        _ => Err(Failure::refused("the lease is somebody else's by now")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::{next, renewal};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn a_lease_is_taken_when_it_is_free_or_its_term_is_over() {
        let next = |there, run, now| super::next(there, run, "baking", now, |_| false);
        let first = next(None, "one", at(0)).unwrap();
        assert_eq!((first.token, first.run.as_str()), (1, "one"));
        assert_eq!(next(Some(&first), "two", at(59)).unwrap_err(), Box::new(first.clone()));
        let second = next(Some(&first), "two", at(61)).unwrap();
        assert_eq!((second.token, second.run.as_str()), (2, "two"));
        assert!(renewal(Some(second), &first).is_err(), "the first holder is told that it has lost it");
        assert!(renewal(Some(first.clone()), &first).is_ok());
        // Whoever sees that the holder is dead needn't wait for its term.
        assert_eq!(super::next(Some(&first), "two", "", at(1), |_| true).unwrap().token, 2);
    }

    proptest! {
        /// Whoever asks, in whatever order and at whatever time: two never hold it at once, and tokens only grow.
        #[test]
        fn two_never_hold_it_at_once(asks in proptest::collection::vec((0u8..4, 0i64..90), 1..40)) {
            let mut now = 0;
            let mut there: Option<super::Holder> = None;
            for (who, later) in asks {
                now += later;
                let run = who.to_string();
                let held_by = there.as_ref().filter(|holder| holder.holds(at(now))).map(|holder| holder.run.clone());
                match next(there.as_ref(), &run, "", at(now), |_| false) {
                    Ok(holder) => {
                        prop_assert!(held_by.is_none_or(|other| other == run));
                        prop_assert!(there.is_none_or(|before| before.token < holder.token));
                        there = Some(holder);
                    }
                    Err(holder) => prop_assert_eq!(Some(holder.run), held_by),
                }
            }
        }
    }
}
