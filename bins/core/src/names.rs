//! The names and tags of everything gyron makes on AWS: one function for each.

use crate::ids::Digest;

/// The longest name that every service takes (target groups and balancers: 32).
pub const LONGEST: usize = 32;

/// A name of at most 32 characters: as much of `parts` as fits, and the first eight digits of the key's digest, so that
/// two things with the same parts and different keys never meet.
#[must_use]
pub fn resource(parts: &[&str], key: &str) -> String {
    within(LONGEST, parts, key)
}

/// As [`resource`], of at most `longest` characters (12 or more): for what becomes the beginning of other names.
#[must_use]
pub fn within(longest: usize, parts: &[&str], key: &str) -> String {
    let digest = Digest::of(key.as_bytes());
    let suffix = &digest.as_str()[..8];
    let mut name: String = parts
        .join("-")
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' })
        .collect();
    name.truncate(longest.saturating_sub(suffix.len() + 1));
    match name.trim_matches('-') {
        "" => suffix.to_owned(),
        name => format!("{name}-{suffix}"),
    }
}

/// The tag that names the bucket whose leases and records are about it.
pub const BUCKET: &str = "gyron:bucket";

/// The tags that every resource carries from its creation on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tags {
    /// The app.
    pub app: String,
    /// The step that made it.
    pub step: String,
    /// The run that made it: finds what a killed run left.
    pub run: String,
    /// RFC 3339; after it, a temporary resource may be swept. `None` for what is meant to stay.
    pub expires: Option<String>,
    /// What else is said of it.
    pub more: Vec<(String, String)>,
}

impl Tags {
    /// Keys and values, `Name` first.
    #[must_use]
    pub fn pairs(&self, name: &str) -> Vec<(String, String)> {
        let mut pairs = vec![
            ("Name".to_owned(), name.to_owned()),
            ("gyron:app".to_owned(), self.app.clone()),
            ("gyron:step".to_owned(), self.step.clone()),
            ("gyron:run".to_owned(), self.run.clone()),
        ];
        pairs.extend(self.expires.iter().map(|expires| ("gyron:expires".to_owned(), expires.clone())));
        pairs.extend(self.more.iter().cloned());
        pairs
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{LONGEST, resource};

    proptest! {
        #[test]
        fn a_name_is_short_and_of_letters_digits_and_hyphens(app in ".{0,80}", key in ".{0,80}") {
            let name = resource(&[&app, "blue"], &key);
            prop_assert!(name.len() <= LONGEST);
            prop_assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
            prop_assert!(!name.starts_with('-') && !name.ends_with('-'));
        }

        #[test]
        fn other_keys_give_other_names(a in "[a-z]{1,8}", b in "[A-Z]{1,8}") {
            prop_assert_ne!(resource(&["shop"], &a), resource(&["shop"], &b));
        }
    }
}
