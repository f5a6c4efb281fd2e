//! The bodies of instances: podman containers with systemd as process 1, kept in line with the control plane.
//!
//! Nothing is remembered: podman's labels and the namespaces under /run/netns are the state.

pub mod link;
mod plan;
pub mod podman;
mod standing;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use gyron_core::failure::{Failure, OrFail, Result};
use tokio::sync::{OwnedMutexGuard, Semaphore};
use tokio::task::JoinSet;

use self::plan::{CLOUD_LABEL, INSTANCE_LABEL, Step};
pub use self::plan::{Ended, How};
use self::podman::Podman;
use crate::base_image;
use crate::cloud::Cloud;
use crate::world::Instance;

/// What systemd gets to shut down before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(20);

/// The same where nothing of the file system is kept.
const TERMINATE_GRACE: Duration = Duration::from_secs(5);

/// How long `follow` waits for what it started; what takes longer goes on behind it.
const FOLLOW: Duration = Duration::from_secs(3);

/// Containers that are made, booted or stopped at the same time.
const AT_ONCE: usize = 4;

/// What a machine may do that a container by default may not. SYS_BOOT: reboot(2) in a container ends that container only,
/// and tells a reboot from a power-off. SYS_ADMIN: without it systemd can't give a unit its DynamicUser, PrivateTmp or
/// bind mounts, and many packages' units fail. An instance is the person's own app, so this is no wall against malice.
const CAPABILITIES: &str = "SYS_BOOT,SYS_ADMIN,NET_ADMIN,NET_RAW,AUDIT_WRITE,MKNOD,SYS_PTRACE";

/// The bodies and images of one cloud.
#[derive(Clone, Debug)]
pub struct Bodies {
    cloud: Arc<Cloud>,
    podman: Podman,
    /// One at a time for each instance: whoever commits waits until a stop is through.
    turns: Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>,
    slots: Arc<Semaphore>,
    looking: Arc<tokio::sync::Mutex<()>>,
}

impl Bodies {
    /// The bodies of a cloud; touches nothing.
    #[must_use]
    pub fn new(cloud: &Cloud) -> Self {
        Bodies {
            podman: Podman::of(&cloud.cache),
            cloud: Arc::new(cloud.clone()),
            turns: Arc::default(),
            slots: Arc::new(Semaphore::new(AT_ONCE)),
            looking: Arc::default(),
        }
    }

    /// Brings the machine in line, as far as that goes in about 3 s; a slow shutdown goes on behind it, and the next look
    /// leaves it alone. Returns the bodies that ended by themselves while they should run, again at each look until
    /// the control plane has taken note.
    ///
    /// # Errors
    /// Where podman can't be asked, or a stop or removal fails. A boot that fails is no error but `NeverBooted`.
    pub async fn follow(&self, instances: &[Instance]) -> Result<Vec<Ended>> {
        // The turns first, then the look: so nothing that is being worked on is seen half-done.
        let looking = self.looking.lock().await;
        let mut turns = self.free_turns(instances);
        let (steps, mut ended) = plan::plan(instances, &self.observe().await?);
        ended.retain(|ended| turns.contains_key(&ended.instance_id));
        let mut work = JoinSet::new();
        for step in steps {
            // A body that nobody has asked for since this process began is nobody's work yet.
            let id = step.instance_id();
            let turn = turns.remove(id).or_else(|| self.turn_if_new(id));
            let Some(turn) = turn else { continue };
            let (bodies, id) = (self.clone(), step.instance_id().to_owned());
            work.spawn(async move {
                let _turn: OwnedMutexGuard<()> = turn;
                let _slot = bodies.slots.acquire().await;
                let boots = matches!(step, Step::Create(_) | Step::Boot(_) | Step::Reboot(_));
                match bodies.take(step).await {
                    Err(failure) if boots => {
                        Ok(Some(Ended { instance_id: id, how: How::NeverBooted { why: failure.report() } }))
                    }
                    result => result.map(|()| None),
                }
            });
        }
        drop((turns, looking));
        let mut first_failure = None;
        let all = async {
            while let Some(done) = work.join_next().await {
                match done {
                    Ok(Ok(one)) => ended.extend(one),
                    Ok(Err(failure)) => first_failure = first_failure.take().or(Some(failure)),
                    Err(_) => {}
                }
            }
        };
        let _ = tokio::time::timeout(FOLLOW, all).await;
        work.detach_all();
        first_failure.map_or(Ok(ended), Err)
    }

    /// Returns when a body may have ended since `seen`, and the new mark to wait from; for a loop that calls `follow`.
    /// Costs a stat(2) every 250 ms.
    pub async fn an_ending(&self, seen: Option<SystemTime>) -> Option<SystemTime> {
        loop {
            let now = tokio::fs::metadata(self.podman.endings()).await.and_then(|folder| folder.modified()).ok();
            if now != seen {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// CreateImage: commits the instance's file system as the image's body. A body that runs is held meanwhile, as with
    /// `NoReboot`; who wants it consistent calls [`Bodies::reboot`]'s halves around it, or stops the instance first.
    ///
    /// # Errors
    /// Where the instance has no body, or podman fails.
    pub async fn commit(&self, instance_id: &str, image_id: &str) -> Result<()> {
        let _turn = self.turn(instance_id).lock_owned().await;
        let _making = self.podman.making().await?;
        let commit = || {
            self.podman
                .command()
                .args(["commit", "-q", "--pause", &self.container(instance_id), &self.image(image_id)])
                .within(Duration::from_secs(10 * 60))
        };
        let mut committed = commit().run().await;
        // A body that starts many processes at once, as while it boots, can't always be frozen; a moment later it can.
        for _ in 0..5 {
            if committed.as_ref().err().is_none_or(|failure| !failure.report().contains("unable to freeze")) {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            committed = commit().run().await;
        }
        committed.map(drop)
    }

    /// CreateImage as AWS does it by default: shuts the running instance down, commits, and boots it again.
    ///
    /// # Errors
    /// Where the instance has no body, or podman fails.
    pub async fn commit_with_reboot(&self, instance_id: &str, image_id: &str) -> Result<()> {
        let turn = self.turn(instance_id).lock_owned().await;
        let container = self.container(instance_id);
        let up = self.podman.command().args(["inspect", "--format", "{{.State.Running}}", &container]).run().await?;
        if up.trim() != "true" {
            drop(turn);
            return self.commit(instance_id, image_id).await;
        }
        self.shut_down(&container, STOP_GRACE).await?;
        let making = self.podman.making().await?;
        let committed = self
            .podman
            .command()
            .args(["commit", "-q", &container, &self.image(image_id)])
            .within(Duration::from_secs(10 * 60))
            .run()
            .await;
        drop(making);
        self.podman.command().args(["start", &container]).run().await?;
        committed.map(drop)
    }

    /// RebootInstances: a graceful shutdown and a boot, with the same file system and address.
    ///
    /// # Errors
    /// Where the instance has no body, or podman fails.
    pub async fn reboot(&self, instance_id: &str) -> Result<()> {
        let _turn = self.turn(instance_id).lock_owned().await;
        let container = self.container(instance_id);
        self.shut_down(&container, STOP_GRACE).await?;
        self.podman.command().args(["start", &container]).run().await.map(drop)
    }

    /// Gives an image's body to another id: CopyImage, or a base (`debian-12`, `debian-12-ssm`) under the id of an AMI.
    ///
    /// # Errors
    /// Where there is no such image.
    pub async fn copy(&self, from_image: &str, to_image: &str) -> Result<()> {
        self.podman.command().args(["tag", &self.image(from_image), &self.image(to_image)]).run().await.map(drop)
    }

    /// Whether an image has a body here.
    ///
    /// # Errors
    /// Where podman can't be asked.
    pub async fn has_image(&self, image_id: &str) -> Result<bool> {
        let asked = self.podman.command().args(["image", "exists", &self.image(image_id)]).ending().await?;
        match asked.code {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(Failure::program("podman can't say whether an image is there").detail(asked.errors)),
        }
    }

    /// The ids of all images that have bodies here.
    ///
    /// # Errors
    /// Where podman can't be asked.
    pub async fn images(&self) -> Result<Vec<String>> {
        let prefix = self.image("ami-");
        let names = self.podman.names(&prefix).await?;
        let id = |name: &String| {
            let rest = name.strip_prefix(&prefix)?;
            Some(format!("ami-{}", rest.split(':').next().unwrap_or(rest)))
        };
        Ok(names.iter().filter_map(id).collect())
    }

    /// Takes an image's body away; bodies that booted from it live on. What is not there is no error.
    ///
    /// # Errors
    /// Where podman fails.
    pub async fn remove_image(&self, image_id: &str) -> Result<()> {
        if !self.has_image(image_id).await? {
            return Ok(());
        }
        let name = self.image(image_id);
        // In use, by a container or by another name: then only the name goes.
        self.podman.command().args(["untag", &name, &name]).run().await?;
        self.podman.prune().await
    }

    /// What the body's console has shown so far, over all its boots; there after it stopped and after it was terminated.
    ///
    /// # Errors
    /// Where the log can't be read.
    pub async fn console_output(&self, instance_id: &str) -> Result<String> {
        match tokio::fs::read(self.console(instance_id)).await {
            Ok(log) => Ok(console_text(&String::from_utf8_lossy(&log))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(Failure::program(format!("can't read the console of {instance_id}")).because(error)),
        }
    }

    /// Takes all bodies and images of this cloud away, at once and not gracefully; the bases stay.
    ///
    /// # Errors
    /// Where podman fails.
    pub async fn clear(&self) -> Result<()> {
        let bodies = self.observe().await?;
        let filter = format!("label={CLOUD_LABEL}={}", self.cloud.number);
        let ids =
            self.podman.command().args(["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter]).run().await?;
        let ids: Vec<_> = ids.lines().collect();
        if !ids.is_empty() {
            self.podman.command().args(["rm", "--force", "--ignore", "--time", "0"]).args(ids).run().await?;
        }
        for body in bodies {
            link::remove(&self.cloud, &body.instance_id).await?;
        }
        for image in self.podman.names(&self.image("ami-")).await? {
            self.podman.command().args(["untag", &image, &image]).run().await?;
        }
        self.podman.prune().await
    }

    async fn observe(&self) -> Result<Vec<plan::Body>> {
        let filter = format!("label={CLOUD_LABEL}={}", self.cloud.number);
        let listing =
            self.podman.command().args(["ps", "--all", "--format", "json", "--filter", &filter]).run().await?;
        plan::read(&listing, |id| link::path(&self.cloud, id).exists())
    }

    async fn take(&self, step: Step) -> Result<()> {
        match step {
            Step::Create(instance) => self.create(&instance).await,
            Step::Boot(instance) => {
                link::make(&self.cloud, &instance).await?;
                self.podman.command().args(["start", &self.container(&instance.id)]).run().await.map(drop)
            }
            Step::Reboot(id) => self.podman.command().args(["start", &self.container(&id)]).run().await.map(drop),
            Step::Stop(id) => {
                self.shut_down(&self.container(&id), STOP_GRACE).await?;
                link::remove(&self.cloud, &id).await
            }
            Step::Remove(id) => {
                let container = self.container(&id);
                // A machine that does not go down by itself goes down all the same.
                let _ = self.shut_down(&container, TERMINATE_GRACE).await;
                self.podman.command().args(["rm", "--force", "--ignore", "--time", "0", &container]).run().await?;
                link::remove(&self.cloud, &id).await
            }
        }
    }

    async fn create(&self, instance: &Instance) -> Result<()> {
        let container = self.container(&instance.id);
        self.podman.command().args(["rm", "--force", "--ignore", "--time", "0", &container]).run().await?;
        link::make(&self.cloud, instance).await?;
        let consoles = self.cloud.home.join("consoles");
        tokio::fs::create_dir_all(&consoles)
            .await
            .or_fail(|| Failure::program(format!("can't make {}", consoles.display())))?;
        let booted = self
            .podman
            .command()
            .args(["run", "--detach", "--tty", "--systemd=always", "--name", &container])
            .args(["--label", &format!("{CLOUD_LABEL}={}", self.cloud.number)])
            .args(["--label", &format!("{INSTANCE_LABEL}={}", instance.id)])
            .args(["--network", &format!("ns:{}", link::path(&self.cloud, &instance.id).display())])
            .args(["--hostname", &hostname(instance)])
            // The image's own hosts file is in force and is committed with it, as on a machine.
            .args(["--dns", &self.cloud.endpoint_address().to_string(), "--no-hosts"])
            .args(["--cap-add", CAPABILITIES, "--security-opt", "apparmor=unconfined", "--pids-limit", "-1"])
            .args(["--log-opt", &format!("path={}", self.console(&instance.id).display())])
            .args(["--pull", "never", "--env", "SYSTEMD_COLORS=0", &self.image(&instance.image_id), "/sbin/init"])
            .run()
            .await;
        if booted.is_err() {
            // A network left behind would make a container that never booted look like one that died.
            self.podman.command().args(["rm", "--force", "--ignore", "--time", "0", &container]).ending().await?;
            link::remove(&self.cloud, &instance.id).await?;
        }
        booted.map(drop)
    }

    /// By systemd's own signal for it (SIGRTMIN+3, which podman knows from --systemd), then by force.
    async fn shut_down(&self, container: &str, grace: Duration) -> Result<()> {
        let seconds = grace.as_secs().to_string();
        let deadline = grace + Duration::from_secs(60);
        self.podman.command().args(["stop", "--ignore", "--time", &seconds, container]).within(deadline).run().await?;
        Ok(())
    }

    fn turn(&self, instance_id: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.entry(instance_id.to_owned()).or_default().clone()
    }

    fn turn_if_new(&self, instance_id: &str) -> Option<OwnedMutexGuard<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.contains_key(instance_id) {
            return None;
        }
        turns.entry(instance_id.to_owned()).or_default().clone().try_lock_owned().ok()
    }

    /// The turns of all instances that nobody works on: those asked for, and those that have been seen before.
    fn free_turns(&self, instances: &[Instance]) -> HashMap<String, OwnedMutexGuard<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        for instance in instances {
            turns.entry(instance.id.clone()).or_default();
        }
        let free = |(id, turn): (&String, &Arc<tokio::sync::Mutex<()>>)| {
            Some((id.clone(), turn.clone().try_lock_owned().ok()?))
        };
        turns.iter().filter_map(free).collect()
    }

    fn container(&self, instance_id: &str) -> String {
        format!("gyron-{}-{instance_id}", self.cloud.number)
    }

    fn image(&self, image_id: &str) -> String {
        if image_id.starts_with("ami-") {
            format!("localhost/gyron/{}/{image_id}", self.cloud.number)
        } else {
            base_image::reference(image_id)
        }
    }

    fn console(&self, instance_id: &str) -> PathBuf {
        self.cloud.home.join("consoles").join(format!("{instance_id}.log"))
    }
}

/// `ip-172-31-a-b`, as an instance of AWS is called.
fn hostname(instance: &Instance) -> String {
    format!("ip-{}", instance.private_ip.to_string().replace('.', "-"))
}

/// From podman's k8s-file log (time, stream, F or P for a full or a partial line, text) to what was printed.
fn console_text(log: &str) -> String {
    let mut text = String::new();
    for line in log.lines() {
        let mut fields = line.splitn(4, ' ');
        let (Some(part), Some(content)) = (fields.nth(2), fields.next()) else { continue };
        text.push_str(content.trim_end_matches('\r'));
        if part == "F" {
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_is_read_without_podmans_columns() {
        let log = "2026-01-01T00:00:00.0+00:00 stdout F Welcome to Debian!\r\n\
                   2026-01-01T00:00:00.0+00:00 stdout F \n\
                   2026-01-01T00:00:01.0+00:00 stdout P [  OK  ] Star\n\
                   2026-01-01T00:00:01.0+00:00 stdout F ted a  unit.\n\
                   broken\n";
        assert_eq!(console_text(log), "Welcome to Debian!\n\n[  OK  ] Started a  unit.\n");
    }
}
