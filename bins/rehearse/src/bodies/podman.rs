//! The rehearsal's own podman: a storage of its own under the cache, shared by all clouds of that cache.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gyron_core::failure::{Failure, OrFail, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};

use crate::install::tool::Tool;

/// The longest that a prune may take.
const LONGEST_PRUNE: Duration = Duration::from_secs(5 * 60);

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

    /// Held while an image is made. podman writes an image before it names it, and a prune takes what has no name: whatever cloud's
    /// it is, since all clouds of a cache share the storage. Images may be made side by side; a prune has the storage for itself.
    ///
    /// # Errors
    /// Where the lock can't be had.
    pub async fn making(&self) -> Result<Flock<File>> {
        let started = Instant::now();
        loop {
            if let Some(lock) = self.lock(FlockArg::LockSharedNonblock)? {
                return Ok(lock);
            }
            if started.elapsed() > LONGEST_PRUNE {
                return Err(Failure::deadline("podman's storage is being pruned without end"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Takes away all images that have no name and that nothing stands on, unless one is being made: then it is left to the next one.
    ///
    /// # Errors
    /// Where podman fails.
    pub async fn prune(&self) -> Result<()> {
        let Some(_alone) = self.lock(FlockArg::LockExclusiveNonblock)? else { return Ok(()) };
        self.command().args(["image", "prune", "-f"]).run().await.map(drop)
    }

    fn lock(&self, how: FlockArg) -> Result<Option<Flock<File>>> {
        let at = self.cache.join("making.lock");
        let broken = || Failure::program(format!("can't lock {}", at.display()));
        let file = File::create(&at).or_fail(broken)?;
        match Flock::lock(file, how) {
            Ok(lock) => Ok(Some(lock)),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(broken().because(std::io::Error::from(errno))),
        }
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
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units     \n\
                          Max processes             96364                unlimited            processes \n\
                          Max open files            1024                 20000                files     \n";

    #[tokio::test]
    async fn nothing_is_pruned_while_an_image_is_made() {
        let cache = tempfile::tempdir().unwrap();
        let podman = Podman::of(cache.path());
        let made = [podman.making().await.unwrap(), podman.making().await.unwrap()];
        assert!(podman.lock(FlockArg::LockExclusiveNonblock).unwrap().is_none());
        drop(made);
        let alone = podman.lock(FlockArg::LockExclusiveNonblock).unwrap();
        assert!(alone.is_some() && podman.lock(FlockArg::LockSharedNonblock).unwrap().is_none());
    }

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
