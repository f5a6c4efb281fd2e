//! The image a bake starts from.

use aws_sdk_ec2::types::{Filter, Image, ImageState};
use gyron_core::aws::{Aws, OrAws as _, code};
use gyron_core::config::schema::Base;
use gyron_core::failure::{Failure, Result};
use gyron_core::ids::ImageId;

use crate::lockfile::{FILE_NAME, Pin};

/// A base image that is there and can be booted.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) id: ImageId,
    pub(crate) name: String,
    /// `x86_64` or `arm64`.
    pub(crate) architecture: String,
    /// The root device's name; an image that is baked on it has the same.
    pub(crate) root_device: String,
}

/// Takes the base image that gyron.lock pins, or else finds the one that gyron.toml asks for.
///
/// # Errors
/// Usage (2): there is none. Refused (3): the pinned one is gone. AWS (4).
pub(crate) async fn find(aws: &Aws, base: &Base, pin: Option<&Pin>) -> Result<Found> {
    let image = match pin {
        Some(pin) => pinned(aws, pin).await?,
        None => resolve(aws, base).await?,
    };
    let id = image.image_id().unwrap_or_default();
    let Some(root_device) = image.root_device_name() else {
        return Err(Failure::usage(format!("the base image {id} has no root device: it can't be baked on")));
    };
    Ok(Found {
        root_device: root_device.to_owned(),
        id: ImageId::new(id),
        name: image.name().unwrap_or(id).to_owned(),
        architecture: image.architecture().map_or("x86_64", |architecture| architecture.as_str()).to_owned(),
    })
}

/// A deprecated image is still found by its id; one that was deregistered or disabled is nothing to build on.
async fn pinned(aws: &Aws, pin: &Pin) -> Result<Image> {
    let found = by_id(aws, pin.id.as_str()).await?.into_iter().next();
    match found.filter(|image| image.state() == Some(&ImageState::Available)) {
        Some(image) => Ok(image),
        None => Err(Failure::refused(format!(
            "the base image {} ({}), which {FILE_NAME} pins, is no longer there in {}",
            pin.id, pin.name, aws.region
        ))
        .hint("`gyron-bake update` pins the newest")),
    }
}

/// Finds the image that answers what gyron.toml asks, the newest where several do.
///
/// # Errors
/// Usage (2): there is none. AWS (4).
pub(crate) async fn resolve(aws: &Aws, base: &Base) -> Result<Image> {
    let images = if let Some(name) = &base.name {
        by_name(aws, name, base.owner.as_deref()).await?
    } else {
        by_id(aws, &id(aws, base).await?).await?
    };
    let wanted = describe(base);
    let Some(newest) = newest(images) else {
        return Err(Failure::usage(format!("the base image was not found: {wanted} in {}", aws.region))
            .hint("bake.base in gyron.toml names it: by `ssm`, `id`, or `name` and `owner`"));
    };
    if newest.state() != Some(&ImageState::Available) {
        let id = newest.image_id().unwrap_or_default();
        let state = newest.state().map_or("unknown", ImageState::as_str);
        return Err(Failure::usage(format!("the base image {id} is {state}, not available")));
    }
    Ok(newest)
}

fn describe(base: &Base) -> String {
    match (&base.ssm, &base.id, &base.name) {
        (Some(parameter), _, _) => format!("the SSM parameter {parameter}"),
        (_, Some(id), _) => id.clone(),
        (_, _, name) => {
            let owner = base.owner.as_deref().map(|owner| format!(" of {owner}")).unwrap_or_default();
            format!("`{}`{owner}", name.as_deref().unwrap_or_default())
        }
    }
}

async fn id(aws: &Aws, base: &Base) -> Result<String> {
    let Some(parameter) = &base.ssm else { return Ok(base.id.clone().unwrap_or_default()) };
    match aws.ssm.get_parameter().name(parameter).send().await {
        Ok(got) => Ok(got.parameter().and_then(|parameter| parameter.value()).unwrap_or_default().to_owned()),
        Err(error) if code(&error) == Some("ParameterNotFound") => {
            Err(Failure::usage(format!("the base image was not found: no SSM parameter {parameter} in {}", aws.region))
                .hint("bake.base in gyron.toml names it: by `ssm`, `id`, or `name` and `owner`"))
        }
        Err(error) => Err(error).or_aws("GetParameter"),
    }
}

async fn by_id(aws: &Aws, id: &str) -> Result<Vec<Image>> {
    match aws.ec2.describe_images().image_ids(id).send().await {
        Err(error) if matches!(code(&error), Some("InvalidAMIID.NotFound" | "InvalidAMIID.Malformed")) => {
            Ok(Vec::new())
        }
        other => Ok(other.or_aws("DescribeImages")?.images().to_vec()),
    }
}

async fn by_name(aws: &Aws, name: &str, owner: Option<&str>) -> Result<Vec<Image>> {
    let filters =
        [("name", name), ("state", "available")].map(|(key, value)| Filter::builder().name(key).values(value).build());
    let asked = aws.ec2.describe_images().set_filters(Some(filters.to_vec()));
    let asked = match owner {
        Some(owner) => asked.owners(owner),
        None => asked,
    };
    Ok(asked.send().await.or_aws("DescribeImages")?.images().to_vec())
}

/// The youngest by its creation date, which AWS writes so that it sorts as text.
fn newest(images: Vec<Image>) -> Option<Image> {
    images.into_iter().max_by(|a, b| a.creation_date().cmp(&b.creation_date()))
}
