//! What the metadata service holds for one instance: a pure function from the instance to paths and contents.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::cloud::{ACCOUNT, Cloud};
use crate::world::Instance;

/// The versions that can stand in front of a path; every one shows the same tree. From the EC2 User Guide,
/// "instance metadata versions"; cloud-init asks for 2009-04-04, 2016-09-02, 2018-09-24 and 2021-03-23.
const VERSIONS: [&str; 20] = [
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
    "2011-01-01",
    "2011-05-01",
    "2012-01-12",
    "2014-02-25",
    "2016-09-02",
    "2018-09-24",
    "2019-10-01",
    "2020-10-27",
    "2021-03-23",
    "2022-09-24",
    "latest",
];

/// Credentials are good for this many hours, and at least that many minus one when read.
const CREDENTIAL_HOURS: i64 = 6;

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A value.
    Leaf(Vec<u8>),
    /// The names below, those of folders with a slash behind them.
    Listing(String),
    /// Nothing: 404.
    Nothing,
}

/// Looks up a request's path, already percent-decoded, with its leading slash and version.
#[must_use]
pub fn look_up(path: &str, instance: &Instance, cloud: &Cloud, now: Timestamp) -> Found {
    let path = path.trim_start_matches('/');
    if path.is_empty() {
        return Found::Listing(VERSIONS.join("\n"));
    }
    let (version, rest) = path.split_once('/').unwrap_or((path, ""));
    if !VERSIONS.contains(&version) {
        return Found::Nothing;
    }
    if rest.is_empty() {
        // The one listing that AWS prints without slashes.
        let user_data = if instance.user_data.is_empty() { "" } else { "\nuser-data" };
        return Found::Listing(format!("dynamic\nmeta-data{user_data}"));
    }
    if rest == "user-data" && !instance.user_data.is_empty() {
        return Found::Leaf(instance.user_data.clone());
    }
    if let (Some(pair), "meta-data/public-keys") = (&instance.key_pair, rest.trim_end_matches('/')) {
        // The one folder whose names say more than how to go on.
        return Found::Listing(format!("0={}", pair.name));
    }
    let leaves = leaves(instance, cloud, now);
    if let Some(value) = leaves.get(rest) {
        return Found::Leaf(value.clone().into_bytes());
    }
    list(&leaves, rest.trim_end_matches('/'))
}

fn list(leaves: &BTreeMap<String, String>, folder: &str) -> Found {
    let folder = format!("{folder}/");
    let mut names: Vec<&str> = Vec::new();
    for path in leaves.keys().filter_map(|path| path.strip_prefix(&folder)) {
        let name = path.split_inclusive('/').next().unwrap_or(path);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() { Found::Nothing } else { Found::Listing(names.join("\n")) }
}

/// The name AWS gives to an address inside its VPC.
#[must_use]
pub fn private_name(instance: &Instance, region: &str) -> String {
    let dashed = instance.private_ip.to_string().replace('.', "-");
    // us-east-1 is older than the scheme of the others.
    if region == "us-east-1" {
        format!("ip-{dashed}.ec2.internal")
    } else {
        format!("ip-{dashed}.{region}.compute.internal")
    }
}

fn leaves(instance: &Instance, cloud: &Cloud, now: Timestamp) -> BTreeMap<String, String> {
    let name = private_name(instance, &cloud.region);
    let group_names = instance.security_groups.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>().join("\n");
    let group_ids = instance.security_groups.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>().join("\n");
    let mut leaves = BTreeMap::new();
    let mut put = |path: String, value: String| {
        leaves.insert(path, value);
    };

    for (path, value) in [
        ("ami-id", instance.image_id.as_str()),
        ("ami-launch-index", "0"),
        ("ami-manifest-path", "(unknown)"),
        ("hostname", &name),
        ("instance-action", "none"),
        ("instance-id", &instance.id),
        ("instance-type", &instance.instance_type),
        ("local-hostname", &name),
        ("local-ipv4", &instance.private_ip.to_string()),
        ("mac", &instance.mac),
        ("placement/availability-zone", &instance.zone),
        ("placement/region", &cloud.region),
        ("profile", "default-hvm"),
        ("reservation-id", &reservation(instance)),
        ("security-groups", &group_names),
        ("services/domain", "amazonaws.com"),
        ("services/partition", "aws"),
    ] {
        put(format!("meta-data/{path}"), value.to_owned());
    }

    for (path, value) in [
        ("device-number", "0"),
        ("local-hostname", &name),
        ("local-ipv4s", &instance.private_ip.to_string()),
        ("mac", &instance.mac),
        ("owner-id", ACCOUNT),
        ("security-group-ids", &group_ids),
        ("security-groups", &group_names),
        ("subnet-id", &instance.subnet_id),
        ("vpc-id", &instance.vpc_id),
    ] {
        put(format!("meta-data/network/interfaces/macs/{}/{path}", instance.mac), value.to_owned());
    }

    if instance.metadata_tags {
        // EC2 allows only such keys where metadata tags are on; moto doesn't check, and a slash would be a folder.
        let plain = |key: &str| key.chars().all(|c| c.is_ascii_alphanumeric() || "+-=.,_:@".contains(c));
        for (key, value) in instance.tags.iter().filter(|(key, _)| !key.is_empty() && plain(key)) {
            put(format!("meta-data/tags/instance/{key}"), value.clone());
        }
    }

    // The key of the launch, whatever becomes of the key pair afterwards; cloud-init gives it to the image's user.
    // https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/describe-keys.html#identify-key-pair-specified-at-launch
    if let Some(pair) = &instance.key_pair {
        put("meta-data/public-keys/0/openssh-key".to_owned(), format!("{} {}", pair.public, pair.name));
    }

    if let Some(arn) = &instance.instance_profile_arn {
        let role = role(arn);
        put("meta-data/iam/info".to_owned(), profile_info(arn, now));
        put(format!("meta-data/iam/security-credentials/{role}"), credentials(instance, now));
    }

    put("dynamic/instance-identity/document".to_owned(), identity_document(instance, cloud));
    leaves
}

/// The role's name. AWS gives the role inside the profile; here, as where a console made both, it is the profile's.
#[must_use]
pub fn role(profile_arn: &str) -> &str {
    profile_arn.rsplit('/').next().unwrap_or(profile_arn)
}

/// Seventeen hex digits that stay the same for an instance, as AWS's ids have them.
fn reservation(instance: &Instance) -> String {
    format!("r-{}", &hex::encode(Sha256::digest(instance.id.as_bytes()))[..17])
}

fn on_the_hour(now: Timestamp) -> i64 {
    now.as_second() - now.as_second().rem_euclid(3600)
}

fn at(second: i64) -> String {
    Timestamp::from_second(second).unwrap_or(Timestamp::MAX).to_string()
}

fn profile_info(arn: &str, now: Timestamp) -> String {
    let id = hex::encode_upper(Sha256::digest(arn.as_bytes()));
    pretty(&json!({
        "Code": "Success",
        "LastUpdated": at(on_the_hour(now)),
        "InstanceProfileArn": arn,
        "InstanceProfileId": format!("AIPA{}", &id[..17]),
    }))
}

/// moto takes any key. These name the instance by a digest, so that the journal of calls can tell who asked.
fn credentials(instance: &Instance, now: Timestamp) -> String {
    let hour = on_the_hour(now);
    let seed = |what: &str| Sha256::digest(format!("{what} {} {hour}", instance.id).as_bytes());
    use base64::Engine as _;
    let base64 = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    pretty(&json!({
        "Code": "Success",
        "LastUpdated": at(hour),
        "Type": "AWS-HMAC",
        "AccessKeyId": format!("ASIA{}", &hex::encode_upper(Sha256::digest(instance.id.as_bytes()))[..16]),
        "SecretAccessKey": &base64(&seed("secret"))[..40],
        "Token": base64(&seed("token")),
        "Expiration": at(hour + CREDENTIAL_HOURS * 3600),
    }))
}

fn identity_document(instance: &Instance, cloud: &Cloud) -> String {
    pretty(&json!({
        "accountId": ACCOUNT,
        "architecture": architecture(&instance.instance_type),
        "availabilityZone": instance.zone,
        "billingProducts": null,
        "devpayProductCodes": null,
        "marketplaceProductCodes": null,
        "imageId": instance.image_id,
        "instanceId": instance.id,
        "instanceType": instance.instance_type,
        "kernelId": null,
        "pendingTime": instance.launch_time,
        "privateIp": instance.private_ip.to_string(),
        "ramdiskId": null,
        "region": cloud.region,
        "version": "2017-09-30",
    }))
}

/// Graviton types have a `g` behind the generation's digit: `c7g.large`, `m6gd.large`, but not `g5.large`.
fn architecture(instance_type: &str) -> &'static str {
    let family = instance_type.split('.').next().unwrap_or(instance_type);
    let suffix =
        family.trim_start_matches(|c: char| c.is_ascii_alphabetic()).trim_start_matches(|c: char| c.is_ascii_digit());
    if family == "a1" || suffix.starts_with('g') { "arm64" } else { "x86_64" }
}

fn pretty(value: &serde_json::Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;

    /// A cloud that nothing stands behind.
    pub(crate) fn cloud() -> Cloud {
        Cloud {
            name: "test".into(),
            number: 7,
            region: "ap-northeast-1".into(),
            home: "/nonexistent".into(),
            cache: "/nonexistent".into(),
            moto_port: 9,
        }
    }

    /// A running instance with a profile.
    pub(crate) fn instance() -> Instance {
        Instance {
            id: "i-0123456789abcdef0".into(),
            image_id: "ami-1".into(),
            state: crate::world::InstanceState::Running,
            private_ip: "172.31.5.6".parse().unwrap(),
            mac: "02:00:ac:1f:05:06".into(),
            instance_type: "c7i.large".into(),
            zone: "ap-northeast-1a".into(),
            subnet_id: "subnet-1".into(),
            vpc_id: "vpc-1".into(),
            user_data: b"#cloud-config\n".to_vec(),
            instance_profile_arn: Some("arn:aws:iam::123456789012:instance-profile/path/builder".into()),
            security_groups: vec![("sg-1".into(), "web".into()), ("sg-2".into(), "db".into())],
            tags: BTreeMap::from([
                ("Name".to_owned(), "one".to_owned()),
                ("gyron:app".to_owned(), "shop".to_owned()),
                ("a/b".to_owned(), "no".to_owned()),
            ]),
            metadata_tags: true,
            metadata_tokens_required: true,
            launch_time: "2026-01-02T03:04:05Z".into(),
            key_pair: Some(crate::world::KeyPair { name: "one".into(), public: "ssh-rsa AAAA".into() }),
        }
    }

    fn text(path: &str, instance: &Instance) -> Option<String> {
        let now = "2026-01-02T10:20:30Z".parse().unwrap();
        match look_up(path, instance, &cloud(), now) {
            Found::Leaf(bytes) => Some(String::from_utf8(bytes).unwrap()),
            Found::Listing(listing) => Some(format!("[{}]", listing.replace('\n', " "))),
            Found::Nothing => None,
        }
    }

    #[test]
    fn paths() {
        let full = instance();
        let bare = Instance {
            user_data: vec![],
            instance_profile_arn: None,
            metadata_tags: false,
            key_pair: None,
            ..instance()
        };
        let macs = "/latest/meta-data/network/interfaces/macs";
        let table: &[(&Instance, &str, Option<&str>)] = &[
            (&full, "/latest", Some("[dynamic meta-data user-data]")),
            (&full, "/latest/", Some("[dynamic meta-data user-data]")),
            (&bare, "/latest/", Some("[dynamic meta-data]")),
            (&full, "/1999-01-01/meta-data/instance-id", None),
            (&full, "/2009-04-04/meta-data/instance-id", Some("i-0123456789abcdef0")),
            (&full, "/2021-03-23/meta-data/ami-id", Some("ami-1")),
            (&full, "/latest/meta-data/ami-id/", None),
            (&full, "/latest/meta-data/nonesuch", None),
            (&bare, "/latest/meta-data/public-keys/", None),
            (&full, "/latest/meta-data/public-keys/", Some("[0=one]")),
            (&full, "/latest/meta-data/public-keys", Some("[0=one]")),
            (&full, "/latest/meta-data/public-keys/0/", Some("[openssh-key]")),
            (&full, "/latest/meta-data/public-keys/0/openssh-key", Some("ssh-rsa AAAA one")),
            (&full, "/latest/meta-data/placement/", Some("[availability-zone region]")),
            (&full, "/latest/meta-data/placement", Some("[availability-zone region]")),
            (&full, "/latest/meta-data/security-groups", Some("web\ndb")),
            (&full, "/latest/meta-data/hostname", Some("ip-172-31-5-6.ap-northeast-1.compute.internal")),
            (&full, macs, Some("[02:00:ac:1f:05:06/]")),
            (&full, &format!("{macs}/02:00:ac:1f:05:06/device-number"), Some("0")),
            (&full, "/latest/meta-data/tags/instance/", Some("[Name gyron:app]")),
            (&full, "/latest/meta-data/tags/instance/gyron:app", Some("shop")),
            (&bare, "/latest/meta-data/tags/instance/Name", None),
            (&full, "/latest/meta-data/iam/", Some("[info security-credentials/]")),
            (&full, "/latest/meta-data/iam/security-credentials/", Some("[builder]")),
            (&bare, "/latest/meta-data/iam/security-credentials/", None),
            (&bare, "/latest/meta-data/iam/info", None),
            (&full, "/latest/user-data", Some("#cloud-config\n")),
            (&bare, "/latest/user-data", None),
            (&full, "/latest/dynamic/instance-identity/", Some("[document]")),
        ];
        for (instance, path, want) in table {
            assert_eq!(text(path, instance).as_deref(), *want, "{path}");
        }
        let top = text("/latest/meta-data/", &full).unwrap();
        assert!(top.contains(" iam/ ") && top.contains(" instance-id ") && top.contains(" network/ "), "{top}");
    }

    /// cloud-init 22.4 drops all metadata when one listed name can't be read.
    #[test]
    fn whatever_is_listed_can_be_read() {
        fn walk(folder: &str, instance: &Instance, seen: &mut usize) {
            let listing = text(folder, instance).unwrap();
            for name in listing.trim_matches(['[', ']']).split(' ') {
                // A key's name tells its number, from which cloud-init knows the rest of the path.
                let name = name.split_once('=').map_or(name.to_owned(), |(key, _)| format!("{key}/openssh-key"));
                let path = format!("{folder}{name}");
                let found = text(&path, instance).unwrap_or_else(|| panic!("{path}"));
                *seen += 1;
                if name.ends_with('/') {
                    assert!(found.starts_with('['), "{path}");
                    walk(&path, instance, seen);
                }
            }
        }
        let mut seen = 0;
        walk("/2021-03-23/meta-data/", &instance(), &mut seen);
        assert!(seen > 30, "{seen}");
    }

    #[test]
    fn documents_are_what_the_sdks_read() {
        let now: Timestamp = "2026-01-02T10:20:30Z".parse().unwrap();
        let read =
            |path: &str| -> serde_json::Value { serde_json::from_str(&text(path, &instance()).unwrap()).unwrap() };
        let credentials = read("/latest/meta-data/iam/security-credentials/builder");
        assert_eq!(credentials["Code"], "Success");
        assert_eq!(credentials["Expiration"], "2026-01-02T16:00:00Z");
        let expiration: Timestamp = credentials["Expiration"].as_str().unwrap().parse().unwrap();
        assert!(expiration.as_second() - now.as_second() > 5 * 3600);
        assert_eq!(credentials["AccessKeyId"].as_str().unwrap().len(), 20);
        assert_eq!(credentials["SecretAccessKey"].as_str().unwrap().len(), 40);
        let document = read("/latest/dynamic/instance-identity/document");
        assert_eq!(document["instanceId"], "i-0123456789abcdef0");
        assert_eq!(document["region"], "ap-northeast-1");
        for (kind, want) in
            [("c7i.large", "x86_64"), ("c7g.large", "arm64"), ("g5.xlarge", "x86_64"), ("m6gd.large", "arm64")]
        {
            assert_eq!(architecture(kind), want, "{kind}");
        }
    }
}
