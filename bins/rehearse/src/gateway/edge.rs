//! Balancers and target groups: states and health as the data plane has them, and refusals of what it cannot do.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use super::Gateway;
use super::params::Params;
use super::refusal::Refusal;
use crate::balancer::{State as Health, TargetHealth};
use crate::cloud::Cloud;
use crate::moto::client::Service;
use crate::moto::xml::Node;

const NAMESPACE: &str = "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/";

impl Gateway {
    /// DescribeTargetHealth, from the data plane's own checks.
    pub(super) async fn target_health(&self, mut params: Params) -> Result<Node, Refusal> {
        let group = params.get("TargetGroupArn").unwrap_or_default().to_owned();
        let asked = params.structures("Targets");
        params.remove("Targets");
        // Moto knows whether there is such a group, and what was registered a moment ago.
        let answer = self.moto.query(Service::Elb, params).await?;
        let registered: Vec<(String, u16)> = answer
            .list(&["DescribeTargetHealthResult", "TargetHealthDescriptions"])
            .map(|d| (d.get(&["Target", "Id"]).to_owned(), d.get(&["Target", "Port"]).parse().unwrap_or(80)))
            .collect();
        let mut known = self.plane.health(&group);
        for (id, port) in &registered {
            match known.iter_mut().find(|health| &health.id == id && health.port == *port) {
                // Registered again a moment ago, while the plane still lets it drain.
                Some(health) if health.state == Health::Draining => *health = registering(id, *port),
                Some(_) => {}
                None => known.push(registering(id, *port)),
            }
        }
        let told: Vec<TargetHealth> =
            if asked.is_empty() { known } else { asked.iter().flat_map(|target| asked_for(target, &known)).collect() };
        let descriptions = told.iter().map(describe).collect();
        Ok(Node::new(
            "DescribeTargetHealthResponse",
            vec![
                Node::new("DescribeTargetHealthResult", vec![Node::new("TargetHealthDescriptions", descriptions)]),
                Node::new("ResponseMetadata", vec![Node::leaf("RequestId", "request-id")]),
            ],
        )
        .with("xmlns", NAMESPACE))
    }

    /// DescribeLoadBalancers: active once it has its addresses.
    pub(super) async fn describe_load_balancers(&self, params: Params) -> Result<Node, Refusal> {
        let mut answer = self.moto.query(Service::Elb, params).await?;
        let world = self.world.borrow().clone();
        answer.visit(&mut |node| {
            let arn = node.get(&["LoadBalancerArn"]).to_owned();
            let Some(state) = node.child_mut("State") else { return };
            let active = world.balancers.iter().any(|b| b.arn == arn && !b.addresses.is_empty());
            state.set("Code", if active { "active" } else { "provisioning" });
        });
        Ok(answer)
    }
}

/// Refuses what the data plane cannot do: it would be a made-up success.
pub fn served(action: &str, params: &Params) -> Result<(), Refusal> {
    let no = |what: &str| Err(Refusal::unsupported(format!("the rehearsal's balancer has no {what}")));
    match action {
        "CreateLoadBalancer" => match params.get("Type") {
            None | Some("application") => {}
            Some(other) => return no(&format!("load balancers of type {other}")),
        },
        "CreateTargetGroup" => {
            match params.get("TargetType") {
                None | Some("instance") => {}
                Some(other) => return no(&format!("targets of type {other}")),
            }
            match params.get("Protocol") {
                None | Some("HTTP" | "HTTPS") => {}
                Some(other) => return no(&format!("target groups with protocol {other}")),
            }
            match params.get("ProtocolVersion") {
                // Empty from Terraform's provider, where the module names none.
                None | Some("" | "HTTP1") => {}
                Some(other) => return no(&format!("target groups with protocol version {other}")),
            }
        }
        "CreateListener" | "ModifyListener" => match params.get("Protocol") {
            None | Some("HTTP") => {}
            Some(other) => return no(&format!("{other} listeners")),
        },
        "ModifyTargetGroupAttributes" => {
            let sticky = params
                .structures("Attributes")
                .iter()
                .any(|attribute| attribute.get("Key") == Some("stickiness.enabled") && attribute.is_true("Value"));
            if sticky {
                return no("stickiness");
            }
        }
        _ => {}
    }
    for (name, value) in params.iter() {
        if name.ends_with("TargetGroupStickinessConfig.Enabled") && value.eq_ignore_ascii_case("true") {
            return no("target group stickiness");
        }
        if name.contains("Actions.member.") && name.ends_with(".Type") && value.starts_with("authenticate") {
            return no(&format!("{value} actions"));
        }
    }
    Ok(())
}

fn registering(id: &str, port: u16) -> TargetHealth {
    TargetHealth {
        id: id.to_owned(),
        port,
        health_check_port: port,
        state: Health::Initial,
        reason: Some("Elb.RegistrationInProgress"),
        description: Some("Target registration is in progress".to_owned()),
    }
}

fn asked_for(target: &Params, known: &[TargetHealth]) -> Vec<TargetHealth> {
    let id = target.get("Id").unwrap_or_default();
    let port: Option<u16> = target.get("Port").and_then(|text| text.parse().ok());
    let found: Vec<TargetHealth> =
        known.iter().filter(|health| health.id == id && port.is_none_or(|port| health.port == port)).cloned().collect();
    if found.is_empty() { vec![TargetHealth::not_registered(id, port.unwrap_or(80))] } else { found }
}

fn describe(health: &TargetHealth) -> Node {
    let mut state = vec![Node::leaf("State", health.state.as_str())];
    if let Some(reason) = health.reason {
        state.push(Node::leaf("Reason", reason));
    }
    if let Some(description) = &health.description {
        state.push(Node::leaf("Description", description));
    }
    Node::new(
        "member",
        vec![
            Node::new("Target", vec![Node::leaf("Id", &health.id), Node::leaf("Port", health.port)]),
            Node::leaf("HealthCheckPort", health.health_check_port),
            Node::new("TargetHealth", state),
        ],
    )
}

/// The addresses of balancers, kept while they live and over a restart of the gateway.
#[derive(Debug, Default)]
pub struct Addresses(BTreeMap<String, Vec<Ipv4Addr>>);

impl Addresses {
    /// Reads those given before.
    #[must_use]
    pub fn read(home: &Path) -> Self {
        let text = std::fs::read_to_string(home.join("balancers.json")).unwrap_or_default();
        Addresses(serde_json::from_str(&text).unwrap_or_default())
    }

    fn write(&self, home: &Path) {
        if let Ok(text) = serde_json::to_string(&self.0) {
            let _ = std::fs::write(home.join("balancers.json"), text);
        }
    }

    /// Gives each balancer one address a subnet, and takes back those of balancers that are gone.
    pub fn assign<'a>(&mut self, cloud: &Cloud, balancers: impl IntoIterator<Item = (&'a str, usize)>) {
        let balancers: Vec<_> = balancers.into_iter().collect();
        let before = self.0.clone();
        self.0.retain(|arn, _| balancers.iter().any(|(balancer, _)| balancer == arn));
        for (arn, subnets) in balancers {
            let mut own = self.0.remove(arn).unwrap_or_default();
            while own.len() < subnets.max(1) {
                let free = (0..u8::MAX)
                    .map_while(|n| cloud.balancer_address(n))
                    .find(|address| !own.contains(address) && !self.0.values().flatten().any(|a| a == address));
                match free {
                    Some(address) => own.push(address),
                    None => break,
                }
            }
            self.0.insert(arn.to_owned(), own);
        }
        if self.0 != before {
            self.write(&cloud.home);
        }
    }

    /// A balancer's.
    #[must_use]
    pub fn of(&self, arn: &str) -> Vec<Ipv4Addr> {
        self.0.get(arn).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn cloud(home: &Path) -> Cloud {
        Cloud {
            name: "t".to_owned(),
            number: 7,
            region: "us-east-1".to_owned(),
            home: home.to_owned(),
            cache: home.to_owned(),
            moto_port: 1,
        }
    }

    #[test]
    fn a_balancer_keeps_its_addresses_while_it_lives() {
        let home = tempfile::tempdir().unwrap();
        let cloud = cloud(home.path());
        let mut addresses = Addresses::default();
        addresses.assign(&cloud, [("a", 2), ("b", 1)]);
        let of_b = addresses.of("b");
        assert_eq!(of_b, [Ipv4Addr::new(198, 18, 7, 22)]);
        addresses.assign(&cloud, [("b", 1), ("c", 2)]);
        assert_eq!(addresses.of("b"), of_b);
        assert_eq!(addresses.of("c"), [Ipv4Addr::new(198, 18, 7, 20), Ipv4Addr::new(198, 18, 7, 21)]);
        assert_eq!(Addresses::read(home.path()).of("b"), of_b);
    }

    #[test]
    fn what_the_plane_cannot_do_is_refused() {
        for (action, form, refused) in [
            ("CreateLoadBalancer", "Type=network", true),
            ("CreateLoadBalancer", "Name=x", false),
            ("CreateTargetGroup", "TargetType=lambda", true),
            ("CreateTargetGroup", "TargetType=instance&Protocol=HTTP&ProtocolVersion=HTTP1", false),
            ("CreateTargetGroup", "TargetType=instance&Protocol=HTTP&ProtocolVersion=", false),
            ("CreateListener", "Protocol=HTTPS", true),
            (
                "ModifyTargetGroupAttributes",
                "Attributes.member.1.Key=stickiness.enabled&Attributes.member.1.Value=true",
                true,
            ),
            (
                "ModifyTargetGroupAttributes",
                "Attributes.member.1.Key=stickiness.enabled&Attributes.member.1.Value=false",
                false,
            ),
            (
                "ModifyRule",
                "Actions.member.1.Type=forward&Actions.member.1.ForwardConfig.TargetGroupStickinessConfig.Enabled=true",
                true,
            ),
            ("ModifyRule", "Actions.member.1.Type=authenticate-oidc", true),
            ("ModifyRule", "Actions.member.1.Type=forward", false),
        ] {
            assert_eq!(served(action, &Params::parse(form.as_bytes())).is_err(), refused, "{action} {form}");
        }
    }

    #[test]
    fn a_target_that_is_not_registered_is_unused() {
        let known = vec![registering("i-1", 80)];
        let told = asked_for(&Params::parse(b"Id=i-2"), &known);
        assert_eq!(told[0].reason, Some("Target.NotRegistered"));
        assert_eq!(asked_for(&Params::parse(b"Id=i-1"), &known), known);
        assert_eq!(describe(&known[0]).get(&["TargetHealth", "State"]), "initial");
    }
}
