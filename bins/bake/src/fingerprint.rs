//! The fingerprint of an image: the digest of everything that decides what is in it.

use std::collections::BTreeMap;

use gyron_core::ids::Digest;
use serde::{Deserialize, Serialize};

/// What decides an image, part by part: a name, and what it is (an id, or a digest where it is long or secret).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Fingerprint(BTreeMap<String, String>);

impl Fingerprint {
    /// Adds a part.
    pub(crate) fn put(&mut self, part: impl Into<String>, value: impl Into<String>) {
        self.0.insert(part.into(), value.into());
    }

    /// Adds a part that may be secret: only its digest stays.
    pub(crate) fn put_digest(&mut self, part: impl Into<String>, value: &str) {
        self.put(part, Digest::of(value.as_bytes()).as_str());
    }

    /// The digest over all parts, whatever their order: two images with the same one are of the same making.
    pub(crate) fn digest(&self) -> Digest {
        // Lengths keep the end of a name and the beginning of a value apart.
        let text: String =
            self.0.iter().map(|(part, value)| format!("{} {} {part} {value}\n", part.len(), value.len())).collect();
        Digest::of(text.as_bytes())
    }

    /// Which parts differ from those of an image before, by name: `~ changed`, `+ new`, `- gone`.
    pub(crate) fn changes(&self, before: &Self) -> Vec<String> {
        let mut names: Vec<&String> = self.0.keys().chain(before.0.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let changed = names.into_iter().filter_map(|name| match (before.0.get(name), self.0.get(name)) {
            (Some(then), Some(now)) if then == now => None,
            (Some(_), Some(_)) => Some(format!("~ {name}")),
            (None, _) => Some(format!("+ {name}")),
            (_, None) => Some(format!("- {name}")),
        });
        changed.collect()
    }

    /// The parts with their values, shortened where they are digests.
    pub(crate) fn lines(&self) -> Vec<String> {
        let short = |value: &str| if value.len() == 64 { value[..12].to_owned() } else { value.to_owned() };
        self.0.iter().map(|(part, value)| format!("{part} = {}", short(value))).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Fingerprint;

    fn of(parts: &[(&str, &str)]) -> Fingerprint {
        let mut fingerprint = Fingerprint::default();
        for (part, value) in parts {
            fingerprint.put(*part, *value);
        }
        fingerprint
    }

    #[test]
    fn what_changed_is_named_part_by_part() {
        let before = of(&[("base", "ami-1"), ("playbook site.yml", "a"), ("playbook old.yml", "b")]);
        let now = of(&[("base", "ami-1"), ("playbook site.yml", "c"), ("variable X", "d")]);
        assert_eq!(now.changes(&before), ["- playbook old.yml", "~ playbook site.yml", "+ variable X"]);
        assert_eq!(now.changes(&now), [""; 0]);
    }

    proptest! {
        /// Two fingerprints are the same exactly where all their parts are.
        #[test]
        fn the_digest_tells_every_difference(
            one in proptest::collection::btree_map("[a-c ]{1,3}", "[a-c ]{0,3}", 0..5),
            other in proptest::collection::btree_map("[a-c ]{1,3}", "[a-c ]{0,3}", 0..5),
        ) {
            let (a, b) = (Fingerprint(one.clone()), Fingerprint(other.clone()));
            prop_assert_eq!(a.digest() == b.digest(), one == other);
            prop_assert_eq!(a.changes(&b).is_empty(), one == other);
        }
    }
}
