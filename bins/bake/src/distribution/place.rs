//! An image in one region: what stands there, and what is asked of it.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::operation::describe_image_attribute::DescribeImageAttributeOutput;
use aws_sdk_ec2::types::{
    self as ec2, Filter, ImageAttributeName, ImageState, LaunchPermission, LaunchPermissionModifications, ResourceType,
    Tag, TagSpecification,
};
use gyron_core::aws::{Aws, OrAws as _, code};
use gyron_core::failure::{Failure, Result};
use gyron_core::ids::{Digest, ImageId};
use gyron_core::registry::Registry;
use jiff::Timestamp;

use super::decision::{Grantee, Placed, Readiness};
use crate::image;

/// The tag by which a copy names the image that it is a copy of.
pub(crate) const SOURCE: &str = "gyron:source";

/// Where it is written down to which regions an image was copied.
pub(crate) fn ledger_key(registry: &Registry, image: &ImageId) -> String {
    registry.key(&format!("copies/{image}.json"))
}

/// The image at home, as copies take it over.
pub(super) struct Image {
    pub(super) id: ImageId,
    pub(super) made: Timestamp,
    name: String,
    tags: BTreeMap<String, String>,
}

/// A region.
pub(super) struct Place {
    aws: Aws,
    encrypted: bool,
    kms_key: Option<String>,
}

impl Place {
    pub(super) fn new(aws: Aws) -> Self {
        Place { aws, encrypted: false, kms_key: None }
    }

    /// Copies that come here are encrypted, by the region's default key if none is named.
    pub(super) fn encrypting(self, kms_key: Option<String>) -> Self {
        Place { encrypted: true, kms_key, ..self }
    }

    pub(super) fn region(&self) -> &str {
        &self.aws.region
    }

    /// What copies take over from an image.
    pub(super) async fn image(&self, id: &ImageId) -> Result<Image> {
        let described = self.aws.ec2.describe_images().image_ids(id.as_str()).send().await.or_aws("DescribeImages")?;
        let found = described.images().first();
        let found = found.ok_or_else(|| Failure::aws(format!("{id} is not to be seen in {}", self.region())))?;
        let made = found.creation_date().and_then(|date| date.parse().ok());
        let tags = found.tags().iter().filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned())));
        Ok(Image {
            id: id.clone(),
            made: made.ok_or_else(|| Failure::aws(format!("AWS does not say when {id} was made")))?,
            name: found.name().unwrap_or(id.as_str()).to_owned(),
            tags: tags.filter(|(key, _)| !key.starts_with("aws:")).collect(),
        })
    }

    /// The image itself.
    pub(super) async fn of_id(&self, id: &ImageId, shared: bool) -> Result<Option<Placed>> {
        let described = self.aws.ec2.describe_images().image_ids(id.as_str()).send().await;
        let found = match described {
            Err(error) if code(&error) == Some("InvalidAMIID.NotFound") => Vec::new(),
            other => other.or_aws("DescribeImages")?.images().to_vec(),
        };
        self.best(found, shared).await
    }

    /// The copy of an image: the one that is best to go on with.
    pub(super) async fn of_source(&self, source: &ImageId, shared: bool) -> Result<Option<Placed>> {
        let filter = Filter::builder().name(format!("tag:{SOURCE}")).values(source.as_str()).build();
        let described = self.aws.ec2.describe_images().owners("self").filters(filter).send().await;
        let described = described.or_aws(&format!("DescribeImages in {}", self.region()))?;
        self.best(described.images().to_vec(), shared).await
    }

    async fn best(&self, found: Vec<ec2::Image>, shared: bool) -> Result<Option<Placed>> {
        let rank = |image: &ec2::Image| match readiness(image) {
            Readiness::Available => 0,
            Readiness::Pending => 1,
            Readiness::Failed(_) => 2,
        };
        let Some(best) = found.into_iter().min_by_key(rank) else { return Ok(None) };
        let image = ImageId::new(best.image_id().unwrap_or_default());
        let readiness = readiness(&best);
        let shared = match shared && readiness == Readiness::Available {
            true => self.shared(&image).await?,
            false => BTreeSet::new(),
        };
        let deprecated = best.deprecation_time().and_then(|at| at.parse().ok());
        Ok(Some(Placed { image, readiness, shared, deprecated }))
    }

    async fn shared(&self, image: &ImageId) -> Result<BTreeSet<Grantee>> {
        let ask = self.aws.ec2.describe_image_attribute().image_id(image.as_str());
        let asked = ask.attribute(ImageAttributeName::LaunchPermission).send().await;
        asked.or_aws(&format!("DescribeImageAttribute in {}", self.region())).map(|said| granted(&said))
    }

    /// Asks for a copy; the same attempt gives the same one.
    ///
    /// All that is asked for is the same whichever run asks, tags included: else the token would be refused.
    pub(super) async fn copy(&self, image: &Image, from: &str, attempt: u32) -> Result<ImageId> {
        let key = self.kms_key.as_deref().unwrap_or_default();
        let token = Digest::of(format!("{} {from} {} {key} {attempt}", image.id, self.region()).as_bytes());
        let mut tags = image.tags.clone();
        tags.insert(SOURCE.to_owned(), image.id.to_string());
        let tags: Vec<Tag> = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect();
        let mut copy = self
            .aws
            .ec2
            .copy_image()
            .source_image_id(image.id.as_str())
            .source_region(from)
            .name(&image.name)
            .set_encrypted(self.encrypted.then_some(true))
            .set_kms_key_id(self.kms_key.clone())
            .client_token(token.as_str());
        for kind in [ResourceType::Image, ResourceType::Snapshot] {
            let specification = TagSpecification::builder().resource_type(kind).set_tags(Some(tags.clone())).build();
            copy = copy.tag_specifications(specification);
        }
        let copied = copy.send().await.or_aws(&format!("CopyImage to {}", self.region()))?;
        let id = copied.image_id().ok_or_else(|| Failure::aws("CopyImage answered without an image"))?;
        Ok(ImageId::new(id))
    }

    /// Lets these launch it, too.
    pub(super) async fn share(&self, image: &ImageId, with: &[Grantee]) -> Result<()> {
        let permissions = with.iter().map(|grantee| {
            let permission = LaunchPermission::builder();
            match grantee {
                Grantee::Account(id) => permission.user_id(id),
                Grantee::Organisation(arn) => permission.organization_arn(arn),
                Grantee::Unit(arn) => permission.organizational_unit_arn(arn),
            }
            .build()
        });
        let adding = LaunchPermissionModifications::builder().set_add(Some(permissions.collect())).build();
        let asked =
            self.aws.ec2.modify_image_attribute().image_id(image.as_str()).launch_permission(adding).send().await;
        asked.map(drop).or_aws(&format!("ModifyImageAttribute of {image} in {}", self.region()))
    }

    /// Has it deprecated at this time.
    pub(super) async fn deprecate(&self, image: &ImageId, at: Timestamp) -> Result<()> {
        let at = aws_sdk_ec2::primitives::DateTime::from_secs(at.as_second());
        let asked = self.aws.ec2.enable_image_deprecation().image_id(image.as_str()).deprecate_at(at).send().await;
        asked.map(drop).or_aws(&format!("EnableImageDeprecation of {image} in {}", self.region()))
    }

    /// Takes it away with its snapshots; while it is pending, that ends the copy
    /// (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/CopyingAMIs.html>).
    pub(super) async fn remove(&self, image: &ImageId) -> Result<()> {
        image::remove(&self.aws, image).await
    }
}

fn readiness(image: &ec2::Image) -> Readiness {
    match image.state() {
        Some(ImageState::Available) => Readiness::Available,
        Some(ImageState::Failed | ImageState::Error | ImageState::Invalid | ImageState::Deregistered) => {
            let reason = image.state_reason().and_then(|reason| reason.message());
            Readiness::Failed(reason.unwrap_or("AWS gave no reason").to_owned())
        }
        _ => Readiness::Pending,
    }
}

fn granted(said: &DescribeImageAttributeOutput) -> BTreeSet<Grantee> {
    let permission = |permission: &LaunchPermission| {
        let account = permission.user_id().map(|id| Grantee::Account(id.to_owned()));
        let organisation = || permission.organization_arn().map(|arn| Grantee::Organisation(arn.to_owned()));
        let unit = || permission.organizational_unit_arn().map(|arn| Grantee::Unit(arn.to_owned()));
        account.or_else(organisation).or_else(unit)
    };
    said.launch_permissions().iter().filter_map(permission).collect()
}
