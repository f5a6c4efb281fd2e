//! Which cloud this is: its name, its number on this machine, its addresses and its folders.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};

use gyron_core::failure::{Failure, OrFail, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The account every rehearsal cloud stands for: moto's own default.
pub const ACCOUNT: &str = "123456789012";

/// The port of the one endpoint for every service.
pub const ENDPOINT_PORT: u16 = 4566;

/// The address at which instances find their metadata, on every cloud as on AWS.
pub const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// A cloud that stands, or is being built, on this machine. Written to `HOME/cloud.json` by `up`.
///
/// Addresses come from 198.18.0.0/15, set apart by RFC 2544 for tests on one's own machines: 198.18.NUMBER.0/24 is the
/// cloud's own. All of them are addresses of this machine; none is ever routed off it.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Cloud {
    /// The name a person gave it; `default` unless told.
    pub name: String,
    /// 1 to 250, claimed by making the network namespace `gyron-NUMBER`; names the namespaces, links and addresses.
    pub number: u8,
    /// The one region whose instances get bodies.
    pub region: String,
    /// The folder of this cloud's state: `cloud.json`, `calls.jsonl`, logs, `aws.env`, `terraform.rc`.
    pub home: PathBuf,
    /// The folder of what clouds share and keep between runs: the venv, the base images, podman's storage, Terraform.
    pub cache: PathBuf,
    /// The loopback port of moto.
    pub moto_port: u16,
}

impl Cloud {
    /// The machine-local address of the endpoint, the same from the host, the steps and the instances.
    #[must_use]
    pub fn endpoint_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.number, 1)
    }

    /// The endpoint as a URL without a trailing slash: what `AWS_ENDPOINT_URL` is set to.
    #[must_use]
    pub fn endpoint_url(&self) -> String {
        format!("http://{}", SocketAddrV4::new(self.endpoint_address(), ENDPOINT_PORT))
    }

    /// The address from which whatever runs in the steps' network calls the endpoint.
    #[must_use]
    pub fn steps_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.number, 3)
    }

    /// The same for the instances, behind their masquerade.
    #[must_use]
    pub fn instances_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.number, 2)
    }

    /// The n-th address that a balancer may listen on, `None` when all are given away.
    #[must_use]
    pub fn balancer_address(&self, n: u8) -> Option<Ipv4Addr> {
        (n < 200).then(|| Ipv4Addr::new(198, 18, self.number, 20 + n))
    }

    /// The network namespace in which the instances' bridge stands and from which instances can be reached.
    #[must_use]
    pub fn instances_netns(&self) -> String {
        format!("gyron-{}", self.number)
    }

    /// The network namespace the steps run in: endpoint, listeners and package registries, no instance.
    #[must_use]
    pub fn steps_netns(&self) -> String {
        format!("gyron-{}-steps", self.number)
    }

    /// The folder of a cloud's state by its name: `$XDG_STATE_HOME/gyron-rehearse/NAME`.
    ///
    /// # Errors
    /// Where neither `XDG_STATE_HOME` nor `HOME` is set.
    pub fn home_of(name: &str) -> Result<PathBuf> {
        Ok(xdg("XDG_STATE_HOME", ".local/state")?.join(name))
    }

    /// The folder that all clouds of this user share: `$XDG_CACHE_HOME/gyron-rehearse`.
    ///
    /// # Errors
    /// Where neither `XDG_CACHE_HOME` nor `HOME` is set.
    pub fn shared_cache() -> Result<PathBuf> {
        xdg("XDG_CACHE_HOME", ".cache")
    }

    /// The file of the contexts that CI's jobs can ask for.
    #[must_use]
    pub fn contexts(&self) -> PathBuf {
        self.home.join("contexts.toml")
    }

    /// The cloud that stands in a home, as `up` wrote it; `None` where there is none.
    ///
    /// # Errors
    /// Where `cloud.json` is there but can't be read.
    pub fn load(home: &Path) -> Result<Option<Self>> {
        let at = home.join("cloud.json");
        let broken = || Failure::refused(format!("can't read {}", at.display())).hint("gyron-rehearse down, then up");
        match std::fs::read(&at) {
            Ok(text) => serde_json::from_slice(&text).or_fail(broken),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(broken().because(error)),
        }
    }

    /// Writes `cloud.json`, all or nothing.
    ///
    /// # Errors
    /// Where the home can't be written.
    pub fn save(&self) -> Result<()> {
        let at = self.home.join("cloud.json");
        let text = serde_json::to_vec_pretty(self).or_fail(|| Failure::defect("can't write a cloud as JSON"))?;
        let written = std::fs::create_dir_all(&self.home)
            .and_then(|()| std::fs::write(at.with_extension("json.new"), text))
            .and_then(|()| std::fs::rename(at.with_extension("json.new"), &at));
        written.or_fail(|| Failure::program(format!("can't write {}", at.display())))
    }

    /// The access key's id: made up, the same as long as the cloud has its name and home.
    #[must_use]
    pub fn access_key_id(&self) -> String {
        // As AWS's: AKIA and 16 characters of base 32.
        let digest = self.made_up("id");
        let letters =
            digest.iter().take(16).map(|byte| char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[usize::from(byte % 32)]));
        std::iter::once("AKIA".to_owned()).chain(letters.map(String::from)).collect()
    }

    /// The secret that goes with it: 40 characters, as AWS's.
    #[must_use]
    pub fn secret_access_key(&self) -> String {
        hex::encode(self.made_up("secret"))[..40].to_owned()
    }

    fn made_up(&self, what: &str) -> Vec<u8> {
        Sha256::digest(format!("{what} of {} in {}", self.name, self.home.display())).to_vec()
    }
}

fn xdg(variable: &str, below_home: &str) -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // A relative path in an XDG variable is to be ignored, says the specification.
    let base = set(variable).filter(|path| path.is_absolute()).or_else(|| Some(set("HOME")?.join(below_home)));
    let base = base.ok_or_else(|| Failure::usage(format!("neither {variable} nor HOME is set")))?;
    Ok(base.join("gyron-rehearse"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use super::*;

    fn cloud(home: &Path) -> Cloud {
        Cloud {
            name: "t".into(),
            number: 9,
            region: "eu-west-1".into(),
            home: home.into(),
            cache: "/c".into(),
            moto_port: 1,
        }
    }

    #[test]
    fn a_cloud_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("deep/down");
        assert_eq!(Cloud::load(&home).unwrap(), None);
        cloud(&home).save().unwrap();
        assert_eq!(Cloud::load(&home).unwrap(), Some(cloud(&home)));
    }

    #[test]
    fn a_broken_cloud_file_is_refused_with_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("cloud.json"), "{").unwrap();
        let failure = Cloud::load(folder.path()).unwrap_err();
        assert_eq!(failure.exit().code(), 3);
        assert!(failure.report().contains("hint: gyron-rehearse down, then up"), "{}", failure.report());
    }

    #[test]
    fn keys_have_the_form_of_awss() {
        let cloud = cloud(Path::new("/h"));
        assert_eq!((cloud.access_key_id().len(), cloud.secret_access_key().len()), (20, 40));
        assert!(cloud.access_key_id().starts_with("AKIA"));
    }
}
