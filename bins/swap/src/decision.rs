//! What to do, from what is observed: no effects, so that every state a killed run can leave has its answer here.

use gyron_core::current::{Current, Stack};
use gyron_core::edge::{Live, Weights};
use gyron_core::failure::Failure;
use gyron_core::group::Health;
use gyron_core::ids::Colour;

use crate::observed::Observed;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is so already, and written down.
    Nothing,
    /// The weights are there already, of a run that was killed: prove it and write it down.
    Finish(Move),
    /// Move the weights.
    Move(Move),
}

/// A move of the traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// What gets the traffic.
    pub to: Stack,
    /// What had it, and can have it again; none at the first swap of all, or where nobody knows what runs there.
    pub from: Option<Stack>,
    /// The weights to return to if the move fails.
    pub restore: Weights,
}

/// What the records say of the launch that shall get the traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launched {
    /// The stack.
    pub stack: Stack,
    /// The colour that had the traffic when it was launched.
    pub live: Option<Colour>,
}

/// Why the world is not as the records say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another colour has the traffic than had it then: expected, seen.
    LiveMoved(Option<Colour>, Weights),
    /// The launched colour is live, but with another release than the recorded one.
    OtherRelease(Stack),
    /// The group isn't healthy, isn't whole, or isn't alone.
    Unhealthy(Stack, Health),
    /// Nothing to go back to.
    NoPrevious(Option<Current>),
    /// `current.json` says that another colour is live: it, what is seen.
    NotCurrent(Current, Weights),
}

/// Decides a swap.
///
/// # Errors
/// The refusal.
pub fn forward(launched: &Launched, seen: &Observed) -> Result<Decision, Box<Refusal>> {
    let to = &launched.stack;
    let before = launched.live.map_or(Weights::default(), Weights::all);
    let fits = |live| match live {
        Live::None => launched.live.is_none(),
        Live::One(colour) => launched.live == Some(colour),
        // Half-way between the two that the records name: ending it is what was wanted.
        Live::Both => launched.live == Some(to.colour.other()),
    };
    let there = seen.weights.live() == Live::One(to.colour);
    if there && let Some(current) = &seen.current {
        if current.live.colour == to.colour && current.live.group == to.group {
            return Ok(Decision::Nothing);
        }
        if current.live.colour == to.colour {
            return Err(Box::new(Refusal::OtherRelease(current.live.clone())));
        }
    }
    if !there && !fits(seen.weights.live()) {
        return Err(Box::new(Refusal::LiveMoved(launched.live, seen.weights)));
    }
    healthy(to, &seen.health)?;
    let going = Move { to: to.clone(), from: launched.live.and_then(|colour| known(colour, seen)), restore: before };
    Ok(if there { Decision::Finish(going) } else { Decision::Move(going) })
}

/// Decides a way back.
///
/// # Errors
/// The refusal.
pub fn back(seen: &Observed) -> Result<Decision, Box<Refusal>> {
    let steps = seen.current.as_ref().and_then(|current| Some((current, current.previous.as_ref()?)));
    let Some((current, to)) = steps else { return Err(Box::new(nowhere(seen.current.as_ref(), seen.weights))) };
    let going = Move { to: to.clone(), from: Some(current.live.clone()), restore: seen.weights };
    match seen.weights.live() {
        Live::One(colour) if colour == current.live.colour => {
            healthy(to, &seen.health)?;
            Ok(Decision::Move(going))
        }
        // A way back that was killed before it could write down that it had arrived.
        Live::One(colour) if colour == to.colour && matches!(seen.health, Health::Healthy(_)) => {
            Ok(Decision::Finish(going))
        }
        _ => Err(Box::new(Refusal::NotCurrent(current.clone(), seen.weights))),
    }
}

/// Why there is no way back where `current.json` names nothing before.
#[must_use]
pub fn nowhere(current: Option<&Current>, weights: Weights) -> Refusal {
    match current {
        // A swap that was killed is the first thing to know of.
        Some(current) if weights.live() != Live::One(current.live.colour) => {
            Refusal::NotCurrent(current.clone(), weights)
        }
        current => Refusal::NoPrevious(current.cloned()),
    }
}

/// What runs as a colour: `current.json`'s word where the instances agree, else theirs.
fn known(colour: Colour, seen: &Observed) -> Option<Stack> {
    let observed = seen.other.as_ref().filter(|stack| stack.colour == colour)?;
    let written =
        seen.current.as_ref().into_iter().flat_map(|current| [Some(&current.live), current.previous.as_ref()]);
    let same = |stack: &&Stack| stack.colour == colour && stack.group == observed.group;
    Some(written.flatten().find(same).unwrap_or(observed).clone())
}

fn healthy(to: &Stack, health: &Health) -> Result<(), Box<Refusal>> {
    match health {
        Health::Healthy(_) => Ok(()),
        other => Err(Box::new(Refusal::Unhealthy(to.clone(), other.clone()))),
    }
}

impl Refusal {
    /// In words, with the next command.
    #[must_use]
    pub fn failure(self, env: &str) -> Failure {
        match self {
            Refusal::LiveMoved(expected, weights) => Failure::refused(format!(
                "{} had the traffic when this was launched, now the production rule says {weights}",
                expected.map_or("no colour".to_owned(), |colour| colour.to_string())
            ))
            .hint(match weights.live() {
                // Neither a launch nor a swap can tell which of the two somebody wants.
                Live::Both => {
                    "somebody shared the traffic out by hand: give one colour all of it (aws elbv2 modify-rule), \
                     then launch"
                        .to_owned()
                }
                _ => format!("somebody swapped since: gyron-launch --env {env} launches against what is live now"),
            }),
            Refusal::OtherRelease(live) => Failure::refused(format!(
                "{} is live, but with {} (group {}), not with what the records launched",
                live.colour, live.version, live.group
            ))
            .hint(format!("the records are stale: gyron-launch --env {env} launches this release anew")),
            Refusal::Unhealthy(stack, health) => {
                let why = match health {
                    Health::NotInUse => "no rule refers to its target group".to_owned(),
                    Health::NotYet(state) => state,
                    Health::Healthy(count) => format!("{count} healthy"),
                };
                Failure::refused(format!(
                    "{} can't take the traffic: the group {} of {} is not whole and healthy: {why}",
                    stack.colour, stack.group, stack.version
                ))
                .hint(format!("gyron-launch --env {env} launches a colour and waits until it is healthy"))
            }
            Refusal::NoPrevious(None) => {
                Failure::refused(format!("nothing was ever swapped in {env}: there is no way back"))
                    .hint(format!("gyron-swap --env {env} swaps what was launched and smoke-tested"))
            }
            Refusal::NoPrevious(Some(current)) => Failure::refused(format!(
                "{} {} was the first to be swapped in: there is nothing to go back to",
                current.live.colour, current.live.version
            ))
            .hint("deliver another version forward"),
            Refusal::NotCurrent(current, weights) => Failure::refused(format!(
                "current.json says that {} {} is live, the production rule says {weights}",
                current.live.colour, current.live.version
            ))
            .hint(format!(
                "a swap was killed or the weights were moved by hand: gyron-swap --env {env}, with the records of that \
                 swap, ends it; then there is a way back"
            )),
        }
    }
}

#[cfg(test)]
mod tests;
