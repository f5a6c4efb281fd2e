//! What is to be done next so that an image is where it is wanted: a pure decision over what is wanted and what is there.

use std::collections::{BTreeMap, BTreeSet};

use gyron_core::config::image::Share;
use gyron_core::ids::ImageId;
use jiff::{SignedDuration, Timestamp};

/// Somebody who may launch an image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grantee {
    /// By its id.
    Account(String),
    /// By its ARN.
    Organisation(String),
    /// An organisational unit, by its ARN.
    Unit(String),
}

/// What is wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    /// The region in which the image is made.
    pub(super) home: String,
    /// The regions that shall have a copy.
    pub(super) copies: BTreeSet<String>,
    pub(super) share: BTreeSet<Grantee>,
    pub(super) deprecate: Option<Timestamp>,
}

/// How far an image is that is not available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Being made.
    Pending,
    /// The image is not to be seen, though it was there: not everywhere yet.
    Unseen,
}

/// An image in a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) image: ImageId,
    pub(super) readiness: Readiness,
    pub(super) shared: BTreeSet<Grantee>,
    pub(super) deprecated: Option<Timestamp>,
}

/// Whether an image can be launched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    Available,
    Pending,
    /// Nothing will come of it, for this reason.
    Failed(String),
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Ask for a copy.
    Copy,
    /// Nothing can be done before the image is available.
    Wait(State),
    /// A copy of which nothing will come.
    Remove { image: ImageId, why: String },
    /// Let these launch it, too.
    Share { image: ImageId, with: Vec<Grantee> },
    /// Have it deprecated at this time.
    Deprecate { image: ImageId, at: Timestamp },
}

impl Act {
    /// In words, after `would`.
    pub(super) fn describe(&self, region: &str) -> String {
        match self {
            Act::Copy => format!("copy it to {region}"),
            Act::Wait(_) => format!("wait for the image in {region}"),
            Act::Remove { image, why } => format!("take away {image} in {region}, a copy that failed: {why}"),
            Act::Share { image, with } => format!("share {image} in {region} with {}", named(with)),
            Act::Deprecate { image, at } => {
                format!("have {image} in {region} deprecated on {}", at.strftime("%Y-%m-%d"))
            }
        }
    }
}

/// EC2 rounds to the minute: what is so near is what was asked for.
const ROUNDED: SignedDuration = SignedDuration::from_mins(1);

/// EC2 takes no date in the past: what should have been deprecated before is so, as soon as may be.
const SOON: SignedDuration = SignedDuration::from_mins(2);

/// What is to be done next in each region; nothing where all is as it is wanted.
pub(super) fn decide(wanted: &Wanted, there: &BTreeMap<String, Option<Placed>>, now: Timestamp) -> Vec<(String, Act)> {
    let regions = std::iter::once(&wanted.home).chain(&wanted.copies);
    regions.flat_map(|region| of_region(wanted, region, there.get(region).and_then(Option::as_ref), now)).collect()
}

fn of_region(wanted: &Wanted, region: &str, placed: Option<&Placed>, now: Timestamp) -> Vec<(String, Act)> {
    let acts = match placed {
        None if region == wanted.home => vec![Act::Wait(State::Unseen)],
        None => vec![Act::Copy],
        Some(placed) => match &placed.readiness {
            Readiness::Pending => vec![Act::Wait(State::Pending)],
            Readiness::Failed(why) => vec![Act::Remove { image: placed.image.clone(), why: why.clone() }],
            Readiness::Available => finish(wanted, placed, now),
        },
    };
    acts.into_iter().map(|act| (region.to_owned(), act)).collect()
}

fn finish(wanted: &Wanted, placed: &Placed, now: Timestamp) -> Vec<Act> {
    let with: Vec<Grantee> = wanted.share.difference(&placed.shared).cloned().collect();
    let share = (!with.is_empty()).then(|| Act::Share { image: placed.image.clone(), with });
    let deprecate = wanted.deprecate.and_then(|at| {
        let near = |there: Timestamp| there.duration_since(at).abs() <= ROUNDED;
        let earliest = now.checked_add(SOON).unwrap_or(now);
        match placed.deprecated {
            Some(there) if near(there) || at < earliest => None,
            _ => Some(Act::Deprecate { image: placed.image.clone(), at: at.max(earliest) }),
        }
    });
    share.into_iter().chain(deprecate).collect()
}

/// Those whom the settings name.
pub(super) fn grantees(share: &Share) -> BTreeSet<Grantee> {
    let accounts = share.accounts.iter().cloned().map(Grantee::Account);
    let organisations = share.organisations.iter().cloned().map(|arn| match arn.contains(":ou/") {
        true => Grantee::Unit(arn),
        false => Grantee::Organisation(arn),
    });
    accounts.chain(organisations).collect()
}

pub(super) fn named<'a>(with: impl IntoIterator<Item = &'a Grantee>) -> String {
    with.into_iter().map(Grantee::name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap_or_default()
    }

    fn grantee(number: u8) -> Grantee {
        match number % 3 {
            0 => Grantee::Account(format!("{number}")),
            1 => Grantee::Organisation(format!("{number}")),
            _ => Grantee::Unit(format!("{number}")),
        }
    }

    /// A small AWS: does what it is told at once, but for copies, which are pending for a round; `fails` says which of them come to
    /// nothing, the first time.
    fn carry_out(
        there: &mut BTreeMap<String, Option<Placed>>,
        acts: Vec<(String, Act)>,
        copies: &mut u32,
        fails: bool,
    ) {
        for placed in there.values_mut().flatten() {
            if placed.readiness == Readiness::Pending {
                placed.readiness = Readiness::Available;
            }
        }
        for (region, act) in acts {
            match act {
                Act::Copy => {
                    *copies += 1;
                    let failed = fails && *copies == 1;
                    let readiness = if failed { Readiness::Failed("no key".to_owned()) } else { Readiness::Pending };
                    let image = ImageId::new(format!("ami-{copies}"));
                    let copy = Placed { image, readiness, shared: BTreeSet::new(), deprecated: None };
                    there.insert(region, Some(copy));
                }
                Act::Wait(_) => {}
                Act::Remove { .. } => {
                    there.insert(region, None);
                }
                Act::Share { with, .. } => {
                    if let Some(Some(placed)) = there.get_mut(&region) {
                        placed.shared.extend(with);
                    }
                }
                Act::Deprecate { at, .. } => {
                    if let Some(Some(placed)) = there.get_mut(&region) {
                        placed.deprecated = Some(at);
                    }
                }
            }
        }
    }

    fn placed() -> impl Strategy<Value = Placed> {
        let readiness = prop_oneof![
            Just(Readiness::Available),
            Just(Readiness::Pending),
            Just(Readiness::Failed("no key".to_owned()))
        ];
        let shared = proptest::collection::btree_set((0u8..6).prop_map(grantee), 0..4);
        let deprecated = proptest::option::of((-90_000i64..90_000).prop_map(at));
        (0u8..9, readiness, shared, deprecated).prop_map(|(number, readiness, shared, deprecated)| Placed {
            image: ImageId::new(format!("ami-there-{number}")),
            readiness,
            shared,
            deprecated,
        })
    }

    proptest! {
        /// Whatever is there and whatever is wanted: within a few rounds it is so, then nothing more is done; nobody is taken away,
        /// no region that has a good copy gets another, and no region that is not wanted is touched.
        #[test]
        fn it_comes_to_what_is_wanted_and_stops(
            regions in proptest::collection::btree_set("[a-d]", 0..4),
            share in proptest::collection::btree_set((0u8..6).prop_map(grantee), 0..4),
            deprecate in proptest::option::of((-90_000i64..90_000).prop_map(at)),
            there in proptest::collection::btree_map("[a-d]", proptest::option::of(placed()), 0..4),
            home in placed(),
            fails: bool,
        ) {
            let wanted = Wanted { home: "home".to_owned(), copies: regions.clone(), share: share.clone(), deprecate };
            let mut there = there;
            let home = Placed { readiness: Readiness::Available, ..home };
            there.insert("home".to_owned(), Some(home));
            let before = there.clone();
            let now = at(0);
            let mut copies = 0;
            for _ in 0..6 {
                let acts = decide(&wanted, &there, now);
                carry_out(&mut there, acts, &mut copies, fails);
            }
            prop_assert_eq!(decide(&wanted, &there, now), Vec::new());
            for region in regions.iter().chain([&wanted.home]) {
                let placed = there[region].as_ref();
                prop_assert!(placed.is_some_and(|placed| placed.readiness == Readiness::Available
                    && placed.shared.is_superset(&share)
                    && (deprecate.is_none() || placed.deprecated.is_some())));
            }
            for (region, was) in &before {
                let Some(was) = was else { continue };
                let now = there[region].as_ref();
                if was.readiness != Readiness::Failed("no key".to_owned()) || !regions.contains(region) {
                    prop_assert_eq!(now.map(|now| &now.image), Some(&was.image));
                    prop_assert!(now.is_some_and(|now| now.shared.is_superset(&was.shared)));
                }
            }
        }
    }

    #[test]
    fn a_date_that_is_over_is_not_asked_for_again() {
        let wanted = Wanted { home: "home".to_owned(), deprecate: Some(at(-60)), ..Wanted::default() };
        let image = ImageId::new("ami-1");
        let placed = |deprecated| Placed {
            image: image.clone(),
            readiness: Readiness::Available,
            shared: BTreeSet::new(),
            deprecated,
        };
        let acts =
            |deprecated| decide(&wanted, &BTreeMap::from([("home".to_owned(), Some(placed(deprecated)))]), at(0));
        assert_eq!(acts(None), [("home".to_owned(), Act::Deprecate { image: image.clone(), at: at(120) })]);
        assert_eq!(acts(Some(at(-60))), []);
        assert_eq!(acts(Some(at(-4000))), []);
    }
}
