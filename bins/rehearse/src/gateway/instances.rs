//! Instances: launched once per token, in a subnet that has bodies, and shown as far as their bodies have followed.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use base64::Engine as _;
use ipnet::Ipv4Net;
use sha2::{Digest as _, Sha256};

use super::params::{Filter, Params};
use super::refusal::Refusal;
use super::{Gateway, State, faults};
use crate::moto::ROOT_DEVICE;
use crate::moto::client::Service;
use crate::moto::xml::Node;
use crate::world::InstanceState;

/// The default VPC's network, the only one in which instances get bodies.
pub const NETWORK: (Ipv4Addr, u8) = (Ipv4Addr::new(172, 31, 0, 0), 16);

/// Whether an address lies where instances have bodies.
#[must_use]
pub fn in_network(address: Ipv4Addr) -> bool {
    address.octets()[..2] == NETWORK.0.octets()[..2]
}

/// The client tokens of RunInstances: what was asked with each and what it made.
#[derive(Debug, Default)]
pub struct Tokens(HashMap<String, Launch>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Launch {
    asked: [u8; 32],
    instances: Vec<String>,
}

impl Tokens {
    /// What a token made before.
    ///
    /// # Errors
    /// `IdempotentParameterMismatch` when it was used with other parameters.
    fn made(&self, token: &str, params: &Params) -> Result<Option<&[String]>, Refusal> {
        match self.0.get(token) {
            None => Ok(None),
            Some(launch) if launch.asked == digest(params) => Ok(Some(&launch.instances)),
            Some(_) => Err(Refusal::client(
                "IdempotentParameterMismatch",
                "The client token you have provided is not consistent with the request parameters",
            )),
        }
    }

    fn keep(&mut self, token: &str, params: &Params, instances: Vec<String>) {
        self.0.insert(token.to_owned(), Launch { asked: digest(params), instances });
    }
}

fn digest(params: &Params) -> [u8; 32] {
    let mut hash = Sha256::new();
    for (name, value) in params.canonical(&["ClientToken", "DryRun", "Version"]) {
        hash.update(name.as_bytes());
        hash.update([0]);
        hash.update(value.as_bytes());
        hash.update([0]);
    }
    hash.finalize().into()
}

/// Asks for all instances in one answer: moto 5.2 gives the oldest 100 reservations to who doesn't say how many.
pub(super) fn every_instance() -> Params {
    Params::action("DescribeInstances").and("MaxResults", 1_000_000)
}

impl Gateway {
    /// RunInstances: moto launches, but knows no tokens, takes any subnet and drops half of a launch template.
    pub(super) async fn run_instances(&self, mut params: Params, key: Option<&str>) -> Result<Node, Refusal> {
        // EC2 takes a parameter without a value for one that is not there: Packer names an empty subnet, zone and profile
        // where none is configured (builder/amazon/common/step_run_source_instance.go).
        params.drop_empty();
        // One at a time: the same token in two requests at once must not make two instances.
        let mut tokens = self.tokens.lock().await;
        let asked = params.clone();
        let token = params.get("ClientToken").map(str::to_owned);
        if let Some(token) = &token {
            let mut made = tokens.made(token, &asked)?.map(<[String]>::to_vec);
            if made.is_none() {
                // After a restart of the gateway moto still has the token beside the instance.
                made = self.launched_with(token).await?;
            }
            if let Some(instances) = made {
                return self.reservation_of(&instances).await;
            }
        }
        if params.has("LaunchTemplate.") {
            self.fill_from_template(&mut params).await?;
        }
        let image = params
            .get("ImageId")
            .ok_or_else(|| Refusal::client("MissingParameter", "The request must contain the parameter ImageId"))?
            .to_owned();
        self.has_body(&image).await?;
        self.choose_subnet(&mut params, key).await?;
        // Moto launches MinCount; AWS as many as it can up to MaxCount.
        if let Some(most) = params.get("MaxCount").map(str::to_owned) {
            params.set("MinCount", most);
        }
        let launched = self.moto.query(Service::Ec2, params.clone()).await;
        let mut answer = launched.map_err(|refusal| profile_as_ec2_says(refusal, &params))?;
        let instances: Vec<String> =
            answer.list(&["instancesSet"]).map(|item| item.get(&["instanceId"]).to_owned()).collect();
        // Moto gives the profile to the first only.
        for id in instances.get(1..).unwrap_or_default() {
            for name in ["IamInstanceProfile.Name", "IamInstanceProfile.Arn"] {
                if let Some(profile) = params.get(name) {
                    let ask = Params::action("AssociateIamInstanceProfile").and("InstanceId", id).and(name, profile);
                    self.moto.query(Service::Ec2, ask).await?;
                }
            }
        }
        if let Some(token) = token {
            tokens.keep(&token, &asked, instances);
        }
        self.state(|state| show(&mut answer, state));
        Ok(answer)
    }

    async fn launched_with(&self, token: &str) -> Result<Option<Vec<String>>, Refusal> {
        let answer = self.moto.query(Service::Ec2, every_instance()).await?;
        let launched: Vec<String> = answer
            .list(&["reservationSet"])
            .flat_map(|reservation| reservation.list(&["instancesSet"]))
            .filter(|item| item.get(&["clientToken"]) == token)
            .map(|item| item.get(&["instanceId"]).to_owned())
            .collect();
        Ok((!launched.is_empty()).then_some(launched))
    }

    /// The answer to RunInstances again, with the states of now.
    async fn reservation_of(&self, instances: &[String]) -> Result<Node, Refusal> {
        let ask = Params::action("DescribeInstances").each("InstanceId", instances);
        let answer = self.moto.query(Service::Ec2, ask).await?;
        let reservation = answer.list(&["reservationSet"]).next().map(|item| item.children.clone()).unwrap_or_default();
        let mut again =
            Node::new("RunInstancesResponse", reservation).with("xmlns", "http://ec2.amazonaws.com/doc/2016-11-15/");
        self.state(|state| show(&mut again, state));
        Ok(again)
    }

    /// Puts into the request what moto drops of a launch template: all that the request itself doesn't say.
    async fn fill_from_template(&self, params: &mut Params) -> Result<(), Refusal> {
        let named = ["LaunchTemplateId", "LaunchTemplateName"];
        let mut ask = Params::action("DescribeLaunchTemplateVersions");
        for name in named {
            if let Some(value) = params.get(&format!("LaunchTemplate.{name}")) {
                ask = ask.and(name, value);
            }
        }
        let version = params.get("LaunchTemplate.Version").unwrap_or("$Default").to_owned();
        let data = self.template(ask, &version).await?;
        let mut fill = |name: &str, path: &[&str]| {
            let value = data.get(path);
            if !value.is_empty() && !params.has(name) {
                params.set(name, value);
            }
        };
        fill("ImageId", &["imageId"]);
        fill("InstanceInitiatedShutdownBehavior", &["instanceInitiatedShutdownBehavior"]);
        fill("SubnetId", &["networkInterfaceSet", "item", "subnetId"]);
        if !params.has("IamInstanceProfile.") {
            for (name, member) in [("Name", "name"), ("Arn", "arn")] {
                let value = data.get(&["iamInstanceProfile", member]);
                if !value.is_empty() {
                    params.set(&format!("IamInstanceProfile.{name}"), value);
                }
            }
        }
        for (name, member) in METADATA_OPTIONS {
            let name = format!("MetadataOptions.{name}");
            let value = data.get(&["metadataOptions", member]);
            if !value.is_empty() && params.get(&name).is_none() {
                params.set(&name, value);
            }
        }
        if !params.has("SecurityGroup") && !params.has("NetworkInterface.") {
            let mut groups: Vec<&Node> = data.list(&["securityGroupIdSet"]).collect();
            groups.extend(data.list(&["networkInterfaceSet", "item", "groupSet"]));
            for (n, group) in groups.iter().enumerate() {
                let id = if group.children.is_empty() { group.text.as_str() } else { group.get(&["groupId"]) };
                params.set(&format!("SecurityGroupId.{}", n + 1), id);
            }
        }
        Ok(())
    }

    /// The data of a launch template's version; `ask` names the template.
    pub(super) async fn template(&self, ask: Params, version: &str) -> Result<Node, Refusal> {
        let answer = self.moto.query(Service::Ec2, ask.and("LaunchTemplateVersion.1", version)).await?;
        let found = answer.list(&["launchTemplateVersionSet"]).next();
        found.and_then(|item| item.child("launchTemplateData")).cloned().ok_or_else(|| {
            Refusal::client(
                "InvalidLaunchTemplateId.VersionNotFound",
                format!("The specified launch template version {version} does not exist."),
            )
        })
    }

    /// Chooses a default subnet where none is named, and refuses one whose instances would have no bodies, or for whose zone
    /// a fault says that there is no capacity.
    async fn choose_subnet(&self, params: &mut Params, key: Option<&str>) -> Result<(), Refusal> {
        let by_interface = params.has("NetworkInterface.");
        if by_interface && params.get("NetworkInterface.1.NetworkInterfaceId").is_some() {
            return Err(Refusal::unsupported(
                "the rehearsal gives bodies only to instances whose network interface is made with them",
            ));
        }
        let name = if by_interface { "NetworkInterface.1.SubnetId" } else { "SubnetId" };
        let answer = self.moto.query(Service::Ec2, Params::action("DescribeSubnets")).await?;
        let subnets: Vec<&Node> = answer.list(&["subnetSet"]).collect();
        // RunInstances itself launches m1.small unless told:
        // https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RunInstances.html
        let kind = params.get("InstanceType").unwrap_or("m1.small").to_owned();
        let has_capacity = |subnet: &&Node| self.faults.has_capacity(key, &kind, subnet.get(&["availabilityZone"]));
        let candidates: Vec<&Node> = if let Some(id) = params.get(name) {
            let named = subnets.iter().copied().find(|subnet| subnet.get(&["subnetId"]) == id);
            vec![named.ok_or_else(|| {
                Refusal::client("InvalidSubnetID.NotFound", format!("The subnet ID '{id}' does not exist"))
            })?]
        } else {
            let zone = params.get("Placement.AvailabilityZone");
            let mut defaults: Vec<&Node> = subnets
                .iter()
                .copied()
                .filter(|s| s.get(&["defaultForAz"]) == "true")
                .filter(|s| zone.is_none_or(|zone| s.get(&["availabilityZone"]) == zone))
                .collect();
            defaults.sort_by_key(|subnet| subnet.get(&["availabilityZone"]).to_owned());
            if defaults.is_empty() {
                return Err(Refusal::client(
                    "MissingInput",
                    match zone {
                        Some(zone) => format!("No default subnet for availability zone: '{zone}'."),
                        None => "No subnets found for the default VPC. Please specify a subnet.".to_owned(),
                    },
                ));
            }
            defaults
        };
        // Who leaves the zone open gets one that has capacity, if any has.
        let Some(subnet) = candidates.iter().copied().find(has_capacity) else {
            let zone = candidates.first().map_or("", |subnet| subnet.get(&["availabilityZone"]));
            return Err(faults::no_capacity(&kind, zone));
        };
        let id = subnet.get(&["subnetId"]).to_owned();
        let cidr = subnet.get(&["cidrBlock"]);
        let asked_address = params.get("PrivateIpAddress").and_then(|text| text.parse::<Ipv4Addr>().ok());
        fits(&id, cidr, asked_address)?;
        params.set(name, id);
        Ok(())
    }

    /// Start, Stop and Terminate: moto changes the state at once and from any state.
    pub(super) async fn change_state(&self, action: &str, params: Params) -> Result<Node, Refusal> {
        let ids = params.list("InstanceId");
        let before: HashMap<String, InstanceState> = ids.iter().map(|id| (id.clone(), self.shown(id))).collect();
        for (id, state) in &before {
            allowed(action, id, *state)?;
        }
        let mut answer = self.moto.query(Service::Ec2, params).await?;
        answer.visit(&mut |node| {
            if let Some(was) = before.get(node.get(&["instanceId"])).copied() {
                let now = reached(action, was);
                put_state(node, "currentState", now);
                put_state(node, "previousState", was);
            }
        });
        Ok(answer)
    }

    /// RebootInstances: the bodies reboot; moto only judges.
    pub(super) async fn reboot(&self, params: Params) -> Result<Node, Refusal> {
        let ids = params.list("InstanceId");
        for id in &ids {
            allowed("RebootInstances", id, self.shown(id))?;
        }
        let answer = self.moto.query(Service::Ec2, params).await?;
        for id in ids {
            let bodies = self.bodies.clone();
            tokio::spawn(async move {
                if let Err(failure) = bodies.reboot(&id).await {
                    crate::serve::say(format_args!("{id} can't be rebooted: {}", failure.report()));
                }
            });
        }
        Ok(answer)
    }

    /// ModifyInstanceAttribute: moto lacks the newer form of the shutdown behaviour.
    pub(super) async fn modify_instance_attribute(&self, mut params: Params) -> Result<Node, Refusal> {
        if let Some(value) = params.get("InstanceInitiatedShutdownBehavior.Value").map(str::to_owned) {
            params.remove("InstanceInitiatedShutdownBehavior");
            params.set("Attribute", "instanceInitiatedShutdownBehavior");
            params.set("Value", value);
        }
        let id = params.get("InstanceId").unwrap_or_default().to_owned();
        let answer = self.moto.query(Service::Ec2, params).await?;
        self.eye.lock().await.forget(&id);
        Ok(answer)
    }

    /// DescribeInstances, with the states as far as the bodies have followed.
    pub(super) async fn describe_instances(&self, mut params: Params) -> Result<Node, Refusal> {
        let by_name = params.take_filter("instance-state-name");
        let by_code = params.take_filter("instance-state-code");
        let mut answer = self.moto.query(Service::Ec2, params).await?;
        self.state(|state| show(&mut answer, state));
        if let Some(reservations) = answer.child_mut("reservationSet") {
            for reservation in &mut reservations.children {
                if let Some(instances) = reservation.child_mut("instancesSet") {
                    instances.children.retain(|item| {
                        passes(&by_name, item.get(&["instanceState", "name"]))
                            && passes(&by_code, item.get(&["instanceState", "code"]))
                    });
                }
            }
            reservations.children.retain(|reservation| reservation.list(&["instancesSet"]).count() > 0);
        }
        Ok(answer)
    }

    /// DescribeInstanceStatus: the checks pass when the body was found running twice.
    pub(super) async fn describe_instance_status(&self, mut params: Params) -> Result<Node, Refusal> {
        let by_name = params.take_filter("instance-state-name");
        let by_code = params.take_filter("instance-state-code");
        let by_check: Vec<_> = ["instance-status.status", "system-status.status"]
            .map(|name| {
                (if name.starts_with('i') { "instanceStatus" } else { "systemStatus" }, params.take_filter(name))
            })
            .into();
        let all = params.is_true("IncludeAllInstances");
        params.set("IncludeAllInstances", "true");
        let mut answer = self.moto.query(Service::Ec2, params).await?;
        self.state(|state| {
            show(&mut answer, state);
            let Some(statuses) = answer.child_mut("instanceStatusSet") else { return };
            for item in &mut statuses.children {
                let running = item.get(&["instanceState", "name"]) == "running";
                let reachable = state.overlay.reachable(item.get(&["instanceId"]));
                for check in ["instanceStatus", "systemStatus"] {
                    item.put(status_check(check, running, reachable));
                }
            }
            statuses.children.retain(|item| {
                (all || item.get(&["instanceState", "name"]) == "running")
                    && passes(&by_name, item.get(&["instanceState", "name"]))
                    && passes(&by_code, item.get(&["instanceState", "code"]))
                    && by_check.iter().all(|(check, filter)| passes(filter, item.get(&[check, "status"])))
            });
        });
        Ok(answer)
    }

    /// GetConsoleOutput: what the body's console really said.
    pub(super) async fn console_output(&self, params: Params) -> Result<Node, Refusal> {
        let id = params.get("InstanceId").unwrap_or_default().to_owned();
        // Moto knows whether there is such an instance.
        self.moto.query(Service::Ec2, Params::action("DescribeInstances").and("InstanceId.1", &id)).await?;
        let text = self.bodies.console_output(&id).await.unwrap_or_default();
        // EC2 keeps the last 64 KB: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetConsoleOutput.html
        let bytes = text.as_bytes();
        let last = &bytes[bytes.len().saturating_sub(64 * 1024)..];
        Ok(response(
            "GetConsoleOutput",
            vec![
                Node::leaf("instanceId", id),
                Node::leaf("timestamp", now()),
                Node::leaf("output", base64::engine::general_purpose::STANDARD.encode(last)),
            ],
        ))
    }
}

/// The members of MetadataOptions in a request and in an answer.
pub const METADATA_OPTIONS: [(&str, &str); 5] = [
    ("HttpTokens", "httpTokens"),
    ("HttpPutResponseHopLimit", "httpPutResponseHopLimit"),
    ("HttpEndpoint", "httpEndpoint"),
    ("HttpProtocolIpv6", "httpProtocolIpv6"),
    ("InstanceMetadataTags", "instanceMetadataTags"),
];

/// An answer of EC2.
#[must_use]
pub fn response(action: &str, mut members: Vec<Node>) -> Node {
    members.push(Node::leaf("requestId", "request-id"));
    Node::new(&format!("{action}Response"), members).with("xmlns", "http://ec2.amazonaws.com/doc/2016-11-15/")
}

/// The time as EC2 prints it.
#[must_use]
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string()
}

/// Whether a subnet gives bodies, and an address that is asked for may be given: a subnet's first four addresses and
/// its last are AWS's own.
pub fn fits(subnet: &str, cidr: &str, address: Option<Ipv4Addr>) -> Result<(), Refusal> {
    let network: Ipv4Net = cidr.parse().map_err(|_| Refusal::moto("DescribeSubnets", "no CIDR block"))?;
    if !in_network(network.network()) || network.prefix_len() < NETWORK.1 {
        return Err(Refusal::unsupported(format!(
            "the rehearsal gives bodies only to instances in 172.31.0.0/16, the default VPC; {subnet} is {cidr}"
        )));
    }
    let Some(address) = address else { return Ok(()) };
    let first = u32::from(network.network());
    let n = u32::from(address);
    if network.contains(&address) && (n < first + 4 || address == network.broadcast()) {
        return Err(Refusal::client(
            "InvalidParameterValue",
            format!("Address {address} is in subnet's reserved address range"),
        ));
    }
    Ok(())
}

/// Whether a filter that the gateway took out lets a value pass; all of them must.
#[must_use]
pub fn passes(filters: &[Filter], value: &str) -> bool {
    filters.iter().all(|filter| filter.passes(value))
}

fn allowed(action: &str, id: &str, state: InstanceState) -> Result<(), Refusal> {
    use InstanceState::{Pending, Running, ShuttingDown, Stopped, Stopping, Terminated};
    let how = match (action, state) {
        ("StartInstances", Stopping | ShuttingDown | Terminated) => "started",
        ("StopInstances", Pending | ShuttingDown | Terminated) => "stopped",
        ("RebootInstances", Stopping | Stopped | ShuttingDown | Terminated) => "rebooted",
        ("StartInstances" | "StopInstances" | "RebootInstances", _) | (_, Pending | Running | _) => return Ok(()),
    };
    Err(Refusal::client(
        "IncorrectInstanceState",
        format!("The instance '{id}' is not in a state from which it can be {how}."),
    ))
}

fn reached(action: &str, was: InstanceState) -> InstanceState {
    match (action, was) {
        ("StartInstances", InstanceState::Running) | ("StopInstances", InstanceState::Stopped) => was,
        ("TerminateInstances", InstanceState::Terminated) => was,
        ("StartInstances", _) => InstanceState::Pending,
        ("StopInstances", _) => InstanceState::Stopping,
        _ => InstanceState::ShuttingDown,
    }
}

fn put_state(node: &mut Node, name: &str, state: InstanceState) {
    node.put(Node::new(name, vec![Node::leaf("code", state.code()), Node::leaf("name", state.name())]));
}

/// Puts the states to show, and what moto makes up about root devices, right in every instance of an answer.
pub fn show(answer: &mut Node, state: &State) {
    answer.visit(&mut |node| {
        let id = node.get(&["instanceId"]).to_owned();
        let Some(wanted) = InstanceState::read(node.get(&["instanceState", "name"])) else { return };
        let shown = state.overlay.shown(&id, wanted);
        put_state(node, "instanceState", shown);
        if node.child("rootDeviceName").is_none() {
            return;
        }
        node.set("rootDeviceName", ROOT_DEVICE);
        node.set("virtualizationType", "hvm");
        node.remove("kernelId");
        // Moto knows a default security group of the interface only.
        if node.list(&["groupSet"]).next().is_none()
            && let Some(groups) = node.at(&["networkInterfaceSet", "item", "groupSet"]).cloned()
        {
            node.put(groups);
        }
        if let Some(devices) = node.child_mut("blockDeviceMapping") {
            for device in &mut devices.children {
                // Moto's default for a root volume that nobody described.
                if device.get(&["deviceName"]) == "/dev/sda1" {
                    device.set("deviceName", ROOT_DEVICE);
                }
            }
        }
        match (shown.end(), state.overlay.reason(&id)) {
            (InstanceState::Running, _) => node.remove("stateReason"),
            (_, Some((code, message))) => {
                node.put(Node::new("stateReason", vec![Node::leaf("code", code), Node::leaf("message", message)]));
                node.set("reason", "");
            }
            _ => {}
        }
        if shown == InstanceState::Terminated {
            for gone in
                ["privateIpAddress", "ipAddress", "subnetId", "vpcId", "networkInterfaceSet", "iamInstanceProfile"]
            {
                node.remove(gone);
            }
        }
    });
}

fn status_check(name: &str, running: bool, reachable: bool) -> Node {
    if !running {
        return Node::new(name, vec![Node::leaf("status", "not-applicable")]);
    }
    let (status, detail) = if reachable { ("ok", "passed") } else { ("initializing", "initializing") };
    Node::new(
        name,
        vec![
            Node::leaf("status", status),
            Node::new(
                "details",
                vec![Node::new("item", vec![Node::leaf("name", "reachability"), Node::leaf("status", detail)])],
            ),
        ],
    )
}

/// Moto passes IAM's own error on; EC2 has one of its own for a profile that is not there.
fn profile_as_ec2_says(refusal: Refusal, params: &Params) -> Refusal {
    if refusal.code != "NoSuchEntity" {
        return refusal;
    }
    let (parameter, value) = ["Name", "Arn"]
        .iter()
        .find_map(|name| Some((name.to_lowercase(), params.get(&format!("IamInstanceProfile.{name}"))?)))
        .unwrap_or_default();
    let invalid = format!("Value ({value}) for parameter iamInstanceProfile.{parameter} is invalid.");
    Refusal::client("InvalidParameterValue", format!("{invalid} Invalid IAM Instance Profile {parameter}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_token_stands_for_one_request() {
        let mut tokens = Tokens::default();
        let ask = Params::parse(b"Action=RunInstances&ImageId=ami-1&ClientToken=t");
        assert_eq!(tokens.made("t", &ask), Ok(None));
        tokens.keep("t", &ask, vec!["i-1".to_owned()]);
        let again = Params::parse(b"ClientToken=t&ImageId=ami-1&Action=RunInstances&Version=2016-11-15");
        assert_eq!(tokens.made("t", &again).unwrap(), Some(["i-1".to_owned()].as_slice()));
        let other = Params::parse(b"Action=RunInstances&ImageId=ami-2&ClientToken=t");
        assert_eq!(tokens.made("t", &other).unwrap_err().code, "IdempotentParameterMismatch");
    }

    #[test]
    fn only_subnets_of_the_default_network_give_bodies() {
        let reserved = Some(Ipv4Addr::new(172, 31, 16, 3));
        let last = Some(Ipv4Addr::new(172, 31, 31, 255));
        let free = Some(Ipv4Addr::new(172, 31, 16, 4));
        for (cidr, address, code) in [
            ("172.31.16.0/20", None, None),
            ("172.31.16.0/20", free, None),
            ("172.31.16.0/20", reserved, Some("InvalidParameterValue")),
            ("172.31.16.0/20", last, Some("InvalidParameterValue")),
            ("10.0.0.0/24", None, Some("UnsupportedOperation")),
            ("172.0.0.0/8", None, Some("UnsupportedOperation")),
        ] {
            let refused = fits("subnet-1", cidr, address).err().map(|refusal| refusal.code);
            assert_eq!(refused.as_deref(), code, "{cidr} {address:?}");
        }
    }

    #[test]
    fn states_change_only_from_where_aws_lets_them() {
        use InstanceState::{Pending, Running, Stopped, Stopping, Terminated};
        for (action, from, to) in [
            ("StopInstances", Running, Some(Stopping)),
            ("StopInstances", Stopped, Some(Stopped)),
            ("StopInstances", Pending, None),
            ("StartInstances", Stopped, Some(Pending)),
            ("StartInstances", Stopping, None),
            ("StartInstances", Terminated, None),
            ("TerminateInstances", Pending, Some(InstanceState::ShuttingDown)),
            ("TerminateInstances", Terminated, Some(Terminated)),
        ] {
            let result = allowed(action, "i-1", from).ok().map(|()| reached(action, from));
            assert_eq!(result, to, "{action} from {from:?}");
        }
    }

    #[test]
    fn an_instance_shows_as_far_as_its_body_has_followed() {
        let document =
            std::fs::read(format!("{}/src/moto/fixtures/instances.xml", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let mut answer = Node::parse(&document).unwrap();
        show(&mut answer, &State::default());
        let states: Vec<String> = answer
            .list(&["reservationSet"])
            .flat_map(|r| r.list(&["instancesSet"]))
            .map(|i| {
                let members: [&[&str]; 3] =
                    [&["instanceState", "name"], &["rootDeviceName"], &["groupSet", "item", "groupName"]];
                members.map(|path| i.get(path)).join(" ")
            })
            .collect();
        assert_eq!(states, ["pending /dev/xvda default", "pending /dev/xvda default"]);
    }
}
