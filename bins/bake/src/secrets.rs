//! Secrets by their names: the builder fetches them with its own role, so that no value ever passes through here.

use std::collections::BTreeMap;

use gyron_core::aws::Aws;
use gyron_core::config::schema::Bake;
use gyron_core::config::secret::Secret;
use gyron_core::endpoint;
use gyron_core::failure::Result;
use serde::Serialize;

use crate::fingerprint::Fingerprint;

/// What the builder is told of secrets: where to ask, and for what.
#[derive(Debug, Serialize)]
pub(crate) struct Secrets {
    region: String,
    /// The endpoint of Systems Manager.
    ssm: String,
    secretsmanager: String,
    /// Passwords of Ansible Vault by their ids.
    vault: BTreeMap<String, Secret>,
    /// Extra variables by their names.
    variables: BTreeMap<String, Secret>,
}

/// What the builder needs to know; none where gyron.toml names no secret.
///
/// # Errors
/// Usage (2): there are no credentials to learn the endpoints with.
pub(crate) async fn of(settings: &Bake, aws: &Aws) -> Result<Option<Secrets>> {
    let (vault, variables) = (settings.vault_passwords(), settings.secrets.clone());
    if vault.is_empty() && variables.is_empty() {
        return Ok(None);
    }
    let region = aws.region.clone();
    let (ssm, secretsmanager) = (endpoint::ssm(aws).await?, endpoint::secrets_manager(aws).await?);
    Ok(Some(Secrets { region, ssm, secretsmanager, vault, variables }))
}

/// Adds the names to what decides an image. Values and versions don't count: whoever bakes need not be able to read them.
pub(crate) fn count(settings: &Bake, fingerprint: &mut Fingerprint) {
    for (id, secret) in settings.vault_passwords() {
        fingerprint.put(format!("vault password {id}"), secret.to_string());
    }
    for (name, secret) in &settings.secrets {
        fingerprint.put(format!("secret {name}"), secret.to_string());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may")]

    use std::process::Command;

    /// Reads a line that is too long to be read at once, as the log's stream does, with a secret at every place of it.
    const PIECES: &str = r#"
import io, json, sys
sys.path.insert(0, sys.argv[1])
import live
from sealed import Hiding
for secret in ("opensesame", "twice\nlines of it", 'q"u\'o\\t\u00e9 {{ 7 * 7 }}'):
    hide = Hiding([secret])
    for said in (secret, json.dumps(secret), repr(secret)):
        for place in range(live.LONGEST - 60, live.LONGEST + 5):
            pipe, out = io.BytesIO(b"x" * place + said.encode() + b"y" * live.LONGEST + b"\nend\n"), b""
            while piece := pipe.readline(live.LONGEST):
                out += hide(piece)
            assert out.count(b"x") == place and out.count(b"y") == live.LONGEST, (said, place)
            assert out.replace(b"x", b"").replace(b"y", b"").strip(b"\"'").startswith(b"***"), (said, place, out)
            assert b"opensesame" not in out and b"lines of it" not in out and b"7 * 7" not in out, (said, place)
deep = Hiding(["opensesame"]).deep({"msg": "it is opensesame", "item": [{"password": "opensesame"}], "line": 3})
print(json.dumps(deep))
"#;

    #[test]
    fn a_secret_is_hidden_wherever_it_stands_in_the_output() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/builder");
        let seen = Command::new("python3").args(["-B", "-c", PIECES, folder]).output().unwrap();
        assert!(seen.status.success(), "{}", String::from_utf8_lossy(&seen.stderr));
        insta::assert_snapshot!(
            String::from_utf8_lossy(&seen.stdout),
            @r#"{"msg": "it is ***", "item": [{"password": "***"}], "line": 3}"#
        );
    }
}
