//! Instances that are thrown away: a builder, or an image under test. No key pair, no ssh, IMDSv2, tagged at creation.

mod start;

use std::time::Duration;

use aws_sdk_ec2::types::{Filter, Instance, InstanceStateName, ResourceType, Tag, TagSpecification};

use crate::aws::{Aws, OrAws as _, code};
use crate::consistency::settled;
use crate::console::Console;
use crate::failure::{Failure, Result};
use crate::ids::InstanceId;
use crate::names::Tags;
use crate::stop::Stop;
use crate::wait::{Look, Wait, poll_until};

pub use self::start::{Order, start};

/// Tags given at creation, never afterwards.
#[must_use]
pub fn tag_specification(kind: ResourceType, tags: &Tags, name: &str) -> TagSpecification {
    let tags = tags.pairs(name).into_iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
    TagSpecification::builder().resource_type(kind).set_tags(Some(tags.collect())).build()
}

/// Waits until an instance is in a state; a state from which it can't be reached ends the wait.
///
/// # Errors
/// AWS (4) where it ends up in another state; deadline (6).
pub async fn wait_for(
    aws: &Aws,
    console: &Console,
    stop: &Stop,
    instance: &InstanceId,
    wanted: &InstanceStateName,
    deadline: Duration,
) -> Result<()> {
    let wait = Wait::new(format!("{instance} to be {}", wanted.as_str()), deadline).soon();
    poll_until(console, stop, &wait, async || {
        let described = match aws.ec2.describe_instances().instance_ids(instance.as_str()).send().await {
            Err(error) if code(&error) == Some("InvalidInstanceID.NotFound") => {
                // Either not to be seen everywhere yet, or gone for so long that AWS has forgotten it.
                if *wanted == InstanceStateName::Terminated {
                    return Ok(Look::Done(()));
                }
                return Ok(Look::Pending("not to be seen yet".to_owned()));
            }
            other => other.or_aws("DescribeInstances")?,
        };
        let found = described.reservations().iter().flat_map(|reservation| reservation.instances()).next();
        let Some(found) = found else { return Ok(Look::Pending("not to be seen yet".to_owned())) };
        let state = found.state().and_then(|state| state.name()).cloned();
        let state = state.unwrap_or(InstanceStateName::Pending);
        if state == *wanted {
            return Ok(Look::Done(()));
        }
        if matches!(state, InstanceStateName::Terminated | InstanceStateName::ShuttingDown)
            && *wanted != InstanceStateName::Terminated
        {
            let reason = found.state_reason().and_then(|reason| reason.message()).unwrap_or("AWS gave no reason");
            return Err(Failure::aws(format!(
                "{instance} is {} instead of {}: {reason}",
                state.as_str(),
                wanted.as_str()
            )));
        }
        Ok(Look::Pending(state.as_str().to_owned()))
    })
    .await
}

/// Looks whether an instance, which has been up, is still there for what is being waited for.
///
/// # Errors
/// AWS (4) where it is not, with EC2's reason.
pub(crate) async fn still_there(aws: &Aws, instance: &InstanceId, what: &str) -> Result<()> {
    let described = match aws.ec2.describe_instances().instance_ids(instance.as_str()).send().await {
        // A young one is not to be seen everywhere, and one that is gone for long says nothing of why: SSM has the last word.
        Err(error) if code(&error) == Some("InvalidInstanceID.NotFound") => return Ok(()),
        other => other.or_aws("DescribeInstances")?,
    };
    let found = described.reservations().iter().flat_map(|reservation| reservation.instances()).next();
    let Some(found) = found else { return Ok(()) };
    match found.state().and_then(|state| state.name()) {
        Some(
            state @ (InstanceStateName::ShuttingDown
            | InstanceStateName::Terminated
            | InstanceStateName::Stopping
            | InstanceStateName::Stopped),
        ) => {
            let reason = found.state_reason().and_then(|reason| reason.message()).unwrap_or("AWS gave no reason");
            Err(Failure::aws(format!("{what} came to nothing: the instance is {}: {reason}", state.as_str())))
        }
        _ => Ok(()),
    }
}

/// The last lines that an instance's console has shown, as lines below an error; empty where there are none to be had. EC2 gives
/// the newest ones at once only for Nitro instances, else what it last kept.
pub async fn console_tail(aws: &Aws, instance: &InstanceId) -> String {
    use base64::Engine as _;
    let newest = aws.ec2.get_console_output().instance_id(instance.as_str()).latest(true).send().await;
    let asked = match newest {
        Ok(output) => Ok(output),
        Err(_) => aws.ec2.get_console_output().instance_id(instance.as_str()).send().await,
    };
    let text = asked.ok().and_then(|answer| answer.output().map(str::to_owned)).unwrap_or_default();
    let bytes = base64::engine::general_purpose::STANDARD.decode(text.trim()).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return String::new();
    }
    let last = lines[lines.len().saturating_sub(CONSOLE_LINES)..].iter();
    let last: String = last.map(|line| format!("  | {}\n", line.chars().take(200).collect::<String>())).collect();
    format!("  the console of {instance} ends so:\n{last}")
}

/// How much of a console stands below an error.
const CONSOLE_LINES: usize = 15;

/// The instances that carry this tag and still cost money.
///
/// # Errors
/// AWS (4).
pub async fn tagged(aws: &Aws, tag: &str, value: &str) -> Result<Vec<Instance>> {
    let states = ["pending", "running", "stopping", "stopped"].map(str::to_owned).to_vec();
    let filters = [
        Filter::builder().name(format!("tag:{tag}")).values(value).build(),
        Filter::builder().name("instance-state-name").set_values(Some(states)).build(),
    ];
    let mut pages = aws.ec2.describe_instances().set_filters(Some(filters.to_vec())).into_paginator().send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.or_aws("DescribeInstances")?;
        found.extend(page.reservations().iter().flat_map(|reservation| reservation.instances()).cloned());
    }
    Ok(found)
}

/// The instances of a run that still cost money.
///
/// # Errors
/// AWS (4).
pub async fn of_run(aws: &Aws, run: &str) -> Result<Vec<InstanceId>> {
    let found = tagged(aws, "gyron:run", run).await?;
    Ok(found.iter().filter_map(Instance::instance_id).map(InstanceId::new).collect())
}

/// The value of an instance's tag.
#[must_use]
pub fn tag<'a>(instance: &'a Instance, key: &str) -> Option<&'a str> {
    instance.tags().iter().find(|tag| tag.key() == Some(key)).and_then(|tag| tag.value())
}

/// Terminates an instance and waits until it is gone.
///
/// # Errors
/// AWS (4); deadline (6). The message says that the instance may still run.
pub async fn terminate(aws: &Aws, console: &Console, instance: &InstanceId) -> Result<()> {
    let remains = |failure: Failure| {
        failure
            .already(format!("{instance} may still run and cost money"))
            .hint(format!("aws ec2 terminate-instances --instance-ids {instance} --region {}", aws.region))
    };
    // Clean-up goes on after a signal: nothing stops it but its own deadline.
    let never = Stop::never();
    // What was started a moment ago may not be known yet, and would go on costing money.
    let asked = settled(console, &never, "TerminateInstances", async || {
        aws.ec2.terminate_instances().instance_ids(instance.as_str()).send().await
    });
    match asked.await? {
        Err(error) if code(&error) == Some("InvalidInstanceID.NotFound") => return Ok(()),
        other => other.or_aws("TerminateInstances").map_err(remains)?,
    };
    wait_for(aws, console, &never, instance, &InstanceStateName::Terminated, Duration::from_secs(300))
        .await
        .map_err(remains)
}
