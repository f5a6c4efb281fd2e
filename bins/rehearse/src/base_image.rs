//! The base images: a distribution as bare as its cloud image, built once by mmdebstrap and kept.
//!
//! `debian-12` has no agent, as Debian's own AMIs have none; `debian-12-ssm` is the same with the agent's package.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gyron_core::failure::{Failure, OrFail, Result};
use sha2::{Digest, Sha256};

use crate::bodies::podman::Podman;
use crate::install::tool::Tool;

/// The base without an agent, as Debian publishes its AMIs.
pub const BARE: &str = "debian-12";

/// The base with the SSM agent installed, as Amazon and Ubuntu publish theirs.
pub const WITH_AGENT: &str = "debian-12-ssm";

/// What Debian's cloud image has and a rehearsal can need; no kernel, no boot loader, no pip, no Ansible.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,libpam-systemd,python3,python3-apt,cloud-init,ca-certificates,iproute2,\
    iputils-ping,curl,wget,openssh-server,sudo,procps,less,vim-tiny,netbase,locales,tzdata,gpg,adduser,kmod,udev,logrotate,\
    cron,rsyslog,xz-utils,bash-completion,lsb-release";

const CUSTOMISE: &str = include_str!("base_image/customise.sh");

/// The image in podman's storage that a base's name stands for.
#[must_use]
pub fn reference(base: &str) -> String {
    format!("localhost/gyron/base/{base}:current")
}

/// Builds the bare base unless it is there, made by this recipe and for this host.
///
/// # Errors
/// Where mmdebstrap or podman fails, with what they said.
pub async fn bare(cache: &Path, say: impl Fn(&str)) -> Result<()> {
    let podman = Podman::of(cache);
    let host = Host::look().await;
    let key = host.key();
    if stands(&podman, BARE, &key).await? {
        return Ok(());
    }
    say("building the base image debian-12 by mmdebstrap; once, 1 to 2 min");
    let work = tempfile::tempdir_in(cache).or_fail(|| Failure::program("can't make a folder in the cache"))?;
    host.write(work.path()).await?;
    let archive = work.path().join("base.tar");
    let customise = format!("sh {0}/customise.sh {0} \"$1\"", work.path().display());
    let mut mmdebstrap = Tool::new("mmdebstrap")
        .args(["--variant=minbase", "--format=tar", &format!("--include={PACKAGES}")])
        .args(["--keyring=/usr/share/keyrings/debian-archive-keyring.gpg"])
        // A cloud image's manuals and translations are half of its size, and nothing here reads them.
        .args(["--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*"])
        .args(["--aptopt=Acquire::Languages \"none\"", &format!("--customize-hook={customise}")]);
    if !host.proxy.is_empty() {
        mmdebstrap = mmdebstrap.args([format!("--aptopt={}", work.path().join("proxy.conf").display())]);
    }
    mmdebstrap
        .args(["bookworm".as_ref(), archive.as_os_str()])
        .args((!host.sources.is_empty()).then(|| work.path().join("sources.list")))
        // apt's own user must get through to what it unpacks, which it can't in a person's cache.
        .env("TMPDIR", "/var/tmp")
        .within(Duration::from_secs(20 * 60))
        .run()
        .await
        .map_err(|failure| failure.hint("the base comes from a Debian mirror: is one reachable (apt-get update)?"))?;
    say("importing the base image");
    let imported = format!("localhost/gyron/base/{BARE}:{key}");
    let making = podman.making().await?;
    podman
        .command()
        .args(["import", "-q", "--change", "CMD [\"/sbin/init\"]"])
        .args([archive.as_os_str(), imported.as_ref()])
        .within(Duration::from_secs(10 * 60))
        .run()
        .await?;
    drop(making);
    make_current(&podman, BARE, &imported).await
}

/// Builds the base with the agent from the bare one, unless it is there with this package.
///
/// # Errors
/// Where the package can't be read or does not install.
pub async fn with_agent(cache: &Path, package: &Path, say: impl Fn(&str)) -> Result<()> {
    let podman = Podman::of(cache);
    let content = tokio::fs::read(package)
        .await
        .or_fail(|| Failure::defect(format!("can't read the agent's package {}", package.display())))?;
    let bare = podman.command().args(["image", "inspect", "--format", "{{.Id}}", &reference(BARE)]).run().await?;
    let key = short_digest(&[bare.trim().as_bytes(), &content]);
    if stands(&podman, WITH_AGENT, &key).await? {
        return Ok(());
    }
    say("installing the agent into the base image debian-12-ssm");
    let builder = format!("gyron-base-{key}");
    let remove = || podman.command().args(["rm", "-f", "--ignore", "-t", "0", &builder]).run();
    remove().await?;
    podman
        .command()
        .args(["run", "--network", "none", "--name", &builder, "-v"])
        .args([&format!("{}:/run/agent.deb:ro", package.display()), &reference(BARE)])
        .args(["dpkg", "--install", "/run/agent.deb"])
        .run()
        .await?;
    let made = format!("localhost/gyron/base/{WITH_AGENT}:{key}");
    let making = podman.making().await?;
    podman.command().args(["commit", "-q", "--change", "CMD [\"/sbin/init\"]", &builder, &made]).run().await?;
    drop(making);
    remove().await?;
    make_current(&podman, WITH_AGENT, &made).await
}

/// Whether the base is there by this key; made the current one if so, since a person may change recipes back and forth.
async fn stands(podman: &Podman, base: &str, key: &str) -> Result<bool> {
    let keyed = format!("localhost/gyron/base/{base}:{key}");
    let found = podman.command().args(["image", "exists", &keyed]).ending().await?.code == Some(0);
    if found {
        podman.command().args(["tag", &keyed, &reference(base)]).run().await?;
    }
    Ok(found)
}

/// How many builds of a base are kept, for whoever goes back and forth between versions of this program.
const KEPT: usize = 3;

/// Makes an image the current one of its base, and lets the oldest ones go.
async fn make_current(podman: &Podman, base: &str, image: &str) -> Result<()> {
    podman.command().args(["tag", image, &reference(base)]).run().await?;
    // podman lists the newest first.
    let names = podman.names(&format!("localhost/gyron/base/{base}:")).await?;
    for old in names.iter().filter(|name| **name != reference(base)).skip(KEPT) {
        // A cloud that is up may still stand on it: then only the name goes.
        podman.command().args(["untag", old, old]).ending().await?;
    }
    podman.prune().await
}

/// What of the host's way to packages is carried into the image.
#[derive(Debug, Default)]
struct Host {
    sources: String,
    proxy: String,
    authorities: String,
}

impl Host {
    async fn look() -> Self {
        let sources = debian_sources().await;
        let proxy = Tool::new("apt-config").args(["dump"]).run().await.map(|dump| proxies(&dump)).unwrap_or_default();
        let bundle = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];
        let authorities = bundle.iter().find_map(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
        Host { sources, proxy, authorities }
    }

    fn key(&self) -> String {
        let parts = [PACKAGES, CUSTOMISE, &self.sources, &self.proxy, &self.authorities];
        short_digest(&parts.map(str::as_bytes))
    }

    async fn write(&self, folder: &Path) -> Result<()> {
        let files = [
            ("sources.list", &self.sources),
            ("proxy.conf", &self.proxy),
            ("authorities.pem", &self.authorities),
            ("customise.sh", &CUSTOMISE.to_owned()),
        ];
        for (name, content) in files {
            let at: PathBuf = folder.join(name);
            tokio::fs::write(&at, content)
                .await
                .or_fail(|| Failure::program(format!("can't write {}", at.display())))?;
        }
        Ok(())
    }
}

/// The instances' sources: Debian 12 from the host's mirror; empty where the host has none.
async fn debian_sources() -> String {
    let listed = Tool::new("apt-get").args(["indextargets", "--format", "$(SITE) $(RELEASE)"]).run().await;
    sources(&listed.unwrap_or_default())
}

/// From apt's own list of what it fetches from where ("SITE SUITE" a line). Empty for a host of another distribution:
/// mmdebstrap then takes Debian's own archive, which it knows.
fn sources(targets: &str) -> String {
    let mirror = |suite: &str| {
        targets
            .lines()
            .find_map(|line| line.split_once(' ').filter(|(_, release)| *release == suite).map(|(site, _)| site))
    };
    let (Some(archive), Some(security)) = (mirror("bookworm"), mirror("bookworm-security")) else {
        return String::new();
    };
    let updates = mirror("bookworm-updates").unwrap_or(archive);
    format!("deb {archive} bookworm main\ndeb {updates} bookworm-updates main\ndeb {security} bookworm-security main\n")
}

/// The proxy settings of `apt-config dump`, in the form in which apt reads them.
fn proxies(dump: &str) -> String {
    let is_proxy = |line: &&str| {
        let name = line.split_whitespace().next().unwrap_or_default();
        let of_a_host = name.starts_with("Acquire::http") && name.contains("::Proxy");
        of_a_host && !line.ends_with(" \"\";") && !name.contains("Proxy-Auto-Detect")
    };
    dump.lines().filter(is_proxy).map(|line| format!("{line}\n")).collect()
}

fn short_digest(parts: &[&[u8]]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        digest.update(part);
    }
    hex::encode(digest.finalize())[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_mirror_is_carried_in() {
        let targets = "http://mirror.example/debian bookworm\nhttp://mirror.example/debian bookworm\n\
                       http://mirror.example/sec bookworm-security\n";
        assert_eq!(
            sources(targets),
            "deb http://mirror.example/debian bookworm main\n\
             deb http://mirror.example/debian bookworm-updates main\n\
             deb http://mirror.example/sec bookworm-security main\n"
        );
    }

    #[test]
    fn a_host_of_another_distribution_leaves_the_archive_to_mmdebstrap() {
        assert_eq!(sources("http://mirror.example/ubuntu noble\n"), "");
    }

    #[test]
    fn only_proxies_are_taken_from_apts_settings() {
        let dump = "APT \"\";\nAcquire::http \"\";\nAcquire::http::Proxy \"http://p:3142\";\nAcquire::https::Proxy::h \"DIRECT\";\n\
                    Acquire::http::Proxy-Auto-Detect \"/usr/bin/x\";\nAcquire::http::Proxy \"\";\n";
        assert_eq!(proxies(dump), "Acquire::http::Proxy \"http://p:3142\";\nAcquire::https::Proxy::h \"DIRECT\";\n");
    }

    #[test]
    fn a_key_tells_where_one_part_ends() {
        assert_ne!(short_digest(&[b"ab", b"c"]), short_digest(&[b"a", b"bc"]));
    }
}
