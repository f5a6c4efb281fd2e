//! `gyron-bake diff`: which packages changed between two images.

use aws_sdk_ec2::types::{Filter, Image};
use gyron_core::aws::{Aws, OrAws as _, code};
use gyron_core::failure::{Failure, Result};
use gyron_core::ids::ImageId;
use gyron_core::registry::Registry;
use gyron_core::step::Context;
use serde_json::json;

use super::diff::{Change, changes};
use super::{Packages, key};
use crate::known::TAG;

/// An image that gyron baked.
pub(super) struct Baked {
    image: ImageId,
    fingerprint: String,
    run: String,
    /// None for a layer without the release.
    version: Option<String>,
    /// As AWS writes it: it sorts as text.
    made: String,
}

impl Baked {
    /// None where there is no such image, or gyron did not bake it.
    pub(super) async fn find(aws: &Aws, image: &ImageId) -> Result<Option<Self>> {
        Ok(described(aws, image).await?.as_ref().and_then(Self::read))
    }

    /// Where the list of its packages lies.
    pub(super) fn list(&self, registry: &Registry) -> String {
        key(registry, &self.fingerprint, &self.run)
    }

    fn read(image: &Image) -> Option<Self> {
        let tag = |key: &str| {
            let tag = image.tags().iter().find(|tag| tag.key() == Some(key));
            tag.and_then(|tag| tag.value()).map(str::to_owned)
        };
        Some(Baked {
            image: ImageId::new(image.image_id()?),
            fingerprint: tag(TAG)?,
            run: tag("gyron:run")?,
            version: tag("gyron:version"),
            made: image.creation_date().unwrap_or_default().to_owned(),
        })
    }

    fn named(&self) -> String {
        match &self.version {
            Some(version) => format!("{} ({version})", self.image),
            None => self.image.to_string(),
        }
    }

    async fn packages(&self, registry: &Registry) -> Result<Packages> {
        let listed = registry.bytes(&self.list(registry)).await?;
        let listed = listed.ok_or_else(|| {
            Failure::refused(format!("no list of the packages of {} is known", self.image))
                .hint("an image that is baked now has one: gyron-bake --fresh")
        })?;
        Ok(Packages::read(&String::from_utf8_lossy(&listed)))
    }
}

/// Shows which packages changed between two images, each named by id or version: from the one before to the newest where none is
/// named, from the one that is named to the newest where there is one.
///
/// # Errors
/// Usage (2): there is no such image, or gyron did not bake it; refused (3): its packages are not known; AWS (4).
pub(crate) async fn diff(context: &Context, named: &[String]) -> Result<()> {
    let aws = context.aws().await;
    let registry = context.registry(&aws);
    let (from, to) = match named {
        [from, to] => (find(&aws, context, from).await?, find(&aws, context, to).await?),
        [from] => (find(&aws, context, from).await?, newest(&aws, context, 0).await?),
        _ => (newest(&aws, context, 1).await?, newest(&aws, context, 0).await?),
    };
    let changed = changes(&from.packages(&registry).await?, &to.packages(&registry).await?);
    context.console.say(format!("packages from {} to {}", from.named(), to.named()));
    if changed.is_empty() && !context.json {
        context.console.say("  no package differs");
        return Ok(());
    }
    let lines: Vec<String> = changed.iter().map(Change::line).collect();
    context.print_result(&json!({ "from": from.image, "to": to.image, "changes": changed }), &lines.join("\n"))
}

async fn described(aws: &Aws, image: &ImageId) -> Result<Option<Image>> {
    match aws.ec2.describe_images().image_ids(image.as_str()).send().await {
        Err(error) if matches!(code(&error), Some("InvalidAMIID.NotFound" | "InvalidAMIID.Malformed")) => Ok(None),
        other => Ok(other.or_aws("DescribeImages")?.images().first().cloned()),
    }
}

/// The image of that id, or the newest of that version.
async fn find(aws: &Aws, context: &Context, name: &str) -> Result<Baked> {
    if name.starts_with("ami-") {
        let image = ImageId::new(name);
        let found = described(aws, &image).await?;
        let found = found.ok_or_else(|| Failure::usage(format!("there is no image {name} in {}", aws.region)))?;
        return Baked::read(&found).ok_or_else(|| {
            Failure::usage(format!("{name} was not baked by gyron: it has no tag {TAG}"))
                .hint("only of images that gyron-bake made it is known which packages they hold")
        });
    }
    let of_version = released(aws, context, Some(name)).await?.into_iter().next();
    of_version.ok_or_else(|| {
        Failure::usage(format!("there is no image of the version {name} of {} in {}", context.config.app(), aws.region))
            .hint("name an image by its id, or a version that has been baked")
    })
}

/// The app's image that is so many before the newest.
async fn newest(aws: &Aws, context: &Context, before: usize) -> Result<Baked> {
    let found = released(aws, context, None).await?.into_iter().nth(before);
    found.ok_or_else(|| {
        let (app, region, few) =
            (context.config.app(), &aws.region, if before == 0 { "no image" } else { "no two images" });
        Failure::usage(format!("{app} has {few} in {region}: there is nothing to compare"))
            .hint("gyron-bake diff IMAGE IMAGE, each by id or version")
    })
}

/// The app's images that hold a release, the newest first.
async fn released(aws: &Aws, context: &Context, version: Option<&str>) -> Result<Vec<Baked>> {
    let version = version.unwrap_or("*");
    let filters = [("tag:gyron:app", context.config.app()), ("tag:gyron:version", version), ("state", "available")]
        .map(|(name, value)| Filter::builder().name(name).values(value).build());
    let described = aws.ec2.describe_images().owners("self").set_filters(Some(filters.to_vec())).send().await;
    let mut found: Vec<Baked> = described.or_aws("DescribeImages")?.images().iter().filter_map(Baked::read).collect();
    found.sort_by(|a, b| b.made.cmp(&a.made).then_with(|| b.image.cmp(&a.image)));
    Ok(found)
}
