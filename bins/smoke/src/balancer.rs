//! Asking from outside: through the balancer, or any other place that can be reached.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use gyron_core::console::Console;
use gyron_core::failure::Result;
use gyron_core::probe::Probe;
use gyron_core::stop::Stop;

use crate::asking::{Patience, Pause, Standing};
use crate::check::{Check, Seen};
use crate::verdict::{Finding, Place};

/// The longest that an answer is waited for, where no check allows more.
const REQUEST: Duration = Duration::from_secs(10);

/// A place that is asked from outside.
#[derive(Debug)]
pub(crate) struct Outside<'a> {
    /// The place as findings name it.
    pub(crate) place: Place,
    /// Scheme, host and port.
    pub(crate) url: &'a str,
    /// The headers of every request: those that lead to the colour.
    pub(crate) headers: BTreeMap<String, String>,
    /// How many right answers in a row are needed.
    pub(crate) times: u32,
}

impl Outside<'_> {
    /// Asks each check as often as needed. One check after the other: a balancer deals requests out in turn, so two
    /// checks asked by turns could each meet the same instance every time.
    ///
    /// # Errors
    /// Defect (70) where no TLS can be had; the signal that asked to stop.
    pub(crate) async fn ask(
        &self,
        console: &Console,
        stop: &Stop,
        checks: &[Check],
        patience: Patience,
    ) -> Result<Vec<Finding>> {
        let longest = checks.iter().filter_map(|check| check.within).fold(REQUEST, Duration::max);
        let probe = Probe::new(self.url, self.headers.clone(), longest)?;
        let mut findings = Vec::new();
        for check in checks {
            let mut waiting = console.waiting(format!("GET {} {}", check.path, self.place));
            let begun = Instant::now();
            let headers: BTreeMap<_, _> = check.headers.iter().cloned().collect();
            let mut standing = Standing::new(self.times);
            let mut pause = Pause::new();
            let end = loop {
                stop.check()?;
                let seen = tokio::select! {
                    answer = probe.get(&check.path, &headers) => answer,
                    _ = stop.asked() => continue,
                };
                let seen = match seen {
                    Ok(answer) => Seen::Answer {
                        status: answer.status,
                        body: answer.body,
                        cut_from: None,
                        took: Some(answer.took),
                    },
                    Err(why) => Seen::Nothing(why),
                };
                let judged = check.judge(&seen);
                let not_yet = match &judged {
                    crate::check::Judged::NotYet(why) => Some(why.clone()),
                    _ => None,
                };
                standing.hear(judged, patience.is_over());
                if let Some(end) = standing.end() {
                    break end.clone();
                }
                if let Some(why) = not_yet {
                    waiting.seen(&why);
                    pause.sleep(stop, patience).await;
                }
            };
            findings.push(Finding { check: check.number, place: self.place.clone(), end, took: begun.elapsed() });
        }
        Ok(findings)
    }
}
