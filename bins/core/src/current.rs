//! What an environment is now: `APP/envs/ENV/current.json`, written by swap when the data plane has confirmed it.

use serde::{Deserialize, Serialize};

use crate::failure::Result;
use crate::ids::{Colour, Digest};
use crate::registry::{Registry, Tagged};

/// A colour and the release in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// The colour.
    pub colour: Colour,
    /// The version's name.
    pub version: String,
    /// The Auto Scaling group.
    pub group: String,
    /// The record of its smoke test, below `APP/records/`; none where only AWS could be asked what runs there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub record: Option<Digest>,
}

/// What an environment is now, and was before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Current {
    /// What has the traffic.
    pub live: Stack,
    /// What had it before and can take it again as long as its group stands; none after the first swap of all.
    pub previous: Option<Stack>,
    /// When this was written: RFC 3339, UTC.
    pub at: String,
    /// The run that wrote it.
    pub run: String,
}

impl Current {
    /// Its key in the bucket.
    #[must_use]
    pub fn key(registry: &Registry, env: &str) -> String {
        registry.env_key(env, "current.json")
    }

    /// Reads it; none before the first swap.
    ///
    /// # Errors
    /// AWS (4); refused (3) where it can't be understood.
    pub async fn load(registry: &Registry, env: &str) -> Result<Option<Self>> {
        let current = registry.get::<Current>(&Self::key(registry, env)).await?;
        Ok(current.map(|Tagged { value, .. }| value))
    }
}
