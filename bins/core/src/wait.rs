//! Waiting for the world to change: a deadline, a jittered interval, terminal states, a heartbeat.

use std::time::Duration;

use rand::RngExt as _;
use tokio::time::{Instant, sleep};

use crate::console::{Console, span};
use crate::failure::{Failure, Result};
use crate::stop::Stop;

/// One look at the world.
#[derive(Debug)]
pub enum Look<T> {
    /// What was waited for is so.
    Done(T),
    /// Not yet; the state as a person would say it.
    Pending(String),
}

/// What is waited for, how often it is looked at and for how long.
#[derive(Clone, Debug)]
pub struct Wait {
    /// What is waited for, as it stands in the heartbeat: `image ami-1`.
    pub what: String,
    /// The longest that it may take.
    pub deadline: Duration,
    /// The time between two looks, before jitter. AWS throttles by account: 2 s and more.
    pub interval: Duration,
    /// Whether the first looks follow one another faster.
    pub soon: bool,
}

/// The least time between two looks.
const LEAST: Duration = Duration::from_millis(200);

impl Wait {
    /// A wait with the usual interval of 2 s.
    pub fn new(what: impl Into<String>, deadline: Duration) -> Self {
        Wait { what: what.into(), deadline, interval: Duration::from_secs(2), soon: false }
    }

    /// Another interval.
    #[must_use]
    pub fn every(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// For what is often there within seconds: it is then seen at most a fifth later than it came, for a dozen looks more in
    /// the first ten seconds, and none afterwards.
    #[must_use]
    pub fn soon(mut self) -> Self {
        self.soon = true;
        self
    }

    /// The time until the next look, before jitter, where the first was so long ago.
    fn pause(&self, waited: Duration) -> Duration {
        if self.soon { (waited / 5).clamp(LEAST.min(self.interval), self.interval) } else { self.interval }
    }
}

/// Looks until `look` says that it is done or fails, which is how it reports a state from which nothing more can come.
///
/// # Errors
/// What `look` says; a deadline (6) with the last state that was seen; the signal that asked to stop.
pub async fn poll_until<T>(
    console: &Console,
    stop: &Stop,
    wait: &Wait,
    mut look: impl AsyncFnMut() -> Result<Look<T>>,
) -> Result<T> {
    let begun = Instant::now();
    let mut waiting = console.waiting(&wait.what);
    loop {
        stop.check()?;
        let state = match look().await? {
            Look::Done(value) => return Ok(value),
            Look::Pending(state) => state,
        };
        waiting.seen(&state);
        let left = wait.deadline.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Err(Failure::deadline(format!(
                "waited {} in vain for {}: {state}",
                span(wait.deadline),
                wait.what
            )));
        }
        let pause = wait.pause(begun.elapsed()).mul_f64(rand::rng().random_range(0.8..1.2)).min(left);
        tokio::select! {
            _ = stop.asked() => {}
            () = sleep(pause) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::{Look, Wait, poll_until};
    use crate::console::Console;
    use crate::exit::Exit;
    use crate::failure::Failure;
    use crate::stop::Stop;

    #[tokio::test(start_paused = true)]
    async fn it_looks_until_done() {
        let mut looks = 0;
        let wait = Wait::new("image ami-1", Duration::from_secs(60));
        let seen = poll_until(&Console::new(), &Stop::never(), &wait, async || {
            looks += 1;
            Ok(if looks < 4 { Look::Pending("pending".to_owned()) } else { Look::Done(looks) })
        })
        .await;
        assert_eq!(seen.unwrap(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_soon_is_seen_soon_and_what_takes_long_is_not_asked_for_more_often() {
        for (comes, latest, most) in [(1, 1.3, 8), (5, 6.2, 16), (20, 22.5, 26), (300, 302.5, 200)] {
            let begun = tokio::time::Instant::now();
            let mut looks = 0;
            let wait = Wait::new("image ami-1", Duration::from_secs(600)).soon();
            let seen = poll_until(&Console::new(), &Stop::never(), &wait, async || {
                looks += 1;
                let there = begun.elapsed() >= Duration::from_secs(comes);
                Ok(if there { Look::Done(()) } else { Look::Pending("pending".to_owned()) })
            })
            .await;
            seen.unwrap();
            let late = begun.elapsed().as_secs_f64();
            assert!(late <= latest && looks <= most, "{comes} s: seen after {late} s, {looks} looks");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_names_the_last_state() {
        let begun = tokio::time::Instant::now();
        let wait = Wait::new("image ami-1", Duration::from_secs(60));
        let failure = poll_until::<()>(&Console::new(), &Stop::never(), &wait, async || {
            Ok(Look::Pending("pending, 40 %".to_owned()))
        })
        .await
        .unwrap_err();
        assert_eq!(failure.exit(), Exit::Deadline);
        assert_eq!(failure.message(), "waited 1m in vain for image ami-1: pending, 40 %");
        assert_eq!(begun.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_terminal_state_ends_it_at_once() {
        let wait = Wait::new("image ami-1", Duration::from_secs(60));
        let failure =
            poll_until::<()>(&Console::new(), &Stop::never(), &wait, async || Err(Failure::aws("image ami-1 failed")))
                .await
                .unwrap_err();
        assert_eq!(failure.exit(), Exit::Aws);
    }
}
