//! Old images: which are kept and why, and what is taken away.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{Filter, Image, ImageState};
use gyron_core::aws::{Aws, OrAws as _, code};
use gyron_core::failure::Result;
use gyron_core::ids::ImageId;
use gyron_core::step::Context;

use crate::image;

/// An image of the app's.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    id: ImageId,
    layer: String,
    /// The image that it stands on.
    base: Option<ImageId>,
    /// As AWS writes it: it sorts as text.
    made: String,
}

/// What becomes of an image, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Kept(String),
    Goes,
}

/// Decides every image's fate: the newest `keep` of each layer stay, and what something refers to, and what these stand on.
fn decide(images: &[Known], used: &BTreeMap<ImageId, String>, keep: usize) -> Vec<(Known, Fate)> {
    let mut reasons: BTreeMap<ImageId, String> = BTreeMap::new();
    let layers: BTreeSet<&str> = images.iter().map(|image| image.layer.as_str()).collect();
    for layer in layers {
        let mut of_layer: Vec<&Known> = images.iter().filter(|image| image.layer == layer).collect();
        of_layer.sort_by(|a, b| b.made.cmp(&a.made).then_with(|| b.id.cmp(&a.id)));
        for image in of_layer.into_iter().take(keep) {
            reasons.insert(image.id.clone(), format!("one of the newest {keep} of {layer}"));
        }
    }
    for image in images {
        if let Some(by) = used.get(&image.id) {
            reasons.insert(image.id.clone(), format!("used by {by}"));
        }
    }
    // Layers stand on layers: until nothing is added any more.
    loop {
        let below: Vec<(ImageId, String)> = images
            .iter()
            .filter(|image| reasons.contains_key(&image.id))
            .filter_map(|image| Some((image.base.clone()?, format!("{} stands on it", image.id))))
            .filter(|(base, _)| !reasons.contains_key(base) && images.iter().any(|image| image.id == *base))
            .collect();
        if below.is_empty() {
            break;
        }
        reasons.extend(below);
    }
    let fate = |image: &Known| reasons.get(&image.id).map_or(Fate::Goes, |reason| Fate::Kept(reason.clone()));
    images.iter().map(|image| (image.clone(), fate(image))).collect()
}

/// Shows what old images would go; with `yes`, deregisters them with their snapshots.
///
/// # Errors
/// AWS (4).
pub(crate) async fn prune(context: &Context, yes: bool) -> Result<()> {
    let keep = context.config.bake()?.keep;
    let aws = context.aws().await;
    let images = images(&aws, context.config.app()).await?;
    let used = used(&aws, &images).await?;
    let decided = decide(&images, &used, keep);
    for (image, fate) in &decided {
        if let Fate::Kept(reason) = fate {
            context.console.say(format!("  {} ({}, {}) stays: {reason}", image.id, image.layer, image.made));
        }
    }
    let going: Vec<&Known> = decided.iter().filter(|(_, fate)| *fate == Fate::Goes).map(|(image, _)| image).collect();
    if context.plan || !yes {
        let mut lines: Vec<String> = going
            .iter()
            .map(|image| format!("deregister {} ({}, {}) with its snapshots", image.id, image.layer, image.made))
            .collect();
        if lines.is_empty() {
            lines.push("change nothing: no image is too many".to_owned());
        }
        return context.show_plan(&lines);
    }
    for known in &going {
        image::remove(&aws, &known.id).await?;
        context.console.say(format!("  {} ({}, {}) is gone", known.id, known.layer, known.made));
    }
    let gone: Vec<String> = going.iter().map(|image| image.id.to_string()).collect();
    context.print_result(&serde_json::json!({ "deregistered": gone }), &gone.join("\n"))
}

/// The app's baked images; one that is being made is not there yet.
async fn images(aws: &Aws, app: &str) -> Result<Vec<Known>> {
    let filters = [("tag:gyron:app", app), ("tag:gyron:step", "bake")]
        .map(|(name, value)| Filter::builder().name(name).values(value).build());
    let described = aws.ec2.describe_images().owners("self").set_filters(Some(filters.to_vec())).send().await;
    let described = described.or_aws("DescribeImages")?;
    let tag = |image: &Image, key: &str| {
        image.tags().iter().find(|tag| tag.key() == Some(key)).and_then(|tag| tag.value()).map(str::to_owned)
    };
    let known = described.images().iter().filter(|image| image.state() == Some(&ImageState::Available));
    let known = known.filter_map(|image| {
        Some(Known {
            id: ImageId::new(image.image_id()?),
            layer: tag(image, "gyron:layer").unwrap_or_else(|| "image".to_owned()),
            base: tag(image, "gyron:base").map(ImageId::new),
            made: image.creation_date().unwrap_or_default().to_owned(),
        })
    });
    Ok(known.collect())
}

/// Which images something refers to: instances, stopped ones too, and every version of every launch template, by which groups
/// launch.
async fn used(aws: &Aws, images: &[Known]) -> Result<BTreeMap<ImageId, String>> {
    let mut used = BTreeMap::new();
    if images.is_empty() {
        return Ok(used);
    }
    let ids: Vec<String> = images.iter().map(|image| image.id.to_string()).collect();
    let states = ["pending", "running", "stopping", "stopped", "shutting-down"].map(str::to_owned).to_vec();
    let filters = vec![
        Filter::builder().name("image-id").set_values(Some(ids)).build(),
        Filter::builder().name("instance-state-name").set_values(Some(states)).build(),
    ];
    let mut pages = aws.ec2.describe_instances().set_filters(Some(filters)).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.or_aws("DescribeInstances")?;
        for instance in page.reservations().iter().flat_map(|reservation| reservation.instances()) {
            if let (Some(image), Some(id)) = (instance.image_id(), instance.instance_id()) {
                used.insert(ImageId::new(image), id.to_owned());
            }
        }
    }
    let mut templates = aws.ec2.describe_launch_templates().into_paginator().send();
    while let Some(page) = templates.next().await {
        for template in page.or_aws("DescribeLaunchTemplates")?.launch_templates() {
            let (Some(id), Some(name)) = (template.launch_template_id(), template.launch_template_name()) else {
                continue;
            };
            let mut versions =
                aws.ec2.describe_launch_template_versions().launch_template_id(id).into_paginator().send();
            while let Some(page) = versions.next().await {
                // Somebody may take one away while it is looked at: then it refers to nothing.
                if page.as_ref().is_err_and(|error| code(error) == Some("InvalidLaunchTemplateId.NotFound")) {
                    break;
                }
                for version in page.or_aws("DescribeLaunchTemplateVersions")?.launch_template_versions() {
                    if let Some(image) = version.launch_template_data().and_then(|data| data.image_id()) {
                        used.insert(ImageId::new(image), format!("the launch template {name}"));
                    }
                }
            }
        }
    }
    Ok(used)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn known(id: usize, layer: &str, base: Option<usize>) -> Known {
        Known {
            id: ImageId::new(format!("ami-{id}")),
            layer: layer.to_owned(),
            base: base.map(|id| ImageId::new(format!("ami-{id}"))),
            made: format!("2026-01-{:02}", id + 1),
        }
    }

    fn going(decided: &[(Known, Fate)]) -> Vec<String> {
        decided.iter().filter(|(_, fate)| *fate == Fate::Goes).map(|(image, _)| image.id.to_string()).collect()
    }

    #[test]
    fn the_newest_the_used_and_what_they_stand_on_stay() {
        let images = [
            known(0, "below", None),
            known(1, "below", None),
            known(2, "app", Some(0)),
            known(3, "app", Some(1)),
            known(4, "app", Some(1)),
        ];
        assert_eq!(going(&decide(&images, &BTreeMap::new(), 1)), ["ami-0", "ami-2", "ami-3"]);
        // What runs stays, and with it the layer below.
        let used = BTreeMap::from([(ImageId::new("ami-2"), "i-1".to_owned())]);
        assert_eq!(going(&decide(&images, &used, 1)), ["ami-3"]);
    }

    proptest! {
        /// Whatever there is: nothing that is used goes, nothing that a kept image stands on goes, and of each layer as many
        /// stay as there should.
        #[test]
        fn nothing_goes_that_something_needs(
            made in proptest::collection::vec((0usize..3, proptest::option::of(0usize..8), any::<bool>()), 0..9),
            keep in 1usize..4,
        ) {
            let images: Vec<Known> = made.iter().enumerate().map(|(id, (layer, base, _))| {
                known(id, &layer.to_string(), base.filter(|base| *base < id))
            }).collect();
            let used: BTreeMap<ImageId, String> = made.iter().enumerate().filter(|(_, (_, _, used))| *used)
                .map(|(id, _)| (ImageId::new(format!("ami-{id}")), "i-1".to_owned())).collect();
            let decided = decide(&images, &used, keep);
            let gone = going(&decided);
            for (image, fate) in &decided {
                if *fate == Fate::Goes {
                    prop_assert!(!used.contains_key(&image.id));
                } else if let Some(base) = &image.base {
                    prop_assert!(!gone.contains(&base.to_string()));
                }
            }
            for layer in ["0", "1", "2"] {
                let all = images.iter().filter(|image| image.layer == layer).count();
                let left = decided.iter().filter(|(image, fate)| image.layer == layer && *fate != Fate::Goes).count();
                prop_assert!(left >= all.min(keep));
            }
        }
    }
}
