//! The proof in the data plane: a described rule proves configuration, not routing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use gyron_core::failure::{Failure, Result};
use gyron_core::probe::{Answer, Probe};
use gyron_core::step::Context;
use gyron_core::stop::Stop;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// The pause between two probes of an address.
const PACE: Duration = Duration::from_millis(25);

/// So many failures, at least, and...
const FAILURES: u32 = 3;

/// ...so long from the first to the last make a breach: a balancer's nodes don't take over a rule all at once.
pub const TOLERANCE: Duration = Duration::from_secs(5);

/// What the answers are compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The version that shall answer.
    pub new: String,
    /// The version that answered before, if there was one.
    pub old: Option<String>,
}

/// What an answer was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The new version's.
    New,
    /// The old version's.
    Old,
    /// Neither's, or none: in words.
    Failed(String),
}

impl Expected {
    /// Old and new are the same text: the data plane can't tell them apart.
    #[must_use]
    pub fn alike(&self) -> bool {
        self.old.as_ref() == Some(&self.new)
    }

    /// Tells whose an answer is.
    #[must_use]
    pub fn tell(&self, answer: &Result<Answer, String>) -> Seen {
        let answer = match answer {
            Ok(answer) => answer,
            Err(reason) => return Seen::Failed(reason.clone()),
        };
        if !(200..300).contains(&answer.status) {
            return Seen::Failed(format!("status {}", answer.status));
        }
        let body = answer.body.trim();
        let new = self.new.as_str();
        // No version is named by an empty text.
        let old = self.old.as_deref().filter(|old| !old.is_empty()).unwrap_or("\n");
        if self.alike() || body == new {
            return Seen::New;
        }
        if body == old {
            return Seen::Old;
        }
        match (body.contains(new), body.contains(old)) {
            (true, false) => Seen::New,
            (false, true) => Seen::Old,
            // `1.4.0` stands in `1.4.0-rc1`: the longer one is meant.
            (true, true) if new.contains(old) => Seen::New,
            (true, true) if old.contains(new) => Seen::Old,
            _ => Seen::Failed(format!("an answer of neither version: {}", excerpt(body))),
        }
    }
}

fn excerpt(body: &str) -> String {
    let line: String = body.lines().next().unwrap_or_default().chars().filter(|letter| !letter.is_control()).collect();
    match line.char_indices().nth(60) {
        Some((at, _)) => format!("`{}…`", &line[..at]),
        None => format!("`{line}`"),
    }
}

/// When the answers are proof, and when they are a breach.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Answers in a row that must be the new version's, at each address.
    pub answers: u32,
    /// The longest that it may take.
    pub deadline: Duration,
    /// For how long there may be failures; none where failures were normal before: nothing was live.
    pub tolerance: Option<Duration>,
}

/// The count of answers.
#[derive(Clone, Debug)]
pub struct Tally {
    rows: Vec<u32>,
    new: u32,
    old: u32,
    failed: u32,
    first_failure: Option<Duration>,
    last_failure: Option<(Duration, String)>,
}

/// What the answers so far come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is not decided.
    Open,
    /// Only the new version answers.
    Arrived,
    /// Too many failures: the last one.
    Breach(String),
    /// The deadline has passed; what was seen last instead.
    Late(String),
}

impl Tally {
    /// Nothing yet, at so many addresses.
    #[must_use]
    pub fn new(addresses: usize) -> Self {
        Tally { rows: vec![0; addresses], new: 0, old: 0, failed: 0, first_failure: None, last_failure: None }
    }

    /// Counts what an address answered `at` so long after the beginning.
    pub fn count(&mut self, address: usize, at: Duration, seen: Seen) {
        let row = match seen {
            Seen::New => {
                self.new += 1;
                self.rows.get(address).map_or(0, |row| row + 1)
            }
            Seen::Old => {
                self.old += 1;
                0
            }
            Seen::Failed(reason) => {
                self.failed += 1;
                self.first_failure.get_or_insert(at);
                self.last_failure = Some((at, reason));
                0
            }
        };
        if let Some(there) = self.rows.get_mut(address) {
            *there = row;
        }
    }

    /// Judges.
    #[must_use]
    pub fn verdict(&self, at: Duration, rules: &Rules) -> Verdict {
        if self.rows.iter().all(|row| *row >= rules.answers) {
            return Verdict::Arrived;
        }
        let failures = self.first_failure.zip(self.last_failure.as_ref());
        if let (Some(tolerance), Some((first, (last, reason)))) = (rules.tolerance, failures)
            && self.failed >= FAILURES
            && last.saturating_sub(first) >= tolerance
        {
            return Verdict::Breach(reason.clone());
        }
        if at < rules.deadline {
            return Verdict::Open;
        }
        Verdict::Late(match &self.last_failure {
            Some((_, reason)) => reason.clone(),
            None if self.old > 0 => "the old version still answered".to_owned(),
            None => "too few answers".to_owned(),
        })
    }

    /// The count in words.
    #[must_use]
    pub fn report(&self, expected: &Expected) -> String {
        let sent = self.new + self.old + self.failed;
        let mut parts = vec![format!("{} answered {}", self.new, expected.new)];
        if let Some(old) = &expected.old
            && !expected.alike()
        {
            parts.push(format!("{} answered {old}", self.old));
        }
        parts.push(format!("{} failed", self.failed));
        format!("{sent} probes: {}", parts.join(", "))
    }
}

/// The probes of a listener, and what they ask.
#[derive(Debug)]
pub struct Prober {
    probes: Vec<(SocketAddr, Probe)>,
    path: String,
}

impl Prober {
    /// Finds the listener's addresses.
    ///
    /// # Errors
    /// Refused (3) where its name resolves to nothing.
    pub async fn find(url: &str, path: &str) -> Result<Self> {
        // An answer that takes longer than this is none, for whoever waits for a page.
        let probes = Probe::of_each_address(url, Duration::from_secs(2)).await?;
        Ok(Prober { probes, path: path.to_owned() })
    }

    /// How many addresses there are.
    #[must_use]
    pub fn addresses(&self) -> usize {
        self.probes.len()
    }

    /// Asks every address, again and again, until there is a verdict.
    ///
    /// # Errors
    /// The signal that asked to stop, with the count so far left in `tally`.
    pub async fn watch(
        &self,
        context: &Context,
        stop: &Stop,
        expected: &Expected,
        rules: &Rules,
        tally: &mut Tally,
    ) -> Result<Verdict> {
        let begun = Instant::now();
        let mut waiting = context.console.waiting(format!("answers of {}", expected.new));
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            stop.or(async {
                pace.tick().await;
                let mut asked = JoinSet::new();
                for (index, (_, probe)) in self.probes.iter().enumerate() {
                    let (probe, path) = (probe.clone(), self.path.clone());
                    asked.spawn(async move { (index, probe.get(&path, &BTreeMap::new()).await) });
                }
                while let Some(answered) = asked.join_next().await {
                    let (index, answer) = answered.map_err(|error| Failure::defect("a probe broke").because(error))?;
                    tally.count(index, begun.elapsed(), expected.tell(&answer));
                }
                Ok(())
            })
            .await?;
            match tally.verdict(begun.elapsed(), rules) {
                Verdict::Open => waiting.seen(&tally.report(expected)),
                verdict => return Ok(verdict),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gyron_core::probe::Answer;
    use proptest::prelude::*;

    use super::{Expected, Rules, Seen, TOLERANCE, Tally, Verdict};

    fn expected(new: &str, old: Option<&str>) -> Expected {
        Expected { new: new.to_owned(), old: old.map(str::to_owned) }
    }

    fn answer(status: u16, body: &str) -> gyron_core::failure::Result<Answer, String> {
        Ok(Answer { status, body: body.to_owned(), took: Duration::ZERO })
    }

    fn failed(reason: &str) -> Seen {
        Seen::Failed(reason.to_owned())
    }

    #[test]
    fn an_answer_is_told_by_the_version_in_it() {
        let both = expected("1.4.0", Some("1.3.9"));
        let cases = [
            (200, "1.4.0\n", Seen::New),
            (200, "shop 1.4.0 on web-1", Seen::New),
            (200, "shop 1.3.9 on web-1", Seen::Old),
            (200, "It works!", failed("an answer of neither version: `It works!`")),
            (200, "1.3.9, soon 1.4.0", failed("an answer of neither version: `1.3.9, soon 1.4.0`")),
            (503, "1.4.0", failed("status 503")),
            (302, "", failed("status 302")),
        ];
        for (status, body, seen) in cases {
            assert_eq!(both.tell(&answer(status, body)), seen, "{body}");
        }
        assert_eq!(both.tell(&Err("connection reset".to_owned())), failed("connection reset"));
    }

    #[test]
    fn a_version_that_stands_in_the_other_is_not_mistaken_for_it() {
        for (new, old) in [("1.4.0", "1.4.0-rc1"), ("1.4.0-rc1", "1.4.0")] {
            let both = expected(new, Some(old));
            assert_eq!(both.tell(&answer(200, &format!("shop {new}"))), Seen::New);
            assert_eq!(both.tell(&answer(200, &format!("shop {old}"))), Seen::Old);
        }
    }

    #[test]
    fn versions_that_are_alike_only_need_to_answer() {
        let alike = expected("1.4.0", Some("1.4.0"));
        assert!(alike.alike());
        assert_eq!(alike.tell(&answer(200, "anything")), Seen::New);
        assert_eq!(alike.tell(&answer(500, "1.4.0")), failed("status 500"));
    }

    const RULES: Rules = Rules { answers: 3, deadline: Duration::from_secs(60), tolerance: Some(TOLERANCE) };

    fn second(at: u64) -> Duration {
        Duration::from_secs(at)
    }

    #[test]
    fn every_address_needs_its_row() {
        let mut tally = Tally::new(2);
        for at in 0..3 {
            tally.count(0, second(at), Seen::New);
        }
        assert_eq!(tally.verdict(second(3), &RULES), Verdict::Open);
        for seen in [Seen::New, Seen::New, Seen::Old, Seen::New, Seen::New] {
            tally.count(1, second(3), seen);
        }
        assert_eq!(tally.verdict(second(3), &RULES), Verdict::Open);
        tally.count(1, second(3), Seen::New);
        assert_eq!(tally.verdict(second(3), &RULES), Verdict::Arrived);
        assert_eq!(tally.report(&expected("2", Some("1"))), "9 probes: 8 answered 2, 1 answered 1, 0 failed");
    }

    #[test]
    fn failures_are_a_breach_only_when_they_last() {
        let mut tally = Tally::new(1);
        for at in [0, 1, 4] {
            tally.count(0, second(at), failed("status 502"));
            tally.count(0, second(at), Seen::New);
            assert_eq!(tally.verdict(second(at), &RULES), Verdict::Open);
        }
        tally.count(0, second(5), failed("status 502"));
        assert_eq!(tally.verdict(second(5), &RULES), Verdict::Breach("status 502".to_owned()));
        let nothing_was_live = Rules { tolerance: None, ..RULES };
        assert_eq!(tally.verdict(second(5), &nothing_was_live), Verdict::Open);
        assert_eq!(tally.verdict(second(60), &nothing_was_live), Verdict::Late("status 502".to_owned()));
    }

    proptest! {
        #[test]
        fn arrived_is_only_said_of_a_row_of_new_answers(news in proptest::collection::vec(any::<bool>(), 0..20)) {
            let mut tally = Tally::new(1);
            for new in &news {
                tally.count(0, Duration::ZERO, if *new { Seen::New } else { Seen::Old });
            }
            let row = news.iter().rev().take_while(|new| **new).count();
            prop_assert_eq!(tally.verdict(Duration::ZERO, &RULES) == Verdict::Arrived, row >= 3);
        }
    }
}
