//! Images that are there already: found by their fingerprint, with what is known of how they were made.

use std::time::Duration;

use aws_sdk_ec2::types::{Filter, Image, ImageState};
use gyron_core::aws::{Aws, OrAws as _};
use gyron_core::config::schema::Span;
use gyron_core::failure::Result;
use gyron_core::ids::{Digest, ImageId};
use gyron_core::registry::Registry;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fingerprint::Fingerprint;
use crate::image;

/// The tag that carries an image's fingerprint.
pub(crate) const TAG: &str = "gyron:fingerprint";

/// An image with a fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) image: ImageId,
    /// When it was made; none where AWS doesn't say.
    pub(crate) made: Option<Timestamp>,
    /// Whether what is launched from it needs tokens for its metadata: not yet, where its bake died right before.
    pub(crate) tokens_required: bool,
}

/// Of an image's making, what the next bake wants to know: `APP/images/…`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Making {
    pub(crate) image: ImageId,
    pub(crate) version: String,
    pub(crate) parts: Fingerprint,
}

impl Making {
    /// Where the newest making of a layer stands.
    fn key(registry: &Registry, layer: &str) -> String {
        registry.key(&format!("images/{layer}.json"))
    }

    /// The newest making of a layer; none before the first.
    pub(crate) async fn last(registry: &Registry, layer: &str) -> Result<Option<Self>> {
        Ok(registry.get::<Making>(&Self::key(registry, layer)).await?.map(|there| there.value))
    }

    /// Writes it down as the newest.
    pub(crate) async fn keep(&self, registry: &Registry, layer: &str) -> Result<()> {
        registry.swap(&Self::key(registry, layer), |_: Option<Making>| Ok(self.clone())).await
    }
}

/// The available images with this fingerprint. One whose bake died after it had asked for the image is among them.
pub(crate) async fn available(aws: &Aws, app: &str, fingerprint: &Digest) -> Result<Vec<Standing>> {
    Ok(standing(&images(aws, app, fingerprint, &["available"]).await?))
}

/// Those of the images that can be launched.
pub(crate) fn standing(images: &[Image]) -> Vec<Standing> {
    let available = images.iter().filter(|image| image.state() == Some(&ImageState::Available));
    let standing = available.filter_map(|image| {
        let made = image.creation_date().and_then(|date| date.parse().ok());
        let tokens_required = image.imds_support().is_some();
        Some(Standing { image: ImageId::new(image.image_id()?), made, tokens_required })
    });
    standing.collect()
}

/// The value of an image's tag.
pub(crate) fn tag<'a>(image: &'a Image, key: &str) -> Option<&'a str> {
    image.tags().iter().find(|tag| tag.key() == Some(key)).and_then(|tag| tag.value())
}

/// The images with this fingerprint that are in one of these states.
pub(crate) async fn images(aws: &Aws, app: &str, fingerprint: &Digest, states: &[&str]) -> Result<Vec<Image>> {
    let states = states.iter().map(|state| (*state).to_owned()).collect();
    let filters = vec![
        Filter::builder().name(format!("tag:{TAG}")).values(fingerprint.as_str()).build(),
        Filter::builder().name("tag:gyron:app").values(app).build(),
        Filter::builder().name("state").set_values(Some(states)).build(),
    ];
    let described = aws.ec2.describe_images().owners("self").set_filters(Some(filters)).send().await;
    Ok(described.or_aws("DescribeImages")?.images().to_vec())
}

/// The image to reuse: the youngest that is not older than `max_age`.
pub(crate) fn choose(standing: Vec<Standing>, max_age: Option<Span>, now: Timestamp) -> Option<Standing> {
    let young = |standing: &Standing| match (max_age, age(standing, now)) {
        (None, _) => true,
        (Some(longest), Some(age)) => age <= longest.0,
        // Nobody knows how old it is.
        (Some(_), None) => false,
    };
    standing.into_iter().filter(young).max_by_key(|standing| standing.made)
}

impl Standing {
    /// Finishes what its bake may have died before.
    pub(crate) async fn finish(&self, aws: &Aws) -> Result<()> {
        if self.tokens_required { Ok(()) } else { image::require_tokens(aws, &self.image).await }
    }
}

/// How old an image is.
pub(crate) fn age(standing: &Standing, now: Timestamp) -> Option<Duration> {
    Duration::try_from(now.duration_since(standing.made?)).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use super::*;

    fn standing(image: &str, made: Option<&str>) -> Standing {
        Standing { image: ImageId::new(image), made: made.map(|at| at.parse().unwrap()), tokens_required: true }
    }

    #[test]
    fn the_youngest_that_is_not_too_old_is_reused() {
        let now: Timestamp = "2026-01-10T00:00:00Z".parse().unwrap();
        let all = || {
            vec![
                standing("ami-1", Some("2026-01-01T00:00:00.000Z")),
                standing("ami-2", Some("2026-01-05T00:00:00.000Z")),
            ]
        };
        let chosen = |max_age| choose(all(), max_age, now).map(|it| it.image);
        assert_eq!(chosen(None), Some(ImageId::new("ami-2")));
        assert_eq!(chosen(Some(Span::seconds(6 * 86_400))), Some(ImageId::new("ami-2")));
        assert_eq!(chosen(Some(Span::seconds(86_400))), None);
        assert_eq!(choose(vec![standing("ami-3", None)], Some(Span::seconds(1)), now), None);
    }
}
