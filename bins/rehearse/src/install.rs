//! What a cloud needs on the machine, installed where it lacks: packages, the venv with moto and the AWS CLI, Terraform.

pub mod terraform;
pub mod tool;
pub mod venv;

use std::path::Path;
use std::time::Duration;

use gyron_core::failure::{Failure, Result};

use self::tool::Tool;

/// A program and the Debian package that has it.
struct Need {
    program: &'static str,
    package: &'static str,
}

const NEEDS: [Need; 8] = [
    Need { program: "podman", package: "podman" },
    Need { program: "conmon", package: "conmon" },
    Need { program: "runc", package: "runc" },
    Need { program: "ip", package: "iproute2" },
    Need { program: "iptables", package: "iptables" },
    Need { program: "iptables-restore", package: "iptables" },
    Need { program: "mmdebstrap", package: "mmdebstrap" },
    Need { program: "dpkg-deb", package: "dpkg" },
];

/// A file that no program stands for, and its package.
const FILES: [(&str, &str); 1] = [("/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring")];

/// Fails unless this process is root: namespaces, routes and containers with systemd need it.
///
/// # Errors
/// Where it is not.
pub fn as_root(command: &str) -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::usage(format!("gyron-rehearse {command} needs root: it makes network namespaces and containers"))
        .hint(format!("sudo -E gyron-rehearse {command}")))
}

/// Installs the distribution's packages that lack.
///
/// # Errors
/// Where it is not a Debian-like machine, with what is missing; where apt-get fails, with the command to type.
pub async fn packages(say: impl Fn(&str)) -> Result<()> {
    let missing =
        missing(|program| which::which_in(program, Some(tool::search_path()), "/").is_ok(), |file| file.exists());
    install(&missing, say).await
}

fn missing(has_program: impl Fn(&str) -> bool, has_file: impl Fn(&Path) -> bool) -> Vec<&'static str> {
    let programs = NEEDS.iter().filter(|need| !has_program(need.program)).map(|need| need.package);
    let files = FILES.iter().filter(|(file, _)| !has_file(Path::new(file))).map(|(_, package)| *package);
    let mut packages: Vec<_> = programs.chain(files).collect();
    packages.dedup();
    packages
}

/// Installs packages by apt-get.
async fn install(packages: &[&str], say: impl Fn(&str)) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let command = format!("apt-get install -y --no-install-recommends {}", packages.join(" "));
    if which::which_in("apt-get", Some(tool::search_path()), "/").is_err() {
        return Err(Failure::program(format!("missing on this machine: {}", packages.join(", ")))
            .hint("install these by your distribution's package manager (the names are Debian's)"));
    }
    say(&format!("installing {}", packages.join(", ")));
    let apt = |arguments: Vec<&str>| {
        Tool::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["-o", "DPkg::Lock::Timeout=300"])
            .args(arguments)
            .within(Duration::from_secs(15 * 60))
    };
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend(packages);
    // Most machines have lists that are fresh enough; where not, they are fetched and it is tried again.
    if apt(arguments.clone()).run().await.is_ok() {
        return Ok(());
    }
    let installed = async {
        apt(vec!["update"]).run().await?;
        apt(arguments).run().await
    };
    installed.await.map(drop).map_err(|failure| failure.hint(format!("sudo apt-get update && sudo {command}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lacks_is_named_by_its_package_and_once() {
        assert_eq!(missing(|_| true, |_| true), Vec::<&str>::new());
        assert_eq!(missing(|program| !program.starts_with("iptables"), |_| true), ["iptables"]);
        assert_eq!(missing(|program| program != "runc", |_| false), ["runc", "debian-archive-keyring"]);
    }
}
