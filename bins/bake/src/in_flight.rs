//! Two bakes of one fingerprint make one image: the second waits for the first, and takes over if it dies.

use gyron_core::failure::Result;
use gyron_core::ids::{Digest, ImageId};
use gyron_core::lease::{Holder, Lease, Taken};
use gyron_core::registry::Registry;
use gyron_core::wait::{Look, Wait, poll_until};
use jiff::Timestamp;

use crate::known;
use crate::layer::{Work, log_folder};
use crate::leftovers;
use crate::log::Log;
use crate::sighting;

/// With what the keys of all leases of the app's bakes begin.
pub(crate) fn leases(registry: &Registry) -> String {
    registry.key("leases/bake-")
}

/// Where the lease of a fingerprint's bake stands.
pub(crate) fn lease_key(registry: &Registry, fingerprint: &str) -> String {
    format!("{}{fingerprint}.json", leases(registry))
}

/// Bakes the layer, unless another bake does so at this moment and brings its image; `fresh` takes nobody's image.
pub(crate) async fn bake(work: &Work<'_>, fingerprint: &Digest, fresh: bool) -> Result<ImageId> {
    let (context, registry) = (work.context, work.registry);
    let key = lease_key(registry, fingerprint.as_str());
    let wait = Wait::new("another bake of the same".to_owned(), work.left()?);
    let mut waited: Option<(Holder, Log<'_>)> = None;
    let lease = poll_until(&context.console, &context.stop, &wait, async || {
        match Lease::take(registry, &key, &context.run, "beginning").await? {
            Taken::Held(lease) => Ok(Look::Done(lease)),
            Taken::Busy(holder) => {
                let state = format!("run {} on {}: {}", holder.run, holder.host, holder.doing);
                let same = waited.take().filter(|(before, _)| before.run == holder.run);
                let (before, mut log) = same.unwrap_or_else(|| {
                    context
                        .console
                        .say(format!("  waiting for another bake of the same (run {} on {})", holder.run, holder.host));
                    let folder = log_folder(registry, &holder.run, &work.layer.name);
                    (Holder { doing: String::new(), ..holder.clone() }, Log::new(&context.console, registry, folder))
                });
                if before.doing != holder.doing {
                    context.console.say(format!("  it is {}", holder.doing));
                }
                // Its log is a help to the one who waits, nothing to fail for.
                let _ = log.look().await;
                waited = Some((holder, log));
                Ok(Look::Pending(state))
            }
        }
    })
    .await?;
    let baked = under_lease(work, fingerprint, fresh, &lease).await;
    // What a lease costs, if it can't be taken away, is that the next one waits for its term.
    let _ = lease.remove().await;
    baked
}

/// Takes the image that another bake has brought or begun, else bakes one.
async fn under_lease(work: &Work<'_>, fingerprint: &Digest, fresh: bool, lease: &Lease) -> Result<ImageId> {
    let (context, app) = (work.context, work.context.config.app());
    sighting::wait(work, fingerprint, lease).await?;
    // In one look: between two, an image could become available that neither shows.
    let there = match fresh {
        true => Vec::new(),
        false => known::images(work.aws, app, fingerprint, &["available", "pending", "failed"]).await?,
    };
    if let Some(standing) = known::choose(known::standing(&there), work.settings.max_age, Timestamp::now()) {
        context.console.say(format!("  it brought {}", standing.image));
        leftovers::clear(work, fingerprint, lease).await?;
        standing.finish(work.aws).await?;
        return Ok(standing.image);
    }
    let adopted = leftovers::adopt(work, &there, lease).await?;
    leftovers::clear(work, fingerprint, lease).await?;
    match adopted {
        Some(image) => Ok(image),
        None => work.run(fingerprint, lease).await,
    }
}
