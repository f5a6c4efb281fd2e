//! Instances that are thrown away: a builder, or an image under test. No key pair, no ssh, IMDSv2, tagged at creation.

use std::time::Duration;

use aws_sdk_ec2::types::{
    Filter, HttpTokensState, IamInstanceProfileSpecification, Instance, InstanceMetadataEndpointState,
    InstanceMetadataOptionsRequest, InstanceMetadataTagsState, InstanceStateName, InstanceType, ResourceType,
    ShutdownBehavior, Tag, TagSpecification,
};

use crate::aws::{Aws, OrAws as _, code};
use crate::console::Console;
use crate::failure::{Failure, Result};
use crate::heartbeat;
use crate::ids::{ImageId, InstanceId};
use crate::names::Tags;
use crate::stop::Stop;
use crate::volume::RootVolume;
use crate::wait::{Look, Wait, poll_until};

/// What instance is wanted.
#[derive(Clone, Debug)]
pub struct Order {
    /// The image it boots.
    pub image: ImageId,
    /// Types to try, in this order.
    pub types: Vec<String>,
    /// Subnets to try with each type, in this order; empty for AWS's choice.
    pub subnets: Vec<String>,
    /// Security groups; empty for the VPC's default group, which lets nothing in from outside itself.
    pub security_groups: Vec<String>,
    /// The name of the instance profile that lets the SSM agent in.
    pub profile: String,
    /// The root volume; as the image has it, if none is given.
    pub root: Option<RootVolume>,
    /// Its `Name`.
    pub name: String,
    /// Its tags, and its volumes'.
    pub tags: Tags,
    /// How long it lives without a heartbeat of its owner: then it ends itself.
    pub patience: Duration,
}

/// Watches for the owner's heartbeat, and installs the SSM agent where the image has none, as Debian's own images do.
///
/// The agent's package stands in a public bucket of the region, `amazon-ssm-REGION`
/// (docs.aws.amazon.com/systems-manager/latest/userguide/agent-install-deb.html).
async fn user_data(aws: &Aws, patience: Duration) -> Result<String> {
    let bucket = format!("amazon-ssm-{}", aws.region);
    let mut urls = Vec::new();
    for arch in ["amd64", "arm64"] {
        let key = format!("latest/debian_{arch}/amazon-ssm-agent.deb");
        let valid = crate::registry::presigning(Duration::from_secs(60))?;
        // Signed only to learn where S3 is for these clients; the object is public, so the signature is cut off.
        let signed = aws.s3.get_object().bucket(&bucket).key(&key).presigned(valid).await;
        let url = signed.or_aws("presigning GetObject")?.uri().to_owned();
        urls.push(url.split('?').next().unwrap_or_default().to_owned());
    }
    let [amd64, arm64] = urls.as_slice() else { return Err(Failure::defect("an agent's address is missing")) };
    let watch = heartbeat::watch(patience);
    Ok(format!(
        r#"#!/bin/sh
set -eu
{watch}systemctl cat amazon-ssm-agent.service >/dev/null 2>&1 && exit 0
systemctl cat snap.amazon-ssm-agent.amazon-ssm-agent.service >/dev/null 2>&1 && exit 0
case "$(dpkg --print-architecture)" in
  amd64) url='{amd64}' ;;
  arm64) url='{arm64}' ;;
  *) echo "no SSM agent is known for this architecture" >&2; exit 1 ;;
esac
folder=$(mktemp -d)
python3 -c 'import sys, urllib.request; urllib.request.urlretrieve(sys.argv[1], sys.argv[2])' "$url" "$folder/agent.deb"
dpkg -i "$folder/agent.deb"
rm -r "$folder"
systemctl enable --now amazon-ssm-agent.service
"#
    ))
}

/// Starts an instance, trying types and subnets until AWS has capacity.
///
/// Each attempt has a client token of run and attempt, so that a retried call never makes a second instance.
///
/// # Errors
/// AWS (4).
pub async fn start(aws: &Aws, console: &Console, order: &Order) -> Result<InstanceId> {
    use base64::Engine as _;
    let user_data = base64::engine::general_purpose::STANDARD.encode(user_data(aws, order.patience).await?);
    let subnets: Vec<Option<&str>> = match order.subnets.as_slice() {
        [] => vec![None],
        named => named.iter().map(|subnet| Some(subnet.as_str())).collect(),
    };
    let choices = order.types.iter().flat_map(|kind| subnets.iter().map(move |subnet| (kind.as_str(), *subnet)));
    let mut refusals = Vec::new();
    for (attempt, (kind, subnet)) in choices.enumerate() {
        // A run that bakes in layers starts one from each image.
        let token = format!("{}-{}-{}-{attempt}", order.tags.step, order.tags.run, order.image);
        let mut run = aws
            .ec2
            .run_instances()
            .image_id(order.image.as_str())
            .instance_type(InstanceType::from(kind))
            .min_count(1)
            .max_count(1)
            .client_token(token)
            .user_data(&user_data)
            .iam_instance_profile(IamInstanceProfileSpecification::builder().name(&order.profile).build())
            .metadata_options(
                InstanceMetadataOptionsRequest::builder()
                    .http_tokens(HttpTokensState::Required)
                    .http_endpoint(InstanceMetadataEndpointState::Enabled)
                    .instance_metadata_tags(InstanceMetadataTagsState::Enabled)
                    .build(),
            )
            .instance_initiated_shutdown_behavior(ShutdownBehavior::Terminate)
            .set_block_device_mappings(order.root.as_ref().map(|root| vec![root.mapping()]))
            .set_subnet_id(subnet.map(str::to_owned));
        for kind in [ResourceType::Instance, ResourceType::Volume] {
            let mut tags = order.tags.clone();
            if kind == ResourceType::Instance {
                tags.more.push((heartbeat::TAG.to_owned(), heartbeat::now()));
            }
            run = run.tag_specifications(tag_specification(kind, &tags, &order.name));
        }
        if !order.security_groups.is_empty() {
            run = run.set_security_group_ids(Some(order.security_groups.clone()));
        }
        match run.send().await {
            Ok(started) => {
                let id = started.instances().first().and_then(|instance| instance.instance_id());
                let id = id.ok_or_else(|| Failure::aws("RunInstances answered without an instance"))?;
                return Ok(InstanceId::new(id));
            }
            Err(error) if no_capacity(code(&error)) => {
                let place = subnet.map(|subnet| format!(" in {subnet}")).unwrap_or_default();
                let refusal = format!("{kind}{place}: {}", code(&error).unwrap_or_default());
                console.say(format!("  no capacity for {refusal}"));
                refusals.push(refusal);
            }
            Err(error) => return Err(error).or_aws("RunInstances").map_err(|failure| profile_hint(failure, order)),
        }
    }
    Err(Failure::aws("AWS has no capacity for any of the instance types and subnets")
        .detail(refusals.iter().map(|refusal| format!("  {refusal}\n")).collect::<String>())
        .hint("add instance types or subnets in gyron.toml"))
}

/// The refusals that another type or zone may escape.
fn no_capacity(code: Option<&str>) -> bool {
    matches!(code, Some("InsufficientInstanceCapacity" | "InstanceLimitExceeded" | "Unsupported" | "VcpuLimitExceeded"))
}

fn profile_hint(failure: Failure, order: &Order) -> Failure {
    if failure.message().contains("Instance Profile") {
        return failure.hint(format!(
            "the instance profile {} must exist, with the policy AmazonSSMManagedInstanceCore",
            order.profile
        ));
    }
    failure
}

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
            .hint(format!("aws ec2 terminate-instances --instance-ids {instance}"))
    };
    match aws.ec2.terminate_instances().instance_ids(instance.as_str()).send().await {
        Err(error) if code(&error) == Some("InvalidInstanceID.NotFound") => return Ok(()),
        other => other.or_aws("TerminateInstances").map_err(remains)?,
    };
    // Clean-up goes on after a signal: nothing stops it but its own deadline.
    let never = Stop::never();
    wait_for(aws, console, &never, instance, &InstanceStateName::Terminated, Duration::from_secs(300))
        .await
        .map_err(remains)
}
