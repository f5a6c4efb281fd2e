//! The image under test.

use aws_sdk_ec2::types::{ImageState, Tag};
use gyron_core::aws::{Aws, OrAws as _, code};
use gyron_core::failure::{Failure, Result};
use gyron_core::ids::{Digest, ImageId};

/// The tag that says whether the image passed its specs.
pub(crate) const VERDICT: &str = "gyron:spec";

/// The tag that says which specs they were.
const SPECS: &str = "gyron:spec:digest";

/// Checks that the image of the record can still be booted.
///
/// # Errors
/// Refused (3) where it is gone or not available; AWS (4).
pub(crate) async fn check(aws: &Aws, image: &ImageId) -> Result<()> {
    let refused = |seen: &str| {
        Failure::refused(format!("the image {image} of .gyron/bake.json {seen} in {}", aws.region))
            .hint("gyron-bake makes it")
    };
    let described = match aws.ec2.describe_images().image_ids(image.as_str()).send().await {
        Err(error) if matches!(code(&error), Some("InvalidAMIID.NotFound" | "InvalidAMIID.Unavailable")) => {
            return Err(refused("is gone"));
        }
        other => other.or_aws("DescribeImages")?,
    };
    match described.images().first().and_then(|image| image.state()) {
        None => Err(refused("is gone")),
        Some(ImageState::Available) => Ok(()),
        Some(other) => Err(refused(&format!("is {}", other.as_str()))),
    }
}

/// Marks the image, so that whoever looks at it without the records sees the verdict, too.
///
/// # Errors
/// AWS (4).
pub(crate) async fn mark(aws: &Aws, image: &ImageId, passed: bool, specs: &Digest) -> Result<()> {
    let verdict = if passed { "passed" } else { "failed" };
    let tags = [(VERDICT, verdict), (SPECS, specs.as_str())];
    let tags = tags.map(|(key, value)| Tag::builder().key(key).value(value).build());
    let marked = aws.ec2.create_tags().resources(image.as_str()).set_tags(Some(tags.to_vec())).send().await;
    marked.map(|_| ()).or_aws("CreateTags")
}
