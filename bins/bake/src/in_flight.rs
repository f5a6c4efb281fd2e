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

/// Where the lease of a fingerprint's bake stands.
pub(crate) fn lease_key(registry: &Registry, fingerprint: &str) -> String {
    registry.key(&format!("leases/bake-{fingerprint}.json"))
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
    let standing = if fresh { Vec::new() } else { known::find(work.aws, context.config.app(), fingerprint).await? };
    let baked = match known::choose(standing, work.settings.max_age, Timestamp::now()) {
        Some(standing) => {
            context.console.say(format!("  it brought {}", standing.image));
            standing.finish(work.aws).await.map(|()| standing.image)
        }
        None => match leftovers::clear(work, fingerprint).await {
            Ok(()) => work.run(fingerprint, &lease).await,
            Err(failure) => Err(failure),
        },
    };
    // What a lease costs, if it can't be given back, is that the next one waits for its term.
    let _ = lease.give_back().await;
    baked
}
