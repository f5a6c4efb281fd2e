//! The edge of an environment: the balancer, its production rule, the way in for tests, two target groups.
//!
//! `gyron-launch edge` makes it and writes down what it made; launch, smoke and swap read that, and AWS.

use std::collections::BTreeMap;

use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, ForwardActionConfig, TargetGroupTuple, TargetHealthStateEnum,
};
use serde::{Deserialize, Serialize};

use crate::aws::{Aws, OrAws as _, code};
use crate::failure::{Failure, Result};
use crate::ids::{Colour, InstanceId, RuleArn, TargetGroupArn};
use crate::registry::Registry;

/// What stands at an environment's edge: `APP/envs/ENV/edge.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// Where production is asked, without a path: `http://shop-….elb.amazonaws.com`.
    pub url: String,
    /// The rule whose weights say which colour is live.
    pub production_rule: RuleArn,
    /// By colour.
    pub target_groups: BTreeMap<Colour, TargetGroupArn>,
    /// The security group that both colours' instances have.
    pub instance_security_group: String,
    /// The instances' port that the balancer asks.
    pub app_port: u16,
    /// The request header by which a test names the colour that it wants.
    pub test_colour_header: String,
    /// The request header that proves that a test may choose.
    pub test_secret_header: String,
    /// Its value.
    pub test_secret: String,
}

/// How the production rule shares the traffic out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weights {
    /// Blue's weight, 0 to 999.
    pub blue: i32,
    /// Green's weight, 0 to 999.
    pub green: i32,
}

/// Which colour has the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Live {
    /// None: nothing has ever been swapped in.
    None,
    /// This one has all of it.
    One(Colour),
    /// Both have some: a swap is under way, or was left half-way.
    Both,
}

impl Weights {
    /// All traffic to one colour.
    #[must_use]
    pub const fn all(colour: Colour) -> Self {
        match colour {
            Colour::Blue => Weights { blue: 100, green: 0 },
            Colour::Green => Weights { blue: 0, green: 100 },
        }
    }

    /// A colour's weight.
    #[must_use]
    pub const fn of(self, colour: Colour) -> i32 {
        match colour {
            Colour::Blue => self.blue,
            Colour::Green => self.green,
        }
    }

    /// Which colour has the traffic.
    #[must_use]
    pub const fn live(self) -> Live {
        match (self.blue, self.green) {
            (0, 0) => Live::None,
            (_, 0) => Live::One(Colour::Blue),
            (0, _) => Live::One(Colour::Green),
            _ => Live::Both,
        }
    }
}

impl std::fmt::Display for Weights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "blue {}, green {}", self.blue, self.green)
    }
}

/// A target of a group, as the balancer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The instance.
    pub instance: InstanceId,
    /// `initial`, `healthy`, `unhealthy`, `unused`, `draining` …
    pub state: TargetHealthStateEnum,
    /// AWS's reason code: `Target.ResponseCodeMismatch` …
    pub reason: Option<String>,
    /// AWS's description of it.
    pub description: Option<String>,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.instance, self.state.as_str())?;
        match (&self.reason, &self.description) {
            (Some(reason), Some(description)) => write!(f, " ({reason}: {description})"),
            (Some(reason), None) => write!(f, " ({reason})"),
            _ => Ok(()),
        }
    }
}

impl Edge {
    /// Reads what `gyron-launch edge` wrote for the environment.
    ///
    /// # Errors
    /// Refused (3) where there is no edge yet; AWS (4).
    pub async fn load(registry: &Registry, env: &str) -> Result<Self> {
        let edge = registry.get::<Edge>(&registry.env_key(env, "edge.json")).await?;
        edge.map(|edge| edge.value).ok_or_else(|| {
            Failure::refused(format!("the environment {env} has no edge: no balancer, no production rule"))
                .hint(format!("gyron-launch edge --env {env} makes it, once"))
        })
    }

    /// A colour's target group.
    ///
    /// # Errors
    /// Refused (3) where the edge was written down without it.
    pub fn target_group(&self, colour: Colour) -> Result<&TargetGroupArn> {
        self.target_groups
            .get(&colour)
            .ok_or_else(|| Failure::refused(format!("the edge was written down without a target group for {colour}")))
    }

    /// The request headers by which a test reaches a colour, whatever the weights.
    #[must_use]
    pub fn test_headers(&self, colour: Colour) -> BTreeMap<String, String> {
        BTreeMap::from([
            (self.test_colour_header.clone(), colour.name().to_owned()),
            (self.test_secret_header.clone(), self.test_secret.clone()),
        ])
    }

    /// Reads the production rule's weights.
    ///
    /// # Errors
    /// Refused (3) where the rule is gone or forwards elsewhere; AWS (4).
    pub async fn weights(&self, aws: &Aws) -> Result<Weights> {
        let actions = self.production_actions(aws).await?;
        let forward = actions.iter().find_map(Action::forward_config).ok_or_else(|| {
            Failure::refused(format!("the production rule {} forwards to no target group", self.production_rule))
        })?;
        let mut weights = Weights::default();
        for tuple in forward.target_groups() {
            let weight = tuple.weight().unwrap_or(1);
            let arn = tuple.target_group_arn().unwrap_or_default();
            if self.target_group(Colour::Blue)?.as_str() == arn {
                weights.blue = weight;
            } else if self.target_group(Colour::Green)?.as_str() == arn {
                weights.green = weight;
            } else {
                return Err(Failure::refused(format!(
                    "the production rule forwards to {arn}, which is neither blue nor green"
                )));
            }
        }
        Ok(weights)
    }

    /// Sets the production rule's weights and leaves its other actions (authentication) as they stand: ModifyRule
    /// replaces the whole list.
    ///
    /// # Errors
    /// As [`Edge::weights`].
    pub async fn set_weights(&self, aws: &Aws, weights: Weights) -> Result<()> {
        let mut actions = self.production_actions(aws).await?;
        let before = actions.iter().find_map(Action::forward_config).cloned();
        let stickiness = before.and_then(|forward| forward.target_group_stickiness_config().cloned());
        let tuples = Colour::BOTH
            .iter()
            .map(|&colour| {
                let group = self.target_group(colour)?.as_str();
                Ok(TargetGroupTuple::builder().target_group_arn(group).weight(weights.of(colour)).build())
            })
            .collect::<Result<Vec<_>>>()?;
        let forward = ForwardActionConfig::builder()
            .set_target_groups(Some(tuples))
            .set_target_group_stickiness_config(stickiness)
            .build();
        for action in &mut actions {
            if action.r#type() == Some(&ActionTypeEnum::Forward) {
                *action = Action::builder()
                    .r#type(ActionTypeEnum::Forward)
                    .set_order(action.order())
                    .forward_config(forward.clone())
                    .build();
            }
        }
        let modify = aws.elb.modify_rule().rule_arn(self.production_rule.as_str()).set_actions(Some(actions));
        modify.send().await.map(|_| ()).or_aws("ModifyRule")
    }

    async fn production_actions(&self, aws: &Aws) -> Result<Vec<Action>> {
        let rule = &self.production_rule;
        let described = match aws.elb.describe_rules().rule_arns(rule.as_str()).send().await {
            Err(error) if matches!(code(&error), Some("RuleNotFound" | "RuleNotFoundException")) => {
                return Err(Failure::refused(format!("the production rule {rule} is gone"))
                    .hint("gyron-launch edge makes the edge anew"));
            }
            other => other.or_aws("DescribeRules")?,
        };
        let rule = described.rules().first();
        Ok(rule.map(|rule| rule.actions().to_vec()).unwrap_or_default())
    }

    /// The targets of a colour, as the balancer sees them.
    ///
    /// # Errors
    /// AWS (4).
    pub async fn targets(&self, aws: &Aws, colour: Colour) -> Result<Vec<Target>> {
        let group = self.target_group(colour)?;
        let described = aws.elb.describe_target_health().target_group_arn(group.as_str()).send().await;
        let described = described.or_aws("DescribeTargetHealth")?;
        let targets = described.target_health_descriptions().iter().map(|description| {
            let health = description.target_health();
            let id = description.target().and_then(|target| target.id()).unwrap_or_default();
            let state = health.and_then(|health| health.state()).cloned();
            Ok(Target {
                instance: InstanceId::new(id),
                state: state.ok_or_else(|| Failure::aws(format!("target {id} was described without a state")))?,
                reason: health.and_then(|health| health.reason()).map(|reason| reason.as_str().to_owned()),
                description: health.and_then(|health| health.description()).map(str::to_owned),
            })
        });
        targets.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Live, Weights};
    use crate::ids::Colour;

    #[test]
    fn the_live_colour_is_read_from_the_weights() {
        let live = |blue, green| Weights { blue, green }.live();
        assert_eq!(live(0, 0), Live::None);
        assert_eq!(live(100, 0), Live::One(Colour::Blue));
        assert_eq!(live(0, 1), Live::One(Colour::Green));
        assert_eq!(live(50, 50), Live::Both);
        for colour in Colour::BOTH {
            assert_eq!(Weights::all(colour).live(), Live::One(colour));
        }
    }
}
