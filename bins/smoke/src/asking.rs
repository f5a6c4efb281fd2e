//! Asking again: how often, with what pauses, until when.

use std::time::{Duration, Instant};

use gyron_core::stop::Stop;

use crate::check::Judged;

/// The longest pause between two looks at what is not ready yet.
const LONGEST: Duration = Duration::from_secs(5);

/// How a check came out at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// As expected.
    Passed,
    /// It was answered wrongly.
    Wrong(String),
    /// At the deadline it was still not ready.
    NeverReady(String),
}

/// How a check stands at one place while it is being asked.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    needed: u32,
    in_a_row: u32,
    end: Option<End>,
}

impl Standing {
    /// Nothing asked yet; `needed` right answers in a row are.
    pub(crate) const fn new(needed: u32) -> Self {
        Standing { needed, in_a_row: 0, end: None }
    }

    /// Takes an answer in. What comes after the end changes nothing.
    pub(crate) fn hear(&mut self, judged: Judged, too_late: bool) {
        if self.end.is_some() {
            return;
        }
        match judged {
            Judged::Right => {
                self.in_a_row += 1;
                if self.in_a_row >= self.needed {
                    self.end = Some(End::Passed);
                }
            }
            Judged::Wrong(why) => self.end = Some(End::Wrong(why)),
            Judged::NotYet(why) => {
                self.in_a_row = 0;
                if too_late {
                    self.end = Some(End::NeverReady(why));
                }
            }
        }
    }

    /// How it came out, once it has.
    pub(crate) const fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }
}

/// The time there is for "not ready yet".
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    until: Instant,
}

impl Patience {
    /// From now on, for so long.
    pub(crate) fn of(deadline: Duration) -> Self {
        Patience { until: Instant::now() + deadline }
    }

    /// Whether it is over.
    pub(crate) fn is_over(self) -> bool {
        Instant::now() >= self.until
    }

    /// What is left of it.
    pub(crate) fn left(self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

/// A pause that doubles, up to 5 s.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pause(Duration);

impl Pause {
    /// Half a second at first.
    pub(crate) const fn new() -> Self {
        Pause(Duration::from_millis(500))
    }

    /// Sleeps, no longer than patience lasts; a signal ends it.
    pub(crate) async fn sleep(&mut self, stop: &Stop, patience: Patience) {
        tokio::select! {
            _ = stop.asked() => {}
            () = tokio::time::sleep(self.0.min(patience.left())) => {}
        }
        self.0 = (self.0 * 2).min(LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{End, Standing};
    use crate::check::Judged;

    fn heard(needed: u32, answers: &[(&str, bool)]) -> Option<End> {
        let mut standing = Standing::new(needed);
        for (answer, too_late) in answers {
            let why = "why".to_owned();
            let judged = match *answer {
                "right" => Judged::Right,
                "wrong" => Judged::Wrong(why),
                _ => Judged::NotYet(why),
            };
            standing.hear(judged, *too_late);
        }
        standing.end().cloned()
    }

    #[test]
    fn right_answers_count_in_a_row_only() {
        assert_eq!(heard(2, &[("right", false)]), None);
        assert_eq!(heard(2, &[("right", false), ("right", false)]), Some(End::Passed));
        assert_eq!(heard(2, &[("right", false), ("not yet", false), ("right", false)]), None);
        assert_eq!(heard(2, &[("right", true), ("right", true)]), Some(End::Passed));
    }

    #[test]
    fn wrong_ends_it_at_once_and_not_ready_only_at_the_deadline() {
        assert_eq!(heard(3, &[("right", false), ("wrong", false)]), Some(End::Wrong("why".to_owned())));
        assert_eq!(heard(1, &[("not yet", false), ("not yet", false)]), None);
        assert_eq!(heard(1, &[("not yet", false), ("not yet", true)]), Some(End::NeverReady("why".to_owned())));
    }

    proptest! {
        #[test]
        fn it_passes_only_by_enough_right_answers_in_a_row(
            needed in 1u32..5,
            answers in proptest::collection::vec(
                (prop_oneof![Just("right"), Just("wrong"), Just("not yet")], any::<bool>()), 0..20),
        ) {
            let mut run = 0;
            let mut expected = None;
            for (answer, late) in &answers {
                run = if *answer == "right" { run + 1 } else { 0 };
                expected = match *answer {
                    "wrong" => Some("wrong"),
                    "not yet" if *late => Some("never"),
                    _ if run >= needed => Some("passed"),
                    _ => continue,
                };
                break;
            }
            let seen = heard(needed, &answers).map(|end| match end {
                End::Passed => "passed",
                End::Wrong(_) => "wrong",
                End::NeverReady(_) => "never",
            });
            prop_assert_eq!(seen, expected);
        }
    }
}
