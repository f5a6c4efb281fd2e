//! Where the app's image goes: copies in other regions, who may launch it, until when it is recommended.
//!
//! A reconciliation: what is wanted against what is there. It runs for the final image each time, since that may be reused, or
//! adopted from a bake that died before its copies. Nothing is ever taken away from anybody here.

mod decision;
mod place;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use gyron_core::aws::Aws;
use gyron_core::config::schema::Bake;
use gyron_core::failure::{Failure, Result};
use gyron_core::ids::ImageId;
use gyron_core::registry::Registry;
use gyron_core::step::{Context, Phase};
use gyron_core::wait::{Look, Wait, poll_until};
use jiff::Timestamp;

use self::decision::{Act, Grantee, Placed, State, Wanted, decide};
use self::place::{Image, Place};

pub(crate) use self::place::{SOURCE, ledger_key};

/// How long a copy may not be to be seen, though AWS has given it an id. One that never is was taken away by somebody, and the token
/// gave it again.
const UNSEEN: Duration = Duration::from_secs(60);

/// To which regions an image was ever copied, and which attempt it is in each: known before the first call there, so that whatever
/// dies, its copies are found. An attempt is over when its copy was taken away: the same token would give that one again.
pub(crate) type Ledger = BTreeMap<String, u32>;

/// Brings the image where it is wanted; gives its copies by region. Costs no call where nothing is configured.
///
/// # Errors
/// AWS (4); deadline (6). Copies of this run's are taken back; the image stays.
pub(crate) async fn distribute(
    context: &Context,
    aws: &Aws,
    registry: &Registry,
    settings: &Bake,
    image: &ImageId,
    left: Duration,
) -> Result<BTreeMap<String, ImageId>> {
    let Some(mut work) = Distribution::of(aws, registry, settings, image).await? else { return Ok(BTreeMap::new()) };
    let done = work.reconcile(context, left).await;
    match done {
        Ok(copies) => Ok(copies),
        Err(failure) => {
            let failure = failure.already(format!("the image {image} is there"));
            Err(match work.take_back().await {
                Ok(()) => failure.already("no copy of this bake is left"),
                Err(second) => failure.already(second.message()).already(second.report()),
            })
        }
    }
}

/// What would be done for an image that is there.
///
/// # Errors
/// AWS (4).
pub(crate) async fn plan(aws: &Aws, registry: &Registry, settings: &Bake, image: &ImageId) -> Result<Vec<String>> {
    let Some(work) = Distribution::of(aws, registry, settings, image).await? else { return Ok(Vec::new()) };
    let there = work.look().await?;
    Ok(decide(&work.wanted, &there, Timestamp::now()).iter().map(|(region, act)| act.describe(region)).collect())
}

/// What is wanted for an image that is yet to be baked, in words.
pub(crate) fn wishes(settings: &Bake) -> Vec<String> {
    let mut lines: Vec<String> = settings.copies.iter().map(|copy| format!("copy it to {}", copy.region)).collect();
    let with = decision::grantees(&settings.share);
    if !with.is_empty() {
        lines.push(format!("share it with {}", decision::named(&with)));
    }
    lines.extend(settings.deprecate_after.map(|after| format!("deprecate it {after} after it was made")));
    lines
}

struct Distribution<'a> {
    registry: &'a Registry,
    home: String,
    image: Image,
    wanted: Wanted,
    places: Vec<Place>,
    /// The copies that this run asked for, and when.
    made: BTreeMap<String, (ImageId, Instant)>,
}

impl<'a> Distribution<'a> {
    /// None where nothing is wanted.
    async fn of(aws: &Aws, registry: &'a Registry, settings: &Bake, image: &ImageId) -> Result<Option<Self>> {
        if settings.copies.is_empty() && settings.share.is_empty() && settings.deprecate_after.is_none() {
            return Ok(None);
        }
        let home = Place::new(aws.clone());
        let image = home.image(image).await?;
        let wanted = Wanted {
            home: aws.region.clone(),
            copies: settings.copies.iter().map(|copy| copy.region.clone()).collect(),
            share: decision::grantees(&settings.share),
            deprecate: settings.deprecate_after.and_then(|after| image.made.checked_add(after.0).ok()),
        };
        let mut places = vec![home];
        places.extend(settings.copies.iter().map(|copy| {
            let there = Place::new(aws.in_region(&copy.region));
            if settings.encrypted { there.encrypting(copy.kms_key.clone()) } else { there }
        }));
        Ok(Some(Distribution { registry, home: aws.region.clone(), image, wanted, places, made: BTreeMap::new() }))
    }

    /// What stands in each region, all asked at once.
    async fn look(&self) -> Result<BTreeMap<String, Option<Placed>>> {
        let shared = !self.wanted.share.is_empty();
        let looks = self.places.iter().map(|place| async move {
            let found = if place.region() == self.home {
                place.of_id(&self.image.id, shared).await?
            } else {
                place.of_source(&self.image.id, shared).await?
            };
            Ok::<_, Failure>((place.region().to_owned(), found))
        });
        Ok(futures_util::future::try_join_all(looks).await?.into_iter().collect())
    }

    async fn reconcile(&mut self, context: &Context, left: Duration) -> Result<BTreeMap<String, ImageId>> {
        let mut phase = Phase::begin(&context.console);
        let mut changed = false;
        let wait = Wait::new(format!("the copies of {}", self.image.id), left);
        let there = poll_until(&context.console, &context.stop, &wait, async || {
            let there = self.look().await?;
            let acts = decide(&self.wanted, &there, Timestamp::now());
            if acts.is_empty() {
                return Ok(Look::Done(there));
            }
            let mut states = Vec::new();
            for (region, act) in acts {
                changed |= !matches!(act, Act::Wait(_));
                let asked = act == Act::Copy && self.made.contains_key(&region);
                let state = if asked { Act::Wait(State::Unseen) } else { act.clone() };
                states.push(format!("{region}: {}", state.state()));
                self.act(context, &region, act).await?;
            }
            Ok(Look::Pending(states.join(", ")))
        })
        .await?;
        let copies = there.into_iter().filter(|(region, _)| *region != self.home);
        let copies: BTreeMap<String, ImageId> =
            copies.filter_map(|(region, placed)| Some((region, placed?.image))).collect();
        let said: Vec<String> = copies.iter().map(|(region, image)| format!("{image} in {region}")).collect();
        match (changed, said.is_empty()) {
            (true, true) => phase.done("shared and deprecated as configured"),
            (true, false) => phase.done(format!("copies: {}", said.join(", "))),
            (false, false) => context.console.say(format!("  copies are there: {}", said.join(", "))),
            (false, true) => {}
        }
        Ok(copies)
    }

    async fn act(&mut self, context: &Context, region: &str, act: Act) -> Result<()> {
        let Some(place) = self.places.iter().find(|place| place.region() == region) else { return Ok(()) };
        match act {
            Act::Wait(_) => Ok(()),
            Act::Copy => {
                let late = match self.made.get(region) {
                    None => 0,
                    Some((_, asked)) if asked.elapsed() < UNSEEN => return Ok(()),
                    Some(_) => 1,
                };
                let attempt = self.attempt(region, late).await?;
                let copy = place.copy(&self.image, &self.home, attempt).await?;
                context.console.say(format!("  copying it to {region}: {copy}"));
                self.made.insert(region.to_owned(), (copy, Instant::now()));
                Ok(())
            }
            Act::Remove { image, why } if self.made.get(region).is_some_and(|(made, _)| *made == image) => {
                Err(Failure::aws(format!("the copy {image} in {region} failed: {why}")))
            }
            Act::Remove { image, .. } => {
                place.remove(&image).await?;
                self.attempt(region, 1).await.map(drop)
            }
            Act::Share { image, with } => {
                place.share(&image, &with).await?;
                context.console.say(format!("  {image} in {region} is shared with {}", decision::named(&with)));
                Ok(())
            }
            Act::Deprecate { image, at } => place.deprecate(&image, at).await,
        }
    }

    /// The attempt that counts in a region, `more` later than what is written down.
    async fn attempt(&self, region: &str, more: u32) -> Result<u32> {
        let mut attempt = 0;
        let key = ledger_key(self.registry, &self.image.id);
        self.registry
            .swap(&key, |ledger: Option<Ledger>| {
                let mut ledger = ledger.unwrap_or_default();
                let counted = ledger.entry(region.to_owned()).or_insert(1);
                *counted += more;
                attempt = *counted;
                Ok(ledger)
            })
            .await?;
        Ok(attempt)
    }

    /// Takes back the copies that this run asked for.
    async fn take_back(&mut self) -> Result<()> {
        let mut first = Ok(());
        for (region, (image, _)) in std::mem::take(&mut self.made) {
            let Some(place) = self.places.iter().find(|place| place.region() == region) else { continue };
            let removed = place.remove(&image).await;
            // What is still there is waited for by the next run; what is gone must not be given to it again.
            let counted = if removed.is_ok() { self.attempt(&region, 1).await.map(drop) } else { Ok(()) };
            first = first.and(removed).and(counted);
        }
        first
    }
}

impl Act {
    fn state(&self) -> &'static str {
        match self {
            Act::Wait(State::Pending) => "pending",
            Act::Wait(State::Unseen) => "not to be seen yet",
            Act::Copy => "copy begun",
            Act::Remove { .. } => "a failed copy taken away",
            Act::Share { .. } => "shared",
            Act::Deprecate { .. } => "to be deprecated",
        }
    }
}

impl Grantee {
    /// As it stands in gyron.toml.
    fn name(&self) -> &str {
        match self {
            Grantee::Account(name) | Grantee::Organisation(name) | Grantee::Unit(name) => name,
        }
    }
}
