//! What a bake left that was killed: taken up or cleared away by the next bake of the same.

use aws_sdk_ec2::types::{Image, ImageState, Instance};
use gyron_core::aws::Aws;
use gyron_core::failure::Result;
use gyron_core::heartbeat::{KEPT, is_kept};
use gyron_core::ids::{Digest, ImageId, InstanceId};
use gyron_core::instance::{tag, tagged, terminate};
use gyron_core::lease::Lease;
use gyron_core::names::BUCKET;
use gyron_core::registry::Registry;
use gyron_core::step::Context;
use jiff::Timestamp;

use crate::image;
use crate::in_flight::lease_key;
use crate::known::TAG;
use crate::layer::{Work, folder};
use crate::packages;

/// Waits for an image that a bake had asked for when it died: it is as good as any. One that came to nothing goes.
pub(crate) async fn adopt(work: &Work<'_>, there: &[Image], lease: &Lease) -> Result<Option<ImageId>> {
    let (context, aws) = (work.context, work.aws);
    for image in there.iter().filter(|image| image.state() != Some(&ImageState::Available)) {
        let Some(id) = image.image_id().map(ImageId::new) else { continue };
        if image.state() == Some(&ImageState::Pending) {
            lease.say(&format!("waiting for {id}, which a bake that died had asked for"));
            context.console.say(format!("  {id} is on its way, of a bake that died: it is waited for"));
            match image::wait_available(context, aws, &id, work.left()?).await {
                Err(failure) if image::came_to_nothing(aws, &id).await? => context.console.say(format!("  {failure}")),
                Ok(()) => {
                    image::require_tokens(aws, &id).await?;
                    return Ok(Some(id));
                }
                Err(failure) => return Err(failure),
            }
        }
        context.console.say(format!("  {id} of a bake that died came to nothing: it goes"));
        image::remove(aws, &id).await?;
    }
    Ok(None)
}

/// Clears what earlier bakes of this fingerprint left. The caller holds its lease: whoever made it is dead, or has lost it.
pub(crate) async fn clear(work: &Work<'_>, fingerprint: &Digest, lease: &Lease) -> Result<()> {
    clear_instances(work, fingerprint).await?;
    // It may have died before it had started anything that could be found.
    if let Some((before, _)) = lease.before() {
        let folder = folder(work.registry, &before.run, &work.layer.name);
        work.registry.remove_all(&format!("{folder}/")).await?;
        packages::forget_of_none(work.aws, work.registry, fingerprint.as_str(), &before.run).await?;
    }
    Ok(())
}

/// The same without the lease, for an image that is there: only where nobody holds it.
pub(crate) async fn clear_unowned(work: &Work<'_>, fingerprint: &Digest) -> Result<()> {
    let key = lease_key(work.registry, fingerprint.as_str());
    if Lease::holder(work.registry, &key).await?.is_none() {
        clear_instances(work, fingerprint).await?;
    }
    Ok(())
}

async fn clear_instances(work: &Work<'_>, fingerprint: &Digest) -> Result<()> {
    for instance in tagged(work.aws, TAG, fingerprint.as_str()).await? {
        let run = tag(&instance, "gyron:run").unwrap_or_default().to_owned();
        // Of another bucket's bake nobody knows here whether it lives: its lease is there.
        let elsewhere = tag(&instance, BUCKET).is_some_and(|bucket| bucket != work.registry.bucket());
        if elsewhere || run == work.context.run || is_kept(tag(&instance, KEPT), Timestamp::now()) {
            continue;
        }
        let Some(id) = instance.instance_id().map(InstanceId::new) else { continue };
        work.context.console.say(format!("  {id} is left of a bake that was killed (run {run}): it goes first"));
        remove(work.context, work.aws, work.registry, &instance, &id, &run).await?;
    }
    Ok(())
}

async fn remove(
    context: &Context,
    aws: &Aws,
    registry: &Registry,
    instance: &Instance,
    id: &InstanceId,
    run: &str,
) -> Result<()> {
    terminate(aws, &context.console, id).await?;
    if let Some(layer) = tag(instance, "gyron:layer") {
        registry.remove_all(&format!("{}/", folder(registry, run, layer))).await?;
    }
    if let Some(fingerprint) = tag(instance, TAG) {
        packages::forget_of_none(aws, registry, fingerprint, run).await?;
    }
    Ok(())
}
