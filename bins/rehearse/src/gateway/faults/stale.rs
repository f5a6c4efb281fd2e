//! EC2's Describe calls while a fault lets them lag behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::Gateway;
use super::super::instances::{every_instance, response};
use super::super::params::Params;
use super::super::refusal::Refusal;
use super::super::request::{Asked, Protocol};
use super::replica::{KINDS, Kind, Things};
use crate::moto::client::Service;
use crate::moto::xml::Node;

/// How often the gateway looks for what has changed, while anything lags.
const CLOCK: Duration = Duration::from_millis(500);

impl Gateway {
    /// Serves a Describe call that lags; `None` where it doesn't.
    pub(in super::super) async fn describe_stale(
        self: &Arc<Self>,
        asked: &Asked,
        params: &Params,
    ) -> Option<Result<Node, Refusal>> {
        if asked.service != "ec2" || self.faults.lags().is_empty() || params.is_true("DryRun") {
            return None;
        }
        let region = asked.region.as_ref().unwrap_or(&self.cloud.region);
        // Nothing changes in a region without a call to it: what the first one finds there counts as old.
        if !self.faults.lagging_regions().contains(region)
            && let Err(refusal) = self.look_for_changes(region).await
        {
            return Some(Err(refusal));
        }
        let action = asked.action.as_str();
        match action {
            "DescribeInstanceStatus" => Some(self.stale_status(region, params.clone()).await),
            "DescribeTags" => Some(self.stale_tags(region, params.clone()).await),
            _ => {
                let kind = Kind::listed_by(action)?;
                Some(self.stale_list(region, kind, params.clone()).await)
            }
        }
    }

    async fn stale_list(self: &Arc<Self>, region: &str, kind: Kind, mut params: Params) -> Result<Node, Refusal> {
        let lagging = self.lagging(region, kind).await?;
        let named = params.list(kind.parameter());
        if let Some(id) = named.iter().find(|id| lagging.get(*id) == Some(&None)) {
            return Err(kind.not_found(id));
        }
        let asked = params.clone();
        let rest: Vec<&String> = named.iter().filter(|id| !lagging.contains_key(*id)).collect();
        let mut answer = if rest.is_empty() && !named.is_empty() {
            response(kind.action(), vec![Node::new(kind.set(), Vec::new())])
        } else {
            params.remove(kind.parameter());
            self.truth(region, kind.action(), params.each(kind.parameter(), rest)).await?
        };
        // Something may have changed before the answer was there.
        let lagging = self.lagging(region, kind).await?;
        if let Some(id) = named.iter().find(|id| lagging.get(*id) == Some(&None)) {
            return Err(kind.not_found(id));
        }
        kind.take_out(&mut answer, &lagging);
        if !answer.get(&["nextToken"]).is_empty() {
            // They come on the last page.
            return Ok(answer);
        }
        for (id, then) in lagging {
            let Some(then) = then else { continue };
            if (named.is_empty() || named.contains(&id))
                && kind.passes(&then, &asked)?
                && let Some(set) = answer.child_mut(kind.set())
            {
                set.children.push(then);
            }
        }
        Ok(answer)
    }

    /// The status of instances that lag: none yet for a new one, and no check is known to have passed in another state.
    async fn stale_status(self: &Arc<Self>, region: &str, params: Params) -> Result<Node, Refusal> {
        let lagging = self.lagging(region, Kind::Instance).await?;
        if let Some(id) = params.list("InstanceId").iter().find(|id| lagging.get(*id) == Some(&None)) {
            return Err(Kind::Instance.not_found(id));
        }
        let mut answer = self.truth(region, "DescribeInstanceStatus", params).await?;
        if let Some(set) = answer.child_mut("instanceStatusSet") {
            set.children.retain(|item| !lagging.contains_key(item.get(&["instanceId"])));
        }
        Ok(answer)
    }

    /// Tags as they were: what is new has none, and what was changed has the old value.
    async fn stale_tags(self: &Arc<Self>, region: &str, params: Params) -> Result<Node, Refusal> {
        let mut lagging = BTreeMap::new();
        for kind in KINDS {
            lagging.extend(self.lagging(region, kind).await?);
        }
        let mut answer = self.truth(region, "DescribeTags", params).await?;
        if let Some(set) = answer.child_mut("tagSet") {
            set.children.retain_mut(|item| {
                let Some(then) = lagging.get(item.get(&["resourceId"])) else { return true };
                let key = item.get(&["key"]).to_owned();
                let old = then.as_ref().and_then(|then| tag(then, &key));
                old.map(|value| item.set("value", value)).is_some()
            });
        }
        Ok(answer)
    }

    /// What shows otherwise than it is.
    async fn lagging(self: &Arc<Self>, region: &str, kind: Kind) -> Result<BTreeMap<String, Option<Node>>, Refusal> {
        // What has parts tells who made them.
        if let Some(whole) = kind.part_of() {
            self.look_for(region, whole).await?;
        }
        let asked = Instant::now();
        let things = self.things(region, kind).await?;
        Ok(self.faults.lagging(region, kind, asked, &things))
    }

    async fn things(self: &Arc<Self>, region: &str, kind: Kind) -> Result<Things, Refusal> {
        let all = if kind == Kind::Instance { every_instance() } else { Params::action(kind.action()) };
        Ok(kind.things(&self.truth(region, kind.action(), all).await?))
    }

    /// A Describe call as it is served without any fault.
    async fn truth(self: &Arc<Self>, region: &str, action: &str, params: Params) -> Result<Node, Refusal> {
        let asked = Asked {
            service: "ec2".to_owned(),
            action: action.to_owned(),
            region: Some(region.to_owned()),
            key: None,
            protocol: Protocol::Ec2,
        };
        match self.query(&asked, params.clone()).await {
            Some(answer) => answer,
            None => self.moto.at(region).query(Service::Ec2, params).await,
        }
    }

    /// Looks once, so that what stands now counts as old, and then again and again until nothing lags any more.
    pub(in super::super) async fn begin_to_lag(self: &Arc<Self>, fault: &str) -> Result<(), Refusal> {
        self.look_everywhere().await?;
        self.faults.lag_from_now_on(fault);
        if !self.faults.begin_to_look() {
            return Ok(());
        }
        let gateway = Arc::clone(self);
        tokio::spawn(async move {
            while gateway.faults.goes_on_looking() {
                tokio::time::sleep(CLOCK).await;
                if let Err(refusal) = gateway.look_everywhere().await {
                    crate::serve::say(format_args!("can't look for what has changed: {refusal}"));
                }
            }
        });
        Ok(())
    }

    async fn look_everywhere(self: &Arc<Self>) -> Result<(), Refusal> {
        let mut regions = self.faults.lagging_regions();
        regions.insert(self.cloud.region.clone());
        for region in regions {
            self.look_for_changes(&region).await?;
        }
        Ok(())
    }

    async fn look_for_changes(self: &Arc<Self>, region: &str) -> Result<(), Refusal> {
        for kind in KINDS {
            self.look_for(region, kind).await?;
        }
        Ok(())
    }

    async fn look_for(self: &Arc<Self>, region: &str, kind: Kind) -> Result<(), Refusal> {
        let asked = Instant::now();
        let things = self.things(region, kind).await?;
        self.faults.look(region, kind, asked, &things);
        Ok(())
    }
}

/// The value of a tag, of what an answer lists.
fn tag(listed: &Node, key: &str) -> Option<String> {
    let thing = listed.at(&["instancesSet", "item"]).unwrap_or(listed);
    let found = thing.list(&["tagSet"]).find(|tag| tag.get(&["key"]) == key)?;
    Some(found.get(&["value"]).to_owned())
}
