//! The SSM agent of an instance: waited for, and where it does not come, what can be seen of why.

use std::time::Duration;

use aws_sdk_ec2::types::{Filter, Instance, RouteTable};
use aws_sdk_ssm::types::PingStatus;
use tokio::time::Instant;

use crate::aws::{Aws, OrAws as _};
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::{Failure, OrFail as _, Result};
use crate::ids::InstanceId;
use crate::instance;
use crate::stop::Stop;
use crate::wait::{Look, Wait, poll_until};

/// How often it is looked whether the instance is still there: SSM says nothing of one that is gone.
const LOOK: Duration = Duration::from_secs(10);

/// Waits until the instance's SSM agent is online.
///
/// # Errors
/// Deadline (6), with what can be seen of the reason; AWS (4), also where the instance is gone.
pub async fn online(
    aws: &Aws,
    console: &Console,
    stop: &Stop,
    instance: &InstanceId,
    deadline: Duration,
) -> Result<()> {
    let wait = Wait::new(format!("the SSM agent of {instance}"), deadline).soon();
    let (mut registered, mut looked) = (false, Instant::now());
    let online = poll_until(console, stop, &wait, async || {
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            instance::still_there(aws, instance, &format!("waiting for {}", wait.what)).await?;
        }
        let filter = aws_sdk_ssm::types::InstanceInformationStringFilter::builder()
            .key("InstanceIds")
            .values(instance.as_str())
            .build()
            .or_fail(|| Failure::defect("a filter can't be built"))?;
        let seen = aws.ssm.describe_instance_information().filters(filter).send().await;
        let seen = seen.or_aws("DescribeInstanceInformation")?;
        Ok(match seen.instance_information_list().first().and_then(|known| known.ping_status()) {
            Some(PingStatus::Online) => Look::Done(()),
            Some(other) => {
                registered = true;
                Look::Pending(other.as_str().to_owned())
            }
            None => Look::Pending("not registered yet".to_owned()),
        })
    })
    .await;
    match online {
        Err(failure) if failure.exit() == Exit::Deadline => Err(explain(aws, instance, registered, failure).await),
        other => other,
    }
}

async fn explain(aws: &Aws, id: &InstanceId, registered: bool, failure: Failure) -> Failure {
    let seen = look(aws, id, registered).await;
    let mut detail: String = reasons(&seen).iter().map(|reason| format!("  - {reason}\n")).collect();
    detail.push_str(&instance::console_tail(aws, id).await);
    failure.detail(detail).hint(
        "the agent must be installed, have an instance profile with AmazonSSMManagedInstanceCore from its first moment (denied once, \
         it sleeps up to half an hour), and reach the endpoints ssm, ssmmessages and ec2messages",
    )
}

/// What can be observed of an instance whose agent does not come; none where it can't be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    registered: bool,
    state: Option<String>,
    profile: Option<String>,
    /// An address by which an internet gateway lets it out.
    public: Option<bool>,
    /// Where its subnet's default route leads: `igw-…`, `nat-…`; empty where there is no such route.
    way_out: Option<String>,
    /// Whether its VPC has an endpoint for SSM.
    endpoint: Option<bool>,
    /// Whether its security groups let anything out.
    egress: Option<bool>,
}

/// The likely reasons first, then what is as it should be.
fn reasons(seen: &Seen) -> Vec<String> {
    let mut bad = Vec::new();
    let mut good = Vec::new();
    if seen.registered {
        bad.push("the agent was online before, and is silent since: is it stopped, or its network?".to_owned());
    }
    match seen.state.as_deref() {
        Some("running") => good.push("the instance is running".to_owned()),
        Some(other) => bad.push(format!("the instance is {other}")),
        None => {}
    }
    match &seen.profile {
        Some(profile) => good.push(format!("it has the instance profile {profile}: does that allow SSM?")),
        None if seen.state.is_some() => bad.push("it has no instance profile".to_owned()),
        None => {}
    }
    if seen.egress == Some(false) {
        bad.push("its security groups let nothing out".to_owned());
    }
    match (seen.endpoint, seen.way_out.as_deref(), seen.public) {
        (Some(true), ..) => good.push("its VPC has an endpoint for ssm".to_owned()),
        (_, Some(""), _) => {
            bad.push(
                "no way out can be seen: its subnet has no default route, and its VPC no endpoint for ssm".to_owned(),
            );
        }
        (_, Some(gateway), Some(false)) if gateway.starts_with("igw-") => bad.push(format!(
            "no way out can be seen: its subnet's default route leads to {gateway}, but it has no public address"
        )),
        (_, Some(gateway), _) => good.push(format!("its subnet's default route leads to {gateway}")),
        _ => {}
    }
    bad.extend(good);
    bad
}

/// Looks at all that may be the reason. What can't be asked is not seen: these calls only explain.
async fn look(aws: &Aws, id: &InstanceId, registered: bool) -> Seen {
    let mut seen = Seen { registered, ..Seen::default() };
    let described = aws.ec2.describe_instances().instance_ids(id.as_str()).send().await.ok();
    let found = described.iter().flat_map(|described| described.reservations()).flat_map(|it| it.instances()).next();
    let Some(found) = found else { return seen };
    seen.state = found.state().and_then(|state| state.name()).map(|name| name.as_str().to_owned());
    seen.profile = found.iam_instance_profile().and_then(|profile| profile.arn()).map(str::to_owned);
    seen.public = Some(found.public_ip_address().is_some());
    seen.way_out = way_out(aws, found).await;
    seen.endpoint = endpoint(aws, found).await;
    seen.egress = egress(aws, found).await;
    seen
}

fn filter(name: &str, value: &str) -> Filter {
    Filter::builder().name(name).values(value).build()
}

/// The subnet's own route table, else the VPC's main one.
async fn way_out(aws: &Aws, instance: &Instance) -> Option<String> {
    let (subnet, vpc) = (instance.subnet_id()?, instance.vpc_id()?);
    let own = aws.ec2.describe_route_tables().filters(filter("association.subnet-id", subnet)).send().await.ok()?;
    if let Some(table) = own.route_tables().first() {
        return Some(default_route(table));
    }
    let main = aws.ec2.describe_route_tables().filters(filter("vpc-id", vpc));
    let main = main.filters(filter("association.main", "true")).send().await.ok()?;
    main.route_tables().first().map(default_route)
}

fn default_route(table: &RouteTable) -> String {
    let route = table.routes().iter().find(|route| route.destination_cidr_block() == Some("0.0.0.0/0"));
    let target = route.and_then(|route| {
        let targets =
            [route.gateway_id(), route.nat_gateway_id(), route.transit_gateway_id(), route.network_interface_id()];
        targets.into_iter().flatten().next()
    });
    target.unwrap_or_default().to_owned()
}

async fn endpoint(aws: &Aws, instance: &Instance) -> Option<bool> {
    let service = format!("com.amazonaws.{}.ssm", aws.region);
    let asked = aws.ec2.describe_vpc_endpoints().filters(filter("vpc-id", instance.vpc_id()?));
    let found = asked.filters(filter("service-name", &service)).send().await.ok()?;
    Some(!found.vpc_endpoints().is_empty())
}

async fn egress(aws: &Aws, instance: &Instance) -> Option<bool> {
    let ids: Vec<String> =
        instance.security_groups().iter().filter_map(|group| group.group_id()).map(str::to_owned).collect();
    if ids.is_empty() {
        return None;
    }
    let groups = aws.ec2.describe_security_groups().set_group_ids(Some(ids)).send().await.ok()?;
    Some(groups.security_groups().iter().any(|group| !group.ip_permissions_egress().is_empty()))
}

#[cfg(test)]
mod tests {
    use super::{Seen, reasons};

    #[test]
    fn what_is_wrong_comes_first() {
        let seen = Seen {
            registered: false,
            state: Some("running".to_owned()),
            profile: Some("arn:aws:iam::1:instance-profile/builder".to_owned()),
            public: Some(false),
            way_out: Some("igw-1".to_owned()),
            endpoint: Some(false),
            egress: Some(true),
        };
        insta::assert_snapshot!(reasons(&seen).join("\n"), @"
        no way out can be seen: its subnet's default route leads to igw-1, but it has no public address
        the instance is running
        it has the instance profile arn:aws:iam::1:instance-profile/builder: does that allow SSM?
        ");
        let bare = Seen { profile: None, way_out: Some(String::new()), egress: Some(false), ..seen.clone() };
        insta::assert_snapshot!(reasons(&bare).join("\n"), @"
        it has no instance profile
        its security groups let nothing out
        no way out can be seen: its subnet has no default route, and its VPC no endpoint for ssm
        the instance is running
        ");
        let fine = Seen { endpoint: Some(true), ..seen };
        assert_eq!(reasons(&fine).len(), 3);
    }

    #[test]
    fn of_what_cant_be_seen_nothing_is_said() {
        assert!(reasons(&Seen::default()).is_empty());
    }
}
