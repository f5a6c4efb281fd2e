//! The packages that an image holds: listed on the builder after the play, kept in the bucket for as long as the image is.

mod diff;
mod of_image;

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::Filter;
use gyron_core::aws::{Aws, OrAws as _};
use gyron_core::failure::{Failure, OrFail as _, Result};
use gyron_core::ids::ImageId;
use gyron_core::records::{FOLDER, write_atomically};
use gyron_core::registry::Registry;
use gyron_core::step::Context;

use self::of_image::Baked;
pub(crate) use self::of_image::diff;
use crate::known::TAG;

/// Where the list of an image lies: an image made anew of the same fingerprint may hold newer packages, so the run counts, too.
pub(crate) fn key(registry: &Registry, fingerprint: &str, run: &str) -> String {
    registry.key(&format!("packages/{fingerprint}/{run}.txt"))
}

/// Packages by name, with their versions: several, where the system has them side by side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Packages(BTreeMap<String, BTreeSet<String>>);

impl Packages {
    /// Reads the builder's list: lines of name and version with a tab between.
    fn read(text: &str) -> Self {
        let mut packages = Packages::default();
        for (name, version) in text.lines().filter_map(|line| line.split_once('\t')) {
            packages.0.entry(name.to_owned()).or_default().insert(version.to_owned());
        }
        packages
    }
}

/// Brings the image's list to `.gyron/packages.txt`, beside the record; a bake never fails for want of it.
pub(crate) async fn keep(context: &Context, aws: &Aws, registry: &Registry, image: &ImageId) -> Result<()> {
    let name = format!("{FOLDER}/packages.txt");
    let path = context.config.root.join(&name);
    let listed = match Baked::find(aws, image).await? {
        Some(baked) => registry.bytes(&baked.list(registry)).await?,
        None => None,
    };
    let Some(listed) = listed else {
        context.console.say(format!("  no list of the packages of {image} is known"));
        let _ = std::fs::remove_file(&path);
        return Ok(());
    };
    write_atomically(&context.config.root.join(FOLDER), &path, &listed)
        .or_fail(|| Failure::usage(format!("can't write {}", path.display())))
}

/// Takes the list of a run away that made no image.
pub(crate) async fn forget_of_none(aws: &Aws, registry: &Registry, fingerprint: &str, run: &str) -> Result<()> {
    let filters = [(format!("tag:{TAG}"), fingerprint), ("tag:gyron:run".to_owned(), run)]
        .map(|(name, value)| Filter::builder().name(name).values(value).build());
    let described = aws.ec2.describe_images().owners("self").set_filters(Some(filters.to_vec())).send().await;
    if described.or_aws("DescribeImages")?.images().is_empty() {
        forget(registry, fingerprint, run).await
    } else {
        Ok(())
    }
}

/// Takes the list of an image away that goes.
pub(crate) async fn forget(registry: &Registry, fingerprint: &str, run: &str) -> Result<()> {
    registry.remove(&key(registry, fingerprint, run)).await
}
