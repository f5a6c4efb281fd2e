//! The states of an invocation and of a command, and what moves them. User Guide, "Understanding command statuses".

use jiff::Timestamp;

/// Where one instance's part of a command stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Not taken by the agent yet.
    Pending,
    /// Taken.
    InProgress,
    /// Taken, and the agent has been or will be told to stop.
    Cancelling,
    /// The script ended with 0.
    Success,
    /// It ended otherwise.
    Failed,
    /// It ran into `executionTimeout`, by the agent's word.
    ExecutionTimedOut,
    /// The agent didn't take it, or never said how it ended.
    DeliveryTimedOut,
    /// Stopped before its end.
    Cancelled,
    /// Its instance is gone.
    Undeliverable,
    /// Never sent, since too many others had failed.
    Terminated,
}

impl State {
    /// Whether nothing will change any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(self, State::Pending | State::InProgress | State::Cancelling)
    }

    /// `Status` and `StatusDetails` of an invocation; what waits for an agent that isn't there is `Delayed`.
    #[must_use]
    pub fn shown(self, online: bool) -> (&'static str, &'static str) {
        match self {
            State::Pending if !online => ("Delayed", "Delayed"),
            State::Pending => ("Pending", "Pending"),
            State::InProgress => ("InProgress", "InProgress"),
            State::Cancelling => ("Cancelling", "Cancelling"),
            State::Success => ("Success", "Success"),
            State::Failed => ("Failed", "Failed"),
            State::ExecutionTimedOut => ("TimedOut", "ExecutionTimedOut"),
            State::DeliveryTimedOut => ("TimedOut", "DeliveryTimedOut"),
            State::Cancelled => ("Cancelled", "Cancelled"),
            State::Undeliverable => ("Failed", "Undeliverable"),
            State::Terminated => ("Failed", "Terminated"),
        }
    }

    /// Whether it counts against `MaxErrors`: what was never delivered doesn't.
    #[must_use]
    pub fn is_error(self) -> bool {
        matches!(self, State::Failed | State::ExecutionTimedOut)
    }
}

/// What time and the machine do to an invocation; `None` where nothing.
///
/// An agent has `timeout` seconds to take a command, and `timeout` plus `execution` from the request to say how it
/// ended: only the agent says `ExecutionTimedOut`. AWS learns of a terminated instance after minutes, we at once.
#[must_use]
pub fn overtaken(state: State, gone: bool, waited: i64, timeout: u32, execution: u32) -> Option<State> {
    if state.is_final() {
        return None;
    }
    if gone {
        return Some(State::Undeliverable);
    }
    let limit = match state {
        State::Pending => i64::from(timeout),
        _ => i64::from(timeout) + i64::from(execution),
    };
    (waited >= limit).then_some(State::DeliveryTimedOut)
}

/// `Status` and `StatusDetails` of a whole command.
#[must_use]
pub fn of_command(states: &[State], max_errors: usize) -> (&'static str, &'static str) {
    if states.is_empty() {
        return ("Success", "NoInstancesInTag");
    }
    let any = |state: State| states.contains(&state);
    if !states.iter().all(|state| state.is_final()) {
        return if any(State::Cancelling) {
            ("Cancelling", "Cancelling")
        } else if states.iter().all(|state| *state == State::Pending) {
            ("Pending", "Pending")
        } else {
            ("InProgress", "InProgress")
        };
    }
    if states.iter().all(|state| *state == State::Success) {
        return ("Success", "Success");
    }
    if any(State::Cancelled) {
        return ("Cancelled", "Cancelled");
    }
    let errors = states.iter().filter(|state| state.is_error()).count();
    if errors > max_errors {
        return if any(State::Failed) { ("Failed", "Failed") } else { ("TimedOut", "ExecutionTimedOut") };
    }
    if states.iter().all(|state| *state == State::Undeliverable) {
        return ("Failed", "Undeliverable");
    }
    if any(State::DeliveryTimedOut) { ("TimedOut", "DeliveryTimedOut") } else { ("Failed", "Incomplete") }
}

/// Whole and broken seconds since 1970, as the JSON 1.1 protocol writes times.
#[must_use]
pub fn epoch(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::State::*;
    use super::*;

    #[test]
    fn time_and_death() {
        let table = [
            // state, gone, waited, what becomes of it, with a timeout of 30 and an execution timeout of 60
            (Pending, false, 29, None),
            (Pending, false, 30, Some(DeliveryTimedOut)),
            (Pending, true, 1, Some(Undeliverable)),
            (InProgress, false, 89, None),
            (InProgress, false, 90, Some(DeliveryTimedOut)),
            (InProgress, true, 1, Some(Undeliverable)),
            (Cancelling, false, 90, Some(DeliveryTimedOut)),
            (Success, true, 900, None),
            (Cancelled, true, 900, None),
        ];
        for (state, gone, waited, want) in table {
            assert_eq!(overtaken(state, gone, waited, 30, 60), want, "{state:?} {gone} {waited}");
        }
    }

    #[test]
    fn a_command_is_what_its_invocations_are() {
        let table: &[(&[State], usize, (&str, &str))] = &[
            (&[], 0, ("Success", "NoInstancesInTag")),
            (&[Pending], 0, ("Pending", "Pending")),
            (&[Pending, Success], 0, ("InProgress", "InProgress")),
            (&[InProgress], 0, ("InProgress", "InProgress")),
            (&[InProgress, Cancelling], 0, ("Cancelling", "Cancelling")),
            (&[Success, Success], 0, ("Success", "Success")),
            (&[Success, Failed], 0, ("Failed", "Failed")),
            (&[Success, Failed], 1, ("Failed", "Incomplete")),
            (&[ExecutionTimedOut], 0, ("TimedOut", "ExecutionTimedOut")),
            (&[DeliveryTimedOut], 0, ("TimedOut", "DeliveryTimedOut")),
            (&[Undeliverable], 0, ("Failed", "Undeliverable")),
            (&[Cancelled], 0, ("Cancelled", "Cancelled")),
            (&[Failed, Terminated], 0, ("Failed", "Failed")),
        ];
        for (states, max_errors, want) in table {
            assert_eq!(of_command(states, *max_errors), *want, "{states:?}");
        }
    }

    #[test]
    fn shown_as_aws_does() {
        assert_eq!(Pending.shown(true), ("Pending", "Pending"));
        assert_eq!(Pending.shown(false), ("Delayed", "Delayed"));
        assert_eq!(ExecutionTimedOut.shown(true), ("TimedOut", "ExecutionTimedOut"));
        assert_eq!(Undeliverable.shown(true), ("Failed", "Undeliverable"));
    }
}
