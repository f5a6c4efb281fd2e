//! A colour's Auto Scaling group, as its instances' tags and the balancer show it.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{Filter, Instance};
use aws_sdk_elasticloadbalancingv2::types::TargetHealthStateEnum;

use crate::aws::{Aws, OrAws as _};
use crate::edge::Target;
use crate::failure::Result;
use crate::ids::InstanceId;

/// The tag by which Auto Scaling marks an instance of a group.
const GROUP_TAG: &str = "aws:autoscaling:groupName";

/// The tag that the colour's module gives to its instances.
const VERSION_TAG: &str = "gyron:version";

/// The group's instances that are starting or running.
///
/// # Errors
/// AWS (4).
pub async fn instances(aws: &Aws, group: &str) -> Result<Vec<InstanceId>> {
    let states = ["pending", "running"].map(str::to_owned).to_vec();
    let filters = [
        Filter::builder().name(format!("tag:{GROUP_TAG}")).values(group).build(),
        Filter::builder().name("instance-state-name").set_values(Some(states)).build(),
    ];
    let found = describe(aws, filters.to_vec()).await?;
    Ok(found.iter().filter_map(Instance::instance_id).map(InstanceId::new).collect())
}

/// What runs on instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The Auto Scaling group.
    pub group: String,
    /// The version's name.
    pub version: String,
}

/// What runs on these instances, by their tags; none where they are of several groups, or of none.
///
/// # Errors
/// AWS (4).
pub async fn running(aws: &Aws, instances: &[InstanceId]) -> Result<Option<Running>> {
    if instances.is_empty() {
        return Ok(None);
    }
    let ids = instances.iter().map(|id| id.as_str().to_owned()).collect();
    let found = describe(aws, vec![Filter::builder().name("instance-id").set_values(Some(ids)).build()]).await?;
    let kinds: BTreeSet<_> = found.iter().map(kind).collect();
    let mut kinds = kinds.into_iter();
    Ok(match (kinds.next(), kinds.next()) {
        (Some((Some(group), Some(version))), None) => Some(Running { group, version }),
        _ => None,
    })
}

fn kind(instance: &Instance) -> (Option<String>, Option<String>) {
    let tag = |key| {
        let tag = instance.tags().iter().find(|tag| tag.key() == Some(key));
        tag.and_then(|tag| tag.value()).map(str::to_owned)
    };
    (tag(GROUP_TAG), tag(VERSION_TAG))
}

async fn describe(aws: &Aws, filters: Vec<Filter>) -> Result<Vec<Instance>> {
    let mut pages = aws.ec2.describe_instances().set_filters(Some(filters)).into_paginator().send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.or_aws("DescribeInstances")?;
        found.extend(page.reservations().iter().flat_map(|reservation| reservation.instances()).cloned());
    }
    Ok(found)
}

/// How a group's instances stand in their target group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// All are healthy, and at least as many as wanted: so many.
    Healthy(u32),
    /// Not yet; the state as a person would say it.
    NotYet(String),
    /// No rule refers to the target group: nothing will ever check them.
    NotInUse,
}

/// Judges a group of which `wanted` instances or more must be healthy, and nothing else registered beside them.
///
/// What is draining counts for nothing: it has left, and AWS shows it for the deregistration delay.
#[must_use]
pub fn judge(wanted: u32, instances: &[InstanceId], targets: &[Target]) -> Health {
    let by_instance: BTreeMap<_, _> = targets.iter().map(|target| (&target.instance, target)).collect();
    let own: Vec<_> = instances.iter().filter_map(|id| by_instance.get(id).copied()).collect();
    if own.iter().any(|target| not_in_use(target)) {
        return Health::NotInUse;
    }
    let strangers = targets.iter().filter(|target| !instances.contains(&target.instance) && !has_left(target)).count();
    let healthy = own.iter().filter(|target| target.state == TargetHealthStateEnum::Healthy).count();
    let enough = u32::try_from(healthy).unwrap_or(u32::MAX);
    if strangers == 0 && healthy == instances.len() && enough >= wanted {
        return Health::Healthy(enough);
    }
    let mut parts = vec![format!("{healthy} of {wanted} healthy")];
    if u32::try_from(instances.len()).is_ok_and(|there| there < wanted) {
        parts.push(format!("{} started", instances.len()));
    }
    let absent = instances.len() - own.len();
    if absent > 0 {
        parts.push(format!("{absent} not registered"));
    }
    let mut states: BTreeMap<String, usize> = BTreeMap::new();
    for target in own.iter().filter(|target| target.state != TargetHealthStateEnum::Healthy) {
        // Why a check fails is what the person who waits can act on, long before the deadline.
        let failing = target.state == TargetHealthStateEnum::Unhealthy;
        let why = target.description.as_deref().filter(|_| failing).map(|why| format!(" ({why})"));
        *states.entry(format!("{}{}", target.state.as_str(), why.unwrap_or_default())).or_default() += 1;
    }
    parts.extend(states.iter().map(|(state, count)| format!("{count} {state}")));
    if strangers > 0 {
        parts.push(format!("{strangers} of another group still registered"));
    }
    Health::NotYet(parts.join(", "))
}

fn not_in_use(target: &Target) -> bool {
    target.state == TargetHealthStateEnum::Unused && target.reason.as_deref() == Some("Target.NotInUse")
}

fn has_left(target: &Target) -> bool {
    matches!(target.state, TargetHealthStateEnum::Draining | TargetHealthStateEnum::Unused)
        || target.state.as_str() == "unhealthy.draining"
}

#[cfg(test)]
mod tests {
    use aws_sdk_elasticloadbalancingv2::types::TargetHealthStateEnum as State;
    use proptest::prelude::*;

    use super::{Health, judge};
    use crate::edge::Target;
    use crate::ids::InstanceId;

    fn target(id: &str, state: State) -> Target {
        Target { instance: InstanceId::new(id), state, reason: None, description: None }
    }

    fn ids(names: &[&str]) -> Vec<InstanceId> {
        names.iter().map(|name| InstanceId::new(*name)).collect()
    }

    fn not_yet(text: &str) -> Health {
        Health::NotYet(text.to_owned())
    }

    #[test]
    fn every_instance_of_the_group_must_be_healthy_and_nothing_else_registered() {
        let (a, b) = (target("a", State::Healthy), target("b", State::Healthy));
        let old = target("old", State::Healthy);
        assert_eq!(judge(2, &ids(&["a", "b"]), &[a.clone(), b.clone()]), Health::Healthy(2));
        assert_eq!(judge(1, &ids(&["a", "b"]), &[a.clone(), b.clone()]), Health::Healthy(2));
        assert_eq!(judge(2, &ids(&["a"]), std::slice::from_ref(&a)), not_yet("1 of 2 healthy, 1 started"));
        assert_eq!(judge(2, &[], &[]), not_yet("0 of 2 healthy, 0 started"));
        assert_eq!(judge(2, &ids(&["a", "b"]), std::slice::from_ref(&a)), not_yet("1 of 2 healthy, 1 not registered"));
        assert_eq!(
            judge(2, &ids(&["a", "b"]), &[a.clone(), target("b", State::Initial)]),
            not_yet("1 of 2 healthy, 1 initial")
        );
        assert_eq!(
            judge(2, &ids(&["a", "b"]), &[a, b, old]),
            not_yet("2 of 2 healthy, 1 of another group still registered")
        );
    }

    #[test]
    fn why_a_check_fails_is_said_while_it_is_waited_for() {
        let mut failing = target("a", State::Unhealthy);
        failing.description = Some("Health checks failed with these codes: [403]".to_owned());
        let said = "0 of 1 healthy, 1 unhealthy (Health checks failed with these codes: [403])";
        assert_eq!(judge(1, &ids(&["a"]), &[failing]), not_yet(said));
    }

    #[test]
    fn what_is_draining_has_left() {
        let targets = [target("a", State::Healthy), target("old", State::Draining)];
        assert_eq!(judge(1, &ids(&["a"]), &targets), Health::Healthy(1));
    }

    #[test]
    fn a_target_group_that_no_rule_refers_to_is_hopeless() {
        let mut unused = target("a", State::Unused);
        unused.reason = Some("Target.NotInUse".to_owned());
        assert_eq!(judge(1, &ids(&["a"]), &[unused]), Health::NotInUse);
    }

    proptest! {
        #[test]
        fn healthy_is_never_said_of_less_than_all(
            wanted in 1u32..5,
            states in proptest::collection::vec((any::<bool>(), any::<bool>()), 0..6),
        ) {
            let name = |at: usize| format!("i-{at}");
            let own: Vec<_> = states.iter().enumerate().filter(|(_, (own, _))| *own)
                .map(|(at, _)| InstanceId::new(name(at))).collect();
            let targets: Vec<_> = states.iter().enumerate()
                .map(|(at, (_, well))| target(&name(at), if *well { State::Healthy } else { State::Unhealthy }))
                .collect();
            let all_own_and_well = states.iter().all(|(own, well)| *own && *well) && own.len() >= wanted as usize;
            let said = matches!(judge(wanted, &own, &targets), Health::Healthy(_));
            prop_assert_eq!(said, all_own_and_well);
        }
    }
}
