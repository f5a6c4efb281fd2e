//! Forward: to the colour that was launched and smoke-tested.

use gyron_core::current::Stack;
use gyron_core::edge::Edge;
use gyron_core::failure::{Failure, Result};
use gyron_core::records::{Launch, Record, Records, Smoke, Step, Swap};
use gyron_core::registry::Registry;
use gyron_core::step::Context;

use crate::decision::{Decision, Launched, forward};
use crate::flip::Flip;
use crate::observed::{Goal, look};

/// Swaps.
///
/// # Errors
/// Usage (2); refused (3): the records or the world; AWS (4); it said no (1): rolled back.
pub async fn run(context: &Context) -> Result<()> {
    let (app, env) = (context.config.app(), context.config.env()?);
    let (smoke, launch) = chain(&context.records(), env)?;
    context.check_protected(&smoke.so.version)?;
    let facts = &launch.so.facts;
    let launched = Launched {
        stack: Stack {
            colour: facts.colour,
            version: smoke.so.version.name.clone(),
            group: facts.group.clone(),
            record: Some(smoke.digest.clone()),
        },
        live: facts.live,
    };
    let what = format!("{app} {} as {} in {env}", launched.stack.version, facts.colour);
    if !context.plan {
        context.console.say(format!("swap {what}"));
    }
    let aws = context.aws().await;
    let registry = context.registry(&aws);
    let edge = Edge::load(&registry, env).await?;
    let goal = Goal { colour: facts.colour, group: &facts.group, wanted: facts.healthy.max(1) };
    let seen = look(&aws, &registry, env, &edge, goal).await?;
    let going = match forward(&launched, &seen).map_err(|refusal| refusal.failure(env))? {
        Decision::Finish(going) | Decision::Move(going) => going,
        Decision::Nothing if context.plan => {
            return context.show_plan(&[format!("change nothing: {what} is live")]);
        }
        Decision::Nothing => {
            context.console.say("  it is live already: nothing to do");
            return record(context, &registry, &smoke, &launch).await;
        }
    };
    let flip = Flip {
        context,
        aws: &aws,
        registry: &registry,
        env,
        edge: &edge,
        going: &going,
        before: seen.weights,
        written: seen.current.as_ref(),
        back: false,
    };
    if context.plan {
        return context.show_plan(&flip.plan());
    }
    flip.run().await?;
    record(context, &registry, &smoke, &launch).await
}

async fn record(context: &Context, registry: &Registry, smoke: &Record<Smoke>, launch: &Record<Launch>) -> Result<()> {
    let launched = &launch.so.facts;
    let facts = Swap { to: launched.colour, from: launched.live, group: launched.group.clone() };
    let (version, short) = (&smoke.so.version, launched.colour.name());
    context.record(registry, version, Some(&smoke.digest), facts, short).await.map(|_| ())
}

/// The records that vouch for a colour.
fn chain(records: &Records, env: &str) -> Result<(Record<Smoke>, Record<Launch>)> {
    let smoke = records.read::<Smoke>()?;
    let launch = records.read::<Launch>()?;
    let facts = &smoke.so.facts;
    if !facts.passed {
        return Err(Failure::refused(format!("{} says that the smoke test failed", records.name(Step::Smoke)))
            .hint(format!("gyron-smoke --env {env} asks again")));
    }
    if (facts.colour, &facts.group) != (launch.so.facts.colour, &launch.so.facts.group) {
        return Err(Failure::refused(format!(
            "{} is of {} {}, but {} {} was launched",
            records.name(Step::Smoke),
            facts.colour,
            facts.group,
            launch.so.facts.colour,
            launch.so.facts.group
        ))
        .hint(format!("gyron-smoke --env {env} asks what was launched")));
    }
    Ok((smoke, launch))
}
