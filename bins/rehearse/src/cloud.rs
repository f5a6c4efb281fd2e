//! Which cloud this is: its name, its number on this machine, its addresses and its folders.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

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
}
