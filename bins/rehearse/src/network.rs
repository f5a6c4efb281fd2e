//! A cloud's network: namespaces, bridge, links, addresses and routes, made and taken away.
//!
//! ```text
//!   host                          gyron-N                                    gyron-N-i-…
//!   gyNi 198.18.N.1, .20-.219 --- uplink 198.18.N.2    instances 172.31.0.1 --- eth0 172.31.a.b
//!                                                                169.254.169.254
//!   gyNs 198.18.N.1           --- uplink 198.18.N.3
//!                                 gyron-N-steps
//! ```
//!
//! All is named for the cloud's number, so that taking away needs no memory. Nothing here is written to a file of the system's.

mod firewall;

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use gyron_core::failure::{Failure, OrFail, Result};
use nix::fcntl::{Flock, FlockArg};
use serde::Deserialize;

use crate::cloud::{Cloud, METADATA};
use crate::install::tool::Tool;

/// The bridge of the instances, in the cloud's namespace.
pub const BRIDGE: &str = "instances";

/// The instances' way out: the second address of the VPC would be the resolver, the first is the router, as on AWS.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 1);

/// The router's own hardware address. A bridge that is given none takes the lowest of its ports', so that it changes as
/// instances come and go: what the others had learnt of their router is then wrong, and a connection begun in that moment
/// passes by the masquerading for as long as it is tried.
const ROUTER: &str = "06:00:ac:1f:00:01";

/// moto's default VPC, the same in each cloud.
const INSTANCES: &str = "172.31.0.0/16";

/// What all clouds' own addresses come from.
const MACHINE_LOCAL: &str = "198.18.0.0/15";

/// Where the clouds of this machine are told apart, whoever's home they are in.
const RUN: &str = "/run/gyron-rehearse";

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// Holds up everybody else who makes or takes away a cloud's network on this machine, until dropped.
#[must_use]
pub struct Machine {
    _lock: Flock<File>,
}

impl Machine {
    /// Waits for its turn.
    ///
    /// # Errors
    /// Where `/run` can't be written: not root.
    pub async fn hold() -> Result<Self> {
        let lock = tokio::task::spawn_blocking(|| {
            std::fs::create_dir_all(RUN)?;
            let file = File::create(Path::new(RUN).join("lock"))?;
            Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| std::io::Error::from(errno))
        });
        let lock = lock.await.map_err(std::io::Error::other).and_then(|lock| lock);
        Ok(Machine { _lock: lock.or_fail(|| Failure::program(format!("can't lock {RUN}/lock")))? })
    }
}

/// Claims a number for the cloud at `home` by making its namespace; `wished` first, if it is free.
///
/// # Errors
/// Where all numbers are taken.
pub async fn claim(_machine: &Machine, home: &Path, wished: Option<u8>) -> Result<u8> {
    for number in wished.into_iter().chain(1..=250) {
        let ending = Tool::new("ip").args(["netns", "add", &format!("gyron-{number}")]).ending().await?;
        if ending.code == Some(0) {
            tokio::fs::write(owner_file(number), home.as_os_str().as_encoded_bytes())
                .await
                .or_fail(|| Failure::program(format!("can't write {}", owner_file(number).display())))?;
            return Ok(number);
        }
        if !ending.errors.contains("File exists") {
            return Err(Failure::program("can't make a network namespace").detail(ending.errors));
        }
    }
    Err(Failure::refused("250 clouds stand on this machine already").hint("gyron-rehearse down ends one"))
}

/// Whether this number stands, and is this home's.
#[must_use]
pub fn is_claimed(number: u8, home: &Path) -> bool {
    Path::new("/run/netns").join(format!("gyron-{number}")).exists()
        && std::fs::read(owner_file(number)).is_ok_and(|owner| owner == home.as_os_str().as_encoded_bytes())
}

fn owner_file(number: u8) -> PathBuf {
    Path::new(RUN).join(format!("cloud-{number}"))
}

/// Makes what lacks of the network of a claimed cloud.
///
/// # Errors
/// What `ip` or `iptables` say.
pub async fn make(_machine: &Machine, cloud: &Cloud) -> Result<()> {
    if is_whole(cloud) {
        return Ok(());
    }
    let (instances, steps) = (cloud.instances_netns(), cloud.steps_netns());
    let mtu = uplink_mtu().await;
    firewall::close(cloud.number).await?;
    remove_links(cloud).await?;
    Tool::new("ip").args(["netns", "add", &steps]).run().await?;

    forward_packets().await?;
    fence_off().await?;
    Tool::new("ip").args(["-batch", "-"]).input(outer_links(cloud, mtu)).run().await?;
    batch(&instances, &inside_instances(cloud, mtu)).await?;
    batch(&steps, &inside_steps(cloud)).await?;
    let forward = format!("echo 1 > {FORWARDING}");
    Tool::new("ip").args(["netns", "exec", &instances, "sh", "-c", &forward]).run().await?;
    firewall::masquerade_inside(&instances).await?;
    firewall::open(cloud).await?;
    let whole = whole_file(cloud.number);
    tokio::fs::write(&whole, "").await.or_fail(|| Failure::program(format!("can't write {}", whole.display())))
}

/// Takes the whole network of a number away, with the processes that still run inside it; what is not there is no error.
///
/// # Errors
/// What `ip` or `iptables` say.
pub async fn remove(_machine: &Machine, cloud: &Cloud) -> Result<()> {
    let _ = tokio::fs::remove_file(whole_file(cloud.number)).await;
    firewall::close(cloud.number).await?;
    remove_links(cloud).await?;
    let ours = cloud.instances_netns();
    for name in namespaces().await? {
        // The namespaces of instances are named for the cloud's own with a dash behind it.
        if name.strip_prefix(&ours).is_some_and(|rest| rest.starts_with("-i-")) {
            remove_namespace(&name).await?;
        }
    }
    if Path::new("/run/netns").join(&ours).exists() {
        remove_namespace(&ours).await?;
    }
    let _ = tokio::fs::remove_file(owner_file(cloud.number)).await;
    if clouds_left().await? == 0 {
        take_down_fence().await?;
    }
    Ok(())
}

/// Runs `ip` commands inside a namespace, all or none of them being what a caller may count on.
///
/// # Errors
/// What `ip` says.
pub async fn batch(namespace: &str, commands: &str) -> Result<()> {
    Tool::new("ip").args(["-n", namespace, "-batch", "-"]).input(commands).run().await.map(drop)
}

/// The MTU of the host's way out: a link with a larger one would send what the uplink can't carry.
pub async fn uplink_mtu() -> u32 {
    let Ok(routes) = Tool::new("ip").args(["-j", "route", "show", "default"]).run().await else { return 1500 };
    let Some(device) = default_device(&routes) else { return 1500 };
    let mtu = tokio::fs::read_to_string(format!("/sys/class/net/{device}/mtu")).await;
    mtu.ok().and_then(|mtu| mtu.trim().parse().ok()).unwrap_or(1500)
}

fn default_device(routes: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Route {
        dev: String,
    }
    Some(serde_json::from_str::<Vec<Route>>(routes).ok()?.into_iter().next()?.dev)
}

fn is_whole(cloud: &Cloud) -> bool {
    let stands = |name: String| Path::new("/run/netns").join(name).exists();
    whole_file(cloud.number).exists() && stands(cloud.instances_netns()) && stands(cloud.steps_netns())
}

fn whole_file(number: u8) -> PathBuf {
    Path::new(RUN).join(format!("network-{number}"))
}

/// The host's end of the link to the instances' namespace.
fn instances_link(number: u8) -> String {
    format!("gy{number}i")
}

/// The host's end of the link to the steps' namespace.
fn steps_link(number: u8) -> String {
    format!("gy{number}s")
}

/// Both links from the host's side. No IPv6 on them: a link-local address would be a way around the firewall.
fn outer_links(cloud: &Cloud, mtu: u32) -> String {
    let endpoint = cloud.endpoint_address();
    let mut commands = String::new();
    let ends = [
        (instances_link(cloud.number), cloud.instances_netns(), cloud.instances_address()),
        (steps_link(cloud.number), cloud.steps_netns(), cloud.steps_address()),
    ];
    for (link, namespace, inner) in &ends {
        commands += &format!(
            "link add {link} mtu {mtu} type veth peer name uplink mtu {mtu} netns {namespace}\n\
             link set {link} addrgenmode none\naddr add {endpoint}/32 dev {link}\nlink set {link} up\n\
             route add {inner}/32 dev {link} src {endpoint}\n"
        );
    }
    for address in (0..).map_while(|n| cloud.balancer_address(n)) {
        commands += &format!("addr add {address}/32 dev {}\n", ends[0].0);
    }
    commands
}

/// The way out of a namespace. Whatever else is machine-local is unreachable, so that one cloud never meets another.
fn way_out(cloud: &Cloud, inner: Ipv4Addr) -> String {
    let (endpoint, number) = (cloud.endpoint_address(), cloud.number);
    format!(
        "link set lo up\nlink set uplink addrgenmode none\naddr add {inner}/32 dev uplink\nlink set uplink up\n\
         route add {endpoint}/32 dev uplink src {inner}\nroute add default via {endpoint} src {inner}\n\
         route add 198.18.{number}.0/24 via {endpoint} src {inner}\nroute add unreachable {MACHINE_LOCAL} metric 9999\n\
         route add unreachable {INSTANCES} metric 9999\n"
    )
}

fn inside_instances(cloud: &Cloud, mtu: u32) -> String {
    format!(
        "{}link add {BRIDGE} address {ROUTER} mtu {mtu} type bridge forward_delay 0\nlink set {BRIDGE} addrgenmode none\n\
         addr add {GATEWAY}/16 dev {BRIDGE}\naddr add {METADATA}/32 dev {BRIDGE}\nlink set {BRIDGE} up\n\
         route add unreachable 169.254.0.0/16 metric 9999\n",
        way_out(cloud, cloud.instances_address())
    )
}

fn inside_steps(cloud: &Cloud) -> String {
    format!("{}route add unreachable 169.254.0.0/16 metric 9999\n", way_out(cloud, cloud.steps_address()))
}

/// The links, the bridge and the steps' namespace, but not the namespace that stands for the claim.
async fn remove_links(cloud: &Cloud) -> Result<()> {
    for link in [instances_link(cloud.number), steps_link(cloud.number)] {
        if Path::new("/sys/class/net").join(&link).exists() {
            Tool::new("ip").args(["link", "del", &link]).run().await?;
        }
    }
    let (instances, steps) = (cloud.instances_netns(), cloud.steps_netns());
    if Path::new("/run/netns").join(&instances).exists() {
        Tool::new("ip").args(["-n", &instances, "link", "del", BRIDGE]).ending().await?;
    }
    if Path::new("/run/netns").join(&steps).exists() {
        remove_namespace(&steps).await?;
    }
    Ok(())
}

/// A namespace lives on, nameless, while a process is in it: so what runs inside ends first.
async fn remove_namespace(name: &str) -> Result<()> {
    use nix::sys::signal::{Signal, kill};
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let inside = Tool::new("ip").args(["netns", "pids", name]).run().await?;
        let processes: Vec<i32> = inside.lines().filter_map(|line| line.trim().parse().ok()).collect();
        for process in &processes {
            // It may have ended by itself in the meantime.
            let _ = kill(nix::unistd::Pid::from_raw(*process), signal);
        }
        for _ in 0..20 {
            if processes.iter().all(|process| !Path::new(&format!("/proc/{process}")).exists()) {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
    Tool::new("ip").args(["netns", "del", name]).run().await.map(drop)
}

async fn namespaces() -> Result<Vec<String>> {
    let list = Tool::new("ip").args(["netns", "list"]).run().await?;
    Ok(list.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

async fn clouds_left() -> Result<usize> {
    let number = |name: &str| name.strip_prefix("gyron-").is_some_and(|rest| rest.parse::<u8>().is_ok());
    Ok(namespaces().await?.iter().filter(|name| number(name)).count())
}

/// The host forwards for the namespaces; what it did before is kept, for the last cloud to bring back.
async fn forward_packets() -> Result<()> {
    let before = tokio::fs::read_to_string(FORWARDING).await.unwrap_or_default();
    if before.trim() == "1" {
        return Ok(());
    }
    let turned_on = async {
        tokio::fs::write(Path::new(RUN).join("forwarding-was-off"), "").await?;
        tokio::fs::write(FORWARDING, "1").await
    };
    turned_on.await.or_fail(|| Failure::program(format!("can't write {FORWARDING}")))
}

/// The host's own fence: a request to an address that no cloud has goes nowhere, rather than out of the machine.
async fn fence_off() -> Result<()> {
    for network in [MACHINE_LOCAL, INSTANCES] {
        // A host that itself lives in such a network, such as an EC2 instance, keeps its way there.
        let routes = Tool::new("ip").args(["route", "show", "root", network]).run().await?;
        let inside = Tool::new("ip").args(["-4", "addr", "show", "to", network, "scope", "global"]).run().await?;
        let own = network == INSTANCES && !inside.trim().is_empty();
        if !own && !routes.contains("unreachable") {
            Tool::new("ip").args(["route", "add", "unreachable", network, "metric", "9999"]).run().await?;
        }
    }
    Ok(())
}

async fn take_down_fence() -> Result<()> {
    for network in [MACHINE_LOCAL, INSTANCES] {
        Tool::new("ip").args(["route", "del", "unreachable", network, "metric", "9999"]).ending().await?;
    }
    let mark = Path::new(RUN).join("forwarding-was-off");
    if mark.exists() {
        let brought_back = async {
            tokio::fs::write(FORWARDING, "0").await?;
            tokio::fs::remove_file(&mark).await
        };
        brought_back.await.or_fail(|| Failure::program(format!("can't write {FORWARDING}")))?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use super::*;

    pub(super) fn cloud(number: u8) -> Cloud {
        Cloud {
            name: "t".into(),
            number,
            region: "us-east-1".into(),
            home: "/h".into(),
            cache: "/c".into(),
            moto_port: 1,
        }
    }

    #[test]
    fn links_fit_the_kernels_15_characters() {
        assert_eq!(instances_link(250).len().max(steps_link(250).len()), 6);
    }

    #[test]
    fn the_host_has_the_endpoint_and_200_balancer_addresses() {
        let commands = outer_links(&cloud(7), 1400);
        assert!(commands.contains("addr add 198.18.7.1/32 dev gy7i\n"));
        assert_eq!(commands.matches("/32 dev gy7i\n").count(), 201);
        assert!(commands.contains("addr add 198.18.7.219/32 dev gy7i\n") && !commands.contains("198.18.7.220"));
    }

    #[test]
    fn no_namespace_but_the_instances_own_knows_a_way_to_an_instance() {
        let steps = inside_steps(&cloud(7));
        assert!(steps.contains("route add unreachable 172.31.0.0/16 metric 9999\n"));
        assert!(steps.contains("route add unreachable 169.254.0.0/16 metric 9999\n"));
        assert!(!steps.contains("172.31.0.1"));
    }

    #[test]
    fn the_router_keeps_its_hardware_address_whatever_stands_behind_it() {
        assert!(inside_instances(&cloud(7), 1400).contains(&format!("link add {BRIDGE} address {ROUTER} ")));
    }

    #[test]
    fn the_way_out_is_the_default_routes_device() {
        let routes = r#"[{"dst":"default","gateway":"192.0.2.1","dev":"eth0","flags":[]}]"#;
        assert_eq!(default_device(routes).unwrap(), "eth0");
        assert_eq!(default_device("[]"), None);
    }
}
