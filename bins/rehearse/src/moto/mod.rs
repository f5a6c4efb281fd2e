//! The control plane: a `moto_server` of its own on the loopback, started, found again and read.

pub mod client;
pub mod look;
pub mod xml;

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gyron_core::failure::{Failure, OrFail, Result};
use http::Method;
use serde_json::json;

use crate::cloud::{ACCOUNT, Cloud};
use client::Client;

/// The image that stands for Debian's own: no SSM agent.
pub const DEBIAN_IMAGE: &str = "ami-0deb1200000000001";

/// The same with the agent, owned by the account itself.
pub const DEBIAN_SSM_IMAGE: &str = "ami-0deb1200000000002";

/// Debian's account, the owner of its images: <https://wiki.debian.org/Cloud/AmazonEC2Image>.
pub const DEBIAN_ACCOUNT: &str = "136693071363";

/// Where Debian's images have their root file system.
pub const ROOT_DEVICE: &str = "/dev/xvda";

/// What moto is started by, and mended with.
const SCRIPTS: [(&str, &str); 6] = [
    ("start.py", include_str!("start.py")),
    ("image_attributes.py", include_str!("image_attributes.py")),
    ("images.py", include_str!("images.py")),
    ("snapshots.py", include_str!("snapshots.py")),
    ("tags.py", include_str!("tags.py")),
    ("volumes.py", include_str!("volumes.py")),
];

/// How long moto may take to answer for the first time: it loads in 2 to 4 s.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// Starts moto, or finds the one that this cloud started before and that still answers.
///
/// # Errors
/// When it isn't installed, ends at once, or doesn't answer within a minute.
pub async fn start(cloud: &Cloud) -> Result<Client> {
    let client = Client::new(cloud.moto_port, &cloud.region);
    let pid_file = pid_file(&cloud.home);
    if PidFile::read(&pid_file).is_some_and(|pid| pid.lives()) {
        if answers(&client).await {
            return Ok(client);
        }
        crate::serve::say(format_args!("moto (pid file {}) runs but does not answer yet", pid_file.display()));
    } else {
        let pid = spawn(cloud)?;
        PidFile::of(pid)
            .and_then(|pid| pid.write(&pid_file).ok())
            .ok_or_else(|| Failure::program("moto_server ended at once").detail(end_of_log(&cloud.home)))?;
    }
    let started = Instant::now();
    while !answers(&client).await {
        if !PidFile::read(&pid_file).is_some_and(|pid| pid.lives()) {
            return Err(Failure::program("moto_server ended before it answered").detail(end_of_log(&cloud.home)));
        }
        if started.elapsed() > START_DEADLINE {
            return Err(Failure::deadline(format!(
                "moto_server does not answer on 127.0.0.1:{} after {} s",
                cloud.moto_port,
                START_DEADLINE.as_secs()
            ))
            .detail(end_of_log(&cloud.home)));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(client)
}

fn spawn(cloud: &Cloud) -> Result<u32> {
    let images = cloud.home.join("images.json");
    fs::write(&images, base_images().to_string()).or_fail(|| Failure::program("can't write the base images' list"))?;
    let log = File::create(log_file(&cloud.home)).or_fail(|| Failure::program("can't write moto's log"))?;
    let errors = log.try_clone().or_fail(|| Failure::program("can't write moto's log"))?;
    // Its own folder: Python looks for modules in it.
    let scripts = cloud.home.join("moto");
    let written = fs::create_dir_all(&scripts).and_then(|()| {
        let script = |(name, text): &(&str, &str)| fs::write(scripts.join(name), text);
        SCRIPTS.iter().try_for_each(script)
    });
    written.or_fail(|| Failure::program("can't write moto's start script"))?;
    let script = scripts.join("start.py");
    let program = crate::install::venv::bin(&cloud.cache).join("python3");
    let child = Command::new(&program)
        // Nothing of the home or of the user's own Python may stand in moto's way.
        .args(["-I", "-u"])
        .arg(&script)
        .args(["-H", "127.0.0.1", "-p", &cloud.moto_port.to_string()])
        .env("TMPDIR", &cloud.home)
        // Its preloaded images have no bodies; only the rehearsal's own are there.
        .env("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
        .env("MOTO_AMIS_PATH", &images)
        .env("GYRON_REGION_OF_BODIES", &cloud.region)
        .env("MOTO_ENABLE_AMI_VALIDATION", "true")
        .env("MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION", "true")
        .env("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
        .env("MOTO_DISABLE_GLOBAL_CORS", "true")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        // A group of its own: it outlives a restart of the gateway.
        .process_group(0)
        .spawn()
        .or_fail(|| {
            Failure::program(format!("can't start {}", program.display())).hint("gyron-rehearse up installs it")
        })?;
    Ok(child.id())
}

async fn answers(client: &Client) -> bool {
    let ask = client.send(Method::GET, "sts", "/moto-api/config", &[], Bytes::new());
    matches!(tokio::time::timeout(Duration::from_secs(10), ask).await, Ok(Ok((status, _))) if status.is_success())
}

/// What moto knows of images from the start, and again after a reset.
fn base_images() -> serde_json::Value {
    let image = |id: &str, name: &str, owner: &str, description: &str, public: bool| {
        json!({
            "ami_id": id,
            "name": name,
            "owner_id": owner,
            "description": description,
            "public": public,
            "state": "available",
            "creation_date": "2026-01-01T00:00:00.000Z",
            "image_location": format!("{owner}/{name}"),
            "image_type": "machine",
            "architecture": "x86_64",
            "virtualization_type": "hvm",
            "hypervisor": "xen",
            "root_device_type": "ebs",
            "root_device_name": ROOT_DEVICE,
            "sriov": "simple",
            "platform": null,
        })
    };
    json!([
        image(DEBIAN_IMAGE, "debian-12-amd64-20260101-1", DEBIAN_ACCOUNT, "Debian 12 (20260101-1)", true),
        image(DEBIAN_SSM_IMAGE, "gyron-debian-12-ssm", ACCOUNT, "Debian 12 with an SSM agent", false),
    ])
}

/// `HOME/moto.pid`
#[must_use]
pub fn pid_file(home: &Path) -> PathBuf {
    home.join("moto.pid")
}

fn log_file(home: &Path) -> PathBuf {
    home.join("moto.log")
}

fn end_of_log(home: &Path) -> String {
    let log = fs::read_to_string(log_file(home)).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

/// A process, named so that its number can't be mistaken after it was given to another: `PID START`, where START is
/// the 22nd field of `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PidFile {
    pid: u32,
    start: u64,
}

impl PidFile {
    /// A process that runs now.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        start_time(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?).map(|start| PidFile { pid, start })
    }

    /// Reads a pid file; none where it is missing or broken.
    #[must_use]
    pub fn read(path: &Path) -> Option<Self> {
        let text = fs::read_to_string(path).ok()?;
        let (pid, start) = text.trim().split_once(' ')?;
        Some(PidFile { pid: pid.parse().ok()?, start: start.parse().ok()? })
    }

    /// Writes it.
    ///
    /// # Errors
    /// As `write(2)`.
    pub fn write(self, path: &Path) -> std::io::Result<()> {
        fs::write(path, format!("{} {}\n", self.pid, self.start))
    }

    /// Whether that very process still runs.
    #[must_use]
    pub fn lives(self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let zombie = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'));
        !zombie && start_time(&stat) == Some(self.start)
    }
}

fn start_time(stat: &str) -> Option<u64> {
    // The command may hold spaces and parentheses: fields count from its last parenthesis.
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_names_one_process() {
        let home = tempfile::tempdir().unwrap();
        let path = pid_file(home.path());
        assert_eq!(PidFile::read(&path), None);
        let own = PidFile::of(std::process::id()).unwrap();
        own.write(&path).unwrap();
        assert_eq!(PidFile::read(&path), Some(own));
        assert!(own.lives());
        assert!(!PidFile { start: own.start + 1, ..own }.lives());
        assert_eq!(start_time("7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20"), Some(4711));
    }
}
