//! Which images are kept, and why: a pure decision over the images and over what refers to them.

use std::collections::{BTreeMap, BTreeSet};

use gyron_core::ids::ImageId;

/// An image of the app's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) id: ImageId,
    pub(super) layer: String,
    /// The image that it stands on.
    pub(super) base: Option<ImageId>,
    /// As AWS writes it: it sorts as text.
    pub(super) made: String,
    pub(super) fingerprint: String,
    /// The run that made it.
    pub(super) run: String,
    /// Whether it can be launched: one on its way, or one that came to nothing, is nothing to fall back on.
    pub(super) available: bool,
    /// Its copies, with their regions.
    pub(super) copies: Vec<Copy>,
}

/// A copy in another region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Copy {
    pub(super) region: String,
    pub(super) id: ImageId,
}

/// What becomes of an image, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Kept(String),
    Goes(String),
}

/// Decides every image's fate. What stays: the newest `keep` of each layer; what something `needs`, and why; what was made since the
/// newest image stood on its layer, for a bake may be about to go on with it; and what all of these stand on.
pub(super) fn decide(images: &[Known], needs: &BTreeMap<ImageId, String>, keep: usize) -> Vec<(Known, Fate)> {
    let mut reasons: BTreeMap<ImageId, String> = needs.clone();
    let layers: BTreeSet<&str> = images.iter().map(|image| image.layer.as_str()).collect();
    for layer in layers {
        let mut of_layer: Vec<&Known> = images.iter().filter(|image| image.layer == layer).collect();
        of_layer.sort_by(|a, b| b.made.cmp(&a.made).then_with(|| b.id.cmp(&a.id)));
        for image in of_layer.iter().filter(|image| image.available).take(keep) {
            let one = if keep == 1 { "" } else { "one of " };
            reasons.entry(image.id.clone()).or_insert_with(|| format!("{one}{}", newest(keep, layer)));
        }
        let ids: BTreeSet<&ImageId> = of_layer.iter().map(|image| &image.id).collect();
        let stands = |image: &&Known| image.available && image.base.as_ref().is_some_and(|base| ids.contains(base));
        let above = images.iter().filter(stands);
        let Some(youngest) = above.map(|image| &image.made).max() else { continue };
        for image in of_layer.iter().filter(|image| image.made > *youngest) {
            let why = || "nothing has been baked on its layer since: a bake may be about to".to_owned();
            reasons.entry(image.id.clone()).or_insert_with(why);
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
    let fate = |image: &Known| match reasons.get(&image.id) {
        Some(reason) => Fate::Kept(reason.clone()),
        None => Fate::Goes(format!("older than {}, and nothing refers to it", newest(keep, &image.layer))),
    };
    images.iter().map(|image| (image.clone(), fate(image))).collect()
}

fn newest(keep: usize, layer: &str) -> String {
    match keep {
        1 => format!("the newest of {layer}"),
        _ => format!("the newest {keep} of {layer}"),
    }
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
            fingerprint: String::new(),
            run: String::new(),
            available: true,
            copies: Vec::new(),
        }
    }

    fn going(decided: &[(Known, Fate)]) -> Vec<String> {
        let goes = decided.iter().filter(|(_, fate)| matches!(fate, Fate::Goes(_)));
        goes.map(|(image, _)| image.id.to_string()).collect()
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
        let needs = BTreeMap::from([(ImageId::new("ami-2"), "used by i-1".to_owned())]);
        assert_eq!(going(&decide(&images, &needs, 1)), ["ami-3"]);
    }

    #[test]
    fn an_image_that_came_to_nothing_takes_nobodys_place() {
        let failed = Known { available: false, ..known(2, "app", None) };
        let images = [known(0, "app", None), known(1, "app", None), failed];
        assert_eq!(going(&decide(&images, &BTreeMap::new(), 1)), ["ami-0", "ami-2"]);
    }

    #[test]
    fn a_layer_that_was_just_baked_waits_for_what_comes_on_it() {
        let images =
            [known(0, "below", None), known(1, "app", Some(0)), known(2, "below", None), known(3, "below", None)];
        assert_eq!(going(&decide(&images, &BTreeMap::new(), 1)), Vec::<String>::new());
        let since = [&images[..], &[known(4, "app", Some(3))]].concat();
        assert_eq!(going(&decide(&since, &BTreeMap::new(), 1)), ["ami-0", "ami-1", "ami-2"]);
    }

    proptest! {
        /// Whatever there is: nothing that is needed goes, nothing that a kept image stands on goes, of each layer as many stay as
        /// there should, and each image has its reason.
        #[test]
        fn nothing_goes_that_something_needs(
            made in proptest::collection::vec((0usize..3, proptest::option::of(0usize..8), any::<bool>()), 0..9),
            keep in 1usize..4,
        ) {
            let images: Vec<Known> = made.iter().enumerate().map(|(id, (layer, base, _))| {
                known(id, &layer.to_string(), base.filter(|base| *base < id))
            }).collect();
            let needs: BTreeMap<ImageId, String> = made.iter().enumerate().filter(|(_, (_, _, used))| *used)
                .map(|(id, _)| (ImageId::new(format!("ami-{id}")), "used by i-1".to_owned())).collect();
            let decided = decide(&images, &needs, keep);
            prop_assert_eq!(decided.len(), images.len());
            let gone = going(&decided);
            for (image, fate) in &decided {
                match fate {
                    Fate::Goes(why) => prop_assert!(!needs.contains_key(&image.id) && !why.is_empty()),
                    Fate::Kept(why) => {
                        prop_assert!(!why.is_empty());
                        prop_assert!(image.base.as_ref().is_none_or(|base| !gone.contains(&base.to_string())));
                    }
                }
            }
            for layer in ["0", "1", "2"] {
                let all = images.iter().filter(|image| image.layer == layer).count();
                let left = decided.iter()
                    .filter(|(image, fate)| image.layer == layer && matches!(fate, Fate::Kept(_))).count();
                prop_assert!(left >= all.min(keep));
            }
        }
    }
}
