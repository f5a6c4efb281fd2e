//! What killed bakes and specs of an app have left: found by tags and by the bucket's folders, shown, and taken away when told.
//! What belongs to a live bake is never touched.

mod fate;
mod search;

use std::collections::BTreeSet;
use std::time::Duration;

use gyron_core::aws::{Aws, OrAws as _, code};
use gyron_core::failure::{Failure, Result};
use gyron_core::instance::terminate;
use gyron_core::lease::Holder;
use gyron_core::registry::Registry;
use gyron_core::step::Context;
use jiff::Timestamp;

use self::fate::{Fate, Found, Thing, fate};
use self::search::{dead_lease, folders, held, images, instances, volumes};
use crate::image;

/// Shows what is left of the app's bakes and specs; with `yes`, takes it away.
///
/// # Errors
/// AWS (4): what could be taken away is gone all the same.
pub(crate) async fn sweep(context: &Context, yes: bool) -> Result<()> {
    let aws = context.aws().await;
    let registry = context.registry(&aws);
    let owner = (context.config.app(), registry.bucket());
    let mut found = instances(&aws, owner).await?;
    found.extend(images(&aws, owner).await?);
    found.extend(volumes(&aws, owner).await?);
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
        }
        context.show_plan(&lines)?;
        if !going.is_empty() {
            context.console.say("nothing was touched: gyron-bake sweep --yes takes it away");
        }
        return Ok(());
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
