//! The settings of `[bake]` that are about the image: its root volume, and where it goes.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema::Bake;

/// `bake.volume`: the root volume of builder and image. What is left out is as the base image has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Volume {
    /// In GiB, at least the base image's.
    pub size: Option<u32>,
    /// `gp3`, `gp2`, `io1`, `io2`, `st1`, `sc1` or `standard`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Operations per second, of `gp3`, `io1` and `io2`: many of them make a bake faster.
    pub iops: Option<u32>,
    /// MiB per second, of `gp3`.
    pub throughput: Option<u32>,
}

/// One of `bake.copies`: a region that gets a copy of the app's image.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Copy {
    /// The region.
    pub region: String,
    /// The KMS key there that encrypts it, by id, alias or ARN; the region's default key for EBS, if none is named.
    pub kms_key: Option<String>,
}

/// `bake.share`: who else may launch the app's image and its copies. Nobody is ever taken away again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Share {
    /// Account ids.
    #[serde(default)]
    pub accounts: Vec<String>,
    /// ARNs of organisations and of organisational units.
    #[serde(default)]
    pub organisations: Vec<String>,
}

impl Share {
    /// Whether it names nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.organisations.is_empty()
    }
}

/// The key that AWS manages: what it encrypts can't be shared.
const MANAGED_KEY: &str = "alias/aws/ebs";

const KINDS: [&str; 7] = ["gp3", "gp2", "io1", "io2", "st1", "sc1", "standard"];

/// Ten years: <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_EnableImageDeprecation.html>.
const LATEST_DEPRECATION: u64 = 3650 * 86_400;

impl Bake {
    /// What is wrong with the settings of the image, if anything is; `region` is where it is baked.
    #[must_use]
    pub fn wrong_image(&self, region: &str) -> Option<String> {
        self.wrong_volume().or_else(|| self.wrong_key()).or_else(|| self.wrong_copies(region)).or_else(|| {
            self.wrong_share().or_else(|| {
                let after = self.deprecate_after?.0.as_secs();
                let fits = (3600..=LATEST_DEPRECATION).contains(&after);
                (!fits).then(|| "`deprecate-after` is between 1h and 3650d".to_owned())
            })
        })
    }

    fn wrong_volume(&self) -> Option<String> {
        let Volume { size, kind, iops, throughput } = &self.volume;
        let kind = kind.as_deref();
        if kind.is_some_and(|kind| !KINDS.contains(&kind)) {
            return Some(format!("the `type` of `volume` is one of {}", KINDS.join(", ")));
        }
        if *size == Some(0) {
            return Some("the `size` of `volume` is at least 1 GiB".to_owned());
        }
        if iops.is_some() && kind.is_some_and(|kind| !matches!(kind, "gp3" | "io1" | "io2")) {
            return Some("`iops` goes with a `volume` of the type gp3, io1 or io2".to_owned());
        }
        if iops.is_none() && matches!(kind, Some("io1" | "io2")) {
            return Some("a `volume` of the type io1 or io2 says its `iops`".to_owned());
        }
        if throughput.is_some() && kind.is_some_and(|kind| kind != "gp3") {
            return Some("`throughput` goes with a `volume` of the type gp3".to_owned());
        }
        None
    }

    fn wrong_key(&self) -> Option<String> {
        let named = self.kms_key.is_some() || self.copies.iter().any(|copy| copy.kms_key.is_some());
        (named && !self.encrypted).then(|| {
            "`kms-key` goes with `encrypted = true`: an image is encrypted at launch, never by copying".to_owned()
        })
    }

    fn wrong_copies(&self, region: &str) -> Option<String> {
        let mut regions = BTreeSet::from([region]);
        let twice = self.copies.iter().find(|copy| !regions.insert(&copy.region))?;
        Some(match twice.region == region {
            true => format!("the image is made in {region}: it needs no copy there"),
            false => format!("`copies` names {} twice", twice.region),
        })
    }

    fn wrong_share(&self) -> Option<String> {
        let is_account = |id: &&String| id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_digit());
        if let Some(wrong) = self.share.accounts.iter().find(|id| !is_account(id)) {
            return Some(format!("`{wrong}` in `share` is no account id: they have 12 digits"));
        }
        if let Some(wrong) = self.share.organisations.iter().find(|arn| !is_organisation(arn)) {
            return Some(format!(
                "`{wrong}` in `share` is no ARN of an organisation (arn:aws:organizations::ACCOUNT:organization/o-…) or an \
                 organisational unit (arn:aws:organizations::ACCOUNT:ou/o-…/ou-…)"
            ));
        }
        if self.share.is_empty() || !self.encrypted {
            return None;
        }
        // https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/sharingamis-explicit.html
        let own = |key: &Option<String>| key.as_deref().is_some_and(|key| !key.ends_with(MANAGED_KEY));
        let without = (!own(&self.kms_key)).then(|| "[bake]".to_owned());
        let without = without.or_else(|| {
            let copy = self.copies.iter().find(|copy| !own(&copy.kms_key))?;
            Some(format!("the copy in {}", copy.region))
        })?;
        Some(format!(
            "sharing an encrypted image needs a customer key in each region, since nobody else can use the one that AWS \
             manages: {without} has no `kms-key` of its own"
        ))
    }
}

/// `arn:aws:organizations::ACCOUNT:organization/o-…` or `…:ou/o-…/ou-…`.
fn is_organisation(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, "organizations", "", account, resource] = parts.as_slice() else { return false };
    let kind: Vec<&str> = resource.split('/').collect();
    let named = match kind.as_slice() {
        ["organization", organisation] => organisation.starts_with("o-"),
        ["ou", organisation, unit] => organisation.starts_with("o-") && unit.starts_with("ou-"),
        _ => false,
    };
    partition.starts_with("aws") && account.len() == 12 && named
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use super::*;

    fn bake(more: &str) -> Bake {
        let text = format!(
            "base = {{ id = \"ami-1\" }}\nplaybook = \"a/b.yml\"\ninstance-types = [\"t3.small\"]\ninstance-profile = \"p\"\n{more}"
        );
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn sharing_needs_a_customer_key_in_each_region() {
        let share = "share = { accounts = [\"111122223333\"] }\n";
        let wrong = |more: &str| bake(&format!("{share}{more}")).wrong_image("us-east-1");
        let in_bake = wrong("").unwrap();
        assert!(in_bake.contains("needs a customer key in each region") && in_bake.contains("[bake]"), "{in_bake}");
        assert!(wrong("kms-key = \"alias/aws/ebs\"").is_some());
        assert_eq!(wrong("kms-key = \"alias/own\""), None);
        let copy = wrong("kms-key = \"alias/own\"\ncopies = [{ region = \"eu-west-1\" }]").unwrap();
        assert!(copy.contains("the copy in eu-west-1"), "{copy}");
        assert_eq!(wrong("kms-key = \"k\"\ncopies = [{ region = \"eu-west-1\", kms-key = \"alias/there\" }]"), None);
        assert_eq!(wrong("encrypted = false"), None);
    }

    #[test]
    fn what_aws_would_refuse_is_refused_before_anything_is_made() {
        for (more, said) in [
            ("volume = { size = 20, type = \"gp3\", iops = 6000, throughput = 500 }", None),
            ("volume = { type = \"gp4\" }", Some("one of gp3")),
            ("volume = { type = \"gp2\", throughput = 500 }", Some("`throughput` goes with")),
            ("volume = { type = \"io2\" }", Some("says its `iops`")),
            ("encrypted = false\nkms-key = \"k\"", Some("`kms-key` goes with `encrypted = true`")),
            ("copies = [{ region = \"us-east-1\" }]", Some("it needs no copy there")),
            ("copies = [{ region = \"a\" }, { region = \"a\" }]", Some("names a twice")),
            ("encrypted = false\nshare = { accounts = [\"1\"] }", Some("no account id")),
            ("encrypted = false\nshare = { organisations = [\"o-1\"] }", Some("no ARN of an organisation")),
            ("deprecate-after = \"90d\"", None),
            ("deprecate-after = \"1s\"", Some("between 1h and 3650d")),
        ] {
            let wrong = bake(more).wrong_image("us-east-1");
            match said {
                None => assert_eq!(wrong, None, "{more}"),
                Some(said) => assert!(wrong.as_deref().is_some_and(|wrong| wrong.contains(said)), "{more}: {wrong:?}"),
            }
        }
    }
}
