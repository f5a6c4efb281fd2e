//! What refers to images in a region: instances, launch templates, launch configurations, and the groups that launch by these.

use std::collections::BTreeMap;

use aws_sdk_autoscaling::types::{AutoScalingGroup, LaunchTemplateSpecification};
use aws_sdk_ec2::types::Filter;
use gyron_core::aws::{Aws, OrAws as _, code};
use gyron_core::failure::Result;
use gyron_core::ids::ImageId;

/// Which of these images something refers to, and what.
///
/// # Errors
/// AWS (4).
pub(super) async fn of(aws: &Aws, images: &[ImageId]) -> Result<BTreeMap<ImageId, String>> {
    if images.is_empty() {
        return Ok(BTreeMap::new());
    }
    let groups = groups(aws).await?;
    let (instances, templates, configurations) = futures_util::future::try_join3(
        instances(aws, images),
        templates(aws, images, &groups),
        configurations(aws, images, &groups),
    )
    .await?;
    // The last one wins: what runs says more than what might be launched.
    Ok(configurations.into_iter().chain(templates).chain(instances).collect())
}

/// What groups launch by: names of groups by launch template (id or name) and by launch configuration.
#[derive(Debug, Default)]
struct Groups {
    by_template: BTreeMap<String, String>,
    by_configuration: BTreeMap<String, String>,
}

async fn groups(aws: &Aws) -> Result<Groups> {
    let mut groups = Groups::default();
    let mut pages = aws.autoscaling.describe_auto_scaling_groups().into_paginator().send();
    while let Some(page) = pages.next().await {
        for group in page.or_aws("DescribeAutoScalingGroups")?.auto_scaling_groups() {
            let Some(name) = group.auto_scaling_group_name() else { continue };
            let named = specifications(group).into_iter();
            let named = named.flat_map(|spec| [spec.launch_template_id(), spec.launch_template_name()]).flatten();
            groups.by_template.extend(named.map(|template| (template.to_owned(), name.to_owned())));
            let configuration = group.launch_configuration_name();
            groups.by_configuration.extend(configuration.map(|it| (it.to_owned(), name.to_owned())));
        }
    }
    Ok(groups)
}

/// A group's launch templates: its own, or those of its mixed instances policy.
fn specifications(group: &AutoScalingGroup) -> Vec<&LaunchTemplateSpecification> {
    let mixed = group.mixed_instances_policy().and_then(|policy| policy.launch_template());
    let overrides = mixed.into_iter().flat_map(|template| template.overrides());
    let mut found: Vec<_> = overrides.filter_map(|one| one.launch_template_specification()).collect();
    found.extend(mixed.and_then(|template| template.launch_template_specification()));
    found.extend(group.launch_template());
    found
}

/// How many values a filter takes: FilterLimitExceeded, "The maximum number of filter values specified on a single call is 200".
const FILTER_VALUES: usize = 200;

/// Stopped instances count, too: they may be started again.
async fn instances(aws: &Aws, images: &[ImageId]) -> Result<BTreeMap<ImageId, String>> {
    let states = ["pending", "running", "stopping", "stopped", "shutting-down"].map(str::to_owned).to_vec();
    let mut used = BTreeMap::new();
    for some in images.chunks(FILTER_VALUES) {
        let ids = some.iter().map(ImageId::to_string).collect();
        let filters = vec![
            Filter::builder().name("image-id").set_values(Some(ids)).build(),
            Filter::builder().name("instance-state-name").set_values(Some(states.clone())).build(),
        ];
        let mut pages = aws.ec2.describe_instances().set_filters(Some(filters)).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.or_aws("DescribeInstances")?;
            for instance in page.reservations().iter().flat_map(|reservation| reservation.instances()) {
                if let (Some(image), Some(id)) = (instance.image_id(), instance.instance_id()) {
                    used.insert(ImageId::new(image), format!("used by {id}"));
                }
            }
        }
    }
    Ok(used)
}

/// Every version counts: a group, or a person, may go back to it.
async fn templates(aws: &Aws, images: &[ImageId], groups: &Groups) -> Result<BTreeMap<ImageId, String>> {
    let mut used = BTreeMap::new();
    let mut templates = aws.ec2.describe_launch_templates().into_paginator().send();
    while let Some(page) = templates.next().await {
        for template in page.or_aws("DescribeLaunchTemplates")?.launch_templates() {
            let (Some(id), Some(name)) = (template.launch_template_id(), template.launch_template_name()) else {
                continue;
            };
            let group = groups.by_template.get(id).or_else(|| groups.by_template.get(name));
            let by = match group {
                Some(group) => format!("used by the group {group}, by its launch template {name}"),
                None => format!("used by the launch template {name}"),
            };
            let mut versions = aws
                .ec2
                .describe_launch_template_versions()
                .launch_template_id(id)
                .resolve_alias(true)
                .into_paginator()
                .send();
            while let Some(page) = versions.next().await {
                // Somebody may take one away while it is looked at: then it refers to nothing.
                if page.as_ref().is_err_and(|error| code(error) == Some("InvalidLaunchTemplateId.NotFound")) {
                    break;
                }
                let page = page.or_aws("DescribeLaunchTemplateVersions")?;
                let versions = page.launch_template_versions().iter();
                let named = versions.filter_map(|version| version.launch_template_data()?.image_id());
                let named = named.map(ImageId::new).filter(|image| images.contains(image));
                used.extend(named.map(|image| (image, by.clone())));
            }
        }
    }
    Ok(used)
}

async fn configurations(aws: &Aws, images: &[ImageId], groups: &Groups) -> Result<BTreeMap<ImageId, String>> {
    let mut used = BTreeMap::new();
    let mut pages = aws.autoscaling.describe_launch_configurations().into_paginator().send();
    while let Some(page) = pages.next().await {
        for configuration in page.or_aws("DescribeLaunchConfigurations")?.launch_configurations() {
            let (Some(image), Some(name)) = (configuration.image_id(), configuration.launch_configuration_name())
            else {
                continue;
            };
            let by = match groups.by_configuration.get(name) {
                Some(group) => format!("used by the group {group}, by its launch configuration {name}"),
                None => format!("used by the launch configuration {name}"),
            };
            let image = ImageId::new(image);
            if images.contains(&image) {
                used.insert(image, by);
            }
        }
    }
    Ok(used)
}
