//! What may be left, and what becomes of it.

use std::collections::BTreeSet;
use std::time::Duration;

use gyron_core::console::span;
use gyron_core::heartbeat;
use gyron_core::ids::{ImageId, InstanceId};
use jiff::Timestamp;

/// What a thing is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Thing {
    Instance(InstanceId),
    /// An image that came to nothing.
    Image(ImageId),
    Snapshot(String),
    Volume(String),
    /// A folder of the bucket.
    Folder(String),
    /// The lease of a bake that ended without giving it back.
    Lease(String),
}

/// What it costs as long as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cost {
    /// A running instance, with its disk.
    Hours,
    /// A disk or a snapshot.
    Storage,
    /// Objects in S3.
    Pennies,
}

impl Cost {
    fn in_words(self) -> &'static str {
        match self {
            Cost::Hours => "costs by the hour",
            Cost::Storage => "costs storage",
            Cost::Pennies => "costs next to nothing",
        }
    }
}

/// Something of a bake or a spec that is not meant to stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) thing: Thing,
    /// `t3.small, bake`
    pub(super) what: String,
    pub(super) cost: Cost,
    pub(super) run: String,
    pub(super) made: Option<Timestamp>,
    /// For what no lease protects: when its owner was last heard of, and when it was meant to be over.
    pub(super) heard: Option<Timestamp>,
    pub(super) expires: Option<Timestamp>,
    pub(super) kept: Option<Timestamp>,
    /// Whether a lease says that its owner lives.
    pub(super) leased: bool,
}

/// What becomes of a thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Somebody works with it.
    Lives,
    /// Until then, on purpose.
    Kept(Timestamp),
    Goes,
}

/// Decides a thing's fate; `live` are the runs that hold a lease, seen after the thing was.
pub(super) fn fate(found: &Found, live: &BTreeSet<String>, now: Timestamp) -> Fate {
    if let Some(until) = found.kept.filter(|until| *until > now) {
        return Fate::Kept(until);
    }
    if found.leased {
        return if live.contains(&found.run) { Fate::Lives } else { Fate::Goes };
    }
    let silent = |heard: Timestamp| now.duration_since(heard).unsigned_abs() > 2 * heartbeat::PATIENCE && heard < now;
    let over = found.expires.is_some_and(|expires| expires < now) || found.heard.is_some_and(silent);
    if over { Fate::Goes } else { Fate::Lives }
}

impl Found {
    pub(super) fn line(&self, now: Timestamp) -> String {
        let name = match &self.thing {
            Thing::Instance(id) => id.to_string(),
            Thing::Image(id) => id.to_string(),
            Thing::Snapshot(id) | Thing::Volume(id) => id.clone(),
            Thing::Folder(key) | Thing::Lease(key) => key.clone(),
        };
        let age = self.made.and_then(|made| Duration::try_from(now.duration_since(made)).ok());
        let age = age.map_or_else(String::new, |age| format!(", {} old", span(Duration::from_secs(age.as_secs()))));
        format!("{name} ({}, run {}{age}): {}", self.what, self.run, self.cost.in_words())
    }

    pub(super) fn verb(&self) -> &'static str {
        match self.thing {
            Thing::Instance(_) => "terminate",
            Thing::Image(_) => "deregister",
            _ => "delete",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jiff::Timestamp;

    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap_or_default()
    }

    fn later(seconds: i64) -> Option<Timestamp> {
        Timestamp::from_second(1_800_000_000 + seconds).ok()
    }

    fn found(leased: bool) -> Found {
        Found {
            thing: Thing::Instance(InstanceId::new("i-1")),
            what: "t3.small, bake".to_owned(),
            cost: Cost::Hours,
            run: "r1".to_owned(),
            made: later(-300),
            heard: None,
            expires: None,
            kept: None,
            leased,
        }
    }

    #[test]
    fn what_a_live_bake_owns_is_never_touched() {
        let (live, dead) = (BTreeSet::from(["r1".to_owned()]), BTreeSet::from(["r2".to_owned()]));
        assert_eq!(fate(&found(true), &live, now()), Fate::Lives);
        assert_eq!(fate(&found(true), &dead, now()), Fate::Goes);
        // Whatever else is said of it.
        let old = Found { expires: later(-1), heard: later(-9000), ..found(true) };
        assert_eq!(fate(&old, &live, now()), Fate::Lives);
    }

    #[test]
    fn what_has_no_lease_goes_when_its_owner_is_silent_or_its_time_is_over() {
        let none = BTreeSet::new();
        assert_eq!(fate(&found(false), &none, now()), Fate::Lives, "nothing is known of it");
        assert_eq!(fate(&Found { expires: later(-1), ..found(false) }, &none, now()), Fate::Goes);
        assert_eq!(fate(&Found { expires: later(1), ..found(false) }, &none, now()), Fate::Lives);
        assert_eq!(fate(&Found { heard: later(-1201), expires: later(1), ..found(false) }, &none, now()), Fate::Goes);
        assert_eq!(fate(&Found { heard: later(-1199), ..found(false) }, &none, now()), Fate::Lives);
    }

    #[test]
    fn what_is_kept_on_purpose_stays_until_then() {
        let kept = |seconds| Found { kept: later(seconds), ..found(true) };
        assert!(matches!(fate(&kept(60), &BTreeSet::new(), now()), Fate::Kept(_)));
        assert_eq!(fate(&kept(-60), &BTreeSet::new(), now()), Fate::Goes);
    }

    #[test]
    fn a_line_says_what_it_is_how_old_and_what_it_costs() {
        assert_eq!(found(true).line(now()), "i-1 (t3.small, bake, run r1, 5m old): costs by the hour");
    }
}
