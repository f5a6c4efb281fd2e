//! The launch: which colour, which group, and what became of it.

use gyron_core::aws::Aws;
use gyron_core::config::schema::Capacity;
use gyron_core::current::Current;
use gyron_core::edge::{Edge, Live, Weights};
use gyron_core::exit::Exit;
use gyron_core::failure::{Failure, OrFail as _, Result};
use gyron_core::group::{Health, instances, judge};
use gyron_core::ids::{Colour, ImageId};
use gyron_core::names;
use gyron_core::records::{Launch, Package, Record, Spec, Step};
use gyron_core::registry::Registry;
use gyron_core::step::{Context, Phase};
use serde::{Deserialize, Serialize};

use crate::edge::count;
use crate::health::{self, Wanted};
use crate::subnets::{self, Subnets};
use crate::terraform::Terraform;
use crate::{image, modules};

/// The variables of the colour's module.
#[derive(Clone, Serialize)]
struct Variables<'a> {
    app: &'a str,
    environment: &'a str,
    region: &'a str,
    colour: Colour,
    release: &'a str,
    name: String,
    image_id: &'a ImageId,
    instance_types: [&'a str; 1],
    instance_profile: &'a str,
    subnet_ids: &'a [String],
    security_group_ids: [&'a str; 1],
    target_group_arn: &'a str,
    capacity: Capacity,
    /// Seconds; no part of the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    health_check_grace_period: Option<u64>,
    /// No part of the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<&'a str>,
}

#[derive(Deserialize)]
struct Outputs {
    group_name: String,
}

/// The colour to launch as.
///
/// # Errors
/// Refused (3) where both colours have traffic.
fn idle(live: Live, weights: Weights, env: &str) -> Result<Colour> {
    match live {
        Live::None => Ok(Colour::Blue),
        Live::One(colour) => Ok(colour.other()),
        Live::Both => Err(Failure::refused(format!(
            "both colours have traffic ({weights}), so none is idle: a swap was left half-way, or somebody set the weights"
        ))
        .hint(format!("gyron-swap --env {env}, with the records of that swap, ends it"))),
    }
}

/// The colour that had the traffic before `colour` took it over, as far as `current.json` knows.
///
/// A swap that was killed before it wrote that file leaves it as it was before.
fn before(colour: Colour, current: Option<&Current>) -> Option<Colour> {
    let current = current?;
    if current.live.colour == colour {
        current.previous.as_ref().map(|previous| previous.colour)
    } else {
        Some(current.live.colour)
    }
}

/// Launches, or finds launched, what the records vouch for.
///
/// # Errors
/// Usage (2); refused (3): the records or the world; AWS (4); Terraform (5); deadline (6).
pub async fn run(context: &Context) -> Result<()> {
    let (app, env, config) = (context.config.app(), context.config.env()?, context.config.launch()?);
    // What no commit holds is refused before anything is baked for nothing.
    if let Ok(package) = context.records().read::<Package>() {
        context.check_protected(&package.so.version)?;
    }
    let spec = context.records().read::<Spec>()?;
    let version = spec.so.version.name.as_str();
    permit(context, &spec)?;
    let mut phase = Phase::begin(&context.console);
    let aws = context.aws().await;
    let registry = context.registry(&aws);
    let edge = Edge::load(&registry, env).await?;
    let (weights, (), subnets) =
        tokio::try_join!(edge.weights(&aws), image::check(&aws, &spec.so.facts), subnets::find(&aws, &config.subnets))?;
    let launch =
        Launching { context, aws: &aws, registry: &registry, edge: &edge, env, spec: &spec, subnets: &subnets };
    if let Live::One(colour) = weights.live()
        && let Some((group, healthy)) = launch.stands(colour).await?
    {
        return launch.already_live(colour, group, healthy).await;
    }
    let colour = idle(weights.live(), weights, env)?;
    let (what, kind) = (format!("{app} {version} as {colour} in {env}"), &config.instance_type);
    let variables = launch.variables(colour)?;
    if !context.plan {
        context.console.say(format!("launch {what}"));
        phase.done(format!("{} has the traffic, {colour} is idle", said(weights.live())));
    }

    let terraform = Terraform::prepare(context, &registry, env, colour.name(), &modules::COLOUR).await?;
    let plan = terraform.plan(&variables, context.plan).await?;
    if context.plan {
        let size = config.capacity.min;
        let mut lines = vec![format!("launch {what}: {size} x {kind} from {}", spec.so.facts.image)];
        lines.extend(plan.changes.iter().map(ToString::to_string));
        if plan.empty {
            lines.push(format!("change nothing: the group {} stands", variables.name));
        }
        lines.push(format!("wait until all {size} targets of {colour} are healthy, for at most {}", config.deadline));
        return context.show_plan(&lines);
    }
    phase.done(format!("planned: {}", count(plan.changes.len())));
    let untouched = |failure: Failure| failure.already(format!("production was not touched: {}", has(weights.live())));
    let mut group = variables.name.clone();
    if !plan.empty {
        apply(&terraform, &variables).await.map_err(untouched)?;
        phase.done(format!("applied: {}", variables.name));
    }
    if let Some(outputs) = terraform.outputs::<Outputs>().await? {
        group = outputs.group_name;
    }
    let wanted = Wanted { colour, group: &group, count: config.capacity.min.max(1), deadline: config.deadline.0 };
    let healthy = health::wait(context, &aws, &edge, &wanted).await.map_err(|failure| {
        untouched(failure).already(format!("{colour} stands as it is, for looking: the next launch replaces it"))
    })?;
    phase.done(format!("all {healthy} targets of {colour} are healthy"));
    let live = match weights.live() {
        Live::One(live) => Some(live),
        _ => None,
    };
    launch.record(colour, live, group, healthy).await
}

/// Applies; what an earlier run made and was killed before it could write it down is taken over first.
async fn apply(terraform: &Terraform<'_>, variables: &Variables<'_>) -> Result<()> {
    match terraform.apply().await {
        // Its name is the digest of what it is made of: it can only be this very launch's.
        Err(failure) if failure.report().contains("AutoScalingGroup by this name already exists") => {
            terraform.import(variables, "aws_autoscaling_group.release", &variables.name).await?;
            let plan = terraform.plan(variables, false).await?;
            if plan.empty { Ok(()) } else { terraform.apply().await }
        }
        Err(failure) if matches!(failure.exit(), Exit::Interrupted | Exit::Terminated) => Err(failure
            .already("what Terraform had begun stands, and its state knows it: the next launch goes on from there")),
        other => other,
    }
}

fn permit(context: &Context, spec: &Record<Spec>) -> Result<()> {
    let version = &spec.so.version;
    if !spec.so.facts.passed {
        let file = context.records().name(Step::Spec);
        return Err(Failure::refused(format!("the image {} did not pass its specs: {file}", spec.so.facts.image))
            .hint("mend the image or the spec, then gyron-bake and gyron-spec"));
    }
    context.check_protected(version)
}

struct Launching<'a> {
    context: &'a Context,
    aws: &'a Aws,
    registry: &'a Registry,
    edge: &'a Edge,
    env: &'a str,
    spec: &'a Record<Spec>,
    subnets: &'a Subnets,
}

impl<'a> Launching<'a> {
    /// The variables of a launch as `colour`; its group is named for the version, and for the digest of all that it is
    /// made of: another image, type or capacity is another group.
    fn variables(&self, colour: Colour) -> Result<Variables<'a>> {
        let config = self.context.config.launch()?;
        let mut variables = Variables {
            app: self.context.config.app(),
            environment: self.env,
            region: &self.context.config.tables.region,
            colour,
            release: &self.spec.so.version.name,
            name: String::new(),
            image_id: &self.spec.so.facts.image,
            instance_types: [&config.instance_type],
            instance_profile: &config.instance_profile,
            subnet_ids: &self.subnets.ids,
            security_group_ids: [&self.edge.instance_security_group],
            target_group_arn: self.edge.target_group(colour)?.as_str(),
            capacity: config.capacity,
            health_check_grace_period: None,
            run: None,
        };
        let key = serde_json::to_string(&variables).or_fail(|| Failure::defect("variables can't be written"))?;
        variables.name = names::resource(&[variables.app, variables.release], &key);
        // A new instance isn't replaced while the launch still waits for it: the reason would go with it.
        variables.health_check_grace_period = Some(config.deadline.0.as_secs());
        variables.run = Some(&self.context.run);
        Ok(variables)
    }

    /// Whether this very launch stands as `colour` and is healthy.
    async fn stands(&self, colour: Colour) -> Result<Option<(String, u32)>> {
        let name = self.variables(colour)?.name;
        let members = instances(self.aws, &name).await?;
        if members.is_empty() {
            return Ok(None);
        }
        let targets = self.edge.targets(self.aws, colour).await?;
        match judge(self.context.config.launch()?.capacity.min.max(1), &members, &targets) {
            Health::Healthy(healthy) => Ok(Some((name, healthy))),
            _ => Ok(None),
        }
    }

    async fn already_live(&self, colour: Colour, group: String, healthy: u32) -> Result<()> {
        let what = format!("{} {} is live as {colour} already", self.context.config.app(), self.spec.so.version.name);
        if self.context.plan {
            return self.context.show_plan(&[format!("change nothing: {what}")]);
        }
        self.context.console.say(format!("{what}: nothing to launch"));
        // The record of then, if it is here: what stands on it stays believed.
        if let Ok(record) = self.context.records().read::<Launch>()
            && record.so.facts.group == group
        {
            return self.context.print_result(&record, colour.name());
        }
        let current = Current::load(self.registry, self.env).await?;
        self.record(colour, before(colour, current.as_ref()), group, healthy).await
    }

    async fn record(&self, colour: Colour, live: Option<Colour>, group: String, healthy: u32) -> Result<()> {
        let facts = Launch {
            image: self.spec.so.facts.image.clone(),
            colour,
            live,
            group,
            target_group: self.edge.target_group(colour)?.clone(),
            healthy,
        };
        let (version, after) = (&self.spec.so.version, Some(&self.spec.digest));
        self.context.record(self.registry, version, after, facts, colour.name()).await.map(|_| ())
    }
}

fn said(live: Live) -> String {
    match live {
        Live::One(colour) => colour.to_string(),
        _ => "no colour".to_owned(),
    }
}

fn has(live: Live) -> String {
    format!("{} has the traffic", said(live))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use gyron_core::current::{Current, Stack};
    use gyron_core::edge::{Live, Weights};
    use gyron_core::ids::Colour;
    use proptest::prelude::*;

    use super::{before, idle};

    fn stack(colour: Colour) -> Stack {
        Stack { colour, version: "1".to_owned(), group: "g".to_owned(), record: None }
    }

    fn current(live: Colour, previous: Option<Colour>) -> Current {
        Current { live: stack(live), previous: previous.map(stack), at: String::new(), run: String::new() }
    }

    proptest! {
        #[test]
        fn a_colour_with_traffic_is_never_launched(blue in 0..=999i32, green in 0..=999i32) {
            let weights = Weights { blue, green };
            match idle(weights.live(), weights, "production") {
                Ok(colour) => prop_assert_eq!(weights.of(colour), 0),
                Err(failure) => {
                    prop_assert_eq!(failure.exit().code(), 3);
                    prop_assert_eq!(weights.live(), Live::Both);
                }
            }
        }
    }

    #[test]
    fn the_first_launch_is_blue() {
        assert_eq!(idle(Live::None, Weights::default(), "production").unwrap(), Colour::Blue);
    }

    #[test]
    fn what_was_live_before_is_known_after_a_swap_and_after_a_killed_one() {
        use Colour::{Blue, Green};
        assert_eq!(before(Blue, None), None);
        assert_eq!(before(Blue, Some(&current(Blue, None))), None);
        assert_eq!(before(Blue, Some(&current(Blue, Some(Green)))), Some(Green));
        assert_eq!(before(Green, Some(&current(Blue, None))), Some(Blue));
    }
}
