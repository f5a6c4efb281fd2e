//! What moto says at once and AWS says later: the states of instances until their bodies follow.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::world::{Instance, InstanceState};

/// Per instance, how far its body has followed.
#[derive(Debug, Default)]
pub struct Overlay {
    settled: BTreeMap<String, Settled>,
    /// Those that ended by themselves, and whether they never booted.
    by_itself: BTreeMap<String, bool>,
}

#[derive(Debug)]
struct Settled {
    state: InstanceState,
    /// How many looks in a row the body was found so.
    seen: u32,
    since: Instant,
}

impl InstanceState {
    /// As EC2 prints it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            InstanceState::Pending => "pending",
            InstanceState::Running => "running",
            InstanceState::ShuttingDown => "shutting-down",
            InstanceState::Terminated => "terminated",
            InstanceState::Stopping => "stopping",
            InstanceState::Stopped => "stopped",
        }
    }

    /// EC2's number of the state.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            InstanceState::Pending => 0,
            InstanceState::Running => 16,
            InstanceState::ShuttingDown => 32,
            InstanceState::Terminated => 48,
            InstanceState::Stopping => 64,
            InstanceState::Stopped => 80,
        }
    }

    /// Reads EC2's name of a state.
    #[must_use]
    pub fn read(name: &str) -> Option<Self> {
        [
            InstanceState::Pending,
            InstanceState::Running,
            InstanceState::ShuttingDown,
            InstanceState::Terminated,
            InstanceState::Stopping,
            InstanceState::Stopped,
        ]
        .into_iter()
        .find(|state| state.name() == name)
    }

    /// Where a wanted state ends.
    #[must_use]
    pub fn end(self) -> Self {
        match self {
            InstanceState::Pending | InstanceState::Running => InstanceState::Running,
            InstanceState::Stopping | InstanceState::Stopped => InstanceState::Stopped,
            InstanceState::ShuttingDown | InstanceState::Terminated => InstanceState::Terminated,
        }
    }

    /// What shows on the way there.
    #[must_use]
    pub fn on_the_way(self) -> Self {
        match self.end() {
            InstanceState::Stopped => InstanceState::Stopping,
            InstanceState::Terminated => InstanceState::ShuttingDown,
            _ => InstanceState::Pending,
        }
    }
}

impl Overlay {
    /// The state to show, given the one moto wants: the way there until the body has followed.
    #[must_use]
    pub fn shown(&self, id: &str, wanted: InstanceState) -> InstanceState {
        match self.settled.get(id) {
            Some(settled) if settled.state == wanted.end() => wanted.end(),
            _ => wanted.on_the_way(),
        }
    }

    /// Whether the status checks have passed: the body was still running at a second look.
    #[must_use]
    pub fn reachable(&self, id: &str) -> bool {
        self.settled.get(id).is_some_and(|s| s.state == InstanceState::Running && s.seen > 1)
    }

    /// Since when the body is as it is.
    #[must_use]
    pub fn since(&self, id: &str) -> Option<Instant> {
        self.settled.get(id).map(|settled| settled.since)
    }

    /// Notes that the bodies of these instances now are as moto wanted. Whether that changed anything.
    pub fn settle<'a>(&mut self, instances: impl IntoIterator<Item = &'a Instance>) -> bool {
        let mut changed = false;
        for instance in instances {
            let state = instance.state.end();
            match self.settled.get_mut(&instance.id) {
                Some(settled) if settled.state == state => settled.seen = settled.seen.saturating_add(1),
                _ => {
                    changed = true;
                    if state == InstanceState::Running {
                        self.by_itself.remove(&instance.id);
                    }
                    let settled = Settled { state, seen: 1, since: Instant::now() };
                    self.settled.insert(instance.id.clone(), settled);
                }
            }
        }
        changed
    }

    /// Notes that a body ended by itself, or never began, so that the reason shows.
    pub fn ended(&mut self, id: &str, never_booted: bool) {
        self.by_itself.insert(id.to_owned(), never_booted);
    }

    /// The code and the sentence of why an instance ended, where that was by itself.
    #[must_use]
    pub fn reason(&self, id: &str) -> Option<(&'static str, &'static str)> {
        self.by_itself.get(id).map(|never_booted| match never_booted {
            true => ("Server.InternalError", "Server.InternalError: Internal error on launch"),
            false => {
                ("Client.InstanceInitiatedShutdown", "Client.InstanceInitiatedShutdown: Instance initiated shutdown")
            }
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
pub mod tests {
    use super::*;

    /// An instance in a state.
    pub fn instance(id: &str, state: InstanceState) -> Instance {
        Instance {
            id: id.to_owned(),
            image_id: "ami-1".to_owned(),
            state,
            private_ip: std::net::Ipv4Addr::new(172, 31, 0, 4),
            mac: String::new(),
            instance_type: "t3.micro".to_owned(),
            zone: "us-east-1a".to_owned(),
            subnet_id: "subnet-1".to_owned(),
            vpc_id: "vpc-1".to_owned(),
            user_data: Vec::new(),
            instance_profile_arn: None,
            security_groups: Vec::new(),
            tags: std::collections::BTreeMap::new(),
            metadata_tags: false,
            metadata_tokens_required: false,
            launch_time: String::new(),
            key_pair: None,
        }
    }

    #[test]
    fn a_state_shows_when_the_body_is_there() {
        use InstanceState::{Pending, Running, ShuttingDown, Stopped, Stopping, Terminated};
        let mut overlay = Overlay::default();
        // What moto wants, what shows before the body followed, what shows after.
        for (wanted, before, after) in [
            (Running, Pending, Running),
            (Stopped, Stopping, Stopped),
            (Running, Pending, Running),
            (Terminated, ShuttingDown, Terminated),
        ] {
            assert_eq!(overlay.shown("i-1", wanted), before);
            assert!(overlay.settle([&instance("i-1", wanted)]));
            assert_eq!(overlay.shown("i-1", wanted), after);
            assert!(!overlay.settle([&instance("i-1", wanted)]));
        }
    }

    #[test]
    fn a_body_is_reachable_at_the_second_look() {
        let mut overlay = Overlay::default();
        let running = instance("i-1", InstanceState::Running);
        overlay.settle([&running]);
        assert!(!overlay.reachable("i-1"));
        overlay.settle([&running]);
        assert!(overlay.reachable("i-1"));
        overlay.ended("i-1", false);
        assert_eq!(overlay.reason("i-1").unwrap().0, "Client.InstanceInitiatedShutdown");
    }
}
