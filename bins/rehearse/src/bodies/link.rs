//! An instance's place in the network: a namespace of its own, joined to the cloud's bridge.

use std::path::PathBuf;

use gyron_core::failure::Result;

use crate::cloud::Cloud;
use crate::install::tool::Tool;
use crate::network::{self, BRIDGE, GATEWAY};
use crate::world::Instance;

/// The namespace of an instance.
#[must_use]
pub fn namespace(cloud: &Cloud, instance_id: &str) -> String {
    format!("{}-{instance_id}", cloud.instances_netns())
}

/// Where the namespace stands in the file system, if it does.
#[must_use]
pub fn path(cloud: &Cloud, instance_id: &str) -> PathBuf {
    PathBuf::from("/run/netns").join(namespace(cloud, instance_id))
}

/// Makes the namespace with its address, as the hypervisor and DHCP do for an instance. What a try before left is replaced.
pub async fn make(cloud: &Cloud, instance: &Instance) -> Result<()> {
    remove(cloud, &instance.id).await?;
    let inside = namespace(cloud, &instance.id);
    Tool::new("ip").args(["netns", "add", &inside]).run().await?;
    let mtu = network::uplink_mtu().await;
    let port = port(&instance.id);
    network::batch(
        &cloud.instances_netns(),
        &format!(
            "link add {port} mtu {mtu} type veth peer name eth0 address {} mtu {mtu} netns {inside}\n\
             link set {port} addrgenmode none\nlink set {port} master {BRIDGE} up\n",
            instance.mac
        ),
    )
    .await?;
    network::batch(
        &inside,
        &format!(
            "link set lo up\nlink set eth0 addrgenmode none\naddr add {}/16 dev eth0\nlink set eth0 up\n\
             route add default via {GATEWAY}\n",
            instance.private_ip
        ),
    )
    .await
}

/// Takes the namespace away, if it is there.
pub async fn remove(cloud: &Cloud, instance_id: &str) -> Result<()> {
    if path(cloud, instance_id).exists() {
        // The link first: a namespace lives on while a process is in it, and its address must be free at once.
        let port = port(instance_id);
        Tool::new("ip").args(["-n", &cloud.instances_netns(), "link", "del", &port]).ending().await?;
        Tool::new("ip").args(["netns", "del", &namespace(cloud, instance_id)]).run().await?;
    }
    Ok(())
}

/// The bridge's port for an instance: a link's name has at most 15 characters, an instance's id 19.
fn port(instance_id: &str) -> String {
    let tail = instance_id.len().saturating_sub(14);
    format!("p{}", &instance_id[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_named_for_the_end_of_the_instances_id() {
        assert_eq!(port("i-0123456789abcdef0"), "p3456789abcdef0");
        assert_eq!(port("i-1"), "pi-1");
    }
}
