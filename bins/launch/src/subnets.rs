//! Where balancer and instances stand: the subnets of gyron.toml, or the default VPC's.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::Filter;
use gyron_core::aws::{Aws, OrAws as _, code};
use gyron_core::failure::{Failure, Result};

/// The subnets and their VPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnets {
    /// The VPC.
    pub vpc: String,
    /// Sorted, in two zones at least.
    pub ids: Vec<String>,
}

#[derive(Clone, Debug)]
struct Subnet {
    id: String,
    vpc: String,
    zone: String,
}

/// Finds the subnets: the named ones, or the default subnets of the default VPC.
///
/// # Errors
/// Usage (2) where there are none, they lie in several VPCs, or in one zone only; AWS (4).
pub async fn find(aws: &Aws, named: &[String]) -> Result<Subnets> {
    let describe = match named {
        [] => aws.ec2.describe_subnets().filters(Filter::builder().name("default-for-az").values("true").build()),
        named => aws.ec2.describe_subnets().set_subnet_ids(Some(named.to_vec())),
    };
    let described = match describe.send().await {
        Err(error) if code(&error) == Some("InvalidSubnetID.NotFound") => {
            let message = error.as_service_error().and_then(|error| error.meta().message()).unwrap_or_default();
            return Err(Failure::usage(format!("launch.subnets names a subnet that isn't there: {message}"))
                .hint("aws ec2 describe-subnets lists them"));
        }
        other => other.or_aws("DescribeSubnets")?,
    };
    let subnets = described.subnets().iter().map(|subnet| Subnet {
        id: subnet.subnet_id().unwrap_or_default().to_owned(),
        vpc: subnet.vpc_id().unwrap_or_default().to_owned(),
        zone: subnet.availability_zone().unwrap_or_default().to_owned(),
    });
    choose(subnets.collect(), named.is_empty())
}

fn choose(subnets: Vec<Subnet>, default: bool) -> Result<Subnets> {
    let hint = "name subnets of one VPC in two availability zones: [launch] subnets = [\"subnet-…\", \"subnet-…\"]";
    let whose = if default { "the default VPC's subnets" } else { "launch.subnets" };
    let vpcs: BTreeSet<_> = subnets.iter().map(|subnet| subnet.vpc.as_str()).collect();
    let zones: BTreeSet<_> = subnets.iter().map(|subnet| subnet.zone.as_str()).collect();
    let list = |names: &BTreeSet<&str>| names.iter().copied().collect::<Vec<_>>().join(", ");
    let vpc = match vpcs.len() {
        0 => return Err(Failure::usage("the region has no default VPC with subnets").hint(hint)),
        1 => subnets.first().map(|subnet| subnet.vpc.clone()).unwrap_or_default(),
        _ => return Err(Failure::usage(format!("{whose} lie in several VPCs: {}", list(&vpcs))).hint(hint)),
    };
    if zones.len() < 2 {
        return Err(Failure::usage(format!(
            "{whose} lie in one availability zone ({}), and a balancer needs two",
            list(&zones)
        ))
        .hint(hint));
    }
    let ids: BTreeSet<_> = subnets.into_iter().map(|subnet| subnet.id).collect();
    Ok(Subnets { vpc, ids: ids.into_iter().collect() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{Subnet, choose};

    fn subnets(list: &[(&str, &str, &str)]) -> Vec<Subnet> {
        let subnet = |&(id, vpc, zone): &(&str, &str, &str)| Subnet {
            id: id.to_owned(),
            vpc: vpc.to_owned(),
            zone: zone.to_owned(),
        };
        list.iter().map(subnet).collect()
    }

    #[test]
    fn two_zones_of_one_vpc_are_taken_in_a_stable_order() {
        let chosen = choose(subnets(&[("s-2", "v", "b"), ("s-1", "v", "a")]), true).unwrap();
        assert_eq!((chosen.vpc.as_str(), chosen.ids), ("v", vec!["s-1".to_owned(), "s-2".to_owned()]));
    }

    #[test]
    fn anything_else_is_refused_with_a_sentence() {
        let message = |list: &[_], default| choose(subnets(list), default).unwrap_err().message().to_owned();
        assert_eq!(
            message(&[("s-1", "v", "a"), ("s-2", "v", "a")], false),
            "launch.subnets lie in one availability zone (a), and a balancer needs two"
        );
        assert_eq!(message(&[("s-1", "v", "a"), ("s-2", "w", "b")], false), "launch.subnets lie in several VPCs: v, w");
        assert_eq!(message(&[], true), "the region has no default VPC with subnets");
    }
}
