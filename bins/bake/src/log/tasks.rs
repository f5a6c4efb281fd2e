//! How long each task of a play took, and which took longest.

use std::time::Duration;

use serde::Deserialize;

/// How many of the slowest are kept: a play may have any number of tasks.
const KEPT: usize = 5;

/// What takes less is nobody's question.
const WORTH_SAYING: Duration = Duration::from_secs(1);

/// What the play's callback says (`builder/gyron_tasks.py`).
#[derive(Debug, Deserialize)]
pub(crate) struct Event {
    /// A task begins.
    #[serde(default)]
    task: Option<String>,
    /// Where it stands: the file in the playbook's folder, a colon, the line.
    #[serde(default)]
    path: String,
}

/// A task that ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) took: Duration,
}

/// The tasks of a play so far.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    running: Option<(Event, Duration)>,
    slowest: Vec<Task>,
}

impl Tasks {
    /// Takes an event; what is no event of the callback's is none.
    pub(crate) fn take(&mut self, at: Duration, event: &[u8]) {
        let Ok(event) = serde_json::from_slice::<Event>(event) else { return };
        if let Some((before, begun)) = self.running.take()
            && let Some(name) = before.task
        {
            self.keep(Task { name, path: before.path, took: at.saturating_sub(begun) });
        }
        self.running = event.task.is_some().then_some((event, at));
    }

    fn keep(&mut self, task: Task) {
        if task.took < WORTH_SAYING {
            return;
        }
        let place = self.slowest.partition_point(|other| other.took >= task.took);
        self.slowest.insert(place, task);
        self.slowest.truncate(KEPT);
    }

    /// The slowest, the slowest of all first.
    pub(crate) fn slowest(&self) -> &[Task] {
        &self.slowest
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{KEPT, Tasks};

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_task_lasts_until_the_next_one_begins_or_the_play_ends() {
        let mut tasks = Tasks::default();
        tasks.take(at(0), br#"{"task": "Gathering Facts", "path": "site.yml:1"}"#);
        tasks.take(at(1500), br#"{"task": "Install nginx", "path": "roles/web/tasks/main.yml:4"}"#);
        tasks.take(at(1600), b"no event");
        tasks.take(at(9000), br#"{"end": true}"#);
        let said: Vec<String> =
            tasks.slowest().iter().map(|task| format!("{} {} {:?}", task.name, task.path, task.took)).collect();
        assert_eq!(said, ["Install nginx roles/web/tasks/main.yml:4 7.5s", "Gathering Facts site.yml:1 1.5s"]);
    }

    proptest! {
        /// The slowest are the slowest, in order, whatever the order in which they ran.
        #[test]
        fn the_slowest_are_kept(lengths in proptest::collection::vec(0u64..5000, 0..20)) {
            let mut tasks = Tasks::default();
            let mut now = 0;
            for length in &lengths {
                tasks.take(at(now), br#"{"task": "t"}"#);
                now += length;
            }
            tasks.take(at(now), b"{}");
            let mut expected: Vec<u64> = lengths.iter().copied().filter(|length| *length >= 1000).collect();
            expected.sort_unstable_by(|a, b| b.cmp(a));
            expected.truncate(KEPT);
            let kept: Vec<u64> = tasks.slowest().iter().map(|task| task.took.as_millis() as u64).collect();
            prop_assert_eq!(kept, expected);
        }
    }
}
