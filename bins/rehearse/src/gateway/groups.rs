//! Auto Scaling groups: what moto leaves out when a group's instances come, stop and go.

use std::collections::BTreeSet;

use super::Gateway;
use super::instances::METADATA_OPTIONS;
use super::params::Params;
use super::refusal::Refusal;
use crate::moto::client::Service;
use crate::moto::look::{Group, Raw};
use crate::moto::xml::Node;
use crate::world::{Instance, InstanceState};

/// The tag by which an instance names its group.
pub const GROUP_TAG: &str = "aws:autoscaling:groupName";

const TEMPLATE_TAG: &str = "aws:ec2launchtemplate:id";
const VERSION_TAG: &str = "aws:ec2launchtemplate:version";

impl Gateway {
    /// DescribeAutoScalingGroups and DescribeAutoScalingInstances: in service only with a running body.
    pub(super) async fn describe_groups(&self, params: Params) -> Result<Node, Refusal> {
        let mut answer = self.moto.query(Service::AutoScaling, params).await?;
        self.state(|state| {
            answer.visit(&mut |node| {
                let id = node.get(&["InstanceId"]).to_owned();
                if node.get(&["LifecycleState"]) != "InService" {
                    return;
                }
                let wanted = state.raw.instances.iter().find(|instance| instance.id == id);
                let shown = wanted.map_or(InstanceState::Pending, |i| state.overlay.shown(&id, i.state));
                match shown {
                    InstanceState::Running => {}
                    InstanceState::Pending => node.set("LifecycleState", "Pending"),
                    _ => {
                        node.set("LifecycleState", "Terminating");
                        node.set("HealthStatus", "Unhealthy");
                    }
                }
            });
        });
        Ok(answer)
    }

    /// Creating or updating a group: AWS refuses a launch template whose image is not there, and the rehearsal a
    /// subnet without bodies.
    pub(super) async fn change_group(&self, params: Params) -> Result<Node, Refusal> {
        if let Some(subnets) = params.get("VPCZoneIdentifier") {
            let ids: Vec<String> = subnets.split(',').map(|id| id.trim().to_owned()).collect();
            let ask = Params::action("DescribeSubnets").each("SubnetId", ids);
            let answer = self.moto.query(Service::Ec2, ask).await?;
            for subnet in answer.list(&["subnetSet"]) {
                super::instances::fits(subnet.get(&["subnetId"]), subnet.get(&["cidrBlock"]), None)?;
            }
        }
        let named = ["LaunchTemplateId", "LaunchTemplateName"];
        for prefix in ["LaunchTemplate", "MixedInstancesPolicy.LaunchTemplate.LaunchTemplateSpecification"] {
            let mut ask = Params::action("DescribeLaunchTemplateVersions");
            for name in named {
                if let Some(value) = params.get(&format!("{prefix}.{name}")) {
                    ask = ask.and(name, value);
                }
            }
            if !named.iter().any(|name| ask.get(name).is_some()) {
                continue;
            }
            let version = params.get(&format!("{prefix}.Version")).unwrap_or("$Default").to_owned();
            let data = self.template(ask, &version).await?;
            let image = data.get(&["imageId"]);
            self.has_body(image).await.map_err(|refusal| {
                let why = match refusal.code.as_str() {
                    "InvalidAMIID.NotFound" => format!("The image id '[{image}]' does not exist"),
                    _ => refusal.message,
                };
                Refusal::client("ValidationError", format!("You must use a valid fully-formed launch template. {why}"))
            })?;
        }
        self.moto.query(Service::AutoScaling, params).await
    }

    /// Gives instances what moto drops of the launch template they came from: profile and metadata options. Whether
    /// anything changed.
    pub(super) async fn amend(&self, raw: &Raw) -> Result<bool, Refusal> {
        let mut changed = false;
        for instance in &raw.instances {
            let Some(template) = instance.tags.get(TEMPLATE_TAG) else { continue };
            let alive = instance.state.end() == InstanceState::Running;
            if !alive || self.state(|state| state.amended.contains(&instance.id)) {
                continue;
            }
            // Moto writes the default version into the tag of a group's instance, whatever version the group has.
            let version = group_of(instance, &raw.groups)
                .and_then(|group| group.launch_template.as_ref())
                .map(|(_, version)| version.clone())
                .or_else(|| instance.tags.get(VERSION_TAG).cloned())
                .unwrap_or_else(|| "$Default".to_owned());
            let ask = Params::action("DescribeLaunchTemplateVersions").and("LaunchTemplateId", template);
            match self.template(ask, &version).await {
                Ok(data) => {
                    for ask in amendments(instance, &data) {
                        changed = true;
                        self.moto.query(Service::Ec2, ask).await?;
                    }
                }
                // The template may be deleted already.
                Err(refusal) => crate::serve::say(format_args!("{}: {refusal}", instance.id)),
            }
            self.state(|state| state.amended.insert(instance.id.clone()));
        }
        Ok(changed)
    }

    /// Does what Auto Scaling does by itself and moto doesn't: registers new instances in the group's target groups,
    /// deregisters those that are gone, ends those that stopped, fires scheduled actions. Whether anything changed.
    pub(super) async fn care(&self, raw: &Raw) -> Result<bool, Refusal> {
        let asks = chores(raw, jiff::Timestamp::now());
        let changed = !asks.is_empty();
        for (service, ask) in asks {
            // What was described a moment ago may be gone: the next look tells.
            if let Err(refusal) = self.moto.query(service, ask).await {
                crate::serve::say(format_args!("the groups' chores: {refusal}"));
            }
        }
        Ok(changed)
    }
}

fn group_of<'a>(instance: &Instance, groups: &'a [Group]) -> Option<&'a Group> {
    groups.iter().find(|group| group.instances.contains(&instance.id))
}

/// What an instance lacks of its launch template's data, as requests.
fn amendments(instance: &Instance, data: &Node) -> Vec<Params> {
    let mut asks = Vec::new();
    if instance.instance_profile_arn.is_none() {
        for (name, member) in [("Arn", "arn"), ("Name", "name")] {
            let value = data.get(&["iamInstanceProfile", member]);
            if !value.is_empty() {
                let ask = Params::action("AssociateIamInstanceProfile").and("InstanceId", &instance.id);
                asks.push(ask.and(&format!("IamInstanceProfile.{name}"), value));
                break;
            }
        }
    }
    let options: Vec<_> = METADATA_OPTIONS
        .iter()
        .map(|(name, member)| (*name, data.get(&["metadataOptions", member])))
        .filter(|(_, value)| !value.is_empty())
        .collect();
    let differs = data.get(&["metadataOptions", "httpTokens"]) == "required" && !instance.metadata_tokens_required
        || data.get(&["metadataOptions", "instanceMetadataTags"]) == "enabled" && !instance.metadata_tags;
    if differs {
        let ask = Params::action("ModifyInstanceMetadataOptions").and("InstanceId", &instance.id);
        asks.push(options.into_iter().fold(ask, |ask, (name, value)| ask.and(name, value)));
    }
    let groups: Vec<String> = data
        .list(&["securityGroupIdSet"])
        .chain(data.list(&["networkInterfaceSet", "item", "groupSet"]))
        .map(|g| if g.children.is_empty() { g.text.clone() } else { g.get(&["groupId"]).to_owned() })
        .filter(|id| !id.is_empty())
        .collect();
    let has: BTreeSet<&String> = instance.security_groups.iter().map(|(id, _)| id).collect();
    if !groups.is_empty() && groups.iter().collect::<BTreeSet<_>>() != has {
        let ask = Params::action("ModifyInstanceAttribute").and("InstanceId", &instance.id);
        asks.push(ask.each("GroupId", groups));
    }
    asks
}

/// Refuses a scheduled action that the rehearsal would not fire as AWS does.
pub fn schedulable(params: &Params) -> Result<(), Refusal> {
    if params.iter().any(|(name, _)| name.ends_with("Recurrence")) {
        return Err(Refusal::unsupported("the rehearsal fires scheduled actions once, at their start: no recurrence"));
    }
    Ok(())
}

fn chores(raw: &Raw, now: jiff::Timestamp) -> Vec<(Service, Params)> {
    let mut asks = Vec::new();
    for due in raw.scheduled.iter().filter(|scheduled| scheduled.start <= now) {
        let update = Params::action("UpdateAutoScalingGroup").and("AutoScalingGroupName", &due.group);
        let update = due.sizes.iter().fold(update, |ask, (name, size)| ask.and(name, size));
        asks.push((Service::AutoScaling, update));
        // One without recurrence is gone once it has fired.
        let done = Params::action("DeleteScheduledAction").and("AutoScalingGroupName", &due.group);
        asks.push((Service::AutoScaling, done.and("ScheduledActionName", &due.name)));
    }
    let find = |id: &str| raw.instances.iter().find(|instance| instance.id == id);
    for group in &raw.groups {
        for id in &group.instances {
            if find(id).is_some_and(|instance| instance.state.end() == InstanceState::Stopped) {
                asks.push((Service::Ec2, Params::action("TerminateInstances").and("InstanceId.1", id)));
            }
        }
        for arn in &group.target_groups {
            let Some(target_group) = raw.edge.target_groups.get(arn) else { continue };
            let missing: Vec<&String> = group
                .instances
                .iter()
                .filter(|id| find(id).is_some_and(|instance| instance.state.end() == InstanceState::Running))
                .filter(|id| !target_group.targets.iter().any(|target| &target.id == *id))
                .collect();
            if !missing.is_empty() {
                asks.push((Service::Elb, targets("RegisterTargets", arn, &missing, target_group.port)));
            }
        }
    }
    for target_group in raw.edge.target_groups.values() {
        for target in &target_group.targets {
            // Not described at all: moto was reset, or it is newer than this look at the instances.
            if find(&target.id).is_some_and(|instance| instance.state.end() == InstanceState::Terminated) {
                asks.push((Service::Elb, targets("DeregisterTargets", &target_group.arn, &[&target.id], target.port)));
            }
        }
    }
    asks
}

fn targets(action: &str, arn: &str, ids: &[&String], port: u16) -> Params {
    ids.iter().enumerate().fold(Params::action(action).and("TargetGroupArn", arn), |ask, (n, id)| {
        ask.and(&format!("Targets.member.{}.Id", n + 1), id).and(&format!("Targets.member.{}.Port", n + 1), port)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::overlay::tests::instance;
    use super::*;
    use crate::moto::look::Scheduled;

    fn template() -> Node {
        Node::parse(
            b"<d><iamInstanceProfile><name>p</name></iamInstanceProfile><metadataOptions><httpTokens>required</httpTokens>\
              </metadataOptions><securityGroupIdSet><item>sg-1</item></securityGroupIdSet></d>",
        )
        .unwrap()
    }

    #[test]
    fn an_instance_gets_what_its_template_says_once() {
        let mut of_template = instance("i-1", InstanceState::Running);
        let forms: Vec<String> = amendments(&of_template, &template()).iter().map(Params::form).collect();
        assert_eq!(
            forms,
            [
                "Action=AssociateIamInstanceProfile&InstanceId=i-1&IamInstanceProfile.Name=p",
                "Action=ModifyInstanceMetadataOptions&InstanceId=i-1&HttpTokens=required",
                "Action=ModifyInstanceAttribute&InstanceId=i-1&GroupId.1=sg-1",
            ]
        );
        of_template.instance_profile_arn = Some("arn".to_owned());
        of_template.metadata_tokens_required = true;
        of_template.security_groups = vec![("sg-1".to_owned(), "g".to_owned())];
        assert!(amendments(&of_template, &template()).is_empty());
    }

    #[test]
    fn a_group_ends_what_stopped() {
        let group = Group {
            name: "g".to_owned(),
            launch_template: None,
            target_groups: Vec::new(),
            instances: vec!["i-1".to_owned(), "i-2".to_owned()],
        };
        let raw = Raw {
            instances: vec![instance("i-1", InstanceState::Running), instance("i-2", InstanceState::Stopped)],
            groups: vec![group],
            ..Raw::default()
        };
        let forms: Vec<String> = chores(&raw, jiff::Timestamp::UNIX_EPOCH).iter().map(|(_, ask)| ask.form()).collect();
        assert_eq!(forms, ["Action=TerminateInstances&InstanceId.1=i-2"]);
    }

    #[test]
    fn a_scheduled_action_fires_at_its_time_and_is_gone() {
        let start: jiff::Timestamp = "2026-11-24T10:00:00Z".parse().unwrap();
        let scheduled = Scheduled {
            group: "g".to_owned(),
            name: "s".to_owned(),
            start,
            sizes: vec![("DesiredCapacity", "0".to_owned())],
        };
        let raw = Raw { scheduled: vec![scheduled], ..Raw::default() };
        assert!(chores(&raw, start - jiff::SignedDuration::from_secs(1)).is_empty());
        let forms: Vec<String> = chores(&raw, start).iter().map(|(_, ask)| ask.form()).collect();
        assert_eq!(
            forms,
            [
                "Action=UpdateAutoScalingGroup&AutoScalingGroupName=g&DesiredCapacity=0",
                "Action=DeleteScheduledAction&AutoScalingGroupName=g&ScheduledActionName=s",
            ]
        );
    }
}
