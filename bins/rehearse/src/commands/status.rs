//! `status`: what stands.

use gyron_core::failure::{Failure, OrFail, Result};
use serde::Deserialize;
use serde_json::Value;

use super::endpoint;
use crate::cloud::Cloud;

/// Prints what the daemon says of its cloud, as text or as the JSON it gave.
///
/// # Errors
/// Where the daemon does not answer.
pub async fn run(cloud: &Cloud, json: bool) -> Result<()> {
    let answer = endpoint::get(cloud, "status").await?;
    if json {
        let text = serde_json::to_string_pretty(&answer).or_fail(|| Failure::defect("can't write JSON"))?;
        anstream::println!("{text}");
    } else {
        anstream::print!("{}", text(&answer)?);
    }
    Ok(())
}

#[derive(Deserialize)]
struct Status {
    cloud: String,
    endpoint: String,
    region: String,
    #[serde(default)]
    instances: Vec<Instance>,
    #[serde(default)]
    balancers: Vec<Balancer>,
    #[serde(default)]
    target_groups: Vec<TargetGroup>,
    #[serde(default)]
    images: Vec<Image>,
}

#[derive(Deserialize)]
struct Instance {
    id: String,
    state: String,
    image: String,
    ip: String,
    name: Option<String>,
    #[serde(default)]
    agent_online: bool,
}

#[derive(Deserialize)]
struct Balancer {
    name: String,
    dns: String,
    addresses: Vec<String>,
    listeners: Vec<Listener>,
}

#[derive(Deserialize)]
struct Listener {
    protocol: String,
    port: u16,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    priority: String,
    conditions: Vec<String>,
    actions: Vec<Value>,
}

#[derive(Deserialize)]
struct TargetGroup {
    name: String,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    id: String,
    port: u16,
    state: String,
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Image {
    id: String,
    name: String,
    state: String,
}

fn text(answer: &Value) -> Result<String> {
    let status: Status = serde_json::from_value(answer.clone())
        .or_fail(|| Failure::defect("can't read what the daemon says of its cloud"))?;
    let mut text = format!("cloud {} at {} in {}\n", status.cloud, status.endpoint, status.region);
    section(&mut text, "balancers", &status.balancers, |balancer| {
        let mut lines = vec![balancer.name.clone()];
        for listener in &balancer.listeners {
            let scheme = listener.protocol.to_lowercase();
            let port = match (scheme.as_str(), listener.port) {
                ("http", 80) | ("https", 443) => String::new(),
                (_, port) => format!(":{port}"),
            };
            let urls = std::iter::once(&balancer.dns).chain(&balancer.addresses);
            lines.push(format!(
                "  {}",
                urls.map(|host| format!("{scheme}://{host}{port}/")).collect::<Vec<_>>().join("  ")
            ));
            for rule in &listener.rules {
                let when = if rule.conditions.is_empty() { "always".into() } else { rule.conditions.join(" and ") };
                let does = rule.actions.iter().map(action).collect::<Vec<_>>().join(", ");
                lines.push(format!("    {:>7}  {when} -> {does}", rule.priority));
            }
        }
        lines
    });
    section(&mut text, "target groups", &status.target_groups, |group| {
        let targets = group.targets.iter().map(|target| {
            let reason = target.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
            format!("  {}:{}  {}{reason}", target.id, target.port, target.state)
        });
        std::iter::once(group.name.clone()).chain(targets).collect()
    });
    section(&mut text, "instances", &status.instances, |instance| {
        let name = instance.name.as_deref().unwrap_or("-");
        let agent = if instance.agent_online { "agent online" } else { "no agent" };
        vec![format!("{}  {}  {}  {}  {agent}  {name}", instance.id, instance.state, instance.ip, instance.image)]
    });
    section(&mut text, "images", &status.images, |image| {
        vec![format!("{}  {}  {}", image.id, image.state, image.name)]
    });
    Ok(text)
}

fn section<T>(text: &mut String, title: &str, items: &[T], lines: impl Fn(&T) -> Vec<String>) {
    text.push_str(&format!("{title}{}\n", if items.is_empty() { ": none" } else { "" }));
    for line in items.iter().flat_map(lines) {
        text.push_str(&format!("  {line}\n"));
    }
}

fn action(action: &Value) -> String {
    if let Some(groups) = action["forward"].as_array() {
        let weights = groups
            .iter()
            .map(|group| format!("{} {}", group["target_group"].as_str().unwrap_or_default(), group["weight"]));
        return weights.collect::<Vec<_>>().join(" / ");
    }
    if let Some(status) = action.get("fixed_response") {
        return format!("answer {status}");
    }
    format!("redirect {}", action["redirect"]["status"])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_that_stands_is_shown_with_addresses_for_a_browser() {
        let answer = json!({
            "cloud": "default", "endpoint": "http://198.18.1.1:4566", "region": "us-east-1",
            "instances": [{"id": "i-1", "state": "running", "image": "ami-1", "ip": "172.31.1.2", "type": "t3.micro",
                "name": "shop-green", "group": null, "agent_online": true}],
            "balancers": [{"name": "shop", "arn": "a", "dns": "shop-1.us-east-1.elb.amazonaws.com",
                "addresses": ["198.18.1.20"], "listeners": [{"arn": "l", "protocol": "HTTP", "port": 80, "rules": [
                    {"priority": "10", "conditions": ["header x-gyron: s"], "actions": [{"fixed_response": 403}]},
                    {"priority": "default", "conditions": [], "actions": [{"forward": [
                        {"target_group": "shop-blue", "weight": 0}, {"target_group": "shop-green", "weight": 100}]}]}
                ]}]}],
            "target_groups": [{"name": "shop-green", "arn": "g", "targets": [
                {"id": "i-1", "port": 80, "state": "initial", "reason": "Elb.InitialHealthChecking", "description": null}]}],
            "images": [{"id": "ami-1", "name": "debian-12", "state": "available"}]
        });
        assert_eq!(
            text(&answer).unwrap(),
            "cloud default at http://198.18.1.1:4566 in us-east-1\n\
             balancers\n\
             \x20 shop\n\
             \x20   http://shop-1.us-east-1.elb.amazonaws.com/  http://198.18.1.20/\n\
             \x20          10  header x-gyron: s -> answer 403\n\
             \x20     default  always -> shop-blue 0 / shop-green 100\n\
             target groups\n\
             \x20 shop-green\n\
             \x20   i-1:80  initial (Elb.InitialHealthChecking)\n\
             instances\n\
             \x20 i-1  running  172.31.1.2  ami-1  agent online  shop-green\n\
             images\n\
             \x20 ami-1  available  debian-12\n"
        );
    }

    #[test]
    fn a_bare_cloud_says_what_there_is_none_of() {
        let answer = json!({"cloud": "c", "endpoint": "http://e", "region": "r"});
        assert!(text(&answer).unwrap().contains("instances: none\n"));
    }
}
