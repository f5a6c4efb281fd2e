//! What the environments run, and ran before, by the records in the bucket: an image that an environment can go back to stays, even
//! where nothing on AWS refers to it.

use std::collections::BTreeMap;

use gyron_core::current::{Current, Stack};
use gyron_core::failure::Result;
use gyron_core::ids::{Digest, ImageId};
use gyron_core::registry::Registry;
use serde::Deserialize;

/// A record, as far as it leads to the image: `APP/records/SHA256.json`.
#[derive(Debug, Deserialize)]
struct Link {
    so: So,
}

#[derive(Debug, Deserialize)]
struct So {
    after: Option<Digest>,
    facts: Facts,
}

#[derive(Debug, Deserialize)]
struct Facts {
    image: Option<ImageId>,
}

/// Which images the environments' records name, and for what.
///
/// # Errors
/// AWS (4); refused (3) where a record can't be understood.
pub(super) async fn of(registry: &Registry) -> Result<BTreeMap<ImageId, String>> {
    let mut needed = BTreeMap::new();
    for env in registry.folders(&registry.key("envs/")).await? {
        let Some(current) = Current::load(registry, &env).await? else { continue };
        let previous = current.previous.iter().map(|stack| (stack, "ran before"));
        // What runs now says more than what ran before.
        for (stack, what) in previous.chain([(&current.live, "runs")]) {
            if let Some(image) = image_of(registry, stack).await? {
                needed.insert(image, format!("{env} {what} it ({})", stack.version));
            }
        }
    }
    Ok(needed)
}

/// Follows the chain of records, from the smoke test down to the one that names the image.
async fn image_of(registry: &Registry, stack: &Stack) -> Result<Option<ImageId>> {
    let mut next = stack.record.clone();
    while let Some(digest) = next {
        let Some(link) = registry.get::<Link>(&registry.key(&format!("records/{digest}.json"))).await? else { break };
        if link.value.so.facts.image.is_some() {
            return Ok(link.value.so.facts.image);
        }
        next = link.value.so.after;
    }
    Ok(None)
}
