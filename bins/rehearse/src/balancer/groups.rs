//! Target groups as the data plane sees them: who is in, who may get a request, who is next.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::connections::Connections;
use super::forward::Upload;
use super::health::{Record, Standing, TargetHealth};
use crate::netns::Netns;
use crate::world::{Action, HealthCheck, Rule, TargetGroup, World};

/// All that a request is decided by. Replaced as a whole, so that each request sees one state of the control plane.
#[derive(Default)]
pub struct Snapshot {
    /// Listeners, by address and port.
    pub fronts: HashMap<SocketAddrV4, Arc<Front>>,
    /// Target groups, by ARN.
    pub groups: BTreeMap<String, Group>,
}

/// A listener at one address.
pub struct Front {
    /// Its balancer's counters.
    pub counters: Arc<Counters>,
    /// Its balancer's ARN.
    pub balancer_arn: String,
    /// Its own ARN.
    pub arn: String,
    /// `HTTP` or `HTTPS`.
    pub protocol: String,
    /// Its balancer's idle timeout.
    pub idle_timeout: Duration,
    /// In the order in which they are tried.
    pub rules: Vec<Rule>,
}

/// A target group.
pub struct Group {
    /// Its targets in the registered order.
    pub members: Vec<Arc<Member>>,
    /// Whether a rule refers to it.
    pub in_use: bool,
    /// How it is checked.
    pub health_check: HealthCheck,
    /// Whether its targets speak TLS, which this data plane doesn't.
    pub encrypted: bool,
    /// How long a deregistered target may finish what it has begun.
    pub deregistration_delay: Duration,
    /// What it has seen.
    pub counters: Arc<Counters>,
    turn: Arc<AtomicUsize>,
}

/// A registered target. Made anew when anything about it changes, with what it has in common with the one before.
pub struct Member {
    /// The instance's id.
    pub id: String,
    /// The target's port.
    pub port: u16,
    /// The port to check.
    pub health_check_port: u16,
    /// Where it stands but for checks, which `record` holds.
    bare: Standing,
    record: Arc<Mutex<Record>>,
    /// The way to it; none while its instance has no address.
    pub connections: Option<Arc<Connections<Upload>>>,
    /// Cancelled when its deregistration delay is over.
    pub cut: CancellationToken,
}

/// What CloudWatch counts, since the group or balancer was first seen.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests for which a target was chosen.
    pub requests: AtomicU64,
    /// Answers of targets by class: 2xx, 3xx, 4xx, 5xx.
    pub target: [AtomicU64; 4],
    /// The balancer's own 5xx.
    pub elb_5xx: AtomicU64,
    /// Connections to targets that failed.
    pub connection_errors: AtomicU64,
}

impl Counters {
    /// Counts a target's answer.
    pub fn answered(&self, status: u16) {
        if let Some(class) = usize::from(status / 100).checked_sub(2).and_then(|class| self.target.get(class)) {
            class.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Snapshot {
    /// The next state, with what lives on from the one before: connections, check results, turns, counters.
    #[must_use]
    pub fn after(before: &Snapshot, world: &World, inside: &Netns) -> Self {
        let in_use: BTreeSet<&str> = world
            .balancers
            .iter()
            .flat_map(|balancer| &balancer.listeners)
            .flat_map(|listener| &listener.rules)
            .flat_map(|rule| &rule.actions)
            .filter_map(|action| match action {
                Action::Forward { groups, .. } => Some(groups),
                Action::FixedResponse { .. } | Action::Redirect { .. } => None,
            })
            .flatten()
            .map(|(arn, _)| arn.as_str())
            .collect();
        let groups = world.target_groups.iter().map(|(arn, group)| {
            let next = Group::after(before.groups.get(arn), group, in_use.contains(arn.as_str()), inside);
            (arn.clone(), next)
        });
        let mut fronts = HashMap::new();
        for balancer in &world.balancers {
            let counters = before
                .fronts
                .values()
                .find(|front| front.balancer_arn == balancer.arn)
                .map(|front| Arc::clone(&front.counters))
                .unwrap_or_default();
            for listener in &balancer.listeners {
                let front = Arc::new(Front {
                    counters: Arc::clone(&counters),
                    balancer_arn: balancer.arn.clone(),
                    arn: listener.arn.clone(),
                    protocol: listener.protocol.clone(),
                    idle_timeout: balancer.idle_timeout,
                    rules: listener.rules.clone(),
                });
                for address in &balancer.addresses {
                    fronts.insert(SocketAddrV4::new(*address, listener.port), Arc::clone(&front));
                }
            }
        }
        Snapshot { fronts, groups: groups.collect() }
    }

    /// Targets that got requests in `before` and are no longer registered, with their group's ARN and delay.
    pub fn departed<'a>(
        &'a self,
        before: &'a Snapshot,
    ) -> impl Iterator<Item = (&'a str, &'a Arc<Member>, Duration)> + 'a {
        before.groups.iter().filter(|(_, group)| group.in_use).flat_map(move |(arn, group)| {
            let now = self.groups.get(arn);
            let delay = now.map_or(group.deregistration_delay, |now| now.deregistration_delay);
            group
                .members
                .iter()
                .filter(move |member| now.is_none_or(|now| now.member(&member.id, member.port).is_none()))
                .map(move |member| (arn.as_str(), member, delay))
        })
    }
}

impl Group {
    fn after(before: Option<&Group>, group: &TargetGroup, in_use: bool, inside: &Netns) -> Self {
        let members = group.targets.iter().map(|target| {
            let before = before.and_then(|before| before.member(&target.id, target.port));
            let bare = Standing::observed(
                in_use,
                target.state,
                target.address.is_some(),
                group.health_check.enabled,
                Record::default(),
            );
            let to = target.address.map(|address| SocketAddrV4::new(address, target.port));
            let connections = to.map(|to| {
                before
                    .and_then(|before| before.connections.as_ref())
                    .filter(|connections| connections.to() == to)
                    .map_or_else(|| Connections::new(inside.clone(), to), Arc::clone)
            });
            // Checks begin anew for another address, and after a time without any.
            let record = before
                .filter(|before| before.bare == bare && before.connections.as_ref().map(|c| c.to()) == to)
                .map(|before| Arc::clone(&before.record))
                .unwrap_or_default();
            Arc::new(Member {
                id: target.id.clone(),
                port: target.port,
                health_check_port: group.health_check.port.unwrap_or(target.port),
                bare,
                record,
                connections,
                cut: before.map(|before| before.cut.clone()).unwrap_or_default(),
            })
        });
        Group {
            members: members.collect(),
            in_use,
            health_check: group.health_check.clone(),
            encrypted: group.protocol == "HTTPS",
            deregistration_delay: group.deregistration_delay,
            counters: before.map(|before| Arc::clone(&before.counters)).unwrap_or_default(),
            turn: before.map(|before| Arc::clone(&before.turn)).unwrap_or_default(),
        }
    }

    /// The member of that id and port.
    #[must_use]
    pub fn member(&self, id: &str, port: u16) -> Option<&Arc<Member>> {
        self.members.iter().find(|member| member.id == id && member.port == port)
    }

    /// Whose turn it is: the healthy in turn, and where nobody is healthy all that could be (fail open).
    #[must_use]
    pub fn next(&self) -> Option<&Arc<Member>> {
        let of = |eligible: fn(Standing) -> bool| {
            let members = || self.members.iter().filter(move |member| eligible(member.standing()));
            // A check may end between counting and taking: then the first of them will do.
            match members().count() {
                0 => None,
                count => {
                    let turn = self.turn.fetch_add(1, Ordering::Relaxed) % count;
                    members().nth(turn).or_else(|| members().next())
                }
            }
        };
        of(|standing| match standing {
            Standing::Checked(record) => record.is_healthy(),
            standing => standing == Standing::Unchecked,
        })
        .or_else(|| of(|standing| matches!(standing, Standing::Checked(_))))
    }
}

impl Member {
    /// Where it stands now.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match self.bare {
            Standing::Checked(_) => Standing::Checked(*self.record.lock().unwrap_or_else(PoisonError::into_inner)),
            bare => bare,
        }
    }

    /// In the API's words.
    #[must_use]
    pub fn health(&self) -> TargetHealth {
        self.standing().of(&self.id, self.port, self.health_check_port)
    }

    /// Where checks of it are written down.
    #[must_use]
    pub fn record(&self) -> &Arc<Mutex<Record>> {
        &self.record
    }

    /// The address to check, if it is to be checked.
    #[must_use]
    pub fn to_check(&self) -> Option<SocketAddrV4> {
        match (self.bare, &self.connections) {
            (Standing::Checked(_), Some(connections)) => {
                Some(SocketAddrV4::new(*connections.to().ip(), self.health_check_port))
            }
            _ => None,
        }
    }
}
