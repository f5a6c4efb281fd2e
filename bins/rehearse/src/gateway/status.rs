//! `/_rehearse/…`: what the rehearsal says of itself, as JSON.

use serde_json::{Value, json};

use super::Gateway;
use super::refusal::Refusal;
use crate::moto::client::Service;
use crate::world::{Action, Balancer, Instance, InstanceState, Rule};

impl Gateway {
    /// `/_rehearse/health`
    pub(super) fn health_of_itself(&self) -> Value {
        json!({"cloud": self.cloud.name, "endpoint": self.cloud.endpoint_url(), "version": env!("CARGO_PKG_VERSION")})
    }

    /// `/_rehearse/status`
    pub(super) async fn status(&self) -> Result<Value, Refusal> {
        let world = self.world.borrow().clone();
        let mut instances = Vec::new();
        for instance in &world.instances {
            if instance.state != InstanceState::Terminated {
                instances.push(self.status_of(instance).await);
            }
        }
        let groups: Vec<Value> = world
            .target_groups
            .values()
            .map(|group| {
                let targets: Vec<Value> = self
                    .plane
                    .health(&group.arn)
                    .iter()
                    .map(|health| {
                        json!({
                            "id": health.id,
                            "port": health.port,
                            "state": health.state.as_str(),
                            "reason": health.reason,
                            "description": health.description,
                        })
                    })
                    .collect();
                json!({"name": group.name, "arn": group.arn, "targets": targets})
            })
            .collect();
        let balancers: Vec<Value> = world.balancers.iter().map(|balancer| balancer_status(balancer, &world)).collect();
        let ask = super::params::Params::action("DescribeImages");
        let images = self.moto.query(Service::Ec2, ask).await?;
        let images: Vec<Value> = self.state(|state| {
            images
                .list(&["imagesSet"])
                .map(|item| {
                    let id = item.get(&["imageId"]);
                    json!({"id": id, "name": item.get(&["name"]), "state": state.images.state_of(id)})
                })
                .collect()
        });
        Ok(json!({
            "cloud": self.cloud.name,
            "endpoint": self.cloud.endpoint_url(),
            "region": self.cloud.region,
            "instances": instances,
            "balancers": balancers,
            "target_groups": groups,
            "images": images,
        }))
    }

    async fn status_of(&self, instance: &Instance) -> Value {
        let agent = self.agent_online(&instance.id).await;
        json!({
            "id": instance.id,
            "state": instance.state.name(),
            "image": instance.image_id,
            "ip": instance.private_ip,
            "type": instance.instance_type,
            "name": instance.tags.get("Name"),
            "group": instance.tags.get(super::groups::GROUP_TAG),
            "agent_online": agent,
        })
    }
}

fn balancer_status(balancer: &Balancer, world: &crate::world::World) -> Value {
    let listeners: Vec<Value> = balancer
        .listeners
        .iter()
        .map(|listener| {
            let rules: Vec<Value> = listener.rules.iter().map(|rule| rule_status(rule, world)).collect();
            json!({"arn": listener.arn, "protocol": listener.protocol, "port": listener.port, "rules": rules})
        })
        .collect();
    json!({
        "name": name_of(&balancer.arn),
        "arn": balancer.arn,
        "dns": balancer.dns_name,
        "addresses": balancer.addresses,
        "listeners": listeners,
    })
}

/// `…:loadbalancer/app/NAME/ID`
fn name_of(arn: &str) -> &str {
    arn.rsplit('/').nth(1).unwrap_or(arn)
}

fn rule_status(rule: &Rule, world: &crate::world::World) -> Value {
    let actions: Vec<Value> = rule
        .actions
        .iter()
        .map(|action| match action {
            Action::Forward { groups, .. } => {
                let groups: Vec<Value> = groups
                    .iter()
                    .map(|(arn, weight)| {
                        let name = world.target_groups.get(arn).map(|group| group.name.as_str());
                        json!({"target_group": name.unwrap_or(arn), "weight": weight})
                    })
                    .collect();
                json!({"forward": groups})
            }
            Action::FixedResponse { status, .. } => json!({"fixed_response": status}),
            Action::Redirect { status, host, port, path, .. } => {
                json!({"redirect": {"status": status, "host": host, "port": port, "path": path}})
            }
        })
        .collect();
    let conditions: Vec<String> = rule.conditions.iter().map(condition_text).collect();
    json!({
        "priority": rule.priority.map_or_else(|| "default".to_owned(), |priority| priority.to_string()),
        "conditions": conditions,
        "actions": actions,
    })
}

fn condition_text(condition: &crate::world::Condition) -> String {
    use crate::world::Condition;
    match condition {
        Condition::Host(values) => format!("host {}", values.join(" or ")),
        Condition::Path(values) => format!("path {}", values.join(" or ")),
        Condition::Header { name, values } => format!("header {name}: {}", values.join(" or ")),
        Condition::Method(values) => format!("method {}", values.join(" or ")),
        Condition::SourceIp(values) => format!("source {}", values.join(" or ")),
        Condition::Query(pairs) => {
            let pairs: Vec<String> = pairs
                .iter()
                .map(|(key, value)| key.as_ref().map_or_else(|| value.clone(), |key| format!("{key}={value}")))
                .collect();
            format!("query {}", pairs.join(" or "))
        }
    }
}
