//! Secrets of a bake: by their names, since gyron.toml stands in a repo.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema::Bake;

/// A secret by its name: exactly one of `ssm` and `secret`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Secret {
    /// A parameter of Systems Manager, with `:VERSION` behind it where one is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssm: Option<String>,
    /// The name or ARN of a secret in Secrets Manager.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// With `secret`: the key whose value is meant, where the secret is a JSON object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl std::fmt::Display for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.ssm, &self.secret, &self.key) {
            (Some(name), _, _) => write!(f, "ssm {name}"),
            (_, name, None) => write!(f, "secret {}", name.as_deref().unwrap_or_default()),
            (_, name, Some(key)) => write!(f, "secret {}, key {key}", name.as_deref().unwrap_or_default()),
        }
    }
}

impl Bake {
    /// The passwords of Ansible Vault by their vault ids; the one without a name is `default`, as Ansible calls it.
    #[must_use]
    pub fn vault_passwords(&self) -> BTreeMap<String, Secret> {
        let alone = self.vault_password.iter().map(|secret| ("default".to_owned(), secret.clone()));
        self.vault.clone().into_iter().chain(alone).collect()
    }

    /// What is wrong with `secrets`, `vault-password` and `vault`, if anything is.
    #[must_use]
    pub fn wrong_secrets(&self) -> Option<&'static str> {
        let mut all = self.secrets.values().chain(self.vault.values()).chain(&self.vault_password);
        if !all.all(|secret| {
            secret.ssm.is_some() != secret.secret.is_some() && (secret.key.is_none() || secret.secret.is_some())
        }) {
            return Some("a secret takes exactly one of `ssm` and `secret`; `key` goes with `secret`");
        }
        let is_id =
            |name: &String| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        if !self.vault.keys().all(|id| !id.is_empty() && id != "default" && is_id(id)) {
            return Some("an id in `vault` is of letters, digits, `_` and `-`; `default` is `vault-password`");
        }
        let is_variable = |name: &String| {
            name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
        };
        let free = |name: &String| !name.starts_with("gyron_") && !self.variables.contains_key(name);
        if !self.secrets.keys().all(|name| is_variable(name) && free(name)) {
            return Some("each of `secrets` is an Ansible variable of its own: no `gyron_…`, none of `variables`");
        }
        None
    }
}
