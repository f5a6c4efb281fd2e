//! `down`: all of a cloud gone.

use gyron_core::failure::Result;

use super::{daemon, say};
use crate::bodies::Bodies;
use crate::cloud::Cloud;
use crate::install;
use crate::network::{self, Machine};

/// Takes the cloud away, half-made or whole; its journal and log stay until the next `up`.
///
/// # Errors
/// What could not be taken away; typed again it goes on from there.
pub async fn run(name: &str) -> Result<()> {
    install::as_root("down")?;
    let home = Cloud::home_of(name)?;
    daemon::end(&home).await?;
    let Some(cloud) = Cloud::load(&home).unwrap_or(None) else {
        say(&format!("no cloud named {name} is up"));
        return Ok(());
    };
    remove(&cloud).await?;
    for file in ["aws.env", "terraform.rc", "resolv.conf", "cloud.json"] {
        let _ = tokio::fs::remove_file(home.join(file)).await;
    }
    say(&format!("cloud {name} is gone"));
    Ok(())
}

/// Bodies, images and network, but not the home.
pub async fn remove(cloud: &Cloud) -> Result<()> {
    let machine = Machine::hold().await?;
    // Another home's by now, where the machine was restarted in between: then nothing of ours is left.
    if network::is_claimed(cloud.number, &cloud.home) {
        Bodies::new(cloud).clear().await?;
        network::remove(&machine, cloud).await?;
    }
    Ok(())
}
