//! What health checks mean: the matcher, the state machine over results, and the words DescribeTargetHealth uses.
//!
//! States, reason codes and descriptions are those of "Health checks for Application Load Balancer target groups" in
//! the user guide, word for word.

use std::fmt;

use crate::world::{HealthCheck, InstanceState};

/// One line of DescribeTargetHealth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetHealth {
    /// The instance's id.
    pub id: String,
    /// The target's port.
    pub port: u16,
    /// The port that is checked: the group's own, or the target's where that is `traffic-port`.
    pub health_check_port: u16,
    /// The state.
    pub state: State,
    /// The reason code; none when healthy.
    pub reason: Option<&'static str>,
    /// The description; none when healthy.
    pub description: Option<String>,
}

impl TargetHealth {
    /// What is said of a target that was asked for and isn't registered.
    #[must_use]
    pub fn not_registered(id: &str, port: u16) -> Self {
        Standing::NotRegistered.of(id, port, port)
    }
}

/// The states of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// `initial`
    Initial,
    /// `healthy`
    Healthy,
    /// `unhealthy`
    Unhealthy,
    /// `unused`
    Unused,
    /// `draining`
    Draining,
    /// `unavailable`
    Unavailable,
}

impl State {
    /// As the API writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            State::Initial => "initial",
            State::Healthy => "healthy",
            State::Unhealthy => "unhealthy",
            State::Unused => "unused",
            State::Draining => "draining",
            State::Unavailable => "unavailable",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A status the matcher takes.
    Passed,
    /// Another status.
    Mismatch(u16),
    /// No answer in time.
    TimedOut,
    /// No connection, or an answer that is none.
    Failed,
    /// The check can't be made: this data plane speaks no TLS.
    Impossible,
}

/// What the checks so far amount to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    phase: Phase,
    /// Equal outcomes in a row, counted up to where they matter.
    passes: u32,
    failures: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// No check has ended yet.
    #[default]
    Unchecked,
    /// Checks have failed, too few to say so.
    Initial,
    Healthy,
    /// With the latest failure.
    Unhealthy(Finding),
}

impl Record {
    /// The record after one more check. Thresholds below 1 count as 1.
    #[must_use]
    pub fn after(self, finding: Finding, settings: &HealthCheck) -> Self {
        let (passes, failures) = match finding {
            Finding::Passed => (self.passes.saturating_add(1), 0),
            _ => (0, self.failures.saturating_add(1)),
        };
        let phase = match (self.phase, finding) {
            // A new target needs one pass alone, whatever the threshold.
            (Phase::Unchecked | Phase::Initial | Phase::Healthy, Finding::Passed) => Phase::Healthy,
            (Phase::Unhealthy(_), Finding::Passed) if passes >= settings.healthy_threshold => Phase::Healthy,
            (Phase::Unhealthy(last), Finding::Passed) => Phase::Unhealthy(last),
            (Phase::Unhealthy(_), failure) => Phase::Unhealthy(failure),
            (_, failure) if failures >= settings.unhealthy_threshold => Phase::Unhealthy(failure),
            (Phase::Unchecked, _) => Phase::Initial,
            (before, _) => before,
        };
        Record { phase, passes, failures }
    }

    /// Whether requests go to it before all others.
    #[must_use]
    pub fn is_healthy(self) -> bool {
        self.phase == Phase::Healthy
    }
}

/// Where a target stands; the first that is true, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not registered at all.
    NotRegistered,
    /// Deregistered, the delay not over.
    Draining,
    /// No rule of any listener refers to its group.
    NotInUse,
    /// Its instance is stopped or on the way there.
    Stopped,
    /// Its instance is terminated, on the way there, or forgotten.
    Terminated,
    /// Its instance has no address yet.
    Registering,
    /// Its group has health checks disabled: it gets requests.
    Unchecked,
    /// It is checked.
    Checked(Record),
}

impl Standing {
    /// Where a registered target stands.
    #[must_use]
    pub fn observed(
        in_use: bool,
        instance: Option<InstanceState>,
        has_address: bool,
        checks: bool,
        record: Record,
    ) -> Self {
        match instance {
            _ if !in_use => Standing::NotInUse,
            None | Some(InstanceState::Terminated | InstanceState::ShuttingDown) => Standing::Terminated,
            Some(InstanceState::Stopped | InstanceState::Stopping) => Standing::Stopped,
            Some(InstanceState::Pending | InstanceState::Running) if !has_address => Standing::Registering,
            Some(InstanceState::Pending | InstanceState::Running) if !checks => Standing::Unchecked,
            Some(InstanceState::Pending | InstanceState::Running) => Standing::Checked(record),
        }
    }

    /// In the API's words.
    #[must_use]
    pub fn of(self, id: &str, port: u16, health_check_port: u16) -> TargetHealth {
        let (state, reason, description) = self.words();
        TargetHealth { id: id.to_owned(), port, health_check_port, state, reason, description }
    }

    fn words(self) -> (State, Option<&'static str>, Option<String>) {
        let (state, reason, description) = match self {
            Standing::NotRegistered => {
                (State::Unused, "Target.NotRegistered", "Target is not registered to the target group")
            }
            Standing::Draining => {
                (State::Draining, "Target.DeregistrationInProgress", "Target deregistration is in progress")
            }
            Standing::NotInUse => (
                State::Unused,
                "Target.NotInUse",
                "Target group is not configured to receive traffic from the load balancer",
            ),
            Standing::Stopped => (State::Unused, "Target.InvalidState", "Target is in the stopped state"),
            Standing::Terminated => (State::Unused, "Target.InvalidState", "Target is in the terminated state"),
            Standing::Registering | Standing::Checked(Record { phase: Phase::Unchecked, .. }) => {
                (State::Initial, "Elb.RegistrationInProgress", "Target registration is in progress")
            }
            Standing::Unchecked => (State::Unavailable, "Target.HealthCheckDisabled", "Health checks are disabled"),
            Standing::Checked(Record { phase: Phase::Initial, .. }) => {
                (State::Initial, "Elb.InitialHealthChecking", "Initial health checks in progress")
            }
            Standing::Checked(Record { phase: Phase::Healthy, .. }) => return (State::Healthy, None, None),
            Standing::Checked(Record { phase: Phase::Unhealthy(finding), .. }) => match finding {
                Finding::Mismatch(status) => {
                    let description = format!("Health checks failed with these codes: [{status}]");
                    return (State::Unhealthy, Some("Target.ResponseCodeMismatch"), Some(description));
                }
                Finding::TimedOut => (State::Unhealthy, "Target.Timeout", "Request timed out"),
                Finding::Impossible => {
                    (State::Unhealthy, "Elb.InternalError", "Health checks failed due to an internal error")
                }
                Finding::Failed | Finding::Passed => {
                    (State::Unhealthy, "Target.FailedHealthChecks", "Health checks failed")
                }
            },
        };
        (state, Some(reason), Some(description.to_owned()))
    }
}

/// Whether a matcher (`200`, `200,301`, `200-299`) takes a status. What is no number matches nothing.
#[must_use]
pub fn matches(matcher: &str, status: u16) -> bool {
    matcher.split(',').any(|part| match part.split_once('-') {
        Some((low, high)) => match (low.trim().parse::<u16>(), high.trim().parse::<u16>()) {
            (Ok(low), Ok(high)) => (low..=high).contains(&status),
            _ => false,
        },
        None => part.trim().parse() == Ok(status),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn settings(healthy_threshold: u32, unhealthy_threshold: u32) -> HealthCheck {
        HealthCheck {
            enabled: true,
            protocol: "HTTP".to_owned(),
            port: None,
            path: "/".to_owned(),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            healthy_threshold,
            unhealthy_threshold,
            matcher: "200".to_owned(),
        }
    }

    fn line(record: Record) -> (State, Option<&'static str>) {
        let health = Standing::Checked(record).of("i-1", 80, 80);
        (health.state, health.reason)
    }

    #[test]
    fn a_matcher_takes_numbers_lists_and_ranges() {
        let table = [
            ("200", 200, true),
            ("200", 204, false),
            ("200,301", 301, true),
            ("200-299", 299, true),
            ("200-299", 300, false),
            ("200, 210-220 ,404", 215, true),
            ("200, 210-220 ,404", 404, true),
            ("", 200, false),
            ("2xx", 200, false),
        ];
        for (matcher, status, expected) in table {
            assert_eq!(matches(matcher, status), expected, "{matcher} {status}");
        }
    }

    #[test]
    fn a_target_goes_through_its_states_with_the_reasons_of_the_real_one() {
        let settings = settings(3, 2);
        let steps = [
            (Finding::Failed, State::Initial, Some("Elb.InitialHealthChecking")),
            (Finding::Passed, State::Healthy, None),
            (Finding::Mismatch(500), State::Healthy, None),
            (Finding::Passed, State::Healthy, None),
            (Finding::Mismatch(500), State::Healthy, None),
            (Finding::Mismatch(503), State::Unhealthy, Some("Target.ResponseCodeMismatch")),
            (Finding::TimedOut, State::Unhealthy, Some("Target.Timeout")),
            (Finding::Passed, State::Unhealthy, Some("Target.Timeout")),
            (Finding::Passed, State::Unhealthy, Some("Target.Timeout")),
            (Finding::Failed, State::Unhealthy, Some("Target.FailedHealthChecks")),
            (Finding::Passed, State::Unhealthy, Some("Target.FailedHealthChecks")),
            (Finding::Passed, State::Unhealthy, Some("Target.FailedHealthChecks")),
            (Finding::Passed, State::Healthy, None),
        ];
        let mut record = Record::default();
        assert_eq!(line(record), (State::Initial, Some("Elb.RegistrationInProgress")));
        for (n, (finding, state, reason)) in steps.into_iter().enumerate() {
            record = record.after(finding, &settings);
            assert_eq!(line(record), (state, reason), "step {n}");
        }
    }

    #[test]
    fn a_mismatch_names_the_code() {
        let record = Record::default().after(Finding::Mismatch(500), &settings(5, 1));
        let health = Standing::Checked(record).of("i-1", 80, 80);
        assert_eq!(health.description.as_deref(), Some("Health checks failed with these codes: [500]"));
    }

    #[test]
    fn where_a_target_stands_depends_on_its_group_and_instance_before_any_check() {
        let healthy = Record::default().after(Finding::Passed, &settings(5, 2));
        let running = Some(InstanceState::Running);
        let table = [
            (Standing::observed(false, running, true, true, healthy), State::Unused, Some("Target.NotInUse")),
            (Standing::observed(true, None, true, true, healthy), State::Unused, Some("Target.InvalidState")),
            (
                Standing::observed(true, Some(InstanceState::Stopped), true, true, healthy),
                State::Unused,
                Some("Target.InvalidState"),
            ),
            (
                Standing::observed(true, Some(InstanceState::Pending), false, true, healthy),
                State::Initial,
                Some("Elb.RegistrationInProgress"),
            ),
            (
                Standing::observed(true, running, true, false, healthy),
                State::Unavailable,
                Some("Target.HealthCheckDisabled"),
            ),
            (Standing::observed(true, running, true, true, healthy), State::Healthy, None),
            (Standing::Draining, State::Draining, Some("Target.DeregistrationInProgress")),
        ];
        for (standing, state, reason) in table {
            let health = standing.of("i-1", 80, 80);
            assert_eq!((health.state, health.reason), (state, reason), "{standing:?}");
        }
    }

    fn findings() -> impl Strategy<Value = Vec<Finding>> {
        prop::collection::vec(
            prop_oneof![
                Just(Finding::Passed),
                (200_u16..600).prop_map(Finding::Mismatch),
                Just(Finding::TimedOut),
                Just(Finding::Failed),
            ],
            1..60,
        )
    }

    proptest! {
        /// Against the definition, said another way: look back over the whole history.
        #[test]
        fn the_machine_says_what_the_history_says(history in findings(), up in 2_u32..=10, down in 2_u32..=10) {
            let settings = settings(up, down);
            let mut record = Record::default();
            let mut expected = State::Initial;
            for n in 0..history.len() {
                record = record.after(history[n], &settings);
                let streak = history[..=n].iter().rev()
                    .take_while(|f| (**f == Finding::Passed) == (history[n] == Finding::Passed)).count();
                expected = match (expected, history[n]) {
                    (State::Initial, Finding::Passed) => State::Healthy,
                    (State::Unhealthy, Finding::Passed) if streak >= up as usize => State::Healthy,
                    (State::Initial | State::Healthy, f) if f != Finding::Passed && streak >= down as usize => State::Unhealthy,
                    (same, _) => same,
                };
                prop_assert_eq!(line(record).0, expected);
                prop_assert_eq!(record.is_healthy(), expected == State::Healthy);
                // A reason is there exactly when it isn't healthy.
                prop_assert_eq!(line(record).1.is_none(), expected == State::Healthy);
            }
        }
    }
}
