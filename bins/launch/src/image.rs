//! Whether the image of the records still is what they say.

use aws_sdk_ec2::types::ImageState;
use gyron_core::aws::{Aws, OrAws as _, code};
use gyron_core::failure::{Failure, Result};
use gyron_core::records::Spec;

/// The tag in which gyron-spec leaves its verdict on an image: `passed` or `failed`.
const VERDICT_TAG: &str = "gyron:spec";

/// The tag that says by which specs: their digest.
const SPECS_TAG: &str = "gyron:spec:digest";

/// Checks that the image is there, can be started, and wasn't found bad by anybody since.
///
/// # Errors
/// Refused (3) where it is not so; AWS (4).
pub async fn check(aws: &Aws, spec: &Spec) -> Result<()> {
    let image = &spec.image;
    let gone = || {
        Failure::refused(format!("the image {image} of the records is not in {}", aws.region))
            .hint("gyron-bake makes an image, gyron-spec tests it")
    };
    let described = match aws.ec2.describe_images().image_ids(image.as_str()).send().await {
        Err(error) if matches!(code(&error), Some("InvalidAMIID.NotFound" | "InvalidAMIID.Unavailable")) => {
            return Err(gone());
        }
        other => other.or_aws("DescribeImages")?,
    };
    let found = described.images().first().ok_or_else(gone)?;
    if let Some(state) = found.state().filter(|state| **state != ImageState::Available) {
        return Err(Failure::refused(format!("the image {image} is {}, not available", state.as_str()))
            .hint("gyron-bake makes an image, gyron-spec tests it"));
    }
    let tag = |key| found.tags().iter().find(|tag| tag.key() == Some(key)).and_then(|tag| tag.value());
    let expected = [(VERDICT_TAG, "passed"), (SPECS_TAG, spec.specs.as_str())];
    let other = expected.into_iter().find_map(|(key, expected)| {
        let seen = tag(key).filter(|seen| *seen != expected)?;
        Some(format!("{key}={seen}, the records say {expected}"))
    });
    other.map_or(Ok(()), |other| {
        Err(Failure::refused(format!("the image {image} is tagged {other}")).hint("gyron-spec tests it again"))
    })
}
