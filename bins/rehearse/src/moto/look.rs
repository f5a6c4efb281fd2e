//! One look at the control plane: instances, Auto Scaling groups and the edge, as plain data.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use base64::Engine as _;
use tokio::task::JoinSet;

use super::client::{Client, Service};
use super::xml::Node;
use crate::gateway::params::Params;
use crate::gateway::refusal::Refusal;
use crate::world::{
    Action, Balancer, Condition, HealthCheck, Instance, InstanceState, KeyPair, Listener, Rule, Target, TargetGroup,
};

/// How old the edge may get when nothing seems to have changed it: moto changes targets by itself.
const EDGE_AGE: Duration = Duration::from_secs(10);

/// What moto says, before anything has followed.
#[derive(Clone, Debug, Default)]
pub struct Raw {
    /// With the states moto wants.
    pub instances: Vec<Instance>,
    /// Auto Scaling groups.
    pub groups: Vec<Group>,
    /// Scheduled actions that have not fired.
    pub scheduled: Vec<Scheduled>,
    /// Balancers without addresses, target groups with targets that lack address, state and zone.
    pub edge: Edge,
}

/// Balancers and target groups.
#[derive(Clone, Debug, Default)]
pub struct Edge {
    /// With the number of subnets each listens in.
    pub balancers: Vec<(Balancer, usize)>,
    /// By ARN.
    pub target_groups: BTreeMap<String, TargetGroup>,
}

/// An Auto Scaling group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Launch template id and version, `$Default` and `$Latest` included.
    pub launch_template: Option<(String, String)>,
    /// Target groups its instances are registered in.
    pub target_groups: Vec<String>,
    /// Its instances' ids.
    pub instances: Vec<String>,
}

/// A scheduled action of an Auto Scaling group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheduled {
    /// The group's name.
    pub group: String,
    /// Its own name.
    pub name: String,
    /// When it fires.
    pub start: jiff::Timestamp,
    /// `MinSize`, `MaxSize`, `DesiredCapacity`, as far as it sets them.
    pub sizes: Vec<(&'static str, String)>,
}

/// Looks at moto, and keeps what can't have changed since the last look.
#[derive(Debug)]
pub struct Eye {
    client: Client,
    user_data: HashMap<String, Vec<u8>>,
    /// Public keys by instance: an instance keeps its key when the key pair is deleted.
    keys: HashMap<String, String>,
    edge: Option<(Instant, Edge, Vec<Group>, Vec<Scheduled>)>,
}

impl Eye {
    /// Has seen nothing yet.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Eye { client, user_data: HashMap::new(), keys: HashMap::new(), edge: None }
    }

    /// Reads the instances, and the edge where a call may have changed it or it is old.
    ///
    /// # Errors
    /// When moto can't be asked.
    pub async fn look(&mut self, changed: bool) -> Result<Raw, Refusal> {
        let old = self.edge.as_ref().is_none_or(|(read, ..)| read.elapsed() > EDGE_AGE);
        let edge = async {
            if changed || old {
                Some(tokio::try_join!(edge(&self.client), groups(&self.client), scheduled(&self.client)))
            } else {
                None
            }
        };
        let (instances, edge) = tokio::join!(instances(&self.client), edge);
        let mut instances = instances?;
        if let Some(edge) = edge {
            let (edge, groups, scheduled) = edge?;
            self.edge = Some((Instant::now(), edge, groups, scheduled));
        }
        self.user_data.retain(|id, _| instances.iter().any(|instance| &instance.id == id));
        let unread: Vec<String> = instances
            .iter()
            .filter(|i| i.state.end() != InstanceState::Terminated && !self.user_data.contains_key(&i.id))
            .map(|i| i.id.clone())
            .collect();
        let ask = Params::action("DescribeInstanceAttribute").and("Attribute", "userData");
        let asks = unread.iter().map(|id| (Service::Ec2, ask.clone().and("InstanceId", id))).collect();
        for (id, answer) in unread.iter().zip(all(&self.client, asks).await?) {
            self.user_data.insert(id.clone(), decode(answer.get(&["userData", "value"])));
        }
        self.read_keys(&instances).await?;
        for instance in &mut instances {
            if let Some(user_data) = self.user_data.get(&instance.id) {
                instance.user_data.clone_from(user_data);
            }
            if let (Some(pair), Some(key)) = (&mut instance.key_pair, self.keys.get(&instance.id)) {
                pair.public.clone_from(key);
            }
        }
        let (edge, groups, scheduled) =
            self.edge.as_ref().map(|(_, e, g, s)| (e.clone(), g.clone(), s.clone())).unwrap_or_default();
        Ok(Raw { instances, groups, scheduled, edge })
    }

    /// Reads the public keys of the instances that have not been seen before.
    async fn read_keys(&mut self, instances: &[Instance]) -> Result<(), Refusal> {
        self.keys.retain(|id, _| instances.iter().any(|instance| &instance.id == id));
        let new = |i: &&Instance| i.key_pair.is_some() && !self.keys.contains_key(&i.id);
        let unread: Vec<&Instance> = instances.iter().filter(new).collect();
        if unread.is_empty() {
            return Ok(());
        }
        let ask = Params::action("DescribeKeyPairs").and("IncludePublicKey", "true");
        let known = read_keys(&self.client.query(Service::Ec2, ask).await?);
        for instance in unread {
            // A pair that is gone by now was deleted before this gateway saw the instance: nothing has the key any more.
            let key = instance.key_pair.as_ref().and_then(|pair| known.get(&pair.name)).cloned().unwrap_or_default();
            self.keys.insert(instance.id.clone(), key);
        }
        Ok(())
    }

    /// Reads an instance's user data again, after a call that may have changed it.
    pub fn forget(&mut self, instance_id: &str) {
        self.user_data.remove(instance_id);
    }

    /// Forgets everything, after a reset.
    pub fn forget_all(&mut self) {
        self.user_data.clear();
        self.keys.clear();
        self.edge = None;
    }
}

fn decode(text: &str) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD.decode(text.trim()).unwrap_or_default()
}

/// Asks several questions at once; answers in their order.
async fn all(client: &Client, asks: Vec<(Service, Params)>) -> Result<Vec<Node>, Refusal> {
    let mut running = JoinSet::new();
    for (n, (service, ask)) in asks.into_iter().enumerate() {
        let client = client.clone();
        running.spawn(async move { (n, client.query(service, ask).await) });
    }
    let mut answers = Vec::new();
    while let Some(answer) = running.join_next().await {
        let (n, answer) = answer.map_err(|e| Refusal::moto("a look", &e.to_string()))?;
        answers.push((n, answer?));
    }
    answers.sort_by_key(|(n, _)| *n);
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}

/// Every page of a Describe call.
async fn pages(client: &Client, service: Service, ask: Params) -> Result<Vec<Node>, Refusal> {
    let mut answers = Vec::new();
    let (sent, got): (_, &[&[&str]]) = match service {
        Service::Ec2 => ("NextToken", &[&["nextToken"]]),
        Service::Elb => ("Marker", &[&["NextMarker"]]),
        Service::AutoScaling => ("NextToken", &[&["NextToken"]]),
    };
    let mut page = ask.clone();
    loop {
        let answer = client.query(service, page).await?;
        let result = answer.children.iter().find(|c| c.name.ends_with("Result")).unwrap_or(&answer);
        let token = got.iter().map(|path| result.get(path).to_owned()).find(|token| !token.is_empty());
        answers.push(result.clone());
        match token {
            Some(token) => page = ask.clone().and(sent, token),
            None => return Ok(answers),
        }
    }
}

async fn instances(client: &Client) -> Result<Vec<Instance>, Refusal> {
    let answers = pages(client, Service::Ec2, Params::action("DescribeInstances")).await?;
    Ok(answers.iter().flat_map(read_instances).collect())
}

async fn groups(client: &Client) -> Result<Vec<Group>, Refusal> {
    let answers = pages(client, Service::AutoScaling, Params::action("DescribeAutoScalingGroups")).await?;
    Ok(answers.iter().flat_map(read_groups).collect())
}

async fn scheduled(client: &Client) -> Result<Vec<Scheduled>, Refusal> {
    let answers = pages(client, Service::AutoScaling, Params::action("DescribeScheduledActions")).await?;
    Ok(answers.iter().flat_map(read_scheduled).collect())
}

async fn edge(client: &Client) -> Result<Edge, Refusal> {
    let (balancers, groups) = tokio::try_join!(
        pages(client, Service::Elb, Params::action("DescribeLoadBalancers")),
        pages(client, Service::Elb, Params::action("DescribeTargetGroups"))
    )?;
    let balancers: Vec<Node> = balancers
        .iter()
        .flat_map(|page| page.list(&["LoadBalancers"]))
        .filter(|balancer| balancer.get(&["Type"]) == "application")
        .cloned()
        .collect();
    let groups: Vec<Node> = groups.iter().flat_map(|page| page.list(&["TargetGroups"])).cloned().collect();
    let of_balancer = |action: &str| of_each(action, "LoadBalancerArn", balancers.iter());
    let of_group = |action: &str| of_each(action, "TargetGroupArn", groups.iter());
    let (listeners, balancer_attributes, group_attributes, targets) = tokio::try_join!(
        all(client, of_balancer("DescribeListeners")),
        all(client, of_balancer("DescribeLoadBalancerAttributes")),
        all(client, of_group("DescribeTargetGroupAttributes")),
        all(client, of_group("DescribeTargetHealth"))
    )?;
    let listeners: Vec<Vec<Node>> = listeners
        .iter()
        .map(|answer| answer.list(&["DescribeListenersResult", "Listeners"]).cloned().collect())
        .collect();
    let rules = all(client, of_each("DescribeRules", "ListenerArn", listeners.iter().flatten())).await?;
    let mut rules = rules.iter();
    let mut edge = Edge::default();
    for ((balancer, attributes), its_listeners) in balancers.iter().zip(&balancer_attributes).zip(&listeners) {
        let read = its_listeners
            .iter()
            .map(|listener| read_listener(listener, rules.next().unwrap_or(&Node::default())))
            .collect();
        let attributes = read_attributes(attributes, "DescribeLoadBalancerAttributesResult");
        let subnets = balancer.list(&["AvailabilityZones"]).count();
        edge.balancers.push((read_balancer(balancer, &attributes, read), subnets));
    }
    for ((group, attributes), targets) in groups.iter().zip(&group_attributes).zip(&targets) {
        let attributes = read_attributes(attributes, "DescribeTargetGroupAttributesResult");
        let group = read_target_group(group, &attributes, targets);
        edge.target_groups.insert(group.arn.clone(), group);
    }
    Ok(edge)
}

/// The same question about each of the ARNs that these have as a member.
fn of_each<'a>(action: &str, arn: &str, members: impl Iterator<Item = &'a Node>) -> Vec<(Service, Params)> {
    members.map(|member| (Service::Elb, Params::action(action).and(arn, member.get(&[arn])))).collect()
}

fn number<T: std::str::FromStr>(text: &str, default: T) -> T {
    text.parse().unwrap_or(default)
}

/// The instances of an answer to DescribeInstances; those without any address or of an unknown state are left out.
#[must_use]
pub fn read_instances(answer: &Node) -> Vec<Instance> {
    answer
        .list(&["reservationSet"])
        .flat_map(|reservation| reservation.list(&["instancesSet"]))
        .filter_map(read_instance)
        .collect()
}

/// The public keys of an answer to DescribeKeyPairs by the pairs' names, without comments.
fn read_keys(answer: &Node) -> HashMap<String, String> {
    let key = |item: &Node| {
        let words: Vec<&str> = item.get(&["publicKey"]).split_whitespace().take(2).collect();
        (item.get(&["keyName"]).to_owned(), words.join(" "))
    };
    answer.list(&["keySet"]).map(key).collect()
}

fn read_instance(item: &Node) -> Option<Instance> {
    let state = InstanceState::read(item.get(&["instanceState", "name"]))?;
    let private_ip = item.get(&["privateIpAddress"]).parse().unwrap_or(Ipv4Addr::UNSPECIFIED);
    let interface = item.list(&["networkInterfaceSet"]).find(|i| i.get(&["attachment", "deviceIndex"]) == "0");
    let groups = match item.list(&["groupSet"]).count() {
        0 => interface.map(|i| i.list(&["groupSet"]).collect()).unwrap_or_default(),
        _ => item.list(&["groupSet"]).collect::<Vec<_>>(),
    };
    let profile = item.get(&["iamInstanceProfile", "arn"]);
    let key = item.get(&["keyName"]);
    Some(Instance {
        id: item.get(&["instanceId"]).to_owned(),
        image_id: item.get(&["imageId"]).to_owned(),
        state,
        private_ip,
        mac: interface.map(|i| i.get(&["macAddress"])).unwrap_or_default().to_owned(),
        instance_type: item.get(&["instanceType"]).to_owned(),
        zone: item.get(&["placement", "availabilityZone"]).to_owned(),
        subnet_id: item.get(&["subnetId"]).to_owned(),
        vpc_id: item.get(&["vpcId"]).to_owned(),
        user_data: Vec::new(),
        instance_profile_arn: (!profile.is_empty()).then(|| profile.to_owned()),
        security_groups: groups
            .iter()
            .map(|g| (g.get(&["groupId"]).to_owned(), g.get(&["groupName"]).to_owned()))
            .collect(),
        tags: item
            .list(&["tagSet"])
            .map(|tag| (tag.get(&["key"]).to_owned(), tag.get(&["value"]).to_owned()))
            .collect(),
        metadata_tags: item.get(&["metadataOptions", "instanceMetadataTags"]) == "enabled",
        metadata_tokens_required: item.get(&["metadataOptions", "httpTokens"]) == "required",
        launch_time: item.get(&["launchTime"]).to_owned(),
        key_pair: (!key.is_empty()).then(|| KeyPair { name: key.to_owned(), ..KeyPair::default() }),
    })
}

/// The groups of an answer to DescribeAutoScalingGroups.
#[must_use]
pub fn read_groups(result: &Node) -> Vec<Group> {
    let group = |item: &Node| {
        let spec = item
            .at(&["LaunchTemplate"])
            .or_else(|| item.at(&["MixedInstancesPolicy", "LaunchTemplate", "LaunchTemplateSpecification"]));
        let version = |spec: &Node| match spec.get(&["Version"]) {
            "" => "$Default".to_owned(),
            version => version.to_owned(),
        };
        Group {
            name: item.get(&["AutoScalingGroupName"]).to_owned(),
            launch_template: spec.map(|spec| (spec.get(&["LaunchTemplateId"]).to_owned(), version(spec))),
            target_groups: item.list(&["TargetGroupARNs"]).map(|arn| arn.text.clone()).collect(),
            instances: item.list(&["Instances"]).map(|i| i.get(&["InstanceId"]).to_owned()).collect(),
        }
    };
    result.list(&["AutoScalingGroups"]).map(group).collect()
}

/// The actions of an answer to DescribeScheduledActions that have a time to start.
#[must_use]
pub fn read_scheduled(result: &Node) -> Vec<Scheduled> {
    let action = |item: &Node| {
        let size = |name: &'static str| item.child(name).map(|size| (name, size.text.clone()));
        Some(Scheduled {
            group: item.get(&["AutoScalingGroupName"]).to_owned(),
            name: item.get(&["ScheduledActionName"]).to_owned(),
            start: item.get(&["StartTime"]).parse().ok()?,
            sizes: ["MinSize", "MaxSize", "DesiredCapacity"].into_iter().filter_map(size).collect(),
        })
    };
    result.list(&["ScheduledUpdateGroupActions"]).filter_map(action).collect()
}

fn read_attributes(answer: &Node, result: &str) -> BTreeMap<String, String> {
    answer
        .list(&[result, "Attributes"])
        .map(|member| (member.get(&["Key"]).to_owned(), member.get(&["Value"]).to_owned()))
        .collect()
}

fn read_balancer(item: &Node, attributes: &BTreeMap<String, String>, listeners: Vec<Listener>) -> Balancer {
    let idle = attributes.get("idle_timeout.timeout_seconds").map_or(60, |text| number(text, 60));
    Balancer {
        arn: item.get(&["LoadBalancerArn"]).to_owned(),
        dns_name: item.get(&["DNSName"]).to_owned(),
        addresses: Vec::new(),
        idle_timeout: Duration::from_secs(idle),
        listeners,
    }
}

fn read_listener(item: &Node, rules: &Node) -> Listener {
    let mut rules: Vec<Rule> = rules.list(&["DescribeRulesResult", "Rules"]).map(read_rule).collect();
    rules.sort_by_key(|rule| rule.priority.unwrap_or(u32::MAX));
    Listener {
        arn: item.get(&["ListenerArn"]).to_owned(),
        protocol: item.get(&["Protocol"]).to_owned(),
        port: number(item.get(&["Port"]), 80),
        rules,
    }
}

fn read_rule(item: &Node) -> Rule {
    // Actions run by their order where they have one; the terminal one is last.
    let mut actions: Vec<&Node> = item.list(&["Actions"]).collect();
    actions.sort_by_key(|action| number(action.get(&["Order"]), 0_u32));
    Rule {
        arn: item.get(&["RuleArn"]).to_owned(),
        priority: item.get(&["Priority"]).parse().ok(),
        conditions: item.list(&["Conditions"]).filter_map(read_condition).collect(),
        actions: actions.into_iter().filter_map(read_action).collect(),
    }
}

fn read_condition(item: &Node) -> Option<Condition> {
    let texts = |config: &str| -> Vec<String> {
        let inner: Vec<String> = item.list(&[config, "Values"]).map(|v| v.text.clone()).collect();
        if inner.is_empty() { item.list(&["Values"]).map(|v| v.text.clone()).collect() } else { inner }
    };
    Some(match item.get(&["Field"]) {
        "host-header" => Condition::Host(texts("HostHeaderConfig")),
        "path-pattern" => Condition::Path(texts("PathPatternConfig")),
        "http-header" => Condition::Header {
            name: item.get(&["HttpHeaderConfig", "HttpHeaderName"]).to_owned(),
            values: texts("HttpHeaderConfig"),
        },
        "http-request-method" => Condition::Method(texts("HttpRequestMethodConfig")),
        "source-ip" => Condition::SourceIp(texts("SourceIpConfig")),
        "query-string" => Condition::Query(
            item.list(&["QueryStringConfig", "Values"])
                .map(|pair| (pair.child("Key").map(|key| key.text.clone()), pair.get(&["Value"]).to_owned()))
                .collect(),
        ),
        _ => return None,
    })
}

fn read_action(item: &Node) -> Option<Action> {
    Some(match item.get(&["Type"]) {
        "forward" => {
            let mut groups: Vec<(String, u32)> = item
                .list(&["ForwardConfig", "TargetGroups"])
                .map(|g| (g.get(&["TargetGroupArn"]).to_owned(), number(g.get(&["Weight"]), 1)))
                .collect();
            if groups.is_empty() {
                groups.push((item.get(&["TargetGroupArn"]).to_owned(), 1));
            }
            let config = item.at(&["ForwardConfig", "TargetGroupStickinessConfig"]);
            let stickiness = config
                .filter(|config| config.get(&["Enabled"]) == "true")
                .map(|config| Duration::from_secs(number(config.get(&["DurationSeconds"]), 3600)));
            Action::Forward { groups, stickiness }
        }
        "fixed-response" => Action::FixedResponse {
            status: number(item.get(&["FixedResponseConfig", "StatusCode"]), 500),
            content_type: item.get(&["FixedResponseConfig", "ContentType"]).to_owned(),
            body: item.get(&["FixedResponseConfig", "MessageBody"]).to_owned(),
        },
        "redirect" => {
            // What isn't given stays as the request has it.
            let part = |name: &str, default: &str| match item.get(&["RedirectConfig", name]) {
                "" => default.to_owned(),
                text => text.to_owned(),
            };
            Action::Redirect {
                status: if item.get(&["RedirectConfig", "StatusCode"]) == "HTTP_301" { 301 } else { 302 },
                protocol: part("Protocol", "#{protocol}"),
                host: part("Host", "#{host}"),
                port: part("Port", "#{port}"),
                path: part("Path", "/#{path}"),
                query: part("Query", "#{query}"),
            }
        }
        _ => return None,
    })
}

fn read_target_group(item: &Node, attributes: &BTreeMap<String, String>, targets: &Node) -> TargetGroup {
    let attribute = |name: &str| attributes.get(name).map(String::as_str).unwrap_or_default();
    let seconds = |text: &str, default| Duration::from_secs(number(text, default));
    let protocol = item.get(&["Protocol"]).to_owned();
    let sticky = attribute("stickiness.enabled") == "true" && attribute("stickiness.type") == "lb_cookie";
    let matcher = item.get(&["Matcher", "HttpCode"]);
    TargetGroup {
        arn: item.get(&["TargetGroupArn"]).to_owned(),
        name: item.get(&["TargetGroupName"]).to_owned(),
        port: number(item.get(&["Port"]), 80),
        health_check: HealthCheck {
            enabled: item.get(&["HealthCheckEnabled"]) != "false",
            protocol: match item.get(&["HealthCheckProtocol"]) {
                "" => protocol.clone(),
                text => text.to_owned(),
            },
            port: item.get(&["HealthCheckPort"]).parse().ok(),
            path: match item.get(&["HealthCheckPath"]) {
                "" => "/".to_owned(),
                text => text.to_owned(),
            },
            interval: seconds(item.get(&["HealthCheckIntervalSeconds"]), 30),
            timeout: seconds(item.get(&["HealthCheckTimeoutSeconds"]), 5),
            healthy_threshold: number(item.get(&["HealthyThresholdCount"]), 5),
            unhealthy_threshold: number(item.get(&["UnhealthyThresholdCount"]), 2),
            matcher: if matcher.is_empty() { "200".to_owned() } else { matcher.to_owned() },
        },
        protocol,
        deregistration_delay: seconds(attribute("deregistration_delay.timeout_seconds"), 300),
        stickiness: sticky.then(|| seconds(attribute("stickiness.lb_cookie.duration_seconds"), 86_400)),
        targets: targets
            .list(&["DescribeTargetHealthResult", "TargetHealthDescriptions"])
            .map(|member| Target {
                id: member.get(&["Target", "Id"]).to_owned(),
                port: number(member.get(&["Target", "Port"]), 80),
                address: None,
                state: None,
                zone: None,
            })
            .collect(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn fixture(name: &str) -> Node {
        let path = format!("{}/src/moto/fixtures/{name}.xml", env!("CARGO_MANIFEST_DIR"));
        Node::parse(&std::fs::read(path).unwrap()).unwrap()
    }

    fn result(name: &str) -> Node {
        let answer = fixture(name);
        answer.children.iter().find(|c| c.name.ends_with("Result")).unwrap().clone()
    }

    #[test]
    fn instances_are_read() {
        let instances = read_instances(&fixture("instances"));
        assert_eq!(instances.len(), 2);
        let [of_a_group, own] = instances.as_slice() else { unreachable!() };
        assert_eq!(of_a_group.tags["aws:autoscaling:groupName"], "g1");
        assert_eq!(of_a_group.security_groups[0].1, "default");
        assert!(!of_a_group.metadata_tags && of_a_group.instance_profile_arn.is_none());
        assert_eq!(own.state, InstanceState::Running);
        assert_eq!(own.private_ip, Ipv4Addr::new(172, 31, 16, 4));
        assert_eq!(own.mac, "02:00:00:25:b9:98");
        assert_eq!(own.zone, "us-east-1b");
        assert_eq!(own.tags["Name"], "<b&d>");
        assert!(own.metadata_tags && own.metadata_tokens_required);
        assert_eq!(own.instance_profile_arn.as_deref(), Some("arn:aws:iam::123456789012:instance-profile/prof"));
    }

    #[test]
    fn rules_are_read_in_the_order_in_which_they_are_tried() {
        let listeners = result("listeners");
        let listener = read_listener(listeners.list(&["Listeners"]).next().unwrap(), &fixture("rules"));
        assert_eq!((listener.protocol.as_str(), listener.port), ("HTTP", 80));
        let priorities: Vec<_> = listener.rules.iter().map(|rule| rule.priority).collect();
        assert_eq!(priorities, [Some(5), Some(10), None]);
        assert_eq!(
            listener.rules[0].conditions,
            [
                Condition::Query(vec![(Some("k".to_owned()), "v".to_owned()), (None, "w".to_owned())]),
                Condition::Host(vec!["h.example".to_owned()]),
                Condition::Method(vec!["GET".to_owned()]),
                Condition::SourceIp(vec!["10.0.0.0/8".to_owned()]),
            ]
        );
        assert_eq!(
            listener.rules[0].actions,
            [Action::Redirect {
                status: 301,
                protocol: "HTTPS".to_owned(),
                host: "#{host}".to_owned(),
                port: "443".to_owned(),
                path: "/#{path}".to_owned(),
                query: "#{query}".to_owned(),
            }]
        );
        let Action::Forward { groups, stickiness } = &listener.rules[1].actions[0] else { unreachable!() };
        assert_eq!(groups.iter().map(|(_, weight)| *weight).collect::<Vec<_>>(), [90, 10]);
        assert_eq!(*stickiness, Some(Duration::from_secs(60)));
        assert_eq!(
            listener.rules[2].actions,
            [Action::FixedResponse { status: 404, content_type: "text/plain".to_owned(), body: "none".to_owned() }]
        );
    }

    #[test]
    fn target_groups_are_read() {
        let groups = result("target-groups");
        let group = read_target_group(
            groups.list(&["TargetGroups"]).next().unwrap(),
            &read_attributes(&fixture("target-group-attributes"), "DescribeTargetGroupAttributesResult"),
            &fixture("target-health"),
        );
        assert_eq!((group.name.as_str(), group.port), ("tg1", 80));
        assert_eq!(group.deregistration_delay, Duration::from_secs(300));
        assert_eq!(group.health_check.interval, Duration::from_secs(30));
        assert_eq!(group.health_check.port, None);
        assert_eq!(group.stickiness, None);
        assert_eq!(group.targets.len(), 1);
        assert_eq!(group.targets[0].port, 80);
    }

    #[test]
    fn scheduled_actions_are_read() {
        let scheduled = read_scheduled(&result("scheduled-actions"));
        assert_eq!(scheduled.len(), 2);
        assert_eq!((scheduled[1].group.as_str(), scheduled[1].name.as_str()), ("g1", "s2"));
        assert_eq!(scheduled[1].start.to_string(), "2026-11-24T01:00:00Z");
        assert_eq!(scheduled[1].sizes, [("MinSize", "0".to_owned()), ("DesiredCapacity", "0".to_owned())]);
    }

    #[test]
    fn groups_are_read() {
        let groups = read_groups(&result("groups"));
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].launch_template.as_ref().unwrap().1, "1");
        assert_eq!(groups[0].instances.len(), 1);
        assert_eq!(groups[0].target_groups.len(), 1);
    }
}
