//! What EC2 showed a while ago: the versions of each resource as they came, so that a describe can lag behind.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::super::params::Params;
use super::super::refusal::Refusal;
use crate::cloud::ACCOUNT;
use crate::moto::xml::Node;

/// What is described with a lag. Each stands for the Describe call that lists it whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Instances.
    Instance,
    /// Images.
    Image,
    /// Snapshots.
    Snapshot,
    /// Volumes.
    Volume,
}

/// All kinds.
pub const KINDS: [Kind; 4] = [Kind::Instance, Kind::Image, Kind::Snapshot, Kind::Volume];

/// Resources of a kind, by id.
pub type Things = BTreeMap<String, Node>;

impl Kind {
    /// The kind that a Describe call lists.
    #[must_use]
    pub fn listed_by(action: &str) -> Option<Self> {
        KINDS.into_iter().find(|kind| kind.action() == action)
    }

    /// `DescribeInstances` …
    #[must_use]
    pub fn action(self) -> &'static str {
        match self {
            Kind::Instance => "DescribeInstances",
            Kind::Image => "DescribeImages",
            Kind::Snapshot => "DescribeSnapshots",
            Kind::Volume => "DescribeVolumes",
        }
    }

    /// The parameter that names single ones.
    #[must_use]
    pub fn parameter(self) -> &'static str {
        match self {
            Kind::Instance => "InstanceId",
            Kind::Image => "ImageId",
            Kind::Snapshot => "SnapshotId",
            Kind::Volume => "VolumeId",
        }
    }

    /// The member of an answer that holds them.
    #[must_use]
    pub fn set(self) -> &'static str {
        match self {
            Kind::Instance => "reservationSet",
            Kind::Image => "imagesSet",
            Kind::Snapshot => "snapshotSet",
            Kind::Volume => "volumeSet",
        }
    }

    fn id(self) -> &'static str {
        match self {
            Kind::Instance => "instanceId",
            Kind::Image => "imageId",
            Kind::Snapshot => "snapshotId",
            Kind::Volume => "volumeId",
        }
    }

    /// EC2's answer about one that is not there.
    #[must_use]
    pub fn not_found(self, id: &str) -> Refusal {
        match self {
            Kind::Instance => {
                Refusal::client("InvalidInstanceID.NotFound", format!("The instance ID '{id}' does not exist"))
            }
            Kind::Image => Refusal::client("InvalidAMIID.NotFound", format!("The image id '[{id}]' does not exist")),
            Kind::Snapshot => {
                Refusal::client("InvalidSnapshot.NotFound", format!("The snapshot '{id}' does not exist."))
            }
            Kind::Volume => Refusal::client("InvalidVolume.NotFound", format!("The volume '{id}' does not exist.")),
        }
    }

    /// The things in an answer. An instance comes with its reservation, since that is what an answer lists.
    #[must_use]
    pub fn things(self, answer: &Node) -> Things {
        let mut things = Things::new();
        for item in answer.list(&[self.set()]) {
            if self != Kind::Instance {
                things.insert(item.get(&[self.id()]).to_owned(), item.clone());
                continue;
            }
            for instance in item.list(&["instancesSet"]) {
                let mut alone = item.clone();
                alone.put(Node::new("instancesSet", vec![instance.clone()]));
                things.insert(instance.get(&[self.id()]).to_owned(), alone);
            }
        }
        things
    }

    /// Takes things out of an answer.
    pub fn take_out(self, answer: &mut Node, ids: &BTreeMap<String, Option<Node>>) {
        let Some(set) = answer.child_mut(self.set()) else { return };
        if self != Kind::Instance {
            set.children.retain(|item| !ids.contains_key(item.get(&[self.id()])));
            return;
        }
        for reservation in &mut set.children {
            if let Some(instances) = reservation.child_mut("instancesSet") {
                instances.children.retain(|item| !ids.contains_key(item.get(&[self.id()])));
            }
        }
        set.children.retain(|reservation| reservation.list(&["instancesSet"]).count() > 0);
    }

    /// The thing itself, of what an answer lists.
    fn itself(self, listed: &Node) -> &Node {
        match self {
            Kind::Instance => listed.at(&["instancesSet", "item"]).unwrap_or(listed),
            _ => listed,
        }
    }

    /// Whether a Describe call with these parameters would list a thing that is not as moto has it.
    ///
    /// # Errors
    /// What the rehearsal can't judge.
    pub fn passes(self, listed: &Node, params: &Params) -> Result<bool, Refusal> {
        let thing = self.itself(listed);
        if params.has("ExecutableBy") || params.has("RestorableBy") {
            return Err(unjudged("a list by permissions"));
        }
        let owners = params.list("Owner");
        let own = |owner: &String| owner == "self" || owner == ACCOUNT;
        if !owners.is_empty() && !owners.iter().any(own) {
            return Ok(false);
        }
        let mut unjudgeable = None;
        for filter in params.filters() {
            let tags = || thing.list(&["tagSet"]);
            let passes = if let Some(key) = filter.name.strip_prefix("tag:") {
                tags().any(|tag| tag.get(&["key"]) == key && filter.passes(tag.get(&["value"])))
            } else if filter.name == "tag-key" {
                tags().any(|tag| filter.passes(tag.get(&["key"])))
            } else if filter.name == "owner-alias" {
                false
            } else {
                let Some(path) = self.path(&filter.name) else {
                    unjudgeable = Some(unjudged(&format!("the filter {}", filter.name)));
                    continue;
                };
                filter.passes(thing.get(path))
            };
            if !passes {
                return Ok(false);
            }
        }
        // Where the others let it through, it would have to be known.
        unjudgeable.map_or(Ok(true), Err)
    }

    /// Where the value stands by which a filter judges.
    fn path(self, filter: &str) -> Option<&'static [&'static str]> {
        Some(match (self, filter) {
            (Kind::Instance, "instance-id") => &["instanceId"],
            (Kind::Instance, "instance-state-name") => &["instanceState", "name"],
            (Kind::Instance, "instance-state-code") => &["instanceState", "code"],
            (Kind::Instance, "instance-type") => &["instanceType"],
            (Kind::Instance, "client-token") => &["clientToken"],
            (Kind::Instance, "subnet-id") => &["subnetId"],
            (Kind::Instance, "vpc-id") => &["vpcId"],
            (Kind::Instance, "availability-zone") => &["placement", "availabilityZone"],
            (Kind::Instance | Kind::Image, "image-id") => &["imageId"],
            (Kind::Image, "name") => &["name"],
            (Kind::Image, "state") => &["imageState"],
            (Kind::Image, "owner-id") => &["imageOwnerId"],
            (Kind::Image, "root-device-type") => &["rootDeviceType"],
            (Kind::Image, "virtualization-type") => &["virtualizationType"],
            (Kind::Instance | Kind::Image, "architecture") => &["architecture"],
            (Kind::Snapshot, "owner-id") => &["ownerId"],
            (Kind::Snapshot, "description") => &["description"],
            (Kind::Snapshot | Kind::Volume, "snapshot-id") => &["snapshotId"],
            (Kind::Snapshot | Kind::Volume, "volume-id") => &["volumeId"],
            (Kind::Snapshot | Kind::Volume, "status") => &["status"],
            (Kind::Volume, "attachment.instance-id") => &["attachmentSet", "item", "instanceId"],
            _ => return None,
        })
    }

    /// What this is made along with.
    #[must_use]
    pub fn part_of(self) -> Option<Self> {
        match self {
            Kind::Snapshot => Some(Kind::Image),
            Kind::Volume => Some(Kind::Instance),
            Kind::Image | Kind::Instance => None,
        }
    }

    /// What was made along with a thing: an image's snapshots, an instance's volumes.
    fn parts(self, listed: &Node) -> Vec<String> {
        let member = match self {
            Kind::Image => "snapshotId",
            Kind::Instance => "volumeId",
            Kind::Snapshot | Kind::Volume => return Vec::new(),
        };
        let devices = self.itself(listed).list(&["blockDeviceMapping"]);
        devices.map(|device| device.get(&["ebs", member]).to_owned()).filter(|id| !id.is_empty()).collect()
    }
}

fn unjudged(what: &str) -> Refusal {
    Refusal::unsupported(format!("the rehearsal can't tell what a stale describe shows for {what}"))
}

/// The versions of all things since the first look at their region, each with the time at which it was first seen.
#[derive(Debug, Default)]
pub struct Replica {
    /// By region.
    seen: BTreeMap<String, BTreeMap<Kind, Seen>>,
    /// Who made what: access keys by id.
    makers: BTreeMap<String, String>,
}

/// The things of a kind in a region.
#[derive(Debug)]
struct Seen {
    /// When the newest look began: answers may come in another order.
    asked: Instant,
    versions: BTreeMap<String, Vec<Version>>,
}

#[derive(Debug)]
struct Version {
    /// `None` for what stood at the first look.
    at: Option<Instant>,
    /// `None` once it is no longer listed.
    thing: Option<Node>,
}

/// A lag, and whose things lag.
#[derive(Clone, Debug)]
pub struct Lag {
    /// So long.
    pub by: Duration,
    /// Only what was made with this access key.
    pub key: Option<String>,
    /// When it began: what was so then shows, however new it was.
    pub since: Option<Instant>,
}

impl Lag {
    /// Whether what was first seen then shows by now.
    fn shows(&self, at: Instant, now: Instant) -> bool {
        now.duration_since(at) >= self.by || self.since.is_some_and(|since| at <= since)
    }
}

impl Replica {
    /// Notes who made something.
    pub fn made(&mut self, id: &str, key: &str) {
        self.makers.insert(id.to_owned(), key.to_owned());
    }

    /// The regions that have been looked at, at every kind of thing.
    pub fn regions(&self) -> impl Iterator<Item = &String> {
        self.seen.iter().filter(|(_, kinds)| kinds.len() == KINDS.len()).map(|(region, _)| region)
    }

    /// Notes what is so now in a region, as a look that began at `asked` saw it.
    pub fn look(&mut self, region: &str, kind: Kind, asked: Instant, now: Instant, things: &Things) {
        let kinds = self.seen.entry(region.to_owned()).or_default();
        let first = !kinds.contains_key(&kind);
        let seen = kinds.entry(kind).or_insert_with(|| Seen { asked, versions: BTreeMap::new() });
        if asked < seen.asked {
            return;
        }
        seen.asked = asked;
        let seen = &mut seen.versions;
        for (id, thing) in things {
            let versions = seen.entry(id.clone()).or_default();
            if versions.last().is_none_or(|last| last.thing.as_ref() != Some(thing)) {
                versions.push(Version { at: (!first).then_some(now), thing: Some(thing.clone()) });
            }
            if let Some(key) = self.makers.get(id).cloned() {
                for part in kind.parts(thing) {
                    self.makers.insert(part, key.clone());
                }
            }
        }
        for (_, versions) in seen.iter_mut().filter(|(id, _)| !things.contains_key(*id)) {
            if versions.last().is_some_and(|last| last.thing.is_some()) {
                versions.push(Version { at: Some(now), thing: None });
            }
        }
    }

    /// A region's things that do not show as they are: each as it showed a while ago, `None` for what did not show then.
    #[must_use]
    pub fn lagging(
        &self,
        region: &str,
        kind: Kind,
        now: Instant,
        things: &Things,
        lags: &[Lag],
    ) -> BTreeMap<String, Option<Node>> {
        let Some(seen) = self.seen.get(region).and_then(|kinds| kinds.get(&kind)) else { return BTreeMap::new() };
        let seen = &seen.versions;
        let known: BTreeSet<&String> = things.keys().chain(seen.keys()).collect();
        let mut lagging = BTreeMap::new();
        for id in known {
            let maker = self.makers.get(id);
            let of = |lag: &&Lag| lag.key.is_none() || lag.key.as_ref() == maker;
            let lags: Vec<&Lag> = lags.iter().filter(of).collect();
            if lags.is_empty() {
                continue;
            }
            let shown = |version: &&Version| version.at.is_none_or(|at| lags.iter().all(|lag| lag.shows(at, now)));
            let versions = seen.get(id).map_or([].as_slice(), Vec::as_slice);
            let then = versions.iter().rev().find(shown).and_then(|version| version.thing.as_ref());
            if then != things.get(id) {
                lagging.insert(id.clone(), then.cloned());
            }
        }
        lagging
    }

    /// Forgets what was seen, but not who made what.
    pub fn forget(&mut self) {
        self.seen.clear();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const HOME: &str = "us-east-1";

    fn answer(states: &[(&str, &str)]) -> Node {
        let instance = |(id, state): &(&str, &str)| {
            let state = Node::new("instanceState", vec![Node::leaf("name", state)]);
            let tag = Node::new("item", vec![Node::leaf("key", "a"), Node::leaf("value", "b")]);
            let members = vec![Node::leaf("instanceId", id), state, Node::new("tagSet", vec![tag])];
            Node::new("item", vec![Node::new("instancesSet", vec![Node::new("item", members)])])
        };
        Node::new("DescribeInstancesResponse", vec![Node::new("reservationSet", states.iter().map(instance).collect())])
    }

    fn things(states: &[(&str, &str)]) -> Things {
        Kind::Instance.things(&answer(states))
    }

    /// What shows for each instance that lags: its old state, or nothing.
    fn shown(replica: &Replica, now: Instant, things: &Things, lags: &[Lag]) -> Vec<String> {
        let lagging = replica.lagging(HOME, Kind::Instance, now, things, lags);
        let state = |node: Option<Node>| {
            node.map_or("nothing".to_owned(), |node| {
                node.get(&["instancesSet", "item", "instanceState", "name"]).to_owned()
            })
        };
        lagging.into_iter().map(|(id, then)| format!("{id} {}", state(then))).collect()
    }

    #[test]
    fn what_changed_shows_later_and_what_stood_shows_at_once() {
        let (mut replica, begun) = (Replica::default(), Instant::now());
        let at = |second| begun + Duration::from_secs(second);
        let lags = [Lag { by: Duration::from_secs(30), key: None, since: None }];
        replica.look(HOME, Kind::Instance, at(0), at(0), &things(&[("i-old", "running")]));
        let now = things(&[("i-new", "pending"), ("i-old", "stopping")]);
        // Before the next look, too.
        assert_eq!(shown(&replica, at(1), &now, &lags), ["i-new nothing", "i-old running"]);
        replica.look(HOME, Kind::Instance, at(1), at(1), &now);
        assert_eq!(shown(&replica, at(30), &now, &lags), ["i-new nothing", "i-old running"]);
        assert_eq!(shown(&replica, at(31), &now, &lags), Vec::<String>::new());
        let now = things(&[("i-new", "running")]);
        replica.look(HOME, Kind::Instance, at(40), at(40), &now);
        assert_eq!(shown(&replica, at(69), &now, &lags), ["i-new pending", "i-old stopping"]);
        assert_eq!(shown(&replica, at(70), &now, &lags), Vec::<String>::new());
    }

    #[test]
    fn what_stood_when_a_fault_began_shows_under_it_though_another_one_still_hides_it() {
        let (mut replica, begun) = (Replica::default(), Instant::now());
        let at = |second| begun + Duration::from_secs(second);
        replica.look(HOME, Kind::Instance, at(0), at(0), &things(&[]));
        let now = things(&[("i-1", "running")]);
        replica.look(HOME, Kind::Instance, at(5), at(5), &now);
        let lag = |since| Lag { by: Duration::from_secs(30), key: None, since: Some(at(since)) };
        assert_eq!(shown(&replica, at(7), &now, &[lag(6)]), Vec::<String>::new());
        assert_eq!(shown(&replica, at(7), &now, &[lag(6), lag(0)]), ["i-1 nothing"]);
        assert_eq!(shown(&replica, at(7), &things(&[]), &[lag(6)]), ["i-1 running"], "its end lags");
    }

    #[test]
    fn a_look_that_began_earlier_and_comes_later_changes_nothing() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut replica = Replica::default();
        let now = things(&[("i-1", "running")]);
        replica.look(HOME, Kind::Instance, at(0), at(0), &things(&[]));
        replica.look(HOME, Kind::Instance, at(2), at(3), &now);
        replica.look(HOME, Kind::Instance, at(1), at(4), &things(&[]));
        let lags = [Lag { by: Duration::from_secs(30), key: None, since: None }];
        assert_eq!(shown(&replica, at(32), &now, &lags), ["i-1 nothing"]);
        assert_eq!(shown(&replica, at(33), &now, &lags), Vec::<String>::new());
    }

    #[test]
    fn only_what_was_made_with_the_key_lags() {
        let (mut replica, begun) = (Replica::default(), Instant::now());
        replica.look(HOME, Kind::Instance, begun, begun, &Things::new());
        replica.made("i-1", "AKIA1");
        replica.made("i-2", "AKIA2");
        let now = things(&[("i-1", "pending"), ("i-2", "pending"), ("i-3", "pending")]);
        let lags = [Lag { by: Duration::from_secs(30), key: Some("AKIA1".to_owned()), since: None }];
        assert_eq!(shown(&replica, begun, &now, &lags), ["i-1 nothing"]);
        assert_eq!(shown(&replica, begun, &now, &[]), Vec::<String>::new());
    }

    #[test]
    fn an_old_state_is_listed_by_the_filters_it_had() {
        let then = things(&[("i-1", "running")]).remove("i-1").unwrap();
        let passes = |query: &str| Kind::Instance.passes(&then, &Params::parse(query.as_bytes())).map_err(|r| r.code);
        assert_eq!(passes("Filter.1.Name=instance-state-name&Filter.1.Value.1=running"), Ok(true));
        assert_eq!(passes("Filter.1.Name=instance-state-name&Filter.1.Value.1=stopped"), Ok(false));
        assert_eq!(passes("Filter.1.Name=tag:a&Filter.1.Value.1=b"), Ok(true));
        assert_eq!(passes("Filter.1.Name=tag:c&Filter.1.Value.1=b"), Ok(false));
        assert_eq!(passes("Filter.1.Name=dns-name&Filter.1.Value.1=b"), Err("UnsupportedOperation".to_owned()));
    }

    #[test]
    fn what_lags_is_taken_out_of_an_answer() {
        let mut answer = answer(&[("i-1", "running"), ("i-2", "running")]);
        Kind::Instance.take_out(&mut answer, &BTreeMap::from([("i-1".to_owned(), None)]));
        assert_eq!(Kind::Instance.things(&answer).keys().collect::<Vec<_>>(), ["i-2"]);
    }
}
