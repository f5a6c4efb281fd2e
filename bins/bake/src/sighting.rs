//! What a bake that died had asked for last, EC2 may not show yet: it is looked for a while before its absence is believed.

use std::time::Duration;

use gyron_core::consistency::LAG;
use gyron_core::failure::Result;
use gyron_core::ids::Digest;
use gyron_core::instance::{tag, tagged};
use gyron_core::lease::{Lease, TERM};
use gyron_core::wait::{Look, Wait, poll_until};
use jiff::Timestamp;
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

/// What may come to be seen, and how much longer it is looked for, given what the bake that died said and until when its lease was
/// good.
fn expected(doing: &str, until: &str, now: Timestamp) -> Option<(Expected, Duration)> {
    let expected = match doing {
        STARTING => Expected::Builder,
        MAKING => Expected::Image,
        _ => return None,
    };
    // It renewed its lease when it said so.
    let said = until.parse::<Timestamp>().ok()?.checked_sub(TERM).ok()?;
    let ago = Duration::try_from(now.duration_since(said)).unwrap_or_default();
    let left = LAG.saturating_sub(ago);
    (!left.is_zero()).then_some((expected, left))
}

/// Looks for what the bake from which the lease was taken over may have asked for in its last moment: until it shows, or EC2 has
/// had its time.
pub(crate) async fn wait(work: &Work<'_>, fingerprint: &Digest, lease: &Lease) -> Result<()> {
    let Some(before) = lease.before() else { return Ok(()) };
    let Some((expected, left)) = expected(&before.doing, &before.until, Timestamp::now()) else { return Ok(()) };
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
                !known::images(aws, context.config.app(), fingerprint, &states).await?.is_empty()
            }
        };
        let done = shows || begun.elapsed() >= left;
        Ok(if done { Look::Done(()) } else { Look::Pending("not to be seen".to_owned()) })
    })
    .await
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_for_a_moment_ago_is_looked_for() {
        let said = Timestamp::from_second(1_800_000_000).unwrap();
        let until = said.checked_add(TERM).unwrap().to_string();
        let after = |seconds| said.checked_add(Duration::from_secs(seconds)).unwrap();
        let left = |seconds| LAG - Duration::from_secs(seconds);
        assert_eq!(expected(STARTING, &until, after(1)), Some((Expected::Builder, left(1))));
        assert_eq!(expected(MAKING, &until, after(50)), Some((Expected::Image, left(50))));
        assert_eq!(expected(MAKING, &until, after(60)), None);
        assert_eq!(expected("playing site.yml", &until, after(1)), None);
        assert_eq!(expected(MAKING, "never", after(1)), None);
    }
}
