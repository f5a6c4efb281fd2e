//! The rehearsal's own podman: a storage of its own under the cache, shared by all clouds of that cache.

use std::path::{Path, PathBuf};

use gyron_core::failure::{Failure, OrFail, Result};
use sha2::{Digest, Sha256};

use crate::install::tool::Tool;

/// podman with the rehearsal's own storage, configuration and run-time folder: what a person has in podman stays apart.
#[derive(Clone, Debug)]
pub struct Podman {
    cache: PathBuf,
    running: PathBuf,
}

impl Podman {
    /// The podman of a cache folder.
    #[must_use]
    pub fn of(cache: &Path) -> Self {
        // podman remembers its run-time folder in the storage, so one must follow from the other.
        let digest = hex::encode(Sha256::digest(cache.as_os_str().as_encoded_bytes()));
        Podman { cache: cache.into(), running: Path::new("/run/gyron-rehearse").join(&digest[..12]) }
    }

    /// Writes the configuration that every later command reads.
    ///
    /// # Errors
    /// Where the cache can't be written.
    pub async fn configure(&self) -> Result<()> {
        let limits = tokio::fs::read_to_string("/proc/self/limits").await.unwrap_or_default();
        let text =
            configuration(hard_limit(&limits, "Max open files"), hard_limit(&limits, "Max processes"), &self.cache);
        let at = self.configuration_path();
        let written = async {
            tokio::fs::create_dir_all(&self.cache).await?;
            tokio::fs::create_dir_all(self.cache.join("networks")).await?;
            tokio::fs::write(&at, text).await
        };
        written.await.or_fail(|| Failure::program(format!("can't write {}", at.display())))
    }

    /// A podman command, to be given its subcommand.
    #[must_use]
    pub fn command(&self) -> Tool {
        Tool::new("podman")
            .env("CONTAINERS_CONF", self.configuration_path())
            .args(["--log-level", "error", "--root"])
            .args([self.cache.join("storage")])
            .args(["--runroot"])
            .args([self.running.join("root")])
            .args(["--tmpdir"])
            .args([self.running.join("tmp")])
    }

    /// The names of images that begin so.
    ///
    /// # Errors
    /// Where podman can't be asked.
    pub async fn names(&self, prefix: &str) -> Result<Vec<String>> {
        // podman's own filter by reference prints the other names of an image that matches, too.
        let all = self.command().args(["images", "--noheading", "--format", "{{.Repository}}:{{.Tag}}"]).run().await?;
        Ok(all.lines().filter(|name| name.starts_with(prefix)).map(str::to_owned).collect())
    }

    /// The folder whose time changes whenever a container ends.
    #[must_use]
    pub fn endings(&self) -> PathBuf {
        self.running.join("tmp/exits")
    }

    fn configuration_path(&self) -> PathBuf {
        self.cache.join("containers.conf")
    }
}

/// crun refuses cgroup v1 in hybrid mode, runc runs everywhere. Locks in files, since podman's default, one piece of
/// shared memory for all storages of a user, lets one storage's clean-up free another's locks.
fn configuration(open_files: u64, processes: u64, cache: &Path) -> String {
    // runc can't raise a limit without CAP_SYS_RESOURCE, and podman by default asks for more than many machines grant.
    let open_files = open_files.min(1_048_576);
    let processes = processes.min(32_768);
    let networks = cache.join("networks");
    let networks = networks.display();
    format!(
        r#"[containers]
default_ulimits = ["nofile={open_files}:{open_files}", "nproc={processes}:{processes}"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
lock_type = "file"
cgroup_manager = "cgroupfs"
events_logger = "none"
[network]
network_config_dir = "{networks}"
"#
    )
}

/// The hard limit of one line of `/proc/self/limits`; a number large enough where it is unlimited or not there.
fn hard_limit(limits: &str, name: &str) -> u64 {
    limits
        .lines()
        .find_map(|line| line.strip_prefix(name)?.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(1_048_576)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units     \n\
                          Max processes             96364                unlimited            processes \n\
                          Max open files            1024                 20000                files     \n";

    #[test]
    fn limits_are_read_from_the_kernels_table() {
        assert_eq!(hard_limit(LIMITS, "Max open files"), 20_000);
        assert_eq!(hard_limit(LIMITS, "Max processes"), 1_048_576);
        assert_eq!(hard_limit(LIMITS, "Max doors"), 1_048_576);
    }

    #[test]
    fn no_container_asks_for_more_than_the_host_grants() {
        let text = configuration(20_000, 1_048_576, Path::new("/c"));
        assert!(text.contains(r#"["nofile=20000:20000", "nproc=32768:32768"]"#), "{text}");
    }

    #[test]
    fn two_caches_have_two_run_time_folders() {
        assert_ne!(Podman::of(Path::new("/a")).running, Podman::of(Path::new("/b")).running);
    }
}
