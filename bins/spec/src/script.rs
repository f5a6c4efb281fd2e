//! The script that runs on the instance: fetch the specs, install serverspec, run rspec, bring the report back.

use std::time::Duration;

use gyron_core::failure::Failure;
use gyron_core::ids::{Digest, ImageId, InstanceId};
use gyron_core::run_command::{Reply, Script};

/// Where the script works; known, so that it can be taken out of what Ruby says. The instance is thrown away.
pub(crate) const FOLDER: &str = "/var/tmp/gyron-spec";

const CARRY: &str = include_str!("script/carry.py");
const RUN: &str = include_str!("script/run.sh");

// The exit statuses of run.sh.
const NO_PYTHON: i32 = 20;
const NO_SPECS: i32 = 21;
const OTHER_SPECS: i32 = 22;
const NO_APT: i32 = 23;
const NO_SERVERSPEC: i32 = 24;
const NO_WAY_BACK: i32 = 25;

/// How many lines of a log an error shows.
const LAST_LINES: usize = 25;

/// What the script brings, and where it puts the report.
#[derive(Debug)]
pub(crate) struct Errand<'a> {
    /// Where the archive of the specs is read.
    pub(crate) specs: &'a str,
    /// Its SHA-256.
    pub(crate) sha256: &'a Digest,
    /// Where the report is written: SSM's 24,000 characters are too few for it.
    pub(crate) report: &'a str,
    /// The app's name.
    pub(crate) app: &'a str,
    /// The version in the image.
    pub(crate) version: &'a str,
}

impl Errand<'_> {
    /// The script. Nothing in it needs quoting: URLs are percent-encoded, the rest is letters, digits, `.`, `_`, `-`.
    pub(crate) fn script(&self, instance: &InstanceId, deadline: Duration) -> Script {
        let Errand { specs, sha256, report, app, version } = self;
        let text = format!(
            "specs='{specs}'\nsha256='{sha256}'\nreport='{report}'\nGYRON_APP='{app}'\nGYRON_VERSION='{version}'\n\
             folder={FOLDER}\nrm -rf \"$folder\"\nmkdir -m 700 \"$folder\" || exit\n\
             cat >\"$folder/carry.py\" <<'GYRON_PROGRAM'\n{CARRY}GYRON_PROGRAM\n{RUN}"
        );
        Script { what: format!("specs of {app} {version} on {instance}"), text, deadline }
    }
}

/// Why the script brought no report; `None` where it did.
pub(crate) fn trouble(reply: &Reply, image: &ImageId) -> Option<Failure> {
    let failure = match reply.status {
        0 => return None,
        NO_PYTHON => Failure::program(format!("{image} has no python3, which fetches the specs"))
            .hint("install python3 in the playbook: it is the one thing gyron needs on an image"),
        NO_SPECS => Failure::program("the instance can't fetch the specs from S3")
            .hint("its subnet needs a way out to S3: an internet or NAT gateway, or an S3 endpoint"),
        OTHER_SPECS => Failure::program("the specs that reached the instance have another SHA-256 than those sent"),
        NO_APT => Failure::program(format!("serverspec can't be installed on {image}: it has no apt-get"))
            .hint("gyron-spec knows Debian's and Ubuntu's packages only, so far"),
        NO_SERVERSPEC => Failure::program("apt-get can't install ruby-serverspec on the instance")
            .hint("the instance needs a way out to its package mirror, as the image's own sources.list names it"),
        NO_WAY_BACK => Failure::program("the instance can't put the report to S3")
            .hint("its subnet needs a way out to S3: an internet or NAT gateway, or an S3 endpoint"),
        other => Failure::program(format!("the script that runs the specs ended with exit status {other}")),
    };
    // The agent's own last line says nothing new.
    let lines: Vec<_> = reply.stderr.lines().filter(|line| !line.starts_with("failed to run commands:")).collect();
    let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
    if last.is_empty() {
        return Some(failure);
    }
    Some(failure.detail(last.iter().map(|line| format!("  | {line}")).collect::<Vec<_>>().join("\n")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use gyron_core::ids::{Digest, ImageId, InstanceId};
    use gyron_core::run_command::Reply;

    use super::{Errand, NO_SERVERSPEC, trouble};

    #[test]
    fn the_script_is_one_that_sh_can_read() {
        let errand = Errand {
            specs: "http://s3/specs?a=1&b=%2F",
            sha256: &Digest::of(b"specs"),
            report: "http://s3/report",
            app: "shop",
            version: "1.4.0",
        };
        let script = errand.script(&InstanceId::new("i-1"), Duration::from_secs(60));
        let checked = std::process::Command::new("sh").args(["-n", "-c", &script.text]).status().unwrap();
        assert!(checked.success());
        assert!(script.text.len() < 8000);
    }

    #[test]
    fn each_way_to_fail_is_said_with_the_end_of_the_log() {
        let reply = |status, stderr: &str| Reply { status, stdout: String::new(), stderr: stderr.to_owned() };
        let image = ImageId::new("ami-1");
        assert!(trouble(&reply(0, "W: a warning"), &image).is_none());
        insta::assert_snapshot!(trouble(&reply(NO_SERVERSPEC, "E: Unable to locate package ruby-serverspec\nfailed to run commands: exit status 24\n"), &image).unwrap().report(), @"
        error: apt-get can't install ruby-serverspec on the instance
          | E: Unable to locate package ruby-serverspec
        hint: the instance needs a way out to its package mirror, as the image's own sources.list names it
        ");
        insta::assert_snapshot!(trouble(&reply(2, ""), &image).unwrap().report(), @"error: the script that runs the specs ended with exit status 2");
    }
}
