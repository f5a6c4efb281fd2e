//! How the machine follows the control plane: one loop looks at moto and tells the data plane, another brings the
//! bodies into line, so that a slow shutdown never holds up a weight.

use std::sync::Arc;
use std::time::Duration;

use super::instances::in_network;
use super::params::Params;
use super::refusal::Refusal;
use super::{Gateway, State};
use crate::bodies::{Ended, How};
use crate::moto::client::Service;
use crate::moto::look::Raw;
use crate::serve::say;
use crate::world::{Instance, InstanceState, World};

/// How often both loops look without being told.
const CLOCK: Duration = Duration::from_secs(2);

impl Gateway {
    /// Looks at moto after each call that may have changed something, and on a clock.
    pub async fn look_forever(self: Arc<Self>) {
        let mut troubled = false;
        loop {
            let told = tokio::time::timeout(CLOCK, self.look_now.notified()).await.is_ok();
            match self.look(told || troubled).await {
                Ok(()) if troubled => {
                    say(format_args!("moto answers again"));
                    troubled = false;
                }
                Ok(()) => {}
                Err(refusal) if troubled => drop(refusal),
                Err(refusal) => {
                    say(format_args!("can't look at moto: {refusal}"));
                    troubled = true;
                }
            }
        }
    }

    /// One look, with what it brings about in moto, the world and the data plane.
    ///
    /// # Errors
    /// When moto can't be asked.
    pub async fn look(&self, changed: bool) -> Result<(), Refusal> {
        let mut eye = self.eye.lock().await;
        let mut raw = eye.look(changed).await?;
        // What the amendments and chores change shows in another look; they converge in one or two.
        for _ in 0..3 {
            if !(self.amend(&raw).await? | self.care(&raw).await?) {
                break;
            }
            raw = eye.look(true).await?;
        }
        self.state(|state| {
            let balancers = raw.edge.balancers.iter().map(|(balancer, subnets)| (balancer.arn.as_str(), *subnets));
            state.addresses.assign(&self.cloud, balancers);
            state.amended.retain(|id| raw.instances.iter().any(|instance| &instance.id == id));
            state.raw = raw;
        });
        self.note_groups_instances();
        drop(eye);
        self.publish().await;
        self.follow_now.notify_one();
        Ok(())
    }

    /// Brings the bodies into line whenever a look saw something new, when a body may have ended, and on a clock.
    pub async fn follow_forever(self: Arc<Self>) {
        let mut endings = None;
        let mut trouble = String::new();
        loop {
            tokio::select! {
                () = self.follow_now.notified() => {}
                seen = self.bodies.an_ending(endings) => endings = seen,
                () = tokio::time::sleep(CLOCK) => {}
            }
            match self.follow().await {
                Ok(()) => trouble.clear(),
                Err(report) if report == trouble => {}
                Err(report) => {
                    say(format_args!("a body can't follow: {report}"));
                    trouble = report;
                }
            }
        }
    }

    /// Brings the bodies into line once.
    ///
    /// # Errors
    /// What the bodies report, in full.
    pub async fn follow(&self) -> Result<(), String> {
        let wanted = self.state(|state| with_bodies(state));
        let followed = self.bodies.follow(&wanted).await;
        let standing = self.bodies.in_line(&wanted).await.map_err(|failure| failure.report())?;
        let held = |instance: &&Instance| self.state(|state| state.images.held.contains_key(&instance.id));
        let settled: Vec<&Instance> = wanted.iter().filter(|i| standing.contains(&i.id)).filter(|i| !held(i)).collect();
        if self.state(|state| state.overlay.settle(settled)) {
            self.publish().await;
        }
        for ended in followed.as_ref().ok().into_iter().flatten() {
            if let Err(refusal) = self.note_end(ended).await {
                say(format_args!("{} ended, but moto can't be told: {refusal}", ended.instance_id));
            }
        }
        self.remove_doomed_images().await;
        followed.map(drop).map_err(|failure| failure.report())
    }

    /// Tells moto that a body ended by itself: stopped or terminated, as its shutdown behaviour says.
    async fn note_end(&self, ended: &Ended) -> Result<(), Refusal> {
        let id = &ended.instance_id;
        let terminate = match &ended.how {
            How::NeverBooted { .. } => true,
            How::PoweredOff | How::Died { .. } => {
                let ask = Params::action("DescribeInstanceAttribute")
                    .and("InstanceId", id)
                    .and("Attribute", "instanceInitiatedShutdownBehavior");
                let answer = self.moto.query(Service::Ec2, ask).await?;
                answer.get(&["instanceInitiatedShutdownBehavior", "value"]) == "terminate"
            }
        };
        match &ended.how {
            How::PoweredOff => say(format_args!("{id} powered off by itself")),
            How::Died { exit } => say(format_args!("{id} died (exit {exit})")),
            How::NeverBooted { why } => say(format_args!("{id} never booted: {why}")),
        }
        self.state(|state| state.overlay.ended(id, matches!(ended.how, How::NeverBooted { .. })));
        let action = if terminate { "TerminateInstances" } else { "StopInstances" };
        self.moto.query(Service::Ec2, Params::action(action).and("InstanceId.1", id)).await?;
        // The next round must not take the instance for one that should run.
        self.look(true).await
    }

    /// Gives the world as it now shows to everyone who watches it, and to the data plane.
    pub async fn publish(&self) {
        let _one_at_a_time = self.publishing.lock().await;
        let world = Arc::new(self.state(|state| assemble(state)));
        self.world.send_replace(Arc::clone(&world));
        for closed in self.plane.apply(&world).await {
            say(format_args!("{} can't listen on {}: {}", closed.listener_arn, closed.address, closed.error));
        }
    }
}

/// The instances that have bodies, in the states that the bodies should have.
fn with_bodies(state: &State) -> Vec<Instance> {
    state
        .raw
        .instances
        .iter()
        .filter(|instance| {
            instance.state.end() != InstanceState::Running
                || in_network(instance.private_ip) && state.images.boots(&instance.image_id)
                || state.overlay.since(&instance.id).is_some()
        })
        .map(|instance| {
            let mut wanted = instance.clone();
            // Its commit isn't done: it goes its way afterwards.
            if let Some(held) = state.images.held.get(&instance.id) {
                wanted.state = *held;
            }
            wanted
        })
        .collect()
}

/// The world: moto's, with the states that show, the balancers' addresses and the targets' whereabouts.
fn assemble(state: &State) -> World {
    let Raw { instances, edge, .. } = &state.raw;
    let instances: Vec<Instance> = instances
        .iter()
        .map(|instance| {
            let mut shown = instance.clone();
            shown.state = state.overlay.shown(&instance.id, instance.state);
            shown
        })
        .collect();
    let balancers = edge
        .balancers
        .iter()
        .map(|(balancer, _)| {
            let mut balancer = balancer.clone();
            balancer.addresses = state.addresses.of(&balancer.arn);
            balancer
        })
        .collect();
    let mut target_groups = edge.target_groups.clone();
    for target in target_groups.values_mut().flat_map(|group| &mut group.targets) {
        if let Some(instance) = instances.iter().find(|instance| instance.id == target.id) {
            target.address = in_network(instance.private_ip).then_some(instance.private_ip);
            target.state = Some(instance.state);
            target.zone = Some(instance.zone.clone());
        }
    }
    World { instances, balancers, target_groups }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::overlay::tests::instance;
    use super::*;

    #[test]
    fn a_body_stands_still_while_it_is_committed() {
        let mut state = State::default();
        state.images.ready.insert("ami-1".to_owned());
        state.raw.instances = vec![instance("i-1", InstanceState::Terminated), instance("i-2", InstanceState::Running)];
        state.images.held.insert("i-1".to_owned(), InstanceState::Stopped);
        let states: Vec<_> = with_bodies(&state).iter().map(|i| i.state).collect();
        assert_eq!(states, [InstanceState::Stopped, InstanceState::Running]);
        assert_eq!(assemble(&state).instances[0].state, InstanceState::ShuttingDown);
    }

    #[test]
    fn an_instance_of_an_image_that_was_deregistered_since_keeps_its_body() {
        let mut state = State::default();
        state.images.doomed.insert("ami-1".to_owned());
        state.raw.instances = vec![instance("i-1", InstanceState::Running)];
        assert_eq!(with_bodies(&state).len(), 1);
    }

    #[test]
    fn an_instance_of_an_image_without_body_gets_none() {
        let mut state = State::default();
        state.raw.instances = vec![instance("i-1", InstanceState::Running)];
        assert!(with_bodies(&state).is_empty());
    }
}
