//! `gyron-launch edge`: the balancer, its production rule, the way in for tests and two target groups, applied once.

use std::collections::BTreeMap;

use gyron_core::config::schema::Launch;
use gyron_core::edge::Edge;
use gyron_core::failure::{Failure, OrFail as _, Result};
use gyron_core::ids::{Colour, RuleArn, TargetGroupArn};
use gyron_core::names;
use gyron_core::records::{FOLDER, write_atomically};
use gyron_core::step::{Context, Phase};
use serde::{Deserialize, Serialize};

use crate::subnets::{self, Subnets};
use crate::terraform::Terraform;

/// The longest name that leaves room for `-green` in a target group's 32 characters.
const LONGEST_NAME: usize = 26;

#[derive(Serialize)]
struct Variables<'a> {
    app: &'a str,
    environment: &'a str,
    region: &'a str,
    name: String,
    vpc_id: String,
    subnet_ids: Vec<String>,
    listener_port: u16,
    test_secret: String,
    app_port: u16,
    health_check: HealthCheck<'a>,
    deregistration_delay: u64,
    run: &'a str,
}

#[derive(Serialize)]
struct HealthCheck<'a> {
    path: &'a str,
    matcher: &'a str,
    interval: u64,
    timeout: u64,
    healthy_threshold: u32,
    unhealthy_threshold: u32,
}

#[derive(Deserialize)]
struct Outputs {
    url: String,
    production_rule_arn: RuleArn,
    target_groups: BTreeMap<Colour, TargetGroup>,
    instance_security_group_id: String,
    app_port: u16,
    test_colour_header: String,
    test_secret_header: String,
    test_secret: String,
}

/// What is kept from an earlier apply, which may have ended half-way.
#[derive(Deserialize)]
struct Kept {
    test_secret: Option<String>,
}

#[derive(Deserialize)]
struct TargetGroup {
    arn: TargetGroupArn,
}

impl From<Outputs> for Edge {
    fn from(outputs: Outputs) -> Self {
        Edge {
            url: outputs.url,
            production_rule: outputs.production_rule_arn,
            target_groups: outputs.target_groups.into_iter().map(|(colour, group)| (colour, group.arn)).collect(),
            instance_security_group: outputs.instance_security_group_id,
            app_port: outputs.app_port,
            test_colour_header: outputs.test_colour_header,
            test_secret_header: outputs.test_secret_header,
            test_secret: outputs.test_secret,
        }
    }
}

/// Applies the edge, and writes down what it is.
///
/// # Errors
/// Usage (2): no environment, no bucket, no subnets in two zones. Refused (3): the state is locked. AWS (4), Terraform (5).
pub async fn run(context: &Context) -> Result<()> {
    let (app, env, launch) = (context.config.app(), context.config.env()?, context.config.launch()?);
    let console = &context.console;
    console.say(format!("apply the edge of {app} in {env}"));
    let mut phase = Phase::begin(console);
    let aws = context.aws().await;
    let registry = context.registry(&aws);
    let key = registry.env_key(env, "edge.json");
    let written = registry.get::<Edge>(&key).await?.map(|edge| edge.value);
    let subnets = subnets::find(&aws, &launch.subnets).await?;
    let terraform = Terraform::prepare(context, &registry, env, "edge", &crate::modules::EDGE).await?;
    // The state knows best: a run may have been killed before it wrote edge.json.
    let applied = terraform.outputs::<Kept>().await?.and_then(|kept| kept.test_secret);
    let secret = applied.or_else(|| written.as_ref().map(|edge| edge.test_secret.clone()));
    let variables = variables(context, env, launch, subnets, secret.unwrap_or_else(new_secret));
    phase.done("terraform is ready");

    let plan = terraform.plan(&variables, context.plan).await?;
    if context.plan {
        let mut lines: Vec<_> = plan.changes.iter().map(ToString::to_string).collect();
        if plan.empty {
            lines.push("change nothing: the edge stands as it should".to_owned());
        } else {
            lines.push(format!("write s3://{}/{key}", registry.bucket()));
        }
        return context.show_plan(&lines);
    }
    phase.done(format!("planned: {}", count(plan.changes.len())));
    if !plan.empty {
        // The provider itself looks at a balancer only after 30 s, twice.
        console.say("  a new balancer takes a minute or more");
        terraform.apply().await.map_err(|failure| failure.hint("gyron-launch edge goes on where this one ended"))?;
        phase.done("applied");
    }
    let outputs = terraform.outputs::<Outputs>().await?;
    let edge = Edge::from(outputs.ok_or_else(|| Failure::defect("the edge was applied and has no outputs"))?);
    if written.as_ref() != Some(&edge) {
        registry.swap(&key, |_: Option<Edge>| Ok(edge.clone())).await?;
        phase.done(format!("wrote s3://{}/{key}", registry.bucket()));
    }
    let public = public(&edge)?;
    // For people and scripts beside the records; the steps themselves read S3.
    let folder = context.config.root.join(FOLDER).join(env);
    let file = folder.join("edge.json");
    write_atomically(&folder, &file, format!("{public:#}\n").as_bytes())
        .or_fail(|| Failure::usage(format!("can't write {}", file.display())))?;
    context.print_result(&public, &edge.url)
}

fn variables<'a>(
    context: &'a Context,
    env: &'a str,
    launch: &'a Launch,
    subnets: Subnets,
    test_secret: String,
) -> Variables<'a> {
    let app = context.config.app();
    let health = &launch.health;
    Variables {
        app,
        environment: env,
        region: &context.config.tables.region,
        name: names::within(LONGEST_NAME, &[app, env], &format!("edge {app} {env}")),
        vpc_id: subnets.vpc,
        subnet_ids: subnets.ids,
        listener_port: launch.listener_port,
        test_secret,
        app_port: launch.port,
        health_check: HealthCheck {
            path: &health.path,
            matcher: &health.matcher,
            interval: health.interval.0.as_secs(),
            timeout: health.timeout.0.as_secs(),
            healthy_threshold: health.healthy_threshold,
            unhealthy_threshold: health.unhealthy_threshold,
        },
        deregistration_delay: launch.deregistration_delay.0.as_secs(),
        run: &context.run,
    }
}

/// 32 hexadecimal digits of a generator that is fit for secrets; ELB compares header values without regard to case.
fn new_secret() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}

/// The edge without its secret, for stdout.
fn public(edge: &Edge) -> Result<serde_json::Value> {
    let mut value = serde_json::to_value(edge).or_fail(|| Failure::defect("the edge can't be written as JSON"))?;
    if let Some(fields) = value.as_object_mut() {
        fields.remove("test_secret");
    }
    Ok(value)
}

/// `nothing to change`, `1 change`, `14 changes`.
pub fn count(changes: usize) -> String {
    match changes {
        0 => "nothing to change".to_owned(),
        1 => "1 change".to_owned(),
        many => format!("{many} changes"),
    }
}

#[cfg(test)]
mod tests {
    use super::new_secret;

    #[test]
    fn a_secret_is_long_plain_and_never_the_same() {
        let (one, other) = (new_secret(), new_secret());
        assert!(one.len() >= 32 && one.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(one, other);
    }
}
