//! Waiting until every target of the launched group is healthy.

use std::time::Duration;

use aws_sdk_elasticloadbalancingv2::types::TargetHealthStateEnum;
use gyron_core::aws::Aws;
use gyron_core::edge::{Edge, Target};
use gyron_core::exit::Exit;
use gyron_core::failure::{Failure, Result};
use gyron_core::group::{Health, instances, judge};
use gyron_core::ids::{Colour, InstanceId};
use gyron_core::step::Context;
use gyron_core::wait::{Look, Wait, poll_until};

use crate::last_words;

/// What is waited for.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// The colour.
    pub colour: Colour,
    /// Its group.
    pub group: &'a str,
    /// How many instances there must be.
    pub count: u32,
    /// The longest that it may take.
    pub deadline: Duration,
}

/// Waits until every target is healthy, and says how many.
///
/// # Errors
/// Deadline (6) with each target's state and an unhealthy instance's last lines; refused (3) where no rule refers to the
/// target group; AWS (4).
pub async fn wait(context: &Context, aws: &Aws, edge: &Edge, wanted: &Wanted<'_>) -> Result<u32> {
    let (colour, group) = (wanted.colour, wanted.group);
    let wait = Wait::new(format!("targets of {colour}"), wanted.deadline);
    let mut seen = (Vec::new(), Vec::new(), String::new());
    let polled = poll_until(&context.console, &context.stop, &wait, async || {
        let (members, targets) = tokio::try_join!(instances(aws, group), edge.targets(aws, colour))?;
        let state = match judge(wanted.count, &members, &targets) {
            Health::Healthy(count) => return Ok(Look::Done(count)),
            Health::NotInUse => return Err(not_in_use(colour)),
            Health::NotYet(state) => state,
        };
        seen = (members, targets, state.clone());
        Ok(Look::Pending(state))
    })
    .await;
    match polled {
        Err(failure) if failure.exit() == Exit::Deadline => {}
        other => return other,
    }
    let (members, targets, state) = seen;
    let mut detail = table(group, &members, &targets);
    if let Some(instance) = suspect(&members, &targets) {
        context.console.say(format!("  asking {instance} for its last lines"));
        detail.push_str(&last_words::of(context, aws, instance).await);
    }
    let deadline = gyron_core::console::span(wanted.deadline);
    Err(Failure::deadline(format!("{colour} was not healthy after {deadline}: {state}")).detail(detail))
}

fn not_in_use(colour: Colour) -> Failure {
    Failure::refused(format!(
        "no rule of the balancer refers to {colour}'s target group, so nothing checks its targets"
    ))
    .hint("gyron-launch edge mends the edge")
}

/// A line for each target, and for each instance that isn't one.
fn table(group: &str, members: &[InstanceId], targets: &[Target]) -> String {
    let registered = targets.iter().map(|target| {
        let whose = if members.contains(&target.instance) { "" } else { ", of another group" };
        format!("  {target}{whose}\n")
    });
    let absent = members.iter().filter(|id| !targets.iter().any(|target| target.instance == **id));
    let absent = absent.map(|id| format!("  {id} not registered\n"));
    let lines: String = registered.chain(absent).collect();
    if lines.is_empty() { format!("  the group {group} has started no instance\n") } else { lines }
}

/// The instance to ask: one that the balancer found bad, else one that it can't reach yet.
fn suspect<'a>(members: &'a [InstanceId], targets: &[Target]) -> Option<&'a InstanceId> {
    let state = |id: &InstanceId| targets.iter().find(|target| target.instance == *id).map(|target| &target.state);
    let unhealthy = members.iter().find(|id| state(id) == Some(&TargetHealthStateEnum::Unhealthy));
    unhealthy.or_else(|| members.iter().find(|id| state(id) != Some(&TargetHealthStateEnum::Healthy)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use aws_sdk_elasticloadbalancingv2::types::TargetHealthStateEnum as State;
    use gyron_core::edge::Target;
    use gyron_core::ids::InstanceId;

    use super::{suspect, table};

    fn target(id: &str, state: State, reason: Option<(&str, &str)>) -> Target {
        Target {
            instance: InstanceId::new(id),
            state,
            reason: reason.map(|(reason, _)| reason.to_owned()),
            description: reason.map(|(_, description)| description.to_owned()),
        }
    }

    #[test]
    fn every_target_gets_a_line_and_the_worst_is_asked() {
        let members = ["i-1", "i-2", "i-3"].map(InstanceId::new);
        let why = ("Target.ResponseCodeMismatch", "Health checks failed with these codes: [502]");
        let targets = [
            target("i-0", State::Healthy, None),
            target("i-1", State::Healthy, None),
            target("i-2", State::Unhealthy, Some(why)),
        ];
        insta::assert_snapshot!(table("shop-1", &members, &targets), @"
        i-0 healthy, of another group
        i-1 healthy
        i-2 unhealthy (Target.ResponseCodeMismatch: Health checks failed with these codes: [502])
        i-3 not registered
        ");
        insta::assert_snapshot!(table("shop-1", &[], &[]), @"  the group shop-1 has started no instance");
        assert_eq!(suspect(&members, &targets).unwrap().as_str(), "i-2");
        assert_eq!(suspect(&members, &[target("i-1", State::Healthy, None)]).unwrap().as_str(), "i-2");
        assert_eq!(suspect(&members[..1], &targets), None);
    }
}
