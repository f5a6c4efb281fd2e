//! A bake as a whole: each layer reused where nothing that decides it has changed, else baked on the one below.

use std::time::{Duration, Instant};

use gyron_core::config::schema;
use gyron_core::console::span;
use gyron_core::failure::Result;
use gyron_core::records::{self, Record};
use gyron_core::step::Context;
use jiff::Timestamp;

use crate::base::{self, Found};
use crate::distribution;
use crate::fingerprint::Fingerprint;
use crate::in_flight;
use crate::known::{self, Making, Standing};
use crate::layer::Work;
use crate::leftovers;
use crate::lockfile::{FILE_NAME, Lock};
use crate::packages;
use crate::playbook::Playbook;
use crate::{requirements, toolkit};

/// Bakes the recorded release; `fresh` reuses nothing, `keep` is how long the builder of a bake that fails is kept.
pub(crate) async fn bake(context: &Context, fresh: bool, keep: Option<schema::Span>) -> Result<()> {
    let config = &context.config;
    let settings = config.bake()?;
    let layers = settings.layers();
    let playbooks: Vec<Playbook> =
        layers.iter().map(|layer| Playbook::read(&config.root, layer)).collect::<Result<_>>()?;
    let package = context.records().read::<records::Package>()?;
    let aws = context.aws().await;
    let registry = context.registry(&aws);
    let lock = Lock::read(&config.root)?.unwrap_or_else(Lock::empty);
    let pin = lock.pin(config)?;
    let base = base::find(&aws, &settings.base, pin).await?;
    let version = &package.so.version;
    if !context.plan {
        let pinned = if pin.is_some() { format!(", pinned in {FILE_NAME}") } else { String::new() };
        context.console.say(format!("bake {} {} on {} ({}{pinned})", config.app(), version.name, base.id, base.name));
        if pin.is_none() && settings.base.id.is_none() {
            context
                .console
                .say("  hint: `gyron-bake update` pins the base image, so that a newer one comes by a commit");
        }
    }
    let until = Instant::now() + settings.deadline.0;
    aws.patience.lasts_until(until);
    let mut below = base.clone();
    let mut plan = Vec::new();
    let mut baked: Vec<records::Layer> = Vec::new();
    for (layer, playbook) in layers.iter().zip(playbooks) {
        let name = layer.name.clone();
        let wanted = requirements::of(layer, &playbook)?;
        let pinned = requirements::pinned(&wanted, &lock)?;
        let work = Work {
            context,
            aws: &aws,
            registry: &registry,
            settings,
            package: &package,
            layer,
            base: below.clone(),
            playbook,
            requirements: (wanted, pinned),
            until,
            keep: keep.map(|keep| keep.0),
        };
        let parts = work.fingerprint()?;
        let fingerprint = parts.digest();
        let standing = if fresh { Vec::new() } else { known::available(&aws, config.app(), &fingerprint).await? };
        let chosen = known::choose(standing, settings.max_age, Timestamp::now());
        if context.plan {
            let Some(standing) = chosen else {
                plan.extend(work.plan(&parts, fresh).await?);
                plan.extend(above(&layers, &name));
                plan.extend(distribution::wishes(settings));
                return context.show_plan(&plan);
            };
            plan.push(format!("reuse {} {}", what(&layers, layer), said(&standing)));
            below = on(standing.image, &below);
            continue;
        }
        let last = Making::last(&registry, &name).await?;
        let image = match chosen {
            Some(standing) => {
                context.console.say(format!("  {} is there: {}", what(&layers, layer), said(&standing)));
                if last.as_ref().is_none_or(|last| last.image != standing.image) {
                    // Its bake may have died right after it was made.
                    leftovers::clear_unowned(&work, &fingerprint).await?;
                }
                standing.finish(&aws).await?;
                standing.image
            }
            None => {
                if layers.len() > 1 {
                    context.console.say(format!("  layer {name}, on {}", below.id));
                }
                in_flight::bake(&work, &fingerprint, fresh).await?
            }
        };
        if last.is_none_or(|last| last.image != image) {
            Making { image: image.clone(), version: version.name.clone(), parts }.keep(&registry, &name).await?;
        }
        below = on(image.clone(), &below);
        baked.push(records::Layer { name, image, fingerprint });
    }
    if context.plan {
        plan.extend(distribution::plan(&aws, &registry, settings, &below.id).await?);
        return context.show_plan(&plan);
    }
    let left = until.saturating_duration_since(Instant::now());
    let copies = distribution::distribute(context, &aws, &registry, settings, &below.id, left).await?;
    packages::keep(context, &aws, &registry, &below.id).await?;
    let region = aws.region.clone();
    let facts = records::Bake { image: below.id, region, base: base.id, layers: baked, copies };
    finish(context, &registry, &package, facts).await
}

async fn finish(
    context: &Context,
    registry: &gyron_core::registry::Registry,
    package: &Record<records::Package>,
    facts: records::Bake,
) -> Result<()> {
    let short = facts.image.to_string();
    context.record(registry, &package.so.version, Some(&package.digest), facts, &short).await.map(drop)
}

/// The next layer stands on this image.
fn on(image: gyron_core::ids::ImageId, below: &Found) -> Found {
    Found { name: image.to_string(), id: image, ..below.clone() }
}

/// An image in words: with one layer it has no name of its own.
fn what(layers: &[schema::Layer], layer: &schema::Layer) -> String {
    if layers.len() == 1 { "the image".to_owned() } else { format!("layer {}", layer.name) }
}

fn said(standing: &Standing) -> String {
    let age = known::age(standing, Timestamp::now());
    let age = age.map(|age| format!(", baked {} ago", span(Duration::from_secs(age.as_secs()))));
    format!("{}{}: nothing that decides it has changed", standing.image, age.unwrap_or_default())
}

/// What stands on a layer that is baked anew is baked anew, too.
fn above(layers: &[schema::Layer], name: &str) -> Vec<String> {
    let above = layers.iter().skip_while(|layer| layer.name != name).skip(1);
    above.map(|layer| format!("bake layer {} on it", layer.name)).collect()
}

impl Work<'_> {
    /// What baking this layer would mean, and why it is to be baked.
    async fn plan(&self, parts: &Fingerprint, fresh: bool) -> Result<Vec<String>> {
        let settings = self.settings;
        let known = self.registry.sha256(&toolkit::key(self.registry, &self.base.architecture)).await?.is_some();
        let mut lines = vec![
            if known { "use the Ansible toolkit in S3" } else { "make the Ansible toolkit, once" }.to_owned(),
            format!(
                "start a builder ({}) from {}, {}",
                settings.instance_types.join(" or "),
                self.base.id,
                self.base.name
            ),
            format!(
                "run {} (sha256 {}){}",
                self.layer.playbook,
                self.playbook.digest.short(),
                if self.layer.release {
                    format!(" with the release {}", self.package.so.version.name)
                } else {
                    String::new()
                }
            ),
            "clean up, stop the builder, make an image of it, terminate the builder".to_owned(),
        ];
        lines.extend(parts.lines().iter().map(|part| format!("make it of {part}")));
        match Making::last(self.registry, &self.layer.name).await? {
            None => lines.push("bake for the first time: no image of it is known".to_owned()),
            Some(last) => {
                let changes = parts.changes(&last.parts);
                if changes.is_empty() {
                    let why = match settings.max_age {
                        _ if fresh => "--fresh asks for it".to_owned(),
                        Some(oldest) => format!("it is older than max-age ({oldest}), or gone"),
                        None => "it is gone".to_owned(),
                    };
                    lines.push(format!("bake anew what {} holds: {why}", last.image));
                }
                lines.extend(
                    changes
                        .iter()
                        .map(|change| format!("bring in, since {} of {}: {change}", last.image, last.version)),
                );
            }
        }
        Ok(lines)
    }
}
