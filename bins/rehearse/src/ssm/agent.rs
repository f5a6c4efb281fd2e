//! The agent that runs on instances, as a Debian package: the base images install it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use gyron_core::failure::{Failure, OrFail as _, Result};

/// The program itself: Python 3, standard library only.
pub const PROGRAM: &str = include_str!("agent/agent.py");
const UNIT: &str = include_str!("agent/amazon-ssm-agent.service");
const POSTINST: &str = include_str!("agent/postinst");
const PRERM: &str = include_str!("agent/prerm");

/// The times in the package: one for all, so that the same program makes the same file.
const SOURCE_DATE_EPOCH: &str = "1767225600";

/// Builds `amazon-ssm-agent_VERSION_all.deb` in the folder `into` and says where it is; the same program gives the
/// same bytes. Installed where systemd runs, the agent starts; installed in a chroot, it starts at boot.
///
/// # Errors
/// Where `dpkg-deb` is missing or fails, or a file can't be written.
pub fn package(into: &Path) -> Result<PathBuf> {
    let version = env!("CARGO_PKG_VERSION");
    let broken = || Failure::program("can't lay out the agent's package").hint("look at the space left in TMPDIR");
    let stage = tempfile::tempdir().or_fail(broken)?;
    let root = stage.path();
    let program = PROGRAM.replace("@VERSION@", version);
    let control = format!(
        "Package: amazon-ssm-agent\nVersion: {version}\nArchitecture: all\nMaintainer: gyron <gyron@localhost>\n\
         Depends: python3\nSection: admin\nPriority: optional\n\
         Description: Run Command for instances of a gyron rehearsal cloud\n \
         Stands where Amazon's SSM agent stands on AWS, under its name, and speaks to the rehearsal cloud only.\n"
    );
    for (path, mode, text) in [
        ("DEBIAN/control", 0o644, control.as_str()),
        ("DEBIAN/postinst", 0o755, POSTINST),
        ("DEBIAN/prerm", 0o755, PRERM),
        ("usr/bin/amazon-ssm-agent", 0o755, program.as_str()),
        ("usr/lib/systemd/system/amazon-ssm-agent.service", 0o644, UNIT),
    ] {
        let path = root.join(path);
        for folder in path.ancestors().skip(1).take_while(|folder| *folder != root) {
            fs::create_dir_all(folder).or_fail(broken)?;
            fs::set_permissions(folder, Permissions::from_mode(0o755)).or_fail(broken)?;
        }
        fs::write(&path, text).or_fail(broken)?;
        fs::set_permissions(&path, Permissions::from_mode(mode)).or_fail(broken)?;
    }
    fs::set_permissions(root, Permissions::from_mode(0o755)).or_fail(broken)?;
    fs::create_dir_all(into).or_fail(|| Failure::program(format!("can't make {}", into.display())))?;
    let target = into.join(format!("amazon-ssm-agent_{version}_all.deb"));
    let built = Command::new("dpkg-deb")
        .args(["--build", "--root-owner-group", "-Zxz"])
        .args([root, &target])
        .env("SOURCE_DATE_EPOCH", SOURCE_DATE_EPOCH)
        .output()
        .or_fail(|| Failure::program("can't run dpkg-deb").hint("apt-get install dpkg"))?;
    if built.status.success() {
        Ok(target)
    } else {
        Err(Failure::program(format!("dpkg-deb failed: {}", built.status))
            .detail(String::from_utf8_lossy(&built.stderr).into_owned()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_package_is_the_same_each_time_and_holds_what_it_should() {
        let folder = tempfile::tempdir().unwrap();
        let one = package(&folder.path().join("a")).unwrap();
        let two = package(&folder.path().join("b")).unwrap();
        assert_eq!(fs::read(&one).unwrap(), fs::read(&two).unwrap());
        let listing = Command::new("dpkg-deb").arg("--contents").arg(&one).output().unwrap();
        let listing = String::from_utf8(listing.stdout).unwrap();
        assert!(listing.contains("-rwxr-xr-x root/root"), "{listing}");
        assert!(listing.contains("./usr/bin/amazon-ssm-agent\n"), "{listing}");
        assert!(listing.contains("./usr/lib/systemd/system/amazon-ssm-agent.service\n"), "{listing}");
        let depends = Command::new("dpkg-deb").arg("--field").arg(&one).args(["Package", "Depends"]).output().unwrap();
        assert_eq!(String::from_utf8(depends.stdout).unwrap(), "Package: amazon-ssm-agent\nDepends: python3\n");
    }
}
