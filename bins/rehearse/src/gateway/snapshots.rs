//! Snapshots: pending as long as their image is, with progress; moto has them completed at once.

use std::time::Instant;

use super::Gateway;
use super::images::{Images, snapshots_of};
use super::instances::passes;
use super::params::Params;
use super::refusal::Refusal;
use crate::moto::client::{Client, Service};
use crate::moto::xml::Node;

/// An image that is being made.
#[derive(Clone, Debug)]
pub struct Making {
    since: Instant,
    snapshots: Vec<String>,
}

impl Making {
    /// Begins now; its snapshots are not known yet.
    #[must_use]
    pub fn begins() -> Self {
        Making { since: Instant::now(), snapshots: Vec::new() }
    }

    /// How far it is, as EC2 prints it. Podman does not say how far a commit is: it is reckoned from the time, a commit takes 3
    /// to 5 s, and is not done before it is.
    fn progress(&self) -> String {
        format!("{}%", (self.since.elapsed().as_millis() / 50).min(99))
    }
}

impl Gateway {
    /// Remembers which snapshots are pending with an image.
    pub(super) async fn note_snapshots(&self, moto: &Client, image: &str) -> Result<(), Refusal> {
        let snapshots = snapshots_of(moto, image).await?;
        self.state(|state| {
            if let Some(making) = state.images.pending.get_mut(image) {
                making.snapshots = snapshots;
            }
        });
        Ok(())
    }

    /// DescribeSnapshots, with the states of now.
    pub(super) async fn describe_snapshots(&self, moto: &Client, mut params: Params) -> Result<Node, Refusal> {
        let (by_status, by_progress) = (params.take_filter("status"), params.take_filter("progress"));
        let mut answer = moto.query(Service::Ec2, params).await?;
        self.state(|state| {
            let Some(snapshots) = answer.child_mut("snapshotSet") else { return };
            for item in &mut snapshots.children {
                show(item, &state.images);
            }
            snapshots.children.retain(|item| {
                passes(&by_status, item.get(&["status"])) && passes(&by_progress, item.get(&["progress"]))
            });
        });
        Ok(answer)
    }
}

fn show(item: &mut Node, images: &Images) {
    let id = item.get(&["snapshotId"]).to_owned();
    if let Some(making) = images.pending.values().find(|making| making.snapshots.contains(&id)) {
        item.set("status", "pending");
        item.set("progress", making.progress());
        item.remove("statusMessage");
    } else if item.get(&["status"]) == "error" {
        item.set("progress", "0%");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_pending_as_long_as_its_image_is() {
        let snapshot = || {
            Node::new(
                "item",
                ["snapshotId", "status", "progress"]
                    .into_iter()
                    .zip(["snap-1", "completed", "100%"])
                    .map(|(name, text)| Node::leaf(name, text))
                    .collect(),
            )
        };
        let mut images = Images::default();
        let making = Making { snapshots: vec!["snap-1".to_owned()], ..Making::begins() };
        images.pending.insert("ami-1".to_owned(), making);
        let mut item = snapshot();
        show(&mut item, &images);
        assert_eq!([item.get(&["status"]), item.get(&["progress"])], ["pending", "0%"]);
        images.pending.clear();
        let mut item = snapshot();
        show(&mut item, &images);
        assert_eq!([item.get(&["status"]), item.get(&["progress"])], ["completed", "100%"]);
    }
}
