//! Images: made by committing a body, pending until that is done, gone with their snapshots.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Gateway;
use super::instances::{passes, response};
use super::params::Params;
use super::refusal::Refusal;
use super::snapshots::Making;
use crate::moto::client::{Client, Service};
use crate::moto::xml::Node;
use crate::moto::{DEBIAN_IMAGE, DEBIAN_SSM_IMAGE};
use crate::world::InstanceState;

/// The images that have bodies, and what is happening to them.
#[derive(Debug, Default)]
pub struct Images {
    /// With a body that instances can boot from.
    pub ready: BTreeSet<String>,
    /// Being committed or copied, in whatever region.
    pub pending: BTreeMap<String, Making>,
    /// Copied to a region without bodies.
    pub copied: BTreeSet<String>,
    /// With the reason why no body came of them.
    pub failed: BTreeMap<String, String>,
    /// Instances whose bodies must stand still until their commit is done, each with the state it had.
    pub held: BTreeMap<String, InstanceState>,
    /// Deregistered, but an instance may still run from them.
    pub doomed: BTreeSet<String>,
}

impl Images {
    /// As DescribeImages prints it.
    #[must_use]
    pub fn state_of(&self, id: &str) -> &'static str {
        if self.pending.contains_key(id) {
            "pending"
        } else if self.ready.contains(id) {
            "available"
        } else {
            "failed"
        }
    }

    /// Whether an instance that was launched of the image finds a body: one that is deregistered stays until nothing runs from it.
    #[must_use]
    pub fn boots(&self, id: &str) -> bool {
        self.ready.contains(id) || self.doomed.contains(id)
    }

    /// Notes that an image is being made; not one that is known already.
    pub(super) fn begin(&mut self, id: &str) -> bool {
        let known = self.ready.contains(id) || self.failed.contains_key(id) || self.copied.contains(id);
        if known || self.pending.contains_key(id) {
            return false;
        }
        self.pending.insert(id.to_owned(), Making::begins());
        true
    }

    /// The same in a region without bodies: an image there is an entry, and available unless something else is known of it.
    #[must_use]
    pub fn state_elsewhere(&self, id: &str) -> &'static str {
        if self.pending.contains_key(id) {
            "pending"
        } else if self.failed.contains_key(id) {
            "failed"
        } else {
            "available"
        }
    }
}

impl Gateway {
    /// Refuses an image from which nothing can boot.
    pub(super) async fn has_body(&self, image: &str) -> Result<(), Refusal> {
        let state = self.state(|state| state.images.state_of(image));
        if state == "available" {
            return Ok(());
        }
        // Moto knows whether there is such an image at all.
        let answer = self.moto.query(Service::Ec2, Params::action("DescribeImages").and("ImageId.1", image)).await?;
        if answer.list(&["imagesSet"]).count() == 0 {
            return Err(Refusal::client("InvalidAMIID.NotFound", format!("The image id '[{image}]' does not exist")));
        }
        Err(Refusal::client(
            "InvalidAMIID.Unavailable",
            format!("The image ID '{image}' is not available: it is {state}"),
        ))
    }

    /// CreateImage: moto makes the entry, the body's commit makes the image.
    pub(super) async fn create_image(self: &Arc<Self>, params: Params) -> Result<Node, Refusal> {
        let instance = params.get("InstanceId").unwrap_or_default().to_owned();
        well_named(params.get("Name").unwrap_or_default())?;
        self.moto.query(Service::Ec2, Params::action("DescribeInstances").and("InstanceId.1", &instance)).await?;
        let shown = self.shown(&instance);
        if !matches!(shown, InstanceState::Running | InstanceState::Stopped) {
            return Err(Refusal::client(
                "InvalidParameterValue",
                format!(
                    "Invalid value '{instance}' for instanceId. Instance is not in state 'running' or 'stopping' or 'stopped'"
                ),
            ));
        }
        let no_reboot = params.is_true("NoReboot");
        let answer = self.moto.query(Service::Ec2, params).await?;
        let image = answer.get(&["imageId"]).to_owned();
        self.state(|state| {
            state.images.begin(&image);
            state.images.held.insert(instance.clone(), shown);
        });
        self.note_snapshots(&self.moto, &image).await?;
        let gateway = Arc::clone(self);
        tokio::spawn(async move {
            let committed = if no_reboot {
                gateway.bodies.commit(&instance, &image).await
            } else {
                gateway.bodies.commit_with_reboot(&instance, &image).await
            };
            let result = committed.map(|()| true).map_err(|failure| failure.report());
            gateway.state(|state| state.images.held.remove(&instance));
            gateway.image_done(&image, result);
        });
        Ok(answer)
    }

    /// The image is done, with or without a body, or never will be.
    pub(super) fn image_done(&self, image: &str, result: Result<bool, String>) {
        self.state(|state| {
            state.images.pending.remove(image);
            match result {
                Ok(_) if state.images.doomed.contains(image) => {}
                Ok(body) => {
                    crate::serve::say(format_args!("{image} is available"));
                    let done = if body { &mut state.images.ready } else { &mut state.images.copied };
                    done.insert(image.to_owned());
                }
                Err(report) => {
                    crate::serve::say(format_args!("{image} failed: {report}"));
                    state.images.failed.insert(image.to_owned(), report);
                }
            }
        });
        self.changed();
    }

    /// DeregisterImage: moto leaves the snapshots even where they should go too.
    pub(super) async fn deregister_image(&self, moto: &Client, mut params: Params) -> Result<Node, Refusal> {
        let image = params.get("ImageId").unwrap_or_default().to_owned();
        if image == DEBIAN_IMAGE {
            return Err(Refusal::client("AuthFailure", format!("Not authorized for image:{image}")));
        }
        if image == DEBIAN_SSM_IMAGE {
            return Err(Refusal::unsupported("the rehearsal's base images stay: nothing else can be booted from"));
        }
        let with_snapshots = params.is_true("DeleteAssociatedSnapshots");
        params.remove("DeleteAssociatedSnapshots");
        let snapshots = if with_snapshots { snapshots_of(moto, &image).await? } else { Vec::new() };
        moto.query(Service::Ec2, params).await?;
        self.state(|state| {
            state.images.ready.remove(&image);
            state.images.failed.remove(&image);
            state.images.doomed.insert(image);
        });
        let mut results = Vec::new();
        for snapshot in snapshots {
            let ask = Params::action("DeleteSnapshot").and("SnapshotId", &snapshot);
            let code = match moto.query(Service::Ec2, ask).await {
                Ok(_) => "success",
                Err(_) => "internal-error",
            };
            results.push(Node::new("item", vec![Node::leaf("snapshotId", snapshot), Node::leaf("returnCode", code)]));
        }
        let mut members = vec![Node::leaf("return", "true")];
        if with_snapshots {
            members.push(Node::new("deleteSnapshotResultSet", results));
        }
        self.changed();
        Ok(response("DeregisterImage", members))
    }

    /// DescribeImages: `pending` until there is a body.
    pub(super) async fn describe_images(&self, moto: &Client, mut params: Params) -> Result<Node, Refusal> {
        let by_state = params.take_filter("state");
        let mut by_alias = params.take_filter("owner-alias");
        let owners = params.list("Owner");
        if owners.iter().any(|owner| owner == "amazon") {
            // Moto gives every image that it starts with to Amazon. These are Debian's and the account's own.
            params.remove("Owner");
            let others: Vec<String> = owners.into_iter().filter(|owner| owner != "amazon").collect();
            let nobody = vec!["amazon".to_owned()];
            if others.is_empty() {
                by_alias.push(super::params::Filter { name: "owner-alias".to_owned(), values: nobody });
            }
            params = params.each("Owner", others);
        }
        let mut answer = moto.query(Service::Ec2, params).await?;
        let here = moto.region() == self.cloud.region;
        self.state(|state| {
            let Some(images) = answer.child_mut("imagesSet") else { return };
            for item in &mut images.children {
                show(item, &state.images, here);
            }
            images.children.retain(|item| passes(&by_state, item.get(&["imageState"])) && by_alias.is_empty());
        });
        Ok(answer)
    }

    /// Whether moto has an instance of the image that is not terminated.
    async fn runs(&self, image: &str) -> Result<bool, Refusal> {
        let ask = Params::action("DescribeInstances")
            .and("Filter.1.Name", "image-id")
            .and("Filter.1.Value.1", image)
            .and("Filter.2.Name", "instance-state-name")
            .each("Filter.2.Value", ["pending", "running", "stopping", "stopped", "shutting-down"]);
        let answer = self.moto.query(Service::Ec2, ask).await?;
        Ok(answer.list(&["reservationSet"]).next().is_some())
    }

    /// Takes the bodies of deregistered images away once nothing runs from them.
    pub(super) async fn remove_doomed_images(&self) {
        let free: Vec<String> = self.state(|state| {
            let used = |image: &&String| {
                state.raw.instances.iter().any(|instance| {
                    &&instance.image_id == image
                        && state.overlay.shown(&instance.id, instance.state) != InstanceState::Terminated
                })
            };
            let pending = &state.images.pending;
            state.images.doomed.iter().filter(|image| !pending.contains_key(*image) && !used(image)).cloned().collect()
        });
        for image in free {
            // The last look may be older than a launch.
            match self.runs(&image).await {
                Ok(false) => {}
                Ok(true) => continue,
                Err(refusal) => {
                    crate::serve::say(format_args!("{image} stays for now: {refusal}"));
                    continue;
                }
            }
            match self.bodies.remove_image(&image).await {
                Ok(()) => {
                    self.state(|state| state.images.doomed.remove(&image));
                }
                // Another image may stand on it; it goes with the last one.
                Err(failure) => crate::serve::say(format_args!("{image} stays for now: {failure}")),
            }
        }
    }
}

/// The snapshots that an image's mapping names.
pub(super) async fn snapshots_of(moto: &Client, image: &str) -> Result<Vec<String>, Refusal> {
    let answer = moto.query(Service::Ec2, Params::action("DescribeImages").and("ImageId.1", image)).await?;
    Ok(answer
        .list(&["imagesSet", "item", "blockDeviceMapping"])
        .map(|device| device.get(&["ebs", "snapshotId"]).to_owned())
        .filter(|id| !id.is_empty())
        .collect())
}

/// The rules for an image's name:
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateImage.html>.
pub(super) fn well_named(name: &str) -> Result<(), Refusal> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "()[] ./-'@_".contains(c);
    if (3..=128).contains(&name.chars().count()) && name.chars().all(allowed) {
        return Ok(());
    }
    Err(Refusal::client(
        "InvalidAMIName.Malformed",
        "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, '(', ')', '[', ']', \
         ' ', '.', '/', '-', ''', '@' and '_'",
    ))
}

fn show(item: &mut Node, images: &Images, here: bool) {
    let id = item.get(&["imageId"]).to_owned();
    item.set("imageState", if here { images.state_of(&id) } else { images.state_elsewhere(&id) });
    if let Some(why) = images.failed.get(&id) {
        // Moto knows why a copy can't be encrypted; why there is no body, the gateway alone does.
        if item.child("stateReason").is_none_or(|reason| reason.get(&["code"]).is_empty()) {
            let why = why.lines().next().unwrap_or_default();
            let reason = vec![Node::leaf("code", "Server.InternalError"), Node::leaf("message", why)];
            item.put(Node::new("stateReason", reason));
        }
    } else {
        item.remove("stateReason");
    }
    item.remove("imageOwnerAlias");
    item.set("rootDeviceType", "ebs");
    item.set("virtualizationType", "hvm");
    item.set("hypervisor", "xen");
    item.set("enaSupport", "true");
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_available_when_it_has_a_body() {
        let mut images = Images::default();
        assert_eq!(images.state_of("ami-1"), "failed");
        assert_eq!(images.state_elsewhere("ami-1"), "available");
        images.pending.insert("ami-1".to_owned(), Making::begins());
        assert_eq!([images.state_of("ami-1"), images.state_elsewhere("ami-1")], ["pending", "pending"]);
        images.pending.clear();
        images.ready.insert("ami-1".to_owned());
        assert_eq!(images.state_of("ami-1"), "available");
    }

    #[test]
    fn names_are_as_ec2_wants_them() {
        for (name, good) in [("gyron-shop-1.2.3", true), ("ab", false), ("a b (c)", true), ("a:b:c", false)] {
            assert_eq!(well_named(name).is_ok(), good, "{name}");
        }
    }
}
