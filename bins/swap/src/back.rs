//! `gyron-swap back`: to what had the traffic before, by what S3 and AWS say alone.

use gyron_core::current::Current;
use gyron_core::edge::Edge;
use gyron_core::failure::Result;
use gyron_core::step::Context;

use crate::decision::{Decision, back, nowhere};
use crate::flip::Flip;
use crate::observed::{Goal, look};

/// Returns.
///
/// # Errors
/// Usage (2); refused (3): nothing to return to, or the world is not as `current.json` says; AWS (4); not proven (1).
pub async fn run(context: &Context) -> Result<()> {
    let env = context.config.env()?;
    let aws = context.aws().await;
    let registry = context.registry(&aws);
    let (edge, current) = tokio::try_join!(Edge::load(&registry, env), Current::load(&registry, env))?;
    let Some(to) = current.as_ref().and_then(|current| current.previous.as_ref()) else {
        return Err(nowhere(current.as_ref(), edge.weights(&aws).await?).failure(env));
    };
    if !context.plan {
        context.console.say(format!("back to {} {} as {} in {env}", context.config.app(), to.version, to.colour));
    }
    // How many there were is not known any more; that the whole group is healthy has to do.
    let seen = look(&aws, &registry, env, &edge, Goal { colour: to.colour, group: &to.group, wanted: 1 }).await?;
    let going = match back(&seen).map_err(|refusal| refusal.failure(env))? {
        Decision::Finish(going) | Decision::Move(going) => going,
        Decision::Nothing => return context.print_result(&seen.current, to.colour.name()),
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
        back: true,
    };
    if context.plan {
        return context.show_plan(&flip.plan());
    }
    let current = flip.run().await?;
    context.print_result(&current, going.to.colour.name())
}
