//! Which agents there are, which of them are heard, and which instances a command is for.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::documents::{Target, parse};
use super::failure::AwsError;
use super::page;
use super::status::epoch;
use crate::metadata::private_name;
use crate::world::{Instance, InstanceState, World};

/// An agent not heard for so many seconds is `ConnectionLost`. A waiting agent counts as heard every few seconds.
/// AWS's agents ping every five minutes, so there it takes longer to be noticed.
pub const SILENCE: i64 = 30;

/// What an agent says of itself and its machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Hello {
    /// Three numbers with dots.
    #[serde(default)]
    pub version: String,
    /// `Debian GNU/Linux`
    #[serde(default)]
    pub platform_name: String,
    /// `12`
    #[serde(default)]
    pub platform_version: String,
    /// The host's name.
    #[serde(default)]
    pub computer_name: String,
}

/// One agent.
#[derive(Clone, Debug)]
pub struct Agent {
    hello: Hello,
    registered: Timestamp,
    heard: Timestamp,
}

/// All agents that ever came, by instance id.
#[derive(Debug, Default)]
pub struct Fleet {
    agents: BTreeMap<String, Agent>,
}

impl Fleet {
    /// An agent said what it is.
    pub fn greeted(&mut self, instance: &str, hello: Hello, now: Timestamp) {
        let agent = self.agents.entry(instance.to_owned());
        let agent = agent.or_insert_with(|| Agent { hello: hello.clone(), registered: now, heard: now });
        agent.hello = hello;
        agent.heard = now;
    }

    /// An agent is still there.
    pub fn heard(&mut self, instance: &str, now: Timestamp) {
        if let Some(agent) = self.agents.get_mut(instance) {
            agent.heard = now;
        }
    }

    /// Whether an instance's agent would take a command now.
    #[must_use]
    pub fn online(&self, instance: &Instance, now: Timestamp) -> bool {
        let runs = matches!(instance.state, InstanceState::Pending | InstanceState::Running);
        let heard = self.agents.get(&instance.id).is_some_and(|a| now.as_second() - a.heard.as_second() < SILENCE);
        runs && heard
    }

    /// Forgets agents whose instances are gone.
    pub fn forget_all_but(&mut self, world: &World) {
        let alive: BTreeSet<&str> = world.instances.iter().filter(|i| !is_gone(i)).map(|i| i.id.as_str()).collect();
        self.agents.retain(|id, _| alive.contains(id.as_str()));
    }

    /// The instances of a SendCommand by `InstanceIds`: all must have an agent that is there.
    ///
    /// # Errors
    /// `InvalidInstanceId`, as AWS has it for instances that don't exist, never had an agent or lost it.
    pub fn by_ids(&self, ids: &[String], world: &World, now: Timestamp) -> Result<Vec<String>, AwsError> {
        let usable = |id: &&String| world.instances.iter().any(|i| i.id == **id && self.online(i, now));
        let not: Vec<&str> = ids.iter().filter(|id| !usable(id)).map(String::as_str).collect();
        if not.is_empty() {
            return Ok(ids.to_vec());
        }
        let account = crate::cloud::ACCOUNT;
        Err(AwsError::new(
            "InvalidInstanceId",
            format!("Instances [[{}]] not in a valid state for account {account}", not.join(", ")),
        ))
    }

    /// The instances of a SendCommand by `Targets`: registered ones for which every target holds. An agent that is
    /// silent doesn't count out: its command waits.
    #[must_use]
    pub fn by_targets(&self, targets: &[Target], world: &World) -> Vec<String> {
        let holds = |instance: &Instance, target: &Target| match target.key.strip_prefix("tag:") {
            Some(key) => instance.tags.get(key).is_some_and(|value| target.values.contains(value)),
            None if target.key == "tag-key" => target.values.iter().any(|key| instance.tags.contains_key(key)),
            None => target.values.contains(&instance.id),
        };
        let registered = world.instances.iter().filter(|i| !is_gone(i) && self.agents.contains_key(&i.id));
        registered.filter(|i| targets.iter().all(|target| holds(i, target))).map(|i| i.id.clone()).collect()
    }

    /// DescribeInstanceInformation.
    ///
    /// # Errors
    /// As documented for the action.
    pub fn describe(&self, body: &Value, world: &World, region: &str, now: Timestamp) -> Result<Value, AwsError> {
        let request: Describe = parse(body)?;
        let filters = filters(&request)?;
        if request.max_results.is_some_and(|max| !(5..=50).contains(&max)) {
            return Err(AwsError::validation("MaxResults must be between 5 and 50"));
        }
        let mut found = Vec::new();
        for instance in world.instances.iter().filter(|i| !is_gone(i)) {
            let Some(agent) = self.agents.get(&instance.id) else { continue };
            let information = information(instance, agent, self.online(instance, now), region);
            if filters.iter().all(|(key, values)| passes(key, values, instance, &information)) {
                found.push(information);
            }
        }
        page::page("InstanceInformationList", found, request.max_results.unwrap_or(50), request.next_token.as_deref())
    }
}

/// Whether no agent will ever come back from there.
#[must_use]
pub fn is_gone(instance: &Instance) -> bool {
    instance.state == InstanceState::Terminated
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Describe {
    #[serde(default)]
    filters: Vec<Filter>,
    #[serde(default)]
    instance_information_filter_list: Vec<OldFilter>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Filter {
    key: String,
    values: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OldFilter {
    key: String,
    value_set: Vec<String>,
}

fn filters(request: &Describe) -> Result<Vec<(String, Vec<String>)>, AwsError> {
    if !request.filters.is_empty() && !request.instance_information_filter_list.is_empty() {
        return Err(AwsError::validation("Filters and InstanceInformationFilterList can't both be given"));
    }
    let new = request.filters.iter().map(|f| (f.key.clone(), f.values.clone()));
    let old = request.instance_information_filter_list.iter().map(|f| (f.key.clone(), f.value_set.clone()));
    let filters: Vec<_> = new.chain(old).collect();
    for (key, values) in &filters {
        let plain = ["InstanceIds", "PingStatus", "PlatformTypes", "AgentVersion", "ResourceType", "IamRole"];
        let rare = ["ActivationIds", "AssociationStatus", "SourceTypes", "SourceIds"];
        if !plain.contains(&key.as_str())
            && !rare.contains(&key.as_str())
            && key != "tag-key"
            && !key.starts_with("tag:")
        {
            return Err(AwsError::new("InvalidFilterKey", format!("{key} is not a filter of this action")));
        }
        if values.is_empty() {
            return Err(AwsError::new("InvalidInstanceInformationFilterValue", format!("filter {key} has no values")));
        }
    }
    Ok(filters)
}

fn passes(key: &str, values: &[String], instance: &Instance, information: &Value) -> bool {
    let is = |member: &str| information[member].as_str().is_some_and(|value| values.iter().any(|v| v == value));
    match key {
        "InstanceIds" => is("InstanceId"),
        "PlatformTypes" => is("PlatformType"),
        "PingStatus" | "AgentVersion" | "ResourceType" => is(key),
        "SourceIds" => is("SourceId"),
        "SourceTypes" => is("SourceType"),
        "tag-key" => values.iter().any(|key| instance.tags.contains_key(key)),
        // IamRole and ActivationIds are of hybrid nodes, AssociationStatus of associations: there are none.
        _ => {
            key.strip_prefix("tag:").and_then(|key| instance.tags.get(key)).is_some_and(|value| values.contains(value))
        }
    }
}

fn information(instance: &Instance, agent: &Agent, online: bool, region: &str) -> Value {
    let name = if agent.hello.computer_name.is_empty() {
        private_name(instance, region)
    } else {
        agent.hello.computer_name.clone()
    };
    json!({
        "InstanceId": instance.id,
        "PingStatus": if online { "Online" } else { "ConnectionLost" },
        "LastPingDateTime": epoch(agent.heard),
        "RegistrationDate": epoch(agent.registered),
        "AgentVersion": agent.hello.version,
        "IsLatestVersion": true,
        "PlatformType": "Linux",
        "PlatformName": agent.hello.platform_name,
        "PlatformVersion": agent.hello.platform_version,
        "ResourceType": "EC2Instance",
        "IPAddress": instance.private_ip.to_string(),
        "ComputerName": name,
        "SourceId": instance.id,
        "SourceType": "AWS::EC2::Instance",
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::metadata::tests::instance;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_767_000_000 + second).unwrap()
    }

    fn world() -> World {
        let named = |id: &str, state, role: &str| Instance {
            id: id.into(),
            state,
            tags: BTreeMap::from([("role".to_owned(), role.to_owned())]),
            ..instance()
        };
        World {
            instances: vec![
                named("i-heard", InstanceState::Running, "web"),
                named("i-silent", InstanceState::Running, "web"),
                named("i-stopped", InstanceState::Stopped, "db"),
                named("i-gone", InstanceState::Terminated, "web"),
                named("i-agentless", InstanceState::Running, "web"),
            ],
            ..World::default()
        }
    }

    fn fleet() -> Fleet {
        let mut fleet = Fleet::default();
        for id in ["i-heard", "i-silent", "i-stopped", "i-gone"] {
            fleet.greeted(id, Hello { version: "0.1.0".into(), ..Hello::default() }, at(0));
        }
        for id in ["i-heard", "i-stopped", "i-gone"] {
            fleet.heard(id, at(30));
        }
        fleet
    }

    #[test]
    fn targets() {
        let target = |key: &str, values: &[&str]| Target {
            key: key.into(),
            values: values.iter().map(|v| (*v).to_owned()).collect(),
        };
        let table: &[(&[Target], &[&str])] = &[
            (&[target("tag:role", &["web"])], &["i-heard", "i-silent"]),
            (&[target("tag:role", &["web", "db"])], &["i-heard", "i-silent", "i-stopped"]),
            (&[target("tag:role", &["web"]), target("InstanceIds", &["i-silent"])], &["i-silent"]),
            (&[target("tag-key", &["role"])], &["i-heard", "i-silent", "i-stopped"]),
            (&[target("InstanceIds", &["i-agentless", "i-nonesuch"])], &[]),
            (&[target("tag:none", &["x"])], &[]),
        ];
        for (targets, want) in table {
            assert_eq!(fleet().by_targets(targets, &world()), *want, "{targets:?}");
        }
    }

    #[test]
    fn ids_must_be_of_agents_that_are_there() {
        let by = |ids: &[&str]| {
            let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
            fleet().by_ids(&ids, &world(), at(40))
        };
        assert_eq!(by(&["i-heard"]).unwrap(), ["i-heard"]);
        for id in ["i-silent", "i-stopped", "i-gone", "i-agentless", "i-nonesuch"] {
            let error = by(&["i-heard", id]).unwrap_err();
            assert_eq!(error.code, "InvalidInstanceId", "{id}");
            assert_eq!(error.message, format!("Instances [[{id}]] not in a valid state for account 123456789012"));
        }
    }

    #[test]
    fn description_and_its_filters() {
        let ids = |body: Value| -> Vec<String> {
            let answer = fleet().describe(&body, &world(), "us-east-1", at(40)).unwrap();
            let list = answer["InstanceInformationList"].as_array().unwrap();
            list.iter()
                .map(|i| format!("{} {}", i["InstanceId"].as_str().unwrap(), i["PingStatus"].as_str().unwrap()))
                .collect()
        };
        let filter = |key: &str, value: &str| json!({ "Filters": [{ "Key": key, "Values": [value] }] });
        let all = ["i-heard Online", "i-silent ConnectionLost", "i-stopped ConnectionLost"];
        assert_eq!(ids(json!({})), all);
        assert_eq!(ids(filter("PlatformTypes", "Linux")), all);
        assert_eq!(ids(filter("AgentVersion", "0.1.0")), all);
        assert_eq!(ids(filter("PingStatus", "Online")), all[..1]);
        assert_eq!(ids(filter("InstanceIds", "i-silent")), all[1..2]);
        assert_eq!(ids(filter("tag:role", "db")), all[2..]);
        assert_eq!(ids(filter("ActivationIds", "x")), [""; 0]);
        let old = json!({ "InstanceInformationFilterList": [{ "key": "PingStatus", "valueSet": ["Online"] }] });
        assert_eq!(ids(old), all[..1]);
        let refused = |body: Value| fleet().describe(&body, &world(), "us-east-1", at(40)).unwrap_err().code;
        assert_eq!(refused(filter("Nonsense", "x")), "InvalidFilterKey");
        assert_eq!(refused(json!({ "MaxResults": 4 })), "ValidationException");
        assert_eq!(refused(json!({ "NextToken": "x" })), "InvalidNextToken");
    }
}
