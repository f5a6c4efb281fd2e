//! Old images: which are kept and why, and what is taken away with its copies in other regions.

mod decision;
mod environments;
mod usage;

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{Filter, Image, ImageState};
use gyron_core::aws::{Aws, OrAws as _};
use gyron_core::failure::Result;
use gyron_core::ids::ImageId;
use gyron_core::lease::Lease;
use gyron_core::registry::Registry;
use gyron_core::step::Context;

use self::decision::{Copy, Fate, Known, decide};
use crate::distribution::{Ledger, SOURCE, ledger_key};
use crate::in_flight::lease_key;
use crate::known::{self, TAG};
use crate::{image, packages};

/// All that a prune looks at.
#[derive(Debug, Default)]
struct Seen {
    images: Vec<Known>,
    /// What must stay for a reason of its own.
    needs: BTreeMap<ImageId, String>,
    /// Copies of images that are gone, with what needs them.
    orphans: Vec<(Copy, Option<String>)>,
}

/// Shows every image with its fate and the reason; with `yes`, deregisters those that go, with their snapshots and copies.
///
/// # Errors
/// AWS (4); refused (3) where an environment's record can't be understood.
pub(crate) async fn prune(context: &Context, yes: bool) -> Result<()> {
    let keep = context.config.bake()?.keep;
    let aws = context.aws().await;
    let registry = context.registry(&aws);
    let mut seen = look(context, &aws, &registry).await?;
    // Whoever holds the lease of a fingerprint bakes it at this moment, or is about to take what is there.
    for (image, fate) in decide(&seen.images, &seen.needs, keep) {
        let going = matches!(fate, Fate::Goes(_));
        if going && Lease::holder(&registry, &lease_key(&registry, &image.fingerprint)).await?.is_some() {
            seen.needs.insert(image.id, "somebody bakes the same at this moment".to_owned());
        }
    }
    let decided = decide(&seen.images, &seen.needs, keep);
    let lists = forgotten(&registry, &seen.images).await?;
    if context.plan || !yes {
        return show(context, &decided, &seen.orphans, lists.len());
    }
    let mut gone = Vec::new();
    for (image, fate) in &decided {
        match fate {
            Fate::Kept(reason) => context.console.say(format!("  {} stays: {reason}", named(image))),
            Fate::Goes(_) => {
                take_away(&aws, &registry, image).await?;
                context.console.say(format!("  {} is gone", named(image)));
                gone.push(image.id.to_string());
            }
        }
    }
    for (copy, _) in seen.orphans.iter().filter(|(_, need)| need.is_none()) {
        image::remove(&aws.in_region(&copy.region), &copy.id).await?;
        context.console.say(format!("  {} in {} is gone", copy.id, copy.region));
        gone.push(copy.id.to_string());
    }
    for list in &lists {
        registry.remove(list).await?;
    }
    context.print_result(&serde_json::json!({ "deregistered": gone }), &gone.join("\n"))
}

fn named(image: &Known) -> String {
    format!("{} ({}, {})", image.id, image.layer, image.made)
}

fn show(context: &Context, decided: &[(Known, Fate)], orphans: &[(Copy, Option<String>)], lists: usize) -> Result<()> {
    let line = |(image, fate): &(Known, Fate)| match fate {
        Fate::Kept(reason) => format!("keep {}: {reason}", named(image)),
        Fate::Goes(reason) => {
            let copies: Vec<String> =
                image.copies.iter().map(|copy| format!("{} in {}", copy.id, copy.region)).collect();
            let copies =
                if copies.is_empty() { String::new() } else { format!(", its copy {}", copies.join(", its copy ")) };
            format!("deregister {}{copies}, with snapshots: {reason}", named(image))
        }
    };
    let mut lines: Vec<String> = decided.iter().map(line).collect();
    lines.extend(orphans.iter().map(|(copy, need)| match need {
        Some(reason) => format!("keep {} in {}: {reason}", copy.id, copy.region),
        None => format!("deregister {} in {}, with snapshots: what it is a copy of is gone", copy.id, copy.region),
    }));
    if lists > 0 {
        lines.push(format!("forget the packages of images that are gone ({lists})"));
    }
    let changes = lines.iter().any(|line| !line.starts_with("keep "));
    if !changes {
        lines.push("change nothing: no image is too many".to_owned());
    }
    context.show_plan(&lines)?;
    if changes {
        context.console.say("nothing was touched: gyron-bake prune --yes takes away what goes");
    }
    Ok(())
}

/// Copies first, and what tells where they are last: so that what is broken off is gone on with.
async fn take_away(aws: &Aws, registry: &Registry, known: &Known) -> Result<()> {
    for copy in &known.copies {
        image::remove(&aws.in_region(&copy.region), &copy.id).await?;
    }
    image::remove(aws, &known.id).await?;
    packages::forget(registry, &known.fingerprint, &known.run).await?;
    registry.remove(&ledger_key(registry, &known.id)).await
}

async fn look(context: &Context, aws: &Aws, registry: &Registry) -> Result<Seen> {
    let app = context.config.app();
    let mut seen = Seen { needs: environments::of(registry).await?, ..Seen::default() };
    for (image, pending) in images(aws, app).await? {
        if pending {
            seen.needs.insert(image.id.clone(), "it is being made".to_owned());
        }
        seen.images.push(image);
    }
    let ids: Vec<ImageId> = seen.images.iter().map(|image| image.id.clone()).collect();
    seen.needs.extend(usage::of(aws, &ids).await?);
    for region in regions(context, registry).await? {
        let there = aws.in_region(&region);
        let copies = copies(&there, app).await?;
        let ids: Vec<ImageId> = copies.iter().map(|found| found.copy.id.clone()).collect();
        let mut needs = usage::of(&there, &ids).await?;
        let pending = copies.iter().filter(|found| found.pending);
        needs.extend(pending.map(|found| (found.copy.id.clone(), "being made".to_owned())));
        for Found { source, copy, .. } in copies {
            let need = needs.remove(&copy.id);
            match seen.images.iter_mut().find(|image| image.id == source) {
                Some(image) => {
                    let need = need.map(|need| format!("its copy {} in {region} is {need}", copy.id));
                    seen.needs.extend(need.map(|need| (source, need)));
                    image.copies.push(copy);
                }
                None => seen.orphans.push((copy, need)),
            }
        }
    }
    Ok(seen)
}

/// Where copies may be: where the settings want them now, and where any were ever made.
async fn regions(context: &Context, registry: &Registry) -> Result<BTreeSet<String>> {
    let mut regions: BTreeSet<String> = context.config.bake()?.copies.iter().map(|copy| copy.region.clone()).collect();
    for key in registry.keys(&registry.key("copies/")).await? {
        let ledger = registry.get::<Ledger>(&key).await?;
        regions.extend(ledger.into_iter().flat_map(|ledger| ledger.value.into_keys()));
    }
    regions.remove(&context.config.tables.region);
    Ok(regions)
}

fn tag(image: &Image, key: &str) -> Option<String> {
    known::tag(image, key).map(str::to_owned)
}

async fn described(aws: &Aws, app: &str) -> Result<Vec<Image>> {
    let filters = [("tag:gyron:app", app), ("tag:gyron:step", "bake")]
        .map(|(name, value)| Filter::builder().name(name).values(value).build());
    let mut pages =
        aws.ec2.describe_images().owners("self").set_filters(Some(filters.to_vec())).into_paginator().send();
    let mut images = Vec::new();
    while let Some(page) = pages.next().await {
        images.extend(page.or_aws(&format!("DescribeImages in {}", aws.region))?.images().to_vec());
    }
    Ok(images)
}

/// The app's baked images, and whether each is still being made.
async fn images(aws: &Aws, app: &str) -> Result<Vec<(Known, bool)>> {
    let known = |image: &Image| {
        let known = Known {
            id: ImageId::new(image.image_id()?),
            layer: tag(image, "gyron:layer").unwrap_or_else(|| "image".to_owned()),
            base: tag(image, "gyron:base").map(ImageId::new),
            made: image.creation_date().unwrap_or_default().to_owned(),
            fingerprint: tag(image, TAG).unwrap_or_default(),
            run: tag(image, "gyron:run").unwrap_or_default(),
            available: image.state() == Some(&ImageState::Available),
            copies: Vec::new(),
        };
        Some((known, image.state() == Some(&ImageState::Pending)))
    };
    let mut images: Vec<_> = described(aws, app).await?.iter().filter_map(known).collect();
    images.sort_by(|(a, _), (b, _)| (&a.layer, &b.made, &b.id).cmp(&(&b.layer, &a.made, &a.id)));
    Ok(images)
}

/// A copy in a region, and the image that it is a copy of.
struct Found {
    source: ImageId,
    copy: Copy,
    pending: bool,
}

async fn copies(aws: &Aws, app: &str) -> Result<Vec<Found>> {
    let copy = |image: &Image| {
        let copy = Copy { region: aws.region.clone(), id: ImageId::new(image.image_id()?) };
        let pending = image.state() == Some(&ImageState::Pending);
        Some(Found { source: ImageId::new(tag(image, SOURCE)?), copy, pending })
    };
    Ok(described(aws, app).await?.iter().filter_map(copy).collect())
}

/// The lists of packages of images that are gone; not those of bakes that go on at this moment.
async fn forgotten(registry: &Registry, images: &[Known]) -> Result<Vec<String>> {
    let mut forgotten = Vec::new();
    for key in registry.keys(&registry.key("packages/")).await? {
        let made = |image: &Known| packages::key(registry, &image.fingerprint, &image.run) == key;
        let fingerprint = key.rsplit('/').nth(1).unwrap_or_default();
        if !images.iter().any(made) && Lease::holder(registry, &lease_key(registry, fingerprint)).await?.is_none() {
            forgotten.push(key);
        }
    }
    Ok(forgotten)
}
