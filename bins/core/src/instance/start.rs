//! How an instance is started: whatever has capacity, watched from its first moment, with an SSM agent.

use std::time::Duration;

use aws_sdk_ec2::types::{
    HttpTokensState, IamInstanceProfileSpecification, InstanceMetadataEndpointState, InstanceMetadataOptionsRequest,
    InstanceMetadataTagsState, InstanceType, ResourceType, ShutdownBehavior,
};
use base64::Engine as _;

use super::tag_specification;
use crate::aws::{Aws, OrAws as _, code};
use crate::consistency::settled;
use crate::console::{Console, span};
use crate::exit::Exit;
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
    /// How long AWS is asked for capacity.
    pub capacity: Duration,
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

/// Starts an instance: tries types and subnets, and all of them again, until AWS has capacity.
///
/// Each attempt has a client token of run and attempt, so that a retried call never makes a second instance.
///
/// # Errors
/// AWS (4), which may have had no capacity for as long as the order says; the signal that asked to stop.
pub async fn start(aws: &Aws, console: &Console, stop: &Stop, order: &Order) -> Result<InstanceId> {
    let user_data = base64::engine::general_purpose::STANDARD.encode(user_data(aws, order.patience).await?);
    let choices = choices(order);
    let (mut attempt, mut last) = (0, Vec::new());
    let wait = Wait::new("capacity", order.capacity).every(AGAIN);
    let started = poll_until(console, stop, &wait, async || {
        let mut refusals = Vec::new();
        for (kind, subnet) in &choices {
            stop.check()?;
            match ask(aws, console, stop, order, (kind, *subnet), attempt, &user_data).await {
                Ok(Asked::Started(id)) => return Ok(Look::Done(id)),
                Err(failure) => return Err(failure),
                Ok(Asked::Refused(refusal)) => {
                    if last.is_empty() {
                        console.say(format!("  no capacity for {refusal}"));
                    }
                    refusals.push(refusal);
                }
            }
            attempt += 1;
        }
        last = refusals;
        Ok(Look::Pending(format!("none for any of {} choices", choices.len())))
    })
    .await;
    match started {
        Err(failure) if failure.exit() == Exit::Deadline && !last.is_empty() => {
            let long = span(order.capacity);
            Err(Failure::aws(format!("AWS had no capacity for any of the instance types and subnets for {long}"))
                .detail(last.iter().map(|refusal| format!("  {refusal}\n")).collect::<String>())
                .hint("add instance types or subnets in gyron.toml"))
        }
        started => started,
    }
}

/// How long after a round of refusals all are asked again.
const AGAIN: Duration = Duration::from_secs(15);

/// Types and subnets, each type in each subnet.
fn choices(order: &Order) -> Vec<(&str, Option<&str>)> {
    let subnets: Vec<Option<&str>> = match order.subnets.as_slice() {
        [] => vec![None],
        named => named.iter().map(|subnet| Some(subnet.as_str())).collect(),
    };
    order.types.iter().flat_map(|kind| subnets.iter().map(move |subnet| (kind.as_str(), *subnet))).collect()
}

/// What came of one attempt.
enum Asked {
    Started(InstanceId),
    /// There is no capacity, or none of this type in this place.
    Refused(String),
}

async fn ask(
    aws: &Aws,
    console: &Console,
    stop: &Stop,
    order: &Order,
    (kind, subnet): (&str, Option<&str>),
    attempt: u32,
    user_data: &str,
) -> Result<Asked> {
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
        .user_data(user_data)
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
    // The image of the layer below and the instance profile may have been made a moment ago.
    match settled(console, stop, "RunInstances", async || run.clone().send().await).await? {
        Ok(started) => {
            let id = started.instances().first().and_then(|instance| instance.instance_id());
            let id = id.ok_or_else(|| Failure::aws("RunInstances answered without an instance"))?;
            Ok(Asked::Started(InstanceId::new(id)))
        }
        Err(error) if no_capacity(code(&error)) => {
            let place = subnet.map(|subnet| format!(" in {subnet}")).unwrap_or_default();
            Ok(Asked::Refused(format!("{kind}{place}: {}", code(&error).unwrap_or_default())))
        }
        Err(error) => Err(error).or_aws("RunInstances").map_err(|failure| profile_hint(failure, order)),
    }
}

/// The refusals that another type or zone, or a while, may escape:
/// docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
fn no_capacity(code: Option<&str>) -> bool {
    matches!(
        code,
        Some(
            "InsufficientInstanceCapacity"
                | "InsufficientHostCapacity"
                | "InsufficientFreeAddressesInSubnet"
                | "InstanceLimitExceeded"
                | "VcpuLimitExceeded"
                | "Unsupported"
        )
    )
}

fn of_the_profile(failure: &Failure) -> bool {
    failure.message().contains("Invalid IAM Instance Profile")
}

fn profile_hint(failure: Failure, order: &Order) -> Failure {
    if of_the_profile(&failure) {
        return failure.hint(format!(
            "the instance profile {} must exist, with the policy AmazonSSMManagedInstanceCore",
            order.profile
        ));
    }
    failure
}
