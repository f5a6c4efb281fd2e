//! Copies of images: in the region with a body of their own, elsewhere as an entry, done after a while.

use std::sync::Arc;
use std::time::Duration;

use super::Gateway;
use super::images::well_named;
use super::params::Params;
use super::refusal::Refusal;
use crate::moto::client::{Client, Service};
use crate::moto::xml::Node;

/// How long a copy to another region takes: on AWS it is minutes, here whoever does not wait for it shall notice.
const ELSEWHERE: Duration = Duration::from_secs(3);

impl Gateway {
    /// CopyImage to the region that was asked: moto makes the entry, once for each token.
    pub(super) async fn copy_image(self: &Arc<Self>, to: &Client, params: Params) -> Result<Node, Refusal> {
        let source = params.get("SourceImageId").unwrap_or_default().to_owned();
        let from = params.get("SourceRegion").unwrap_or_default().to_owned();
        let here = to.region() == self.cloud.region;
        if here && from != self.cloud.region {
            return Err(Refusal::unsupported(format!(
                "the rehearsal has bodies only in {}: nothing can be copied from {from}",
                self.cloud.region
            )));
        }
        if ["DestinationOutpostArn", "DestinationAvailabilityZone", "DestinationAvailabilityZoneId"]
            .iter()
            .any(|name| params.get(name).is_some())
        {
            return Err(Refusal::unsupported("the rehearsal copies from region to region only"));
        }
        well_named(params.get("Name").unwrap_or_default())?;
        if from == self.cloud.region {
            self.has_body(&source).await?;
        }
        let answer = to.query(Service::Ec2, params).await?;
        let image = answer.get(&["imageId"]).to_owned();
        if !self.state(|state| state.images.begin(&image)) {
            // The same token gave the same copy.
            return Ok(answer);
        }
        self.note_snapshots(to, &image).await?;
        let refused = without_key(to, &image).await?;
        let gateway = Arc::clone(self);
        tokio::spawn(async move {
            let copied = if here {
                gateway.bodies.copy(&source, &image).await.map(|()| true).map_err(|failure| failure.report())
            } else {
                tokio::time::sleep(ELSEWHERE).await;
                Ok(false)
            };
            match refused {
                Some(why) => gateway.image_done(&image, Err(why)),
                None => gateway.image_done(&image, copied),
            }
        });
        Ok(answer)
    }
}

/// Why a copy will fail for want of its key: AWS sees that only while it copies.
async fn without_key(moto: &Client, image: &str) -> Result<Option<String>, Refusal> {
    let answer = moto.query(Service::Ec2, Params::action("DescribeImages").and("ImageId.1", image)).await?;
    let item = answer.list(&["imagesSet"]).next();
    let reason =
        item.filter(|item| item.get(&["imageState"]) == "failed").map(|item| item.get(&["stateReason", "message"]));
    Ok(reason.map(str::to_owned))
}
