//! The step: the world against the records, the checks, the record.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use gyron_core::aws::Aws;
use gyron_core::config::FILE_NAME;
use gyron_core::edge::{Edge, Live, Target, Weights};
use gyron_core::failure::{Failure, OrFail as _, Result};
use gyron_core::group;
use gyron_core::ids::InstanceId;
use gyron_core::records::{self, Launch, Record};
use gyron_core::step::{Context, Phase};
use gyron_core::version::Version;

use crate::asking::Patience;
use crate::balancer::Outside;
use crate::check::{Check, Placeholders};
use crate::instances::Inside;
use crate::verdict::{self, Finding, Place};

/// Asks a place that was named by hand: no records, no instances, no verdict that anybody else reads.
pub(crate) async fn target(context: &Context, url: &str, release: Option<&str>) -> Result<()> {
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(Failure::usage(format!("--target {url} is no URL"))
            .hint("write scheme, host and port: --target http://127.0.0.1:9000"));
    }
    let config = &context.config;
    let settings = config.smoke()?;
    let version = match release {
        Some(name) => name.to_owned(),
        None => Version::derive(&config.root, None, &context.stop).await?.name,
    };
    let checks = Check::all(settings, &placeholders(context, version.clone()))?;
    if context.plan {
        let lines = [format!("ask {url} {}, expecting version {version}", count(checks.len(), "check"))];
        return context.show_plan(&lines);
    }
    context.console.say(format!("smoke {} {version} at {url}", config.app()));
    let place = Place::Target(url.to_owned());
    let outside = Outside { place, url, headers: BTreeMap::new(), times: 1 };
    let findings = outside.ask(&context.console, &context.stop, &checks, Patience::of(settings.deadline.0)).await?;
    match verdict::failed(&findings) {
        0 => {
            let said = serde_json::json!({ "target": url, "checks": checks.len(), "passed": true });
            context.print_result(&said, "passed")
        }
        failed => Err(Failure::no(format!("{failed} of {} failed at {url}", count(checks.len(), "check")))
            .detail(verdict::failures(&checks, &findings))),
    }
}

/// Asks what was launched, through the balancer and on each instance, and records the verdict.
pub(crate) async fn launched(context: &Context) -> Result<()> {
    let config = &context.config;
    let env = config.env()?;
    let settings = config.smoke()?;
    let launch: Record<Launch> = context.records().read()?;
    let (version, colour) = (&launch.so.version, launch.so.facts.colour);
    context.check_protected(version)?;
    let checks = Check::all(settings, &placeholders(context, version.name.clone()))?;

    let aws = context.aws().await;
    let world = World::look(context, &aws, env, &launch.so.facts).await?;
    let times = u32::try_from(world.instances.len()).unwrap_or(u32::MAX).saturating_add(2);
    if context.plan {
        return context.show_plan(&plan(&checks, &world, times, settings.instances, &launch));
    }
    context.console.say(format!("smoke {} {} as {colour} in {env}", config.app(), version.name));
    if world.weights.live() == Live::One(colour) {
        context.console.say(format!("  {colour} has the production traffic already"));
    }
    let junit = context.config.root.join(junit_file(env));
    // A verdict of an earlier run must not stand where this run comes to none; mostly there is none.
    let _ = std::fs::remove_file(&junit);

    let mut phase = Phase::begin(&context.console);
    let patience = Patience::of(settings.deadline.0);
    let outside =
        Outside { place: Place::Balancer, url: &world.edge.url, headers: world.edge.test_headers(colour), times };
    let mut findings = outside.ask(&context.console, &context.stop, &checks, patience).await?;
    phase.done(format!(
        "{} through the balancer, {times} times each: {}",
        count(checks.len(), "check"),
        said(&findings)
    ));
    if settings.instances {
        let inside = Inside {
            port: world.edge.app_port,
            url: world.edge.url.clone(),
            checks: Arc::new(checks.clone()),
            patience,
        };
        let found = inside.ask(&aws, &context.console, &context.stop, &world.instances).await?;
        let places = count(world.instances.len(), "instance");
        phase.done(format!("{} on {places}: {}", count(checks.len(), "check"), said(&found)));
        findings.extend(found);
    }
    conclude(context, &aws, &launch, &checks, &findings, &junit).await
}

async fn conclude(
    context: &Context,
    aws: &Aws,
    launch: &Record<Launch>,
    checks: &[Check],
    findings: &[Finding],
    junit: &std::path::Path,
) -> Result<()> {
    let toml = context.config.root.join(FILE_NAME);
    let toml = std::fs::read_to_string(&toml).or_fail(|| Failure::usage(format!("can't read {}", toml.display())))?;
    verdict::write(junit, &toml, checks, findings)?;
    let failed = verdict::failed(findings);
    let facts = records::Smoke {
        colour: launch.so.facts.colour,
        group: launch.so.facts.group.clone(),
        checks: u32::try_from(findings.len()).unwrap_or(u32::MAX),
        passed: failed == 0,
    };
    let short = if facts.passed { "passed" } else { "failed" };
    let registry = context.registry(aws);
    context.record(&registry, &launch.so.version, Some(&launch.digest), facts, short).await?;
    if failed == 0 {
        return Ok(());
    }
    let (colour, env) = (launch.so.facts.colour, context.config.env()?);
    Err(Failure::no(format!("{failed} of {} failed on {colour} in {env}", count(findings.len(), "check")))
        .detail(verdict::failures(checks, findings))
        .already(format!("the record says so, and gyron-swap refuses {colour}; the traffic is where it was"))
        .hint(format!("mend the app or the checks; gyron-smoke --env {env} asks again")))
}

fn placeholders(context: &Context, version: String) -> Placeholders {
    Placeholders { app: context.config.app().to_owned(), version, env: context.config.env.clone() }
}

fn junit_file(env: &str) -> PathBuf {
    PathBuf::from(format!(".gyron/junit/smoke-{env}.xml"))
}

fn plan(checks: &[Check], world: &World, times: u32, inside: bool, launch: &Record<Launch>) -> Vec<String> {
    let colour = launch.so.facts.colour;
    let asked = checks.iter().map(|check| {
        format!(
            "ask {colour} through {} for {}, {times} times in a row, expecting {}",
            world.edge.url,
            check.path,
            check.expected()
        )
    });
    let mut lines: Vec<_> = asked.collect();
    if inside {
        let names: Vec<_> = world.instances.iter().map(InstanceId::as_str).collect();
        lines.push(format!("ask the same on {} at port {}, by SSM", names.join(", "), world.edge.app_port));
    }
    lines
}

fn said(findings: &[Finding]) -> String {
    match verdict::failed(findings) {
        0 => "as expected".to_owned(),
        failed => format!("{failed} failed"),
    }
}

fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// The world as it is, where it is as the records say.
struct World {
    edge: Edge,
    weights: Weights,
    instances: Vec<InstanceId>,
}

impl World {
    /// # Errors
    /// Refused (3) where the edge, its rule or what was launched is gone or another; AWS (4).
    async fn look(context: &Context, aws: &Aws, env: &str, launch: &Launch) -> Result<Self> {
        let edge = Edge::load(&context.registry(aws), env).await?;
        let again = |failure: Failure| failure.hint(format!("gyron-launch --env {env} launches it anew"));
        if edge.target_group(launch.colour)? != &launch.target_group {
            return Err(again(Failure::refused(format!(
                "the edge has been made anew since {} was launched: its target group is another",
                launch.colour
            ))));
        }
        let weights = edge.weights(aws).await?;
        let members = group::instances(aws, &launch.group).await?;
        let targets = edge.targets(aws, launch.colour).await?;
        let instances = to_ask(launch, &members, &targets).map_err(again)?;
        Ok(World { edge, weights, instances })
    }
}

/// The instances to ask: those of the launched group, all of which must be targets of its colour.
fn to_ask(launch: &Launch, members: &[InstanceId], targets: &[Target]) -> Result<Vec<InstanceId>> {
    let (group, colour) = (&launch.group, launch.colour);
    let left = |target: &&Target| !target.state.as_str().contains("draining");
    let (own, strangers): (Vec<_>, Vec<_>) =
        targets.iter().filter(left).partition(|target| members.contains(&target.instance));
    let seen = || {
        let lines: Vec<_> = targets.iter().map(|target| format!("  {target}")).collect();
        if lines.is_empty() { format!("  {colour} has no targets") } else { lines.join("\n") }
    };
    if own.is_empty() {
        let what = if members.is_empty() { "has no running instances" } else { "has no targets" };
        return Err(Failure::refused(format!("the group {group}, launched as {colour}, {what}")).detail(seen()));
    }
    if !strangers.is_empty() {
        let why = format!("{colour} has targets that are not of the launched group {group}");
        return Err(Failure::refused(why).detail(seen()));
    }
    Ok(own.into_iter().map(|target| target.instance.clone()).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use gyron_core::edge::Target;
    use gyron_core::ids::{Colour, ImageId, InstanceId, TargetGroupArn};
    use gyron_core::records::Launch;

    use super::{count, to_ask};

    fn launch() -> Launch {
        Launch {
            image: ImageId::new("ami-1"),
            colour: Colour::Green,
            live: None,
            group: "shop-1".to_owned(),
            target_group: TargetGroupArn::new("arn:green"),
            healthy: 2,
        }
    }

    fn target(id: &str, state: &str) -> Target {
        Target { instance: InstanceId::new(id), state: state.into(), reason: None, description: None }
    }

    #[test]
    fn all_of_the_launched_group_is_asked_and_nothing_else() {
        let members = [InstanceId::new("i-1"), InstanceId::new("i-2")];
        let targets = [target("i-1", "healthy"), target("i-2", "unhealthy"), target("i-0", "draining")];
        assert_eq!(to_ask(&launch(), &members, &targets).unwrap(), members);
    }

    #[test]
    fn a_stack_that_is_gone_or_another_is_refused() {
        let members = [InstanceId::new("i-1")];
        let said =
            |members: &[InstanceId], targets: &[Target]| to_ask(&launch(), members, targets).unwrap_err().report();
        insta::assert_snapshot!(said(&[], &[]), @"
        error: the group shop-1, launched as green, has no running instances
          green has no targets
        ");
        insta::assert_snapshot!(said(&members, &[target("i-1", "draining")]), @"
        error: the group shop-1, launched as green, has no targets
          i-1 draining
        ");
        insta::assert_snapshot!(said(&members, &[target("i-1", "healthy"), target("i-9", "healthy")]), @"
        error: green has targets that are not of the launched group shop-1
          i-1 healthy
          i-9 healthy
        ");
    }

    #[test]
    fn things_are_counted_in_words() {
        assert_eq!((count(1, "check"), count(2, "check")), ("1 check".to_owned(), "2 checks".to_owned()));
    }
}
