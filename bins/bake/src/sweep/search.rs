//! Where what is left is found: by tags, and by the bucket's folders.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_ec2::types::{Filter, Instance, InstanceStateName, SnapshotState, Tag};
use gyron_core::aws::{Aws, OrAws as _};
use gyron_core::failure::Result;
use gyron_core::heartbeat;
use gyron_core::ids::{ImageId, InstanceId};
use gyron_core::instance::{tag, tagged};
use gyron_core::lease::{Holder, Lease};
use gyron_core::names::BUCKET;
use gyron_core::registry::Registry;
use jiff::Timestamp;

use super::fate::{Cost, Found, Thing};
use crate::in_flight::leases;

fn time(text: Option<&str>) -> Option<Timestamp> {
    text.and_then(|text| text.parse().ok())
}

fn at(time: Option<&aws_sdk_ec2::primitives::DateTime>) -> Option<Timestamp> {
    time.and_then(|time| Timestamp::from_second(time.secs()).ok())
}

/// Whether it is this bucket's: of what another one's bakes made, their own leases say whether it is in use.
fn ours(tags: &[Tag], bucket: &str) -> bool {
    matches!(value(tags, BUCKET), owner if owner.is_empty() || owner == bucket)
}

pub(super) async fn instances(aws: &Aws, (app, bucket): (&str, &str)) -> Result<Vec<Found>> {
    let found = tagged(aws, "gyron:app", app).await?;
    Ok(found.iter().filter(|it| ours(it.tags(), bucket)).filter_map(instance).collect())
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
pub(super) async fn images(aws: &Aws, (app, bucket): (&str, &str)) -> Result<Vec<Found>> {
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
    let failed = images.iter().filter(|image| ours(image.tags(), bucket));
    let failed = failed.filter(|image| image.state().is_some_and(|state| state.as_str() == "failed"));
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
        ours(snapshot.tags(), bucket)
            && !runs.contains(value(snapshot.tags(), "gyron:run"))
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
pub(super) async fn volumes(aws: &Aws, (app, bucket): (&str, &str)) -> Result<Vec<Found>> {
    let mut filters = of_bakes(app);
    filters.push(Filter::builder().name("status").values("available").build());
    let mut pages = aws.ec2.describe_volumes().set_filters(Some(filters)).into_paginator().send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        for volume in page.or_aws("DescribeVolumes")?.volumes().iter().filter(|it| ours(it.tags(), bucket)) {
            let Some(id) = volume.volume_id() else { continue };
            found.push(storage(Thing::Volume(id.to_owned()), "volume", volume.tags(), at(volume.create_time())));
        }
    }
    Ok(found)
}

/// What runs have put into the bucket for their builders. A bake has a folder for each layer and writes under its lease; a spec
/// has none, but is over after a while.
pub(super) async fn folders(registry: &Registry, lives: Duration) -> Result<Vec<Found>> {
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
pub(super) async fn held(registry: &Registry) -> Result<Vec<((String, Holder), bool)>> {
    let mut held = Vec::new();
    for key in registry.keys(&leases(registry)).await? {
        if let Some(there) = registry.get::<Holder>(&key).await? {
            let lives = Lease::holder(registry, &key).await?.is_some();
            held.push(((key, there.value), lives));
        }
    }
    Ok(held)
}

pub(super) fn dead_lease(key: String, holder: &Holder) -> Found {
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
    use jiff::Timestamp;

    use super::begun;

    #[test]
    fn a_run_says_when_it_began() {
        assert_eq!(begun("6b49d200deadbeef"), Timestamp::from_second(0x6b49_d200).ok());
        assert_eq!(begun("notarun"), None);
    }
}
