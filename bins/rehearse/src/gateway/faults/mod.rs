//! Faults that a person or a test sets on a running cloud: each goes wrong as it goes wrong on AWS.

mod caller;
mod errors;
mod fault;
mod replica;
mod stale;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use errors::no_capacity;
pub use fault::{Calls, Fault, What, When, Which};

use self::fault::Seen;
use self::replica::{Kind, Lag, Replica, Things};
use super::Gateway;
use super::groups::GROUP_TAG;
use super::params::Params;
use super::refusal::Refusal;
use super::request::Asked;
use crate::moto::xml::Node;

/// A fault that stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// `f1` …
    pub id: String,
    /// The fault.
    pub fault: Fault,
    /// How many calls it has concerned.
    pub seen: u64,
    /// How many of them it has hit.
    pub hit: u64,
    /// When a lag began.
    #[serde(skip)]
    pub since: Option<Instant>,
}

/// What a call meets.
#[derive(Debug, Default, PartialEq)]
pub struct Strike {
    /// It is served so much later.
    pub delay: Duration,
    /// It is refused.
    pub refusal: Option<Refusal>,
    /// Its caller is killed.
    pub kill: Option<When>,
    /// The faults that hit it.
    pub by: Vec<String>,
}

/// The faults of a cloud.
#[derive(Debug, Default)]
pub struct Faults(Mutex<Set>);

#[derive(Debug, Default)]
struct Set {
    standing: Vec<Standing>,
    /// Counts all that were ever set, for their ids.
    count: u64,
    replica: Replica,
    looking: bool,
    /// Instances of Auto Scaling groups that have been looked at.
    judged: BTreeSet<String>,
}

impl Standing {
    /// Counts a call that the fault concerns. Whether it is hit.
    fn strikes(&mut self) -> bool {
        self.seen += 1;
        let hit = self.fault.which.hits(self.seen);
        self.hit += u64::from(hit);
        hit
    }
}

impl Faults {
    fn set<T>(&self, look: impl FnOnce(&mut Set) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All that stand.
    #[must_use]
    pub fn list(&self) -> Vec<Standing> {
        self.set(|set| set.standing.clone())
    }

    fn add(&self, fault: Fault) -> Standing {
        self.set(|set| {
            set.count += 1;
            let standing = Standing { id: format!("f{}", set.count), fault, seen: 0, hit: 0, since: None };
            set.standing.push(standing.clone());
            standing
        })
    }

    /// Takes away those with this id or scope. Which they were.
    fn clear(&self, id: Option<&str>, key: Option<&str>) -> Vec<Standing> {
        self.set(|set| {
            let goes = |standing: &Standing| {
                id.is_none_or(|id| standing.id == id)
                    && key.is_none_or(|key| standing.fault.calls.key.as_deref() == Some(key))
            };
            let (gone, kept) = std::mem::take(&mut set.standing).into_iter().partition(goes);
            set.standing = kept;
            gone
        })
    }

    /// As on a cloud that has just come up.
    pub(super) fn reset(&self) {
        self.set(|set| {
            *set = Set { looking: set.looking, count: set.count, ..Set::default() };
        });
    }

    /// Counts a call and says what it meets. Only steps can be killed.
    pub(super) fn strike(&self, asked: &Asked, object: Option<&str>, by_a_step: bool) -> Strike {
        let call = Seen { key: asked.key.as_deref(), service: &asked.service, action: &asked.action, object };
        let mut strike = Strike::default();
        self.set(|set| {
            for standing in &mut set.standing {
                let fault = &standing.fault;
                if !fault.calls.concern(call) {
                    continue;
                }
                let refusal = match &fault.what {
                    What::Throttle => errors::throttled(asked),
                    What::Fail { code, status, message } => {
                        errors::failed(asked, code.as_deref(), *status, message.as_deref())
                    }
                    What::Delay(_) => None,
                    What::Kill(_) if by_a_step => None,
                    _ => continue,
                };
                let refuses = matches!(fault.what, What::Throttle | What::Fail { .. });
                // A protocol whose errors are not known here is left alone.
                if refuses && refusal.is_none() || !standing.strikes() {
                    continue;
                }
                strike.by.push(standing.id.clone());
                match &standing.fault.what {
                    What::Delay(by) => strike.delay += by.0,
                    What::Kill(when) => strike.kill = strike.kill.or(Some(*when)),
                    _ => strike.refusal = strike.refusal.take().or(refusal),
                }
            }
        });
        strike
    }

    /// Whether a launch of this type in this zone finds capacity.
    pub(super) fn has_capacity(&self, key: Option<&str>, kind: &str, zone: &str) -> bool {
        let call = Seen { key, service: "ec2", action: "RunInstances", object: None };
        self.set(|set| {
            let mut has = true;
            for standing in &mut set.standing {
                let What::NoCapacity { types, zones } = &standing.fault.what else { continue };
                let named = |names: &[String], name: &str| names.is_empty() || names.iter().any(|one| one == name);
                if standing.fault.calls.concern(call) && named(types, kind) && named(zones, zone) && standing.strikes()
                {
                    has = false;
                }
            }
            has
        })
    }

    /// Whether the agent of an instance that this key starts now never comes.
    fn mutes(&self, key: Option<&str>) -> bool {
        let call = Seen { key, service: "ec2", action: "RunInstances", object: None };
        self.set(|set| {
            let mut standing = set.standing.iter_mut();
            let found = standing.find(|one| one.fault.what == What::NoAgent && one.fault.calls.concern(call));
            found.is_some_and(Standing::strikes)
        })
    }

    /// Those of an Auto Scaling group's instances that have not been seen before.
    fn unjudged(&self, instances: Vec<String>) -> Vec<String> {
        self.set(|set| instances.into_iter().filter(|id| set.judged.insert(id.clone())).collect())
    }

    /// What stands now, and has been looked at, shows at once under this fault.
    fn lag_from_now_on(&self, id: &str) {
        self.set(|set| {
            for standing in set.standing.iter_mut().filter(|standing| standing.id == id) {
                standing.since = Some(Instant::now());
            }
        });
    }

    fn lags(&self) -> Vec<Lag> {
        self.set(|set| {
            let lag = |standing: &Standing| match standing.fault.what {
                // One that has not looked at what stands has not begun.
                What::Stale(by) => {
                    let key = standing.fault.calls.key.clone();
                    standing.since.map(|since| Lag { by: by.0, key, since: Some(since) })
                }
                _ => None,
            };
            set.standing.iter().filter_map(lag).collect()
        })
    }

    fn lagging(&self, region: &str, kind: Kind, asked: Instant, things: &Things) -> BTreeMap<String, Option<Node>> {
        let (lags, now) = (self.lags(), Instant::now());
        self.set(|set| {
            set.replica.look(region, kind, asked, now, things);
            set.replica.lagging(region, kind, now, things, &lags)
        })
    }

    fn look(&self, region: &str, kind: Kind, asked: Instant, things: &Things) {
        self.set(|set| set.replica.look(region, kind, asked, Instant::now(), things));
    }

    /// The regions in which something may lag: those that anybody called since the lag began.
    fn lagging_regions(&self) -> BTreeSet<String> {
        self.set(|set| set.replica.regions().cloned().collect())
    }

    /// Whether nobody looks for changes yet; the caller does from now on.
    fn begin_to_look(&self) -> bool {
        self.set(|set| !std::mem::replace(&mut set.looking, true))
    }

    /// Whether something lags; if not, what was seen is forgotten.
    fn goes_on_looking(&self) -> bool {
        let lags = !self.lags().is_empty();
        self.set(|set| {
            if !lags {
                set.looking = false;
                set.replica.forget();
            }
            lags
        })
    }
}

impl Gateway {
    /// `/_rehearse/faults`: GET lists, POST sets, DELETE clears (`?id=`, `?key=`, or all).
    pub(super) async fn faults_of_itself(
        self: &std::sync::Arc<Self>,
        method: &Method,
        query: &Params,
        body: &[u8],
    ) -> Result<Value, Refusal> {
        let listed = |standing: Vec<Standing>| Ok(json!({ "faults": standing }));
        match *method {
            Method::GET => listed(self.faults.list()),
            Method::DELETE => {
                let gone = self.faults.clear(query.get("id"), query.get("key"));
                match query.get("id") {
                    Some(id) if gone.is_empty() => {
                        Err(Refusal::new(StatusCode::NOT_FOUND, "NotFound", format!("no fault {id} is set")))
                    }
                    _ => listed(gone),
                }
            }
            Method::POST => {
                let unreadable = |error: serde_json::Error| Refusal::client("ValidationError", error.to_string());
                let fault: Fault = serde_json::from_slice(body).map_err(unreadable)?;
                fault.check().map_err(|why| Refusal::client("ValidationError", why))?;
                let standing = self.faults.add(fault);
                if matches!(standing.fault.what, What::Stale(_)) {
                    self.begin_to_lag(&standing.id).await.inspect_err(|_| {
                        self.faults.clear(Some(&standing.id), None);
                    })?;
                }
                listed(vec![standing])
            }
            _ => Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "GET, POST or DELETE")),
        }
    }

    /// Notes who made what, and whose agents never come.
    pub(super) fn note_makers(&self, asked: &Asked, answer: &Node) {
        let made: Vec<&str> = match asked.action.as_str() {
            "RunInstances" => answer.list(&["instancesSet"]).map(|item| item.get(&["instanceId"])).collect(),
            "StartInstances" => answer.list(&["instancesSet"]).map(|item| item.get(&["instanceId"])).collect(),
            "CreateImage" | "CopyImage" | "RegisterImage" => vec![answer.get(&["imageId"])],
            "CreateSnapshot" | "CopySnapshot" => vec![answer.get(&["snapshotId"])],
            _ => return,
        };
        if let Some(key) = asked.key.as_deref().filter(|_| asked.action != "StartInstances") {
            self.faults.set(|set| made.iter().for_each(|id| set.replica.made(id, key)));
        }
        if asked.action.ends_with("Instances") {
            for id in made {
                if self.faults.mutes(asked.key.as_deref()) {
                    self.commands.mute(id);
                }
            }
        }
    }

    /// The same for instances that a group starts: nobody's key is at it.
    pub(super) fn note_groups_instances(&self) {
        let of_groups = self.state(|state| {
            let of_groups = state.raw.instances.iter().filter(|instance| instance.tags.contains_key(GROUP_TAG));
            of_groups.map(|instance| instance.id.clone()).collect::<Vec<_>>()
        });
        for id in self.faults.unjudged(of_groups) {
            if self.faults.mutes(None) {
                self.commands.mute(&id);
            }
        }
    }

    /// Kills who called from this address: a process in the steps' network, never another.
    pub(super) async fn kill_caller(&self, at: SocketAddr) {
        let SocketAddr::V4(at) = at else { return };
        let namespace = self.cloud.steps_netns();
        let killed = tokio::task::spawn_blocking(move || caller::kill_holders(&namespace, at)).await;
        match killed.map_err(std::io::Error::other).and_then(|killed| killed) {
            Ok(0) => {
                crate::serve::say(format_args!("nobody in the steps' network holds {at} any more: nobody is killed"))
            }
            Ok(_) => {}
            Err(error) => crate::serve::say(format_args!("the caller at {at} can't be killed: {error}")),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use gyron_core::config::schema::Span;

    use super::*;
    use crate::gateway::request::Protocol;

    fn asked(action: &str, key: &str) -> Asked {
        Asked {
            service: "ec2".to_owned(),
            action: action.to_owned(),
            region: None,
            key: Some(key.to_owned()),
            protocol: Protocol::Ec2,
        }
    }

    fn fault(what: What, which: Which) -> Fault {
        Fault { what, calls: Calls { key: Some("AKIA1".to_owned()), ..Calls::default() }, which }
    }

    #[test]
    fn only_calls_that_a_fault_concerns_are_counted() {
        let faults = Faults::default();
        faults.add(fault(What::Throttle, Which::Nth(2)));
        let codes: Vec<Option<String>> = ["AKIA1", "AKIA2", "AKIA1", "AKIA1"]
            .map(|key| faults.strike(&asked("StopInstances", key), None, true).refusal.map(|refusal| refusal.code))
            .into();
        assert_eq!(codes, [None, None, Some("RequestLimitExceeded".to_owned()), None]);
        let standing = &faults.list()[0];
        assert_eq!((standing.seen, standing.hit), (3, 1));
    }

    #[test]
    fn delays_add_up_and_the_first_refusal_counts() {
        let faults = Faults::default();
        for what in [What::Delay(Span::seconds(1)), What::Delay(Span::seconds(2)), What::Throttle] {
            faults.add(fault(what, Which::Each));
        }
        faults.add(fault(What::Fail { code: None, status: None, message: None }, Which::Each));
        let strike = faults.strike(&asked("RunInstances", "AKIA1"), None, true);
        assert_eq!(strike.delay, Duration::from_secs(3));
        assert_eq!(strike.refusal.unwrap().code, "RequestLimitExceeded");
        assert_eq!(strike.by, ["f1", "f2", "f3", "f4"]);
    }

    #[test]
    fn nobody_but_a_step_is_killed() {
        let faults = Faults::default();
        faults.add(fault(What::Kill(When::Before), Which::Nth(1)));
        assert_eq!(faults.strike(&asked("RunInstances", "AKIA1"), None, false), Strike::default());
        assert_eq!(faults.strike(&asked("RunInstances", "AKIA1"), None, true).kill, Some(When::Before));
    }

    #[test]
    fn capacity_lacks_by_type_and_zone() {
        let faults = Faults::default();
        let lacks = |types: &[&str], zones: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            What::NoCapacity { types: owned(types), zones: owned(zones) }
        };
        faults.add(fault(lacks(&["c7i.large"], &[]), Which::Each));
        faults.add(fault(lacks(&["c6i.large"], &["a"]), Which::Each));
        let has = |kind, zone| faults.has_capacity(Some("AKIA1"), kind, zone);
        assert!(!has("c7i.large", "a") && !has("c7i.large", "b") && !has("c6i.large", "a") && has("c6i.large", "b"));
        assert!(faults.has_capacity(Some("AKIA2"), "c7i.large", "a"));
    }

    #[test]
    fn faults_are_cleared_by_id_by_key_or_all() {
        let faults = Faults::default();
        faults.add(fault(What::Throttle, Which::Each));
        faults.add(Fault { what: What::NoAgent, calls: Calls::default(), which: Which::Each });
        faults.add(fault(What::Throttle, Which::Each));
        let ids = |gone: Vec<Standing>| gone.into_iter().map(|standing| standing.id).collect::<Vec<_>>();
        assert_eq!(ids(faults.clear(Some("f3"), None)), ["f3"]);
        assert_eq!(ids(faults.clear(None, Some("AKIA1"))), ["f1"]);
        assert_eq!(ids(faults.clear(None, None)), ["f2"]);
    }
}
