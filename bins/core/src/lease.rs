//! A lease in S3: one holder at a time across machines, by compare-and-swap, with a term, renewal and a fencing token.
//!
//! S3 has the state as a small JSON object, changed only where it is as it was read (`If-Match`, `If-None-Match`). A holder that
//! dies loses the lease when its term is over, or at once where who asks for it can see that it is dead: on the same machine.
//! Whoever takes it then gets a higher token, so that a late writer can be told from the holder. How long ago a holder renewed it
//! is told by S3's clock alone: machines' clocks may differ.

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
use crate::registry::{Registry, Tagged};
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
    /// Until when it holds without renewal, by its own clock, for people: RFC 3339, UTC. 1970 for a lease that was given back.
    pub until: String,
    /// Its process, for whoever asks on the same machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Whereabouts>,
}

impl Holder {
    /// Whether it holds the lease that it renewed so long ago, as far as its term says.
    #[must_use]
    pub fn holds(&self, ago: Duration) -> bool {
        !self.gave_back() && ago < TERM
    }

    /// Whether it ended in order.
    fn gave_back(&self) -> bool {
        self.until == given_back()
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
    before: Option<(Holder, Duration)>,
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
    /// Tells whoever waits for that.
    gone: Notify,
}

impl Shared {
    fn lose(&self) {
        self.lost.store(true, Ordering::Release);
        self.gone.notify_waiters();
    }
}

/// Who is to hold the lease after `there`, who renewed it so long ago: us, with the next token, unless somebody else does who is
/// not known to be dead.
fn next(
    there: Option<(&Holder, Duration)>,
    run: &str,
    doing: &str,
    now: Timestamp,
    dead: impl Fn(&Holder) -> bool,
) -> std::result::Result<Holder, Box<Holder>> {
    match there {
        Some((holder, ago)) if holder.holds(ago) && holder.run != run && !dead(holder) => Err(Box::new(holder.clone())),
        _ => Ok(Holder {
            run: run.to_owned(),
            host: nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            doing: doing.to_owned(),
            token: there.map_or(1, |(holder, _)| holder.token + 1),
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
            .swap_tagged(key, |there: Option<Tagged<Holder>>| {
                before = there.map(|there| (there.value, there.age));
                let there = before.as_ref().map(|(holder, ago)| (holder, *ago));
                match next(there, run, doing, Timestamp::now(), Holder::is_dead) {
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
                let died = before.filter(|(before, _)| !before.gave_back());
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
        let lives = |there: &Tagged<Holder>| there.value.holds(there.age) && !there.value.is_dead();
        Ok(there.filter(lives).map(|there| there.value))
    }

    fn keep(
        registry: &Registry,
        key: &str,
        holder: Holder,
        before: Option<(Holder, Duration)>,
        begun: Instant,
    ) -> Self {
        let shared = Arc::new(Shared {
            doing: Mutex::new(holder.doing.clone()),
            said: Notify::new(),
            renewed: Mutex::new(begun),
            lost: AtomicBool::new(false),
            gone: Notify::new(),
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

    /// The holder from whom it was taken over, since that one had died, and how long ago it renewed the lease last: what it
    /// left may have to be cleared away.
    #[must_use]
    pub fn before(&self) -> Option<(&Holder, Duration)> {
        self.before.as_ref().map(|(holder, ago)| (holder, *ago))
    }

    /// Renews it now and says what comes next, so that it is certainly ours, and known, before a thing that must not be done twice.
    ///
    /// # Errors
    /// Refused (3): somebody else has taken it, or may have, since no renewal came through within its term.
    pub async fn confirm(&self, doing: &str) -> Result<()> {
        doing.clone_into(&mut lock(&self.shared.doing));
        while !renew(&self.registry, &self.key, &self.holder, &self.shared).await {
            self.check()?;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(())
    }

    /// Whether it may still be ours.
    fn check(&self) -> Result<()> {
        let silent = lock(&self.shared.renewed).elapsed();
        if !self.shared.lost.load(Ordering::Acquire) && silent < TERM {
            return Ok(());
        }
        Err(self.not_ours(silent))
    }

    fn not_ours(&self, silent: Duration) -> Failure {
        let silent = span(Duration::from_secs(silent.as_secs()));
        Failure::refused(format!("the lease {} is not ours any more: the last renewal was {silent} ago", self.key))
            .hint("another run may have taken the work over: run it again, and it waits for that one, or takes what it made")
    }

    /// Waits until somebody else has taken it, for ever where nobody does; then why nothing more may be done under it.
    pub async fn lost(&self) -> Failure {
        let gone = self.shared.gone.notified();
        if !self.shared.lost.load(Ordering::Acquire) {
            gone.await;
        }
        self.not_ours(lock(&self.shared.renewed).elapsed())
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

async fn renew_forever(registry: Registry, key: String, own: Holder, shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(RENEWAL) => {}
            () = shared.said.notified() => {}
        }
        // A hiccup of S3 leaves three more renewals within the term. One that is lost stays lost.
        if !renew(&registry, &key, &own, &shared).await && shared.lost.load(Ordering::Acquire) {
            return;
        }
    }
}

/// Renews it once; whether that came through, within the time until the next renewal: a connection may stall for longer.
async fn renew(registry: &Registry, key: &str, own: &Holder, shared: &Shared) -> bool {
    let begun = Instant::now();
    let renewed = registry.swap(key, |there: Option<Holder>| {
        let doing = lock(&shared.doing).clone();
        renewal(there, &Holder { doing, until: until(Timestamp::now()), ..own.clone() })
    });
    match tokio::time::timeout(RENEWAL, renewed).await {
        Ok(Ok(())) => {
            *lock(&shared.renewed) = begun;
            true
        }
        Ok(Err(failure)) if failure.exit() == Exit::Refused => {
            shared.lose();
            false
        }
        Ok(Err(_)) | Err(_) => false,
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

    use std::time::Duration;

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::{Holder, given_back, next, renewal};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn a_lease_is_taken_when_it_is_free_or_its_term_is_over() {
        let next = |there, run| super::next(there, run, "baking", at(0), |_| false);
        let ago = Duration::from_secs;
        let first = next(None, "one").unwrap();
        assert_eq!((first.token, first.run.as_str()), (1, "one"));
        assert_eq!(next(Some((&first, ago(59))), "two").unwrap_err(), Box::new(first.clone()));
        let back = Holder { until: given_back(), ..first.clone() };
        assert_eq!(next(Some((&back, ago(0))), "two").unwrap().token, 2, "it was given back");
        let second = next(Some((&first, ago(61))), "two").unwrap();
        assert_eq!((second.token, second.run.as_str()), (2, "two"));
        assert!(renewal(Some(second), &first).is_err(), "the first holder is told that it has lost it");
        assert!(renewal(Some(first.clone()), &first).is_ok());
        // Whoever sees that the holder is dead needn't wait for its term.
        assert_eq!(super::next(Some((&first, ago(1))), "two", "", at(1), |_| true).unwrap().token, 2);
    }

    proptest! {
        /// Whoever asks, in whatever order and at whatever time: two never hold it at once, and tokens only grow.
        #[test]
        fn two_never_hold_it_at_once(asks in proptest::collection::vec((0u8..4, 0u64..90), 1..40)) {
            let (mut now, mut written) = (0, 0);
            let mut there: Option<Holder> = None;
            for (who, later) in asks {
                now += later;
                let ago = Duration::from_secs(now - written);
                let run = who.to_string();
                let held_by = there.as_ref().filter(|holder| holder.holds(ago)).map(|holder| holder.run.clone());
                // However wrong the clock of who asks is.
                let clock = at(i64::from(who) * 100_000);
                match next(there.as_ref().map(|holder| (holder, ago)), &run, "", clock, |_| false) {
                    Ok(holder) => {
                        prop_assert!(held_by.is_none_or(|other| other == run));
                        prop_assert!(there.is_none_or(|before| before.token < holder.token));
                        (there, written) = (Some(holder), now);
                    }
                    Err(holder) => prop_assert_eq!(Some(holder.run), held_by),
                }
            }
        }
    }
}
