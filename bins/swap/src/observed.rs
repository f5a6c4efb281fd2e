//! What AWS shows of an environment, read at one time.

use gyron_core::aws::Aws;
use gyron_core::current::{Current, Stack};
use gyron_core::edge::{Edge, Weights};
use gyron_core::failure::Result;
use gyron_core::group::{Health, instances, judge, running};
use gyron_core::ids::Colour;
use gyron_core::registry::Registry;

/// What AWS shows of a swap's two sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The production rule's weights.
    pub weights: Weights,
    /// `current.json`.
    pub current: Option<Current>,
    /// How the group that shall get the traffic stands in its target group.
    pub health: Health,
    /// What runs as the other colour, by its instances' own tags.
    pub other: Option<Stack>,
}

/// The group that shall get the traffic.
#[derive(Clone, Copy, Debug)]
pub struct Goal<'a> {
    /// Its colour.
    pub colour: Colour,
    /// Its name.
    pub group: &'a str,
    /// How many healthy instances it must have.
    pub wanted: u32,
}

/// Looks.
///
/// # Errors
/// AWS (4); refused (3) where the edge is not what it was written down as.
pub async fn look(aws: &Aws, registry: &Registry, env: &str, edge: &Edge, goal: Goal<'_>) -> Result<Observed> {
    let (weights, current, members, targets, other) = tokio::try_join!(
        edge.weights(aws),
        Current::load(registry, env),
        instances(aws, goal.group),
        edge.targets(aws, goal.colour),
        stack(aws, edge, goal.colour.other()),
    )?;
    Ok(Observed { weights, current, health: judge(goal.wanted, &members, &targets), other })
}

/// What runs as a colour, by the tags of the instances that are registered for it.
async fn stack(aws: &Aws, edge: &Edge, colour: Colour) -> Result<Option<Stack>> {
    let registered = edge.targets(aws, colour).await?;
    let ids: Vec<_> = registered.into_iter().map(|target| target.instance).collect();
    let running = running(aws, &ids).await?;
    Ok(running.map(|running| Stack { colour, version: running.version, group: running.group, record: None }))
}
