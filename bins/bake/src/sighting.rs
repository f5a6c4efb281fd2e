//! What a bake that died had asked for last, EC2 may not show yet: it is looked for a while before its absence is believed.

use std::time::Duration;

use gyron_core::consistency::LAG;
use gyron_core::failure::Result;
use gyron_core::ids::Digest;
use gyron_core::instance::{tag, tagged};
use gyron_core::lease::Lease;
use gyron_core::wait::{Look, Wait, poll_until};
use tokio::time::Instant;

use crate::known::{self, TAG};
use crate::layer::Work;

/// What a lease says while a builder is being asked for.
pub(crate) const STARTING: &str = "starting a builder";

/// What it says while the image is.
pub(crate) const MAKING: &str = "making the image";

/// What a bake that died may have asked for without anybody having seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Builder,
    Image,
}

/// What may come to be seen, and how much longer it is looked for, given what the bake that died said so long ago.
fn expected(doing: &str, ago: Duration) -> Option<(Expected, Duration)> {
    let expected = match doing {
        STARTING => Expected::Builder,
        MAKING => Expected::Image,
        _ => return None,
    };
    let left = LAG.saturating_sub(ago);
    (!left.is_zero()).then_some((expected, left))
}

/// Looks for what the bake from which the lease was taken over may have asked for in its last moment: until it shows, or EC2 has
/// had its time.
pub(crate) async fn wait(work: &Work<'_>, fingerprint: &Digest, lease: &Lease) -> Result<()> {
    let Some((before, ago)) = lease.before() else { return Ok(()) };
    let Some((expected, left)) = expected(&before.doing, ago) else { return Ok(()) };
    let (context, aws, begun) = (work.context, work.aws, Instant::now());
    let what = match expected {
        Expected::Builder => "the builder that a bake may have started before it died",
        Expected::Image => "the image that a bake may have asked for before it died",
    };
    poll_until(&context.console, &context.stop, &Wait::new(what, LAG * 2), async || {
        let shows = match expected {
            Expected::Builder => {
                let there = tagged(aws, TAG, fingerprint.as_str()).await?;
                there.iter().any(|instance| tag(instance, "gyron:run") == Some(before.run.as_str()))
            }
            Expected::Image => {
                let states = ["pending", "available", "failed"];
                let there = known::images(aws, context.config.app(), fingerprint, &states).await?;
                there.iter().any(|image| known::tag(image, "gyron:run") == Some(before.run.as_str()))
            }
        };
        let done = shows || begun.elapsed() >= left;
        Ok(if done { Look::Done(()) } else { Look::Pending("not to be seen".to_owned()) })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_for_a_moment_ago_is_looked_for() {
        let ago = Duration::from_secs;
        assert_eq!(expected(STARTING, ago(1)), Some((Expected::Builder, LAG - ago(1))));
        assert_eq!(expected(MAKING, ago(50)), Some((Expected::Image, LAG - ago(50))));
        assert_eq!(expected(MAKING, ago(60)), None);
        assert_eq!(expected("playing site.yml", ago(1)), None);
    }
}
