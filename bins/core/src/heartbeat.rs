//! A throw-away instance ends itself when its owner lives no more: nobody has to come and find it.
//!
//! The owner renews a tag of the instance; a watch on the instance reads it from the metadata service and powers off when it has
//! not changed for too long, which terminates the instance (`InstanceInitiatedShutdownBehavior`). So it needs no way in and no
//! rights of the instance's own. Tags in the metadata: docs.aws.amazon.com/AWSEC2/latest/UserGuide/work-with-tags-in-IMDS.html

use std::time::Duration;

use aws_sdk_ec2::types::Tag;
use jiff::Timestamp;

use crate::aws::{Aws, OrAws as _};
use crate::failure::Result;
use crate::ids::InstanceId;

/// The tag that the owner renews: any value, as long as it is another one.
pub const TAG: &str = "gyron:heartbeat";

/// The tag of an instance that is kept on purpose: until when, RFC 3339, UTC.
pub const KEPT: &str = "gyron:kept-until";

/// How long an instance lives without its owner, where nothing else is said.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// The owner's side: renews the tag until it is dropped.
#[derive(Debug)]
pub struct Heartbeat(tokio::task::JoinHandle<()>);

impl Heartbeat {
    /// Begins to renew the tag, often enough for a watch with this patience.
    #[must_use]
    pub fn begin(aws: &Aws, instance: &InstanceId, patience: Duration) -> Self {
        let (aws, instance) = (aws.clone(), instance.clone());
        let beat = (patience / 5).min(Duration::from_secs(60));
        Heartbeat(tokio::spawn(async move {
            loop {
                tokio::time::sleep(beat).await;
                // One that gets lost is one of several within the watch's patience.
                let _ = tag(&aws, &instance, TAG, &now()).await;
            }
        }))
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The first value of the tag, for an instance that is about to start.
#[must_use]
pub fn now() -> String {
    format!("{:.0}", Timestamp::now())
}

/// Lets the instance live on without its owner, until then.
///
/// # Errors
/// AWS (4).
pub async fn keep(aws: &Aws, instance: &InstanceId, until: Timestamp) -> Result<()> {
    tag(aws, instance, KEPT, &format!("{until:.0}")).await
}

/// Whether an instance with this tag is still to be kept.
#[must_use]
pub fn is_kept(until: Option<&str>, now: Timestamp) -> bool {
    until.and_then(|until| until.parse::<Timestamp>().ok()).is_some_and(|until| until > now)
}

async fn tag(aws: &Aws, instance: &InstanceId, key: &str, value: &str) -> Result<()> {
    let tag = Tag::builder().key(key).value(value).build();
    let tagged = aws.ec2.create_tags().resources(instance.as_str()).tags(tag).send().await;
    tagged.map(|_| ()).or_aws("CreateTags")
}

/// The instance's side, as lines of a shell's user data. It runs beside everything else, from a unit that no image holds.
pub(crate) fn watch(patience: Duration) -> String {
    let program = WATCH
        .replace("@PATIENCE@", &patience.as_secs().to_string())
        .replace("@HEARTBEAT@", TAG)
        .replace("@KEPT@", KEPT);
    format!(
        "mkdir -p /run/gyron\ncat > /run/gyron/watch.py <<'GYRON_WATCH'\n{program}GYRON_WATCH\n\
         systemd-run --quiet --unit=gyron-watch --property=Restart=always /usr/bin/python3 -B /run/gyron/watch.py\n"
    )
}

const WATCH: &str = include_str!("heartbeat/watch.py");

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::{is_kept, watch};

    #[test]
    fn what_is_kept_is_kept_until_its_time() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap_or_default();
        assert!(is_kept(Some("2026-01-01T12:30:00Z"), now));
        assert!(!is_kept(Some("2026-01-01T11:30:00Z"), now));
        assert!(!is_kept(None, now) && !is_kept(Some("for ever"), now));
    }

    #[test]
    fn the_watch_knows_its_patience_and_its_tags() {
        let text = watch(Duration::from_secs(600));
        assert!(text.contains("PATIENCE = 600\n") && text.contains("\"gyron:heartbeat\""), "{text}");
        assert!(!text.contains('@'), "{text}");
    }
}
