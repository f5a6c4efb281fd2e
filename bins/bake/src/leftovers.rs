//! What a bake left that was killed: cleared by the next bake of the same, or by `gyron-bake sweep`.

use aws_sdk_ec2::types::Instance;
use gyron_core::aws::Aws;
use gyron_core::console::span;
use gyron_core::failure::Result;
use gyron_core::ids::{Digest, InstanceId};
use gyron_core::instance::{tag, tagged, terminate};
use gyron_core::lease::Lease;
use gyron_core::registry::Registry;
use gyron_core::step::Context;
use jiff::Timestamp;

use crate::in_flight::lease_key;
use crate::known::TAG;
use crate::layer::{Work, folder};

/// Clears what earlier bakes of this fingerprint left. The caller holds its lease: whoever made it is dead, or has lost it.
pub(crate) async fn clear(work: &Work<'_>, fingerprint: &Digest) -> Result<()> {
    for instance in tagged(work.aws, TAG, fingerprint.as_str()).await? {
        let run = tag(&instance, "gyron:run").unwrap_or_default().to_owned();
        if run == work.context.run {
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
    Ok(())
}

/// An instance of a bake or a spec, and whether anybody still works with it.
struct Found {
    id: InstanceId,
    line: String,
    instance: Instance,
    run: String,
    alive: bool,
}

/// Shows what is left of the app's bakes and specs; with `yes`, takes it away. What belongs to a live bake is never touched.
///
/// # Errors
/// AWS (4).
pub(crate) async fn sweep(context: &Context, yes: bool) -> Result<()> {
    let aws = context.aws().await;
    let registry = context.registry(&aws);
    let now = Timestamp::now();
    let mut left = Vec::new();
    for instance in tagged(&aws, "gyron:app", context.config.app()).await? {
        let step = tag(&instance, "gyron:step").unwrap_or_default();
        if !matches!(step, "bake" | "spec") {
            continue;
        }
        let Some(id) = instance.instance_id().map(InstanceId::new) else { continue };
        let run = tag(&instance, "gyron:run").unwrap_or_default().to_owned();
        let alive = match tag(&instance, TAG) {
            Some(fingerprint) => {
                let holder = Lease::holder(&registry, &lease_key(&registry, fingerprint)).await?;
                holder.is_some_and(|holder| holder.run == run)
            }
            None => !expired(tag(&instance, "gyron:expires"), now),
        };
        let age = instance.launch_time().and_then(|at| Timestamp::from_second(at.secs()).ok());
        let age = age.and_then(|at| std::time::Duration::try_from(now.duration_since(at)).ok());
        let kind = instance.instance_type().map_or("", |kind| kind.as_str());
        let age = age
            .map_or_else(String::new, |age| format!(", {} old", span(std::time::Duration::from_secs(age.as_secs()))));
        let line = format!("{id} ({kind}, {step}, run {run}{age})");
        left.push(Found { id, line, instance, run, alive });
    }
    let dead: Vec<&Found> = left.iter().filter(|found| !found.alive).collect();
    for found in left.iter().filter(|found| found.alive) {
        context.console.say(format!("  {}: somebody works with it", found.line));
    }
    if context.plan || !yes {
        let lines: Vec<String> = dead.iter().map(|found| format!("terminate {}", found.line)).collect();
        let lines = if lines.is_empty() { vec!["change nothing: nothing is left".to_owned()] } else { lines };
        return context.show_plan(&lines);
    }
    for found in &dead {
        remove(context, &aws, &registry, &found.instance, &found.id, &found.run).await?;
        context.console.say(format!("  {} is gone", found.line));
    }
    let gone: Vec<String> = dead.iter().map(|found| found.id.to_string()).collect();
    context.print_result(&serde_json::json!({ "terminated": gone }), &gone.join("\n"))
}

/// Whether the time that a temporary resource carries is over; one without it is not meant to be swept.
fn expired(expires: Option<&str>, now: Timestamp) -> bool {
    expires.and_then(|at| at.parse::<Timestamp>().ok()).is_some_and(|at| at < now)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::expired;

    #[test]
    fn only_what_says_that_its_time_is_over_is_swept() {
        let now = Timestamp::from_second(1_800_000_000).unwrap_or_default();
        assert!(expired(Some("2020-01-01T00:00:00Z"), now));
        assert!(!expired(Some("2040-01-01T00:00:00Z"), now));
        assert!(!expired(None, now) && !expired(Some("soon"), now));
    }
}
