//! What differs between the packages of two images: pure.

use std::collections::BTreeSet;

use serde::Serialize;

use super::Packages;

/// A package that is not the same in both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Change {
    pub(super) package: String,
    /// Its versions before; none where it is new.
    pub(super) from: Option<String>,
    /// Its versions now; none where it is gone.
    pub(super) to: Option<String>,
}

impl Change {
    /// `~ openssl 3.0.11-1 -> 3.0.13-1`, `+ nginx 1.22.1-9`, `- apache2 2.4.62-1`.
    pub(super) fn line(&self) -> String {
        let Change { package, from, to } = self;
        match (from, to) {
            (Some(from), Some(to)) => format!("~ {package} {from} -> {to}"),
            (None, Some(to)) => format!("+ {package} {to}"),
            (Some(from), None) => format!("- {package} {from}"),
            (None, None) => format!("= {package}"),
        }
    }
}

/// The packages that changed from one image to another, by name.
pub(super) fn changes(from: &Packages, to: &Packages) -> Vec<Change> {
    let names: BTreeSet<&String> = from.0.keys().chain(to.0.keys()).collect();
    let versions = |packages: &Packages, name: &String| {
        packages.0.get(name).map(|versions| versions.iter().cloned().collect::<Vec<_>>().join(", "))
    };
    let change = |name: &String| Change { package: name.clone(), from: versions(from, name), to: versions(to, name) };
    names.into_iter().map(change).filter(|change| change.from != change.to).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_changed_is_shown_with_versions() {
        let before = Packages::read("openssl\t3.0.11-1\napache2\t2.4.62-1\nlinux\t6.1\nbash\t5.2\n");
        let now = Packages::read("openssl\t3.0.13-1\nnginx\t1.22.1-9\nlinux\t6.1\nlinux\t6.2\nbash\t5.2\n");
        let lines: Vec<String> = changes(&before, &now).iter().map(Change::line).collect();
        assert_eq!(
            lines,
            ["- apache2 2.4.62-1", "~ linux 6.1 -> 6.1, 6.2", "+ nginx 1.22.1-9", "~ openssl 3.0.11-1 -> 3.0.13-1"]
        );
    }

    fn packages() -> impl Strategy<Value = Packages> {
        let versions = proptest::collection::btree_set("[0-9]{1,2}", 1..3);
        proptest::collection::btree_map("[a-e]", versions, 0..5).prop_map(Packages)
    }

    proptest! {
        /// A package is named exactly where its versions differ, and the way back is the same with both sides changed.
        #[test]
        fn every_difference_is_named_and_nothing_else(before in packages(), now in packages()) {
            let forth = changes(&before, &now);
            for name in before.0.keys().chain(now.0.keys()) {
                let differs = before.0.get(name) != now.0.get(name);
                prop_assert_eq!(forth.iter().filter(|change| change.package == *name).count(), usize::from(differs));
            }
            let back: Vec<Change> = changes(&now, &before)
                .into_iter()
                .map(|change| Change { from: change.to, to: change.from, ..change })
                .collect();
            prop_assert_eq!(&forth, &back);
            prop_assert!(forth.iter().all(|change| change.from.is_some() || change.to.is_some()));
        }
    }
}
