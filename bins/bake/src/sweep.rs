//! What killed bakes and specs of an app have left: found by tags and by the bucket's folders, shown, and taken away when told.
//! What belongs to a live bake is never touched.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_ec2::types::{Filter, Instance, InstanceStateName, SnapshotState, Tag};
use gyron_core::aws::{Aws, OrAws as _, code};
use gyron_core::console::span;
use gyron_core::failure::{Failure, Result};
use gyron_core::heartbeat;
use gyron_core::ids::{ImageId, InstanceId};
use gyron_core::instance::{tag, tagged, terminate};
use gyron_core::lease::{Holder, Lease};
use gyron_core::registry::Registry;
use gyron_core::step::Context;
use jiff::Timestamp;

use crate::image;
use crate::in_flight::leases;

/// What a thing is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Thing {
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
enum Cost {
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
struct Found {
    thing: Thing,
    /// `t3.small, bake`
    what: String,
    cost: Cost,
    run: String,
    made: Option<Timestamp>,
    /// For what no lease protects: when its owner was last heard of, and when it was meant to be over.
    heard: Option<Timestamp>,
    expires: Option<Timestamp>,
    kept: Option<Timestamp>,
    /// Whether a lease says that its owner lives.
    leased: bool,
}

/// What becomes of a thing.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// Somebody works with it.
    Lives,
    /// Until then, on purpose.
    Kept(Timestamp),
    Goes,
}

/// Decides a thing's fate; `live` are the runs that hold a lease, seen after the thing was.
fn fate(found: &Found, live: &BTreeSet<String>, now: Timestamp) -> Fate {
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
    fn line(&self, now: Timestamp) -> String {
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

    fn verb(&self) -> &'static str {
        match self.thing {
            Thing::Instance(_) => "terminate",
            Thing::Image(_) => "deregister",
            _ => "delete",
        }
    }
}

/// Shows what is left of the app's bakes and specs; with `yes`, takes it away.
///
/// # Errors
/// AWS (4): what could be taken away is gone all the same.
pub(crate) async fn sweep(context: &Context, yes: bool) -> Result<()> {
    let aws = context.aws().await;
    let registry = context.registry(&aws);
    let mut found = instances(&aws, context.config.app()).await?;
    found.extend(images(&aws, context.config.app()).await?);
    found.extend(volumes(&aws, context.config.app()).await?);
    found.extend(
        folders(&registry, 2 * context.config.tables.spec.as_ref().map_or(Duration::ZERO, |it| it.deadline.0)).await?,
    );
    // The leases last: what was seen before was begun under one.
    let leases = held(&registry).await?;
    let live: BTreeSet<String> =
        leases.iter().filter(|(_, lives)| *lives).map(|(holder, _)| holder.1.run.clone()).collect();
    found.extend(leases.into_iter().filter(|(_, lives)| !lives).map(|((key, holder), _)| dead_lease(key, &holder)));

    let now = Timestamp::now();
    let mut going = Vec::new();
    for thing in found {
        match fate(&thing, &live, now) {
            Fate::Goes => going.push(thing),
            Fate::Lives => context.console.say(format!("  {}: somebody works with it", thing.line(now))),
            Fate::Kept(until) => context.console.say(format!("  {}: kept until {until:.0}", thing.line(now))),
        }
    }
    if context.plan || !yes {
        let mut lines: Vec<String> = going.iter().map(|it| format!("{} {}", it.verb(), it.line(now))).collect();
        if lines.is_empty() {
            lines.push("change nothing: nothing is left".to_owned());
        } else {
            context.console.say("nothing was touched: gyron-bake sweep --yes takes it away");
        }
        return context.show_plan(&lines);
    }
    let mut first = Ok(());
    let mut gone = Vec::new();
    for thing in &going {
        match remove(context, &aws, &registry, thing).await {
            Ok(()) => {
                context.console.say(format!("  {} is gone", thing.line(now)));
                gone.push(match &thing.thing {
                    Thing::Instance(id) => id.to_string(),
                    Thing::Image(id) => id.to_string(),
                    Thing::Snapshot(it) | Thing::Volume(it) | Thing::Folder(it) | Thing::Lease(it) => it.clone(),
                });
            }
            Err(failure) => first = first.and(Err(failure)),
        }
    }
    first.map_err(|failure: Failure| failure.already(format!("{} other things are gone", gone.len())))?;
    context.print_result(&serde_json::json!({ "gone": gone }), &gone.join("\n"))
}

async fn remove(context: &Context, aws: &Aws, registry: &Registry, found: &Found) -> Result<()> {
    match &found.thing {
        Thing::Instance(id) => terminate(aws, &context.console, id).await,
        Thing::Image(id) => image::remove(aws, id).await,
        Thing::Snapshot(id) => match aws.ec2.delete_snapshot().snapshot_id(id).send().await {
            Err(error) if code(&error) == Some("InvalidSnapshot.NotFound") => Ok(()),
            other => other.map(|_| ()).or_aws(&format!("DeleteSnapshot {id}")),
        },
        Thing::Volume(id) => match aws.ec2.delete_volume().volume_id(id).send().await {
            Err(error) if code(&error) == Some("InvalidVolume.NotFound") => Ok(()),
            other => other.map(|_| ()).or_aws(&format!("DeleteVolume {id}")),
        },
        Thing::Folder(prefix) => registry.remove_all(prefix).await,
        // Somebody may have taken it meanwhile.
        Thing::Lease(key) => registry.remove_where(key, |holder: &Holder| holder.run == found.run).await,
    }
}

fn time(text: Option<&str>) -> Option<Timestamp> {
    text.and_then(|text| text.parse().ok())
}

fn at(time: Option<&aws_sdk_ec2::primitives::DateTime>) -> Option<Timestamp> {
    time.and_then(|time| Timestamp::from_second(time.secs()).ok())
}

async fn instances(aws: &Aws, app: &str) -> Result<Vec<Found>> {
    let found = tagged(aws, "gyron:app", app).await?;
    Ok(found.iter().filter_map(instance).collect())
}

fn instance(instance: &Instance) -> Option<Found> {
    let step = tag(instance, "gyron:step").filter(|step| matches!(*step, "bake" | "spec"))?;
    let stopped = instance.state().and_then(|state| state.name()) == Some(&InstanceStateName::Stopped);
    let kind = instance.instance_type().map_or("", |kind| kind.as_str());
    Some(Found {
        thing: Thing::Instance(InstanceId::new(instance.instance_id()?)),
        what: format!("{kind}, {step}"),
        cost: if stopped { Cost::Storage } else { Cost::Hours },
        run: tag(instance, "gyron:run").unwrap_or_default().to_owned(),
        made: at(instance.launch_time()),
        heard: time(tag(instance, heartbeat::TAG)),
        expires: time(tag(instance, "gyron:expires")),
        kept: time(tag(instance, heartbeat::KEPT)),
        leased: step == "bake",
    })
}

fn of_bakes(app: &str) -> Vec<Filter> {
    let tags = [("tag:gyron:app", app), ("tag:gyron:step", "bake")];
    tags.map(|(name, value)| Filter::builder().name(name).values(value).build()).to_vec()
}

fn value<'a>(tags: &'a [Tag], key: &str) -> &'a str {
    tags.iter().find(|tag| tag.key() == Some(key)).and_then(|tag| tag.value()).unwrap_or_default()
}

/// What a bake made that no lease's holder owns any more, is gone for good.
fn storage(thing: Thing, what: &str, tags: &[Tag], made: Option<Timestamp>) -> Found {
    Found {
        thing,
        what: what.to_owned(),
        cost: Cost::Storage,
        run: value(tags, "gyron:run").to_owned(),
        made,
        heard: None,
        expires: None,
        kept: None,
        leased: true,
    }
}

/// Images that came to nothing, and snapshots of which no image is known. An image on its way is the next bake's.
async fn images(aws: &Aws, app: &str) -> Result<Vec<Found>> {
    let mut pages =
        aws.ec2.describe_snapshots().owner_ids("self").set_filters(Some(of_bakes(app))).into_paginator().send();
    let mut snapshots = Vec::new();
    while let Some(page) = pages.next().await {
        snapshots.extend(page.or_aws("DescribeSnapshots")?.snapshots().to_vec());
    }
    // The images last: a snapshot that was seen before has its image by now.
    let mut pages = aws.ec2.describe_images().owners("self").set_filters(Some(of_bakes(app))).into_paginator().send();
    let mut images = Vec::new();
    while let Some(page) = pages.next().await {
        images.extend(page.or_aws("DescribeImages")?.images().to_vec());
    }
    let failed = images.iter().filter(|image| image.state().is_some_and(|state| state.as_str() == "failed"));
    let mut found: Vec<Found> = failed
        .filter_map(|image| {
            let made = time(image.creation_date());
            Some(storage(Thing::Image(ImageId::new(image.image_id()?)), "failed image", image.tags(), made))
        })
        .collect();
    let runs: BTreeSet<&str> = images.iter().map(|image| value(image.tags(), "gyron:run")).collect();
    let used = images.iter().flat_map(|image| image.block_device_mappings());
    let used: BTreeSet<&str> = used.filter_map(|device| device.ebs()?.snapshot_id()).collect();
    let orphans = snapshots.iter().filter(|snapshot| {
        !runs.contains(value(snapshot.tags(), "gyron:run"))
            && !used.contains(snapshot.snapshot_id().unwrap_or_default())
    });
    found.extend(orphans.filter_map(|snapshot| {
        let what =
            if snapshot.state() == Some(&SnapshotState::Error) { "failed snapshot" } else { "snapshot of no image" };
        let thing = Thing::Snapshot(snapshot.snapshot_id()?.to_owned());
        Some(storage(thing, what, snapshot.tags(), at(snapshot.start_time())))
    }));
    Ok(found)
}

/// Disks of builders that are on none any more.
async fn volumes(aws: &Aws, app: &str) -> Result<Vec<Found>> {
    let mut filters = of_bakes(app);
    filters.push(Filter::builder().name("status").values("available").build());
    let mut pages = aws.ec2.describe_volumes().set_filters(Some(filters)).into_paginator().send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        for volume in page.or_aws("DescribeVolumes")?.volumes() {
            let Some(id) = volume.volume_id() else { continue };
            found.push(storage(Thing::Volume(id.to_owned()), "volume", volume.tags(), at(volume.create_time())));
        }
    }
    Ok(found)
}

/// What runs have put into the bucket for their builders. A bake has a folder for each layer and writes under its lease; a spec
/// has none, but is over after a while.
async fn folders(registry: &Registry, lives: Duration) -> Result<Vec<Found>> {
    let runs = registry.key("runs/");
    let keys = registry.keys(&runs).await?;
    let mut folders = BTreeSet::new();
    for key in &keys {
        let Some((run, rest)) = key.strip_prefix(&runs).and_then(|rest| rest.split_once('/')) else { continue };
        folders.insert((run, rest.contains('/')));
    }
    let found = folders.into_iter().map(|(run, bake)| {
        let made = begun(run);
        Found {
            thing: Thing::Folder(format!("{runs}{run}/")),
            what: format!("files for a {}", if bake { "builder" } else { "spec" }),
            cost: Cost::Pennies,
            run: run.to_owned(),
            made,
            heard: None,
            expires: made.and_then(|made| made.checked_add(lives).ok()),
            kept: None,
            leased: bake,
        }
    });
    Ok(found.collect())
}

/// When a run began: its id begins with the second, in eight hexadecimal digits (`gyron_core::step`).
fn begun(run: &str) -> Option<Timestamp> {
    let second = i64::from_str_radix(run.get(..8)?, 16).ok()?;
    Timestamp::from_second(second).ok()
}

/// All leases of the app's bakes, with whether their holders live.
async fn held(registry: &Registry) -> Result<Vec<((String, Holder), bool)>> {
    let mut held = Vec::new();
    for key in registry.keys(&leases(registry)).await? {
        if let Some(there) = registry.get::<Holder>(&key).await? {
            let lives = Lease::holder(registry, &key).await?.is_some();
            held.push(((key, there.value), lives));
        }
    }
    Ok(held)
}

fn dead_lease(key: String, holder: &Holder) -> Found {
    Found {
        thing: Thing::Lease(key),
        what: format!("lease of a bake on {}", holder.host),
        cost: Cost::Pennies,
        run: holder.run.clone(),
        made: begun(&holder.run),
        heard: None,
        expires: None,
        kept: None,
        leased: true,
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
        assert_eq!(begun("6b49d200deadbeef"), Timestamp::from_second(0x6b49_d200).ok());
    }
}
