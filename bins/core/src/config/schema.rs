//! The tables and keys of `gyron.toml`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::image::{Copy, Share, Volume};
use super::secret::Secret;
pub use super::span::Span;

/// All of gyron.toml, after the environment's tables and the overrides have been laid over it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tables {
    /// The app's name: letters, digits and hyphens, at most 32.
    pub app: String,
    /// The AWS region everything happens in.
    pub region: String,
    /// The bucket of releases, records and Terraform states.
    pub bucket: String,
    /// In an environment's table: a version made from a dirty work tree is never deployed here.
    #[serde(default)]
    pub protected: bool,
    /// What gyron-package takes.
    pub package: Option<Package>,
    /// What gyron-bake bakes.
    pub bake: Option<Bake>,
    /// What gyron-spec runs.
    pub spec: Option<Spec>,
    /// What gyron-launch launches, and the edge in front of it.
    pub launch: Option<Launch>,
    /// What gyron-smoke asks.
    pub smoke: Option<Smoke>,
    /// How gyron-swap moves traffic.
    pub swap: Option<Swap>,
}

/// `[package]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Package {
    /// A command that builds the app, run first by `sh -c` in the folder of gyron.toml.
    pub build: Option<String>,
    /// Globs of the files that make the release archive, relative to gyron.toml.
    #[serde(default)]
    pub include: Vec<String>,
    /// One file that is the release as it stands (`.war`, `.jar`, `.deb`), instead of `include`.
    pub artifact: Option<String>,
}

/// `[bake]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Bake {
    /// The image to start from.
    pub base: Base,
    /// The playbook, in a folder of its own whose whole tree goes to the builder; or `layers`.
    pub playbook: Option<String>,
    /// With `playbook`: the files that go to the builder beside it, as of a layer.
    pub files: Option<Vec<String>>,
    /// Playbooks that are baked one on the other, each image cached by its own fingerprint: an app-only change bakes the last
    /// one alone.
    #[serde(default)]
    pub layers: Vec<Layer>,
    /// How many images of each layer `gyron-bake prune` keeps beside those in use; 5 unless told.
    #[serde(default = "five")]
    pub keep: usize,
    /// The oldest image that is taken again where nothing has changed; without it, any.
    pub max_age: Option<Span>,
    /// Extra variables for the playbook, beside `gyron_app`, `gyron_version`, `gyron_release_dir` and `gyron_release_file`.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// Extra variables whose values are secret. The builder fetches them with its own instance profile, which needs
    /// `ssm:GetParameter` (and `kms:Decrypt` of the parameter's key) or `secretsmanager:GetSecretValue`; they stand in no command, log,
    /// record, object or image, unless the play puts them there: in its output they are hidden as they are, but not what a play makes
    /// of them. A fingerprint takes the name and not the value: after a change of the value bake with
    /// `--fresh`, or name the parameter with its version, `/shop/db:3`.
    #[serde(default)]
    pub secrets: BTreeMap<String, Secret>,
    /// The password of Ansible Vault, fetched as `secrets` are.
    pub vault_password: Option<Secret>,
    /// Passwords of Ansible Vault by their vault ids.
    #[serde(default)]
    pub vault: BTreeMap<String, Secret>,
    /// Instance types to try in this order.
    pub instance_types: Vec<String>,
    /// Subnets to try in this order; the default VPC's, if none is named.
    #[serde(default)]
    pub subnets: Vec<String>,
    /// Security groups of the builder; the VPC's default group, if none is named.
    #[serde(default)]
    pub security_groups: Vec<String>,
    /// The name of the instance profile that lets the SSM agent in.
    pub instance_profile: String,
    /// The root volume of builder and image.
    #[serde(default)]
    pub volume: Volume,
    /// Whether the builder's root volume is encrypted, and so the image; it is unless told.
    #[serde(default = "yes")]
    pub encrypted: bool,
    /// The KMS key that encrypts it, by id, alias or ARN; the region's default key for EBS, if none is named.
    pub kms_key: Option<String>,
    /// Regions that get a copy of the app's image, the last layer's.
    #[serde(default)]
    pub copies: Vec<Copy>,
    /// Who else may launch the app's image and its copies.
    #[serde(default)]
    pub share: Share,
    /// When the app's image and its copies are deprecated, counted from the image's creation: `90d`.
    pub deprecate_after: Option<Span>,
    /// How long the whole bake may take; 45 min unless told.
    #[serde(default = "minutes::<45>")]
    pub deadline: Span,
    /// How long a builder waits for a sign of life of its bake before it ends itself; 10 min unless told.
    #[serde(default = "minutes::<10>")]
    pub patience: Span,
    /// How long AWS is asked for capacity, by all instance types and subnets in turn; 10 min unless told.
    #[serde(default = "minutes::<10>")]
    pub capacity_deadline: Span,
    /// How long the builder may take until its SSM agent is online; 10 min unless told.
    #[serde(default = "minutes::<10>")]
    pub agent_deadline: Span,
}

impl Bake {
    /// What is baked, from below: a playbook alone is one layer.
    #[must_use]
    pub fn layers(&self) -> Vec<Layer> {
        let alone = self.playbook.iter().map(|playbook| Layer {
            name: "image".to_owned(),
            playbook: playbook.clone(),
            files: self.files.clone(),
            release: true,
        });
        alone.chain(self.layers.iter().cloned()).collect()
    }

    /// What is wrong with `playbook` and `layers`, if anything is.
    #[must_use]
    pub fn wrong_layers(&self) -> Option<&'static str> {
        let fits = |name: &str| {
            (1..=32).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        let mut names: Vec<&str> = self.layers.iter().map(|layer| layer.name.as_str()).collect();
        names.sort_unstable();
        if self.playbook.is_some() != self.layers.is_empty() {
            return Some("it takes either `playbook` or `layers`");
        }
        if self.files.is_some() && self.playbook.is_none() {
            return Some("`files` goes with `playbook`: each of `layers` has its own");
        }
        if names.windows(2).any(|pair| pair[0] == pair[1]) || !names.iter().all(|name| fits(name)) {
            return Some("each of `layers` has a name of its own, of letters, digits and hyphens, at most 32");
        }
        if self.layers.last().is_some_and(|last| !last.release) {
            return Some("the last of `layers` has `release = true`: an image without its release is no app's");
        }
        None
    }
}

/// A layer of an image.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Layer {
    /// Its name, in tags and messages.
    pub name: String,
    /// Its playbook, in a folder whose whole tree goes to the builder.
    pub playbook: String,
    /// Globs of the files that go to the builder beside the playbook's own, relative to its folder; no others count, so that
    /// layers can share a folder without a change of one baking the other. Without it, the whole folder.
    pub files: Option<Vec<String>>,
    /// Whether the release and its version come to it. What has no release is not baked again for a new one.
    #[serde(default)]
    pub release: bool,
}

/// The image to start from: exactly one of `ssm`, `id` and `name`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Base {
    /// A public SSM parameter that holds an image id.
    pub ssm: Option<String>,
    /// An image id.
    pub id: Option<String>,
    /// A name, with `*` and `?`: the newest image of `owner` wins.
    pub name: Option<String>,
    /// With `name`, and needed there, since anybody may publish an image of any name: an account id, `self` or `amazon`.
    pub owner: Option<String>,
}

/// `[spec]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Spec {
    /// The folder of serverspec's `*_spec.rb` files.
    #[serde(default = "spec_path")]
    pub path: String,
    /// How long the whole test may take.
    #[serde(default = "minutes::<20>")]
    pub deadline: Span,
}

/// `[launch]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Launch {
    /// The instance type of the colours.
    pub instance_type: String,
    /// The name of the instance profile of the colours; smoke needs it to let the SSM agent in.
    pub instance_profile: String,
    /// How many instances a colour has.
    pub capacity: Capacity,
    /// Subnets of balancer and instances, in two zones at least; the default VPC's, if none is named.
    #[serde(default)]
    pub subnets: Vec<String>,
    /// The port at which the app answers on an instance.
    #[serde(default = "http_port")]
    pub port: u16,
    /// The production listener's port.
    #[serde(default = "http_port")]
    pub listener_port: u16,
    /// The target groups' health check.
    #[serde(default)]
    pub health: Health,
    /// How long a target that was taken out may finish its requests.
    #[serde(default = "seconds::<300>")]
    pub deregistration_delay: Span,
    /// How long every target may take to become healthy.
    #[serde(default = "minutes::<15>")]
    pub deadline: Span,
}

/// `launch.capacity`
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Capacity {
    /// At least this many.
    pub min: u32,
    /// At most this many.
    pub max: u32,
}

/// `[launch.health]`: the health check of both target groups, as AWS bounds it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Health {
    /// The path that is asked.
    pub path: String,
    /// The statuses that pass: `200`, `200-299`, `200,301`.
    pub matcher: String,
    /// 5 to 300 s.
    pub interval: Span,
    /// 2 to 120 s, less than the interval.
    pub timeout: Span,
    /// Passes in a row after which an unhealthy target is healthy, 2 to 10.
    pub healthy_threshold: u32,
    /// Failures in a row after which a target is unhealthy, 2 to 10.
    pub unhealthy_threshold: u32,
}

impl Default for Health {
    fn default() -> Self {
        Health {
            path: "/health".to_owned(),
            matcher: "200".to_owned(),
            interval: Span::seconds(5),
            timeout: Span::seconds(2),
            healthy_threshold: 2,
            unhealthy_threshold: 2,
        }
    }
}

/// `[smoke]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Smoke {
    /// The checks.
    #[serde(default)]
    pub check: Vec<Check>,
    /// Whether each check is asked on each instance, too, besides through the balancer.
    #[serde(default = "yes")]
    pub instances: bool,
    /// How long "not ready yet" (no answer, 502, 503, 504) is asked again.
    #[serde(default = "minutes::<2>")]
    pub deadline: Span,
}

/// `[[smoke.check]]`: `{version}`, `{app}` and `{env}` in any expected text stand for what was launched.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Check {
    /// The path to GET.
    pub get: String,
    /// The status that is right.
    #[serde(default = "ok_status")]
    pub status: u16,
    /// Request headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// JSONPath (RFC 9535) to the text, number or boolean it must select, written as text.
    #[serde(default)]
    pub json: BTreeMap<String, String>,
    /// A text that the body must contain.
    pub contains: Option<String>,
    /// A regular expression that the body must match somewhere.
    pub matches: Option<String>,
    /// The longest that an answer may take.
    pub within: Option<Span>,
}

/// `[swap]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Swap {
    /// A path whose body contains the version: how a swap sees in the data plane which release answers.
    pub version_path: String,
    /// How many answers in a row must be the new colour's before the swap believes it.
    pub answers: u32,
    /// How long that may take.
    pub deadline: Span,
}

impl Default for Swap {
    fn default() -> Self {
        Swap { version_path: "/version".to_owned(), answers: 20, deadline: Span::seconds(120) }
    }
}

fn spec_path() -> String {
    "spec".to_owned()
}

const fn minutes<const N: u64>() -> Span {
    Span::seconds(N * 60)
}

const fn seconds<const N: u64>() -> Span {
    Span::seconds(N)
}

const fn five() -> usize {
    5
}

const fn http_port() -> u16 {
    80
}

const fn ok_status() -> u16 {
    200
}

const fn yes() -> bool {
    true
}
