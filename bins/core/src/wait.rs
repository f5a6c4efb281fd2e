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
}

impl Wait {
    /// A wait with the usual interval of 2 s.
    pub fn new(what: impl Into<String>, deadline: Duration) -> Self {
        Wait { what: what.into(), deadline, interval: Duration::from_secs(2) }
    }

    /// Another interval.
    #[must_use]
    pub fn every(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
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
                "{} was not there after {}: {state}",
                wait.what,
                span(wait.deadline)
            )));
        }
        let pause = wait.interval.mul_f64(rand::rng().random_range(0.8..1.2)).min(left);
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
    async fn the_deadline_names_the_last_state() {
        let begun = tokio::time::Instant::now();
        let wait = Wait::new("image ami-1", Duration::from_secs(60));
        let failure = poll_until::<()>(&Console::new(), &Stop::never(), &wait, async || {
            Ok(Look::Pending("pending, 40 %".to_owned()))
        })
        .await
        .unwrap_err();
        assert_eq!(failure.exit(), Exit::Deadline);
        assert_eq!(failure.message(), "image ami-1 was not there after 1m: pending, 40 %");
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
