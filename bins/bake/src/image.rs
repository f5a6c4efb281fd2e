//! The image that a bake makes.

use std::time::Duration;

use aws_sdk_ec2::types::{
    AttributeValue, DeleteSnapshotReturnCode, Filter, ImageState, InstanceStateName, ResourceType, SnapshotReturnCodes,
};
use gyron_core::aws::{Aws, OrAws as _, code};
use gyron_core::consistency::{LAG, settled};
use gyron_core::console::Console;
use gyron_core::failure::{Failure, Result};
use gyron_core::ids::{ImageId, InstanceId};
use gyron_core::instance::{self, tag_specification};
use gyron_core::names::Tags;
use gyron_core::step::Context;
use gyron_core::stop::Stop;
use gyron_core::wait::{Look, Wait, poll_until};
use tokio::time::Instant;

/// Stops the builder: that is what flushes its disk.
pub(crate) async fn stop_builder(context: &Context, aws: &Aws, builder: &InstanceId, deadline: Duration) -> Result<()> {
    let stop = async || aws.ec2.stop_instances().instance_ids(builder.as_str()).send().await;
    settled(&context.console, &context.stop, "StopInstances", stop).await?.or_aws("StopInstances")?;
    instance::wait_for(aws, &context.console, &context.stop, builder, &InstanceStateName::Stopped, deadline).await
}

/// Asks for an image of the stopped builder, tagged from the beginning with its snapshots.
pub(crate) async fn create(
    context: &Context,
    aws: &Aws,
    builder: &InstanceId,
    name: &str,
    tags: &Tags,
) -> Result<ImageId> {
    let mut create = aws.ec2.create_image().instance_id(builder.as_str()).name(name);
    for kind in [ResourceType::Image, ResourceType::Snapshot] {
        create = create.tag_specifications(tag_specification(kind, tags, name));
    }
    let created = settled(&context.console, &context.stop, "CreateImage", async || create.clone().send().await).await?;
    match created {
        // The call has no token, and the name is this run's own: its first answer was lost on the way.
        Err(error) if code(&error) == Some("InvalidAMIName.Duplicate") => {
            asked_for(context, aws, name).await?.ok_or(error).or_aws("CreateImage")
        }
        created => {
            let created = created.or_aws("CreateImage")?;
            let id = created.image_id().ok_or_else(|| Failure::aws("CreateImage answered without an image"))?;
            Ok(ImageId::new(id))
        }
    }
}

/// The image of this name, as soon as EC2 shows it; none where it does not come to be seen.
async fn asked_for(context: &Context, aws: &Aws, name: &str) -> Result<Option<ImageId>> {
    let begun = Instant::now();
    let wait = Wait::new(format!("the image {name} to be seen"), LAG * 2).soon();
    poll_until(&context.console, &context.stop, &wait, async || {
        let shown = named(aws, name).await?;
        let over = shown.is_some() || begun.elapsed() >= LAG;
        Ok(if over { Look::Done(shown) } else { Look::Pending("not to be seen yet".to_owned()) })
    })
    .await
}

/// The account's image of this name, whatever its state.
pub(crate) async fn named(aws: &Aws, name: &str) -> Result<Option<ImageId>> {
    let filter = Filter::builder().name("name").values(name).build();
    let described = aws.ec2.describe_images().owners("self").filters(filter).send().await.or_aws("DescribeImages")?;
    Ok(described.images().first().and_then(|image| image.image_id()).map(ImageId::new))
}

/// Whether an image will never be there: not where AWS just can't be asked.
pub(crate) async fn came_to_nothing(aws: &Aws, image: &ImageId) -> Result<bool> {
    let described = match aws.ec2.describe_images().image_ids(image.as_str()).send().await {
        Err(error) if code(&error) == Some("InvalidAMIID.NotFound") => return Ok(true),
        other => other.or_aws("DescribeImages")?,
    };
    let state = described.images().first().and_then(|image| image.state());
    Ok(!matches!(state, Some(ImageState::Pending | ImageState::Available | ImageState::Transient)))
}

/// Waits until the image can be launched.
pub(crate) async fn wait_available(context: &Context, aws: &Aws, image: &ImageId, deadline: Duration) -> Result<()> {
    let wait = Wait::new(format!("image {image}"), deadline).soon();
    poll_until(&context.console, &context.stop, &wait, async || {
        let described = match aws.ec2.describe_images().image_ids(image.as_str()).send().await {
            // An image is not to be seen at once everywhere: the SDK's own waiter takes this for the end.
            Err(error) if code(&error) == Some("InvalidAMIID.NotFound") => {
                return Ok(Look::Pending("not to be seen yet".to_owned()));
            }
            other => other.or_aws("DescribeImages")?,
        };
        let Some(found) = described.images().first() else {
            return Ok(Look::Pending("not to be seen yet".to_owned()));
        };
        match found.state() {
            Some(ImageState::Available) => Ok(Look::Done(())),
            Some(state @ (ImageState::Failed | ImageState::Error | ImageState::Invalid | ImageState::Deregistered)) => {
                let reason = found.state_reason().and_then(|reason| reason.message()).unwrap_or("AWS gave no reason");
                Err(Failure::aws(format!("image {image} is {}: {reason}", state.as_str())))
            }
            state => Ok(Look::Pending(state.map_or("pending", ImageState::as_str).to_owned())),
        }
    })
    .await
}

/// Has whatever is launched from the image ask its metadata service with tokens (IMDSv2), unless it is told otherwise. The play
/// ran on a builder that did, so the image can. Only an image that is there can be asked so, not one that is being made:
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyImageAttribute.html>.
pub(crate) async fn require_tokens(aws: &Aws, image: &ImageId) -> Result<()> {
    let version = AttributeValue::builder().value("v2.0").build();
    let asked = aws.ec2.modify_image_attribute().image_id(image.as_str()).imds_support(version).send().await;
    asked.map(drop).or_aws("ModifyImageAttribute")
}

/// Takes an image and its snapshots away: a bake that failed leaves none.
pub(crate) async fn remove(aws: &Aws, image: &ImageId) -> Result<()> {
    let remains = |failure: Failure| {
        failure.already(format!("{image} and its snapshots may still be there and cost money")).hint(format!(
            "aws ec2 deregister-image --image-id {image} --delete-associated-snapshots --region {}",
            aws.region
        ))
    };
    let deregister =
        async || aws.ec2.deregister_image().image_id(image.as_str()).delete_associated_snapshots(true).send().await;
    match settled(&Console::new(), &Stop::never(), "DeregisterImage", deregister).await? {
        Err(error) if matches!(code(&error), Some("InvalidAMIID.NotFound" | "InvalidAMIID.Unavailable")) => Ok(()),
        Err(error) => Err(error).or_aws("DeregisterImage").map_err(remains),
        Ok(done) => snapshots_gone(aws, image, done.delete_snapshot_results()).await,
    }
}

/// A success of DeregisterImage says nothing of the snapshots: each has a result of its own
/// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteSnapshotReturnCode.html>). One that another image uses stays.
async fn snapshots_gone(aws: &Aws, image: &ImageId, results: &[DeleteSnapshotReturnCode]) -> Result<()> {
    let gone = |code: Option<&SnapshotReturnCodes>| {
        matches!(code, None | Some(SnapshotReturnCodes::Success | SnapshotReturnCodes::WarnSkipped))
    };
    for left in results.iter().filter(|result| !gone(result.return_code())) {
        let id = left.snapshot_id().unwrap_or_default();
        match aws.ec2.delete_snapshot().snapshot_id(id).send().await {
            Err(error) if code(&error) == Some("InvalidSnapshot.NotFound") => {}
            other => other.map(drop).or_aws("DeleteSnapshot").map_err(|failure| {
                failure
                    .already(format!("{image} is deregistered; its snapshot {id} is still there and costs money"))
                    .hint(format!("aws ec2 delete-snapshot --snapshot-id {id} --region {}", aws.region))
            })?,
        }
    }
    Ok(())
}

/// Terminates the builder, by whatever way the bake ended.
pub(crate) async fn terminate_builder(
    context: &Context,
    aws: &Aws,
    run: &str,
    builder: Option<&InstanceId>,
) -> Result<()> {
    let mut left: Vec<InstanceId> = builder.cloned().into_iter().collect();
    if left.is_empty() {
        // The call that started it may have failed on its way back: the tag finds what this run has made.
        left = instance::of_run(aws, run).await?;
    }
    for id in &left {
        instance::terminate(aws, &context.console, id).await?;
    }
    Ok(())
}
