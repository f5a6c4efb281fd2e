//! What must be done so that the bodies are as the control plane says: a pure function of the two.

use std::collections::BTreeMap;

use gyron_core::failure::{Failure, OrFail, Result};
use serde::Deserialize;

use crate::world::{Instance, InstanceState};

/// The label with the cloud's number.
pub const CLOUD_LABEL: &str = "gyron.cloud";

/// The label with the instance's id.
pub const INSTANCE_LABEL: &str = "gyron.instance";

/// A body as podman sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// `i-…`
    pub instance_id: String,
    /// What it does.
    pub state: BodyState,
    /// Whether its network stands. It is made before each boot and taken away after each stop that was asked for: so
    /// a body that has ended and still has one ended by itself.
    pub linked: bool,
}

/// What a body does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyState {
    /// Made, never booted: the making was broken off.
    Unfinished,
    /// Up.
    Up,
    /// On its way down, or held for a commit.
    Changing,
    /// Ended, with init's exit code.
    Ended(i32),
}

/// One thing to do to one instance's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make network and container from its image and boot it; what is left of a broken-off try goes first.
    Create(Instance),
    /// Boot the container that is there, with a network of its own again.
    Boot(Instance),
    /// Boot again at once: the instance asked for a reboot from inside.
    Reboot(String),
    /// Shut down gracefully and take the network away; the file system stays.
    Stop(String),
    /// Shut down and take all away.
    Remove(String),
}

impl Step {
    /// The instance it is about.
    #[must_use]
    pub fn instance_id(&self) -> &str {
        match self {
            Step::Create(instance) | Step::Boot(instance) => &instance.id,
            Step::Reboot(id) | Step::Stop(id) | Step::Remove(id) => id,
        }
    }
}

/// A body that ended while the control plane says it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// `i-…`
    pub instance_id: String,
    /// How.
    pub how: How,
}

/// How a body ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// Shut down from inside: it stops, or terminates where its `InstanceInitiatedShutdownBehavior` says so.
    PoweredOff,
    /// init was killed or crashed: a machine that fails.
    Died {
        /// Its exit code: 128 and the signal's number where a signal ended it.
        exit: i32,
    },
    /// It could not be booted at all.
    NeverBooted {
        /// What podman or the network said.
        why: String,
    },
}

/// What a kernel makes of init where reboot(2) is called in a container: killed by SIGHUP to reboot, SIGINT to end.
const REBOOTED: i32 = 128 + 1;
const HALTED: i32 = 128 + 2;

/// What to do, and what has ended by itself.
#[must_use]
pub fn plan(wanted: &[Instance], observed: &[Body]) -> (Vec<Step>, Vec<Ended>) {
    let mut bodies: BTreeMap<&str, &Body> = observed.iter().map(|body| (body.instance_id.as_str(), body)).collect();
    let (mut steps, mut ended) = (Vec::new(), Vec::new());
    for instance in wanted {
        use BodyState::{Changing, Ended as Over, Unfinished, Up};
        use InstanceState::{Pending, Running, ShuttingDown, Stopped, Stopping, Terminated};
        let body = bodies.remove(instance.id.as_str());
        let id = instance.id.clone();
        match (instance.state, body.map(|body| (body.state, body.linked))) {
            (Pending | Running, None | Some((Unfinished, _))) => steps.push(Step::Create(instance.clone())),
            (Pending | Running, Some((Over(REBOOTED), true))) => steps.push(Step::Reboot(id)),
            (Pending | Running, Some((Over(0 | HALTED), true))) => {
                ended.push(Ended { instance_id: id, how: How::PoweredOff });
            }
            (Pending | Running, Some((Over(exit), true))) => {
                ended.push(Ended { instance_id: id, how: How::Died { exit } });
            }
            (Pending | Running, Some((Over(_), false))) => steps.push(Step::Boot(instance.clone())),
            (Pending | Running, Some((Up | Changing, _))) => {}
            (Stopping | Stopped, Some((Up, _) | (Over(_), true))) => steps.push(Step::Stop(id)),
            (Stopping | Stopped, Some((Unfinished, _))) => steps.push(Step::Remove(id)),
            (Stopping | Stopped, None | Some((Changing, _) | (Over(_), false))) => {}
            (ShuttingDown | Terminated, Some(_)) => steps.push(Step::Remove(id)),
            (ShuttingDown | Terminated, None) => {}
        }
    }
    steps.extend(bodies.into_keys().map(|id| Step::Remove(id.to_owned())));
    (steps, ended)
}

/// Reads `podman ps --all --format json`; `linked` says whether an instance's network stands.
///
/// # Errors
/// Where it is not what podman prints.
pub fn read(listing: &str, linked: impl Fn(&str) -> bool) -> Result<Vec<Body>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Container {
        state: String,
        exit_code: i32,
        labels: Option<BTreeMap<String, String>>,
    }
    let containers: Option<Vec<Container>> =
        serde_json::from_str(listing).or_fail(|| Failure::program("can't read what podman ps printed"))?;
    let body = |container: Container| {
        let instance_id = container.labels?.remove(INSTANCE_LABEL)?;
        let state = match container.state.as_str() {
            "running" => BodyState::Up,
            "exited" | "stopped" => BodyState::Ended(container.exit_code),
            "created" | "initialized" | "configured" => BodyState::Unfinished,
            _ => BodyState::Changing,
        };
        Some(Body { linked: linked(&instance_id), instance_id, state })
    };
    Ok(containers.unwrap_or_default().into_iter().filter_map(body).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use super::*;

    fn instance(id: &str, state: InstanceState) -> Instance {
        Instance {
            id: id.into(),
            image_id: "ami-1".into(),
            state,
            private_ip: "172.31.1.2".parse().unwrap(),
            mac: "02:00:00:00:00:01".into(),
            instance_type: "t3.micro".into(),
            zone: "us-east-1a".into(),
            subnet_id: "subnet-1".into(),
            vpc_id: "vpc-1".into(),
            user_data: Vec::new(),
            instance_profile_arn: None,
            security_groups: Vec::new(),
            tags: BTreeMap::new(),
            metadata_tags: false,
            metadata_tokens_required: false,
            launch_time: String::new(),
            key_pair: None,
        }
    }

    #[test]
    fn each_pair_of_wanted_and_observed_has_its_one_step() {
        use BodyState::{Changing, Ended as Over, Unfinished, Up};
        use InstanceState::{Pending, Running, ShuttingDown, Stopped, Stopping, Terminated};
        let table = [
            (Some(Pending), None, "create"),
            (Some(Running), None, "create"),
            (Some(Running), Some((Unfinished, true)), "create"),
            (Some(Running), Some((Up, true)), ""),
            (Some(Running), Some((Changing, true)), ""),
            (Some(Running), Some((Over(129), true)), "reboot"),
            (Some(Running), Some((Over(130), true)), "powered off"),
            (Some(Running), Some((Over(0), true)), "powered off"),
            (Some(Running), Some((Over(137), true)), "died 137"),
            // Stopped by us and started again: the exit code says nothing.
            (Some(Pending), Some((Over(130), false)), "boot"),
            (Some(Running), Some((Over(137), false)), "boot"),
            (Some(Stopping), Some((Up, true)), "stop"),
            (Some(Stopped), Some((Up, true)), "stop"),
            (Some(Stopped), Some((Over(130), true)), "stop"),
            (Some(Stopped), Some((Over(130), false)), ""),
            (Some(Stopped), Some((Changing, true)), ""),
            (Some(Stopped), None, ""),
            (Some(ShuttingDown), Some((Up, true)), "remove"),
            (Some(Terminated), Some((Over(130), false)), "remove"),
            (Some(Terminated), None, ""),
            (None, Some((Up, true)), "remove"),
            (None, Some((Over(1), false)), "remove"),
        ];
        for (wanted, observed, expected) in table {
            let instances: Vec<_> = wanted.map(|state| instance("i-1", state)).into_iter().collect();
            let bodies: Vec<_> =
                observed.map(|(state, linked)| Body { instance_id: "i-1".into(), state, linked }).into_iter().collect();
            let (steps, ended) = plan(&instances, &bodies);
            let mut said: Vec<_> = steps
                .iter()
                .map(|step| match step {
                    Step::Create(_) => "create".to_owned(),
                    Step::Boot(_) => "boot".into(),
                    Step::Reboot(_) => "reboot".into(),
                    Step::Stop(_) => "stop".into(),
                    Step::Remove(_) => "remove".into(),
                })
                .collect();
            said.extend(ended.iter().map(|ended| match &ended.how {
                How::PoweredOff => "powered off".to_owned(),
                How::Died { exit } => format!("died {exit}"),
                How::NeverBooted { why } => why.clone(),
            }));
            assert_eq!(said.join(" and "), expected, "{wanted:?} {observed:?}");
        }
    }

    #[test]
    fn podmans_listing_is_read_by_labels() {
        let listing = r#"[
            {"State": "running", "ExitCode": 0, "Labels": {"gyron.instance": "i-1", "gyron.cloud": "1"}, "Id": "x"},
            {"State": "exited", "ExitCode": 130, "Labels": {"gyron.instance": "i-2"}},
            {"State": "created", "ExitCode": 0, "Labels": {"gyron.instance": "i-3"}},
            {"State": "paused", "ExitCode": 0, "Labels": {"gyron.instance": "i-4"}},
            {"State": "running", "ExitCode": 0, "Labels": null}]"#;
        let bodies = read(listing, |id| id == "i-1").unwrap();
        let states: Vec<_> = bodies.iter().map(|body| (body.instance_id.as_str(), body.state, body.linked)).collect();
        assert_eq!(
            states,
            [
                ("i-1", BodyState::Up, true),
                ("i-2", BodyState::Ended(130), false),
                ("i-3", BodyState::Unfinished, false),
                ("i-4", BodyState::Changing, false),
            ]
        );
        assert_eq!(read("null", |_| true).unwrap(), []);
        assert_eq!(read("x", |_| true).unwrap_err().exit().code(), 5);
    }
}
