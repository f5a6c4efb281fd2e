//! What happens on the builder: Ansible brings the release in, then everything but the result is taken away.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use gyron_core::archive::{self, Compression};
use gyron_core::aws::Aws;
use gyron_core::failure::{Failure, OrFail as _, Result};
use gyron_core::ids::{Digest, InstanceId};
use gyron_core::run_command::{self, Script};
use gyron_core::step::Context;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::log::{Addresses, Log};
use crate::secrets::Secrets;
use crate::toolkit;

/// Something the builder fetches by a presigned URL and checks by its digest.
#[derive(Debug, Serialize)]
pub(crate) struct Fetched {
    pub(crate) what: String,
    pub(crate) url: String,
    pub(crate) sha256: Digest,
}

/// The release, as the builder needs to know it.
#[derive(Debug, Serialize)]
pub(crate) struct FetchedRelease {
    pub(crate) what: String,
    pub(crate) url: String,
    pub(crate) sha256: Digest,
    pub(crate) file: String,
    pub(crate) archive: bool,
}

/// All that the builder is told.
#[derive(Debug, Serialize)]
pub(crate) struct Order {
    pub(crate) python: [u8; 2],
    pub(crate) toolkit: Fetched,
    pub(crate) playbook: Fetched,
    /// What its requirements files ask for.
    pub(crate) galaxy: Vec<Fetched>,
    /// None for a layer that has none.
    pub(crate) release: Option<FetchedRelease>,
    pub(crate) file: String,
    pub(crate) variables: BTreeMap<String, String>,
    /// What it fetches for itself.
    pub(crate) secrets: Option<Secrets>,
    /// Where the log's chunks are put.
    pub(crate) log: Addresses,
    /// Where the list of packages is put.
    pub(crate) packages: String,
}

/// The program that brings the job to the builder: all of it that stands in the command.
const BOOTSTRAP: &str = include_str!("builder/bootstrap.py");

/// The files of a job, beside its order.
const PROGRAM: [(&str, &str); 8] = [
    ("bootstrap.py", BOOTSTRAP),
    ("builder.py", include_str!("builder/builder.py")),
    ("installed.py", include_str!("builder/installed.py")),
    ("live.py", include_str!("builder/live.py")),
    ("gyron_tasks.py", include_str!("builder/gyron_tasks.py")),
    ("requirements.py", include_str!("builder/requirements.py")),
    ("aws.py", include_str!("builder/aws.py")),
    ("sealed.py", include_str!("builder/sealed.py")),
];

const CLEAN: &str = include_str!("builder/clean.sh");

/// Waits for cloud-init, since the agent may be online while that still runs; what it says of itself is no reason to fail a bake.
/// Its own `status --wait` takes half a second of computing to say whether this file is there (cloudinit/cmd/status.py).
const CLOUD_INIT: &str = "\
    looks=0\n\
    while [ -d /run/cloud-init ] && [ ! -e /run/cloud-init/result.json ] && [ $looks -lt 100 ]; do\n  \
      sleep 0.1\n  looks=$((looks + 1))\n\
    done\n\
    [ -e /run/cloud-init/result.json ] || cloud-init status --wait >/dev/null 2>&1 || true\n";

/// The digest of how a bake is done: what it changes here, it changes in every image.
pub(crate) fn recipe() -> Digest {
    let texts: Vec<&str> = PROGRAM.iter().map(|(_, text)| *text).chain([CLEAN]).collect();
    Digest::of(texts.join("\0").as_bytes())
}

/// Writes the program and its order as one archive at `to`; gives its SHA-256.
pub(crate) fn pack(order: &Order, scratch: &Path, to: &Path) -> Result<Digest> {
    let folder = scratch.join("job");
    let order = serde_json::to_string(order).or_fail(|| Failure::defect("an order can't be written as JSON"))?;
    let write = |(name, text): (&str, &str)| {
        let path = folder.join(name);
        std::fs::write(&path, text).or_fail(|| Failure::defect(format!("can't write {}", path.display())))
    };
    std::fs::create_dir_all(&folder).or_fail(|| Failure::defect(format!("can't make {}", folder.display())))?;
    PROGRAM.into_iter().chain([("order.json", order.as_str())]).try_for_each(write)?;
    Ok(archive::write(&folder, &archive::files(&folder)?, 0, Compression::Gzip, to)?.sha256)
}

/// What the builder says at the end.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Said {
    Trouble {
        trouble: String,
        hint: Option<String>,
    },
    /// The base image is none for a bake.
    Unfit {
        unfit: String,
        why: Unfit,
    },
    Played {
        exit: i32,
        failures: Vec<Task>,
        last: Vec<String>,
    },
}

/// What of the app makes a bake impossible.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Unfit {
    /// The base image's Python.
    Python,
    /// The playbook's hosts.
    Hosts,
}

/// A task that failed.
#[derive(Clone, Debug, Deserialize)]
struct Task {
    kind: String,
    task: String,
    path: String,
    line: Option<u32>,
    msg: String,
    stdout: String,
    stderr: String,
    item: Option<serde_json::Value>,
}

/// Runs the job at `url` on the builder, and shows its log while it runs.
pub(crate) async fn play(
    context: &Context,
    aws: &Aws,
    builder: &InstanceId,
    (url, sha256): (&str, &Digest),
    log: &mut Log<'_>,
    deadline: Duration,
) -> Result<()> {
    let text = format!(
        "{CLOUD_INIT}\
         exec python3 -B - '{url}' {sha256} <<'GYRON_PROGRAM'\n{BOOTSTRAP}GYRON_PROGRAM\n"
    );
    let script = Script { what: format!("playbook on {builder}"), text, deadline };
    let (over, ended) = oneshot::channel();
    let running = async {
        let reply = run_command::run(aws, &context.console, &context.stop, builder, &script).await;
        // Nobody listens any more only where the log was given up.
        let _ = over.send(());
        reply
    };
    let (reply, ()) = tokio::join!(running, log.follow(deadline, ended));
    let reply = reply?;
    let said = reply.stdout.lines().next_back().and_then(|line| serde_json::from_str(line).ok());
    match said {
        Some(Said::Trouble { trouble, hint }) => {
            Err(hint.into_iter().fold(Failure::aws(trouble), |failure, hint| failure.hint(hint)))
        }
        Some(Said::Unfit { unfit, why }) => Err(wrong_setting(unfit, why)),
        Some(Said::Played { exit: 0, .. }) => Ok(()),
        Some(Said::Played { exit, failures, last }) => Err(failed_play(exit, &failures, &last)),
        None => Err(Failure::program(format!("the builder's program ended with {} and no result", reply.status))
            .detail(indent(&reply.stderr))),
    }
}

/// Takes identity, caches and logs away; what the agent itself holds goes when the builder stops.
pub(crate) async fn clean(context: &Context, aws: &Aws, builder: &InstanceId) -> Result<()> {
    let script =
        Script { what: format!("clean-up on {builder}"), text: CLEAN.to_owned(), deadline: Duration::from_secs(300) };
    let reply = run_command::run(aws, &context.console, &context.stop, builder, &script).await?;
    match reply.status {
        0 => Ok(()),
        status => {
            Err(Failure::program(format!("the clean-up of the builder failed ({status})"))
                .detail(indent(&reply.stderr)))
        }
    }
}

fn wrong_setting(unfit: String, why: Unfit) -> Failure {
    let [major, minor] = toolkit::PYTHON;
    Failure::usage(unfit).hint(match why {
        Unfit::Python => format!(
            "bake.base in gyron.toml: an image with Python {major}.{minor} as /usr/bin/python3, such as Debian 12"
        ),
        Unfit::Hosts => "the builder is `localhost`, in no group: say `hosts: all`".to_owned(),
    })
}

fn failed_play(exit: i32, failures: &[Task], last: &[String]) -> Failure {
    let Some(task) = failures.iter().rev().find(|task| task.kind != "item").or(failures.last()) else {
        // Ansible says what it can't read or find in its log alone (exit 1 and 4).
        return Failure::program(format!("ansible-playbook failed ({exit})")).detail(indent(&last.join("\n")));
    };
    let mut detail = String::new();
    if !task.path.is_empty() {
        let line = task.line.map(|line| format!(":{line}")).unwrap_or_default();
        detail.push_str(&format!("  --> {}{line}\n", task.path));
    }
    detail.push_str(&indent(&task.msg));
    // "One or more items failed" says nothing; the item's own line before it says why.
    for item in failures.iter().filter(|item| item.kind == "item") {
        let name = item.item.as_ref().map(ToString::to_string).unwrap_or_default();
        detail.push_str(&indent(&format!("item {name}: {}", item.msg)));
    }
    for said in [&task.stdout, &task.stderr] {
        if !said.trim().is_empty() && !task.msg.contains(said.trim()) {
            detail.push_str(&indent(said));
        }
    }
    Failure::program(format!("the play failed at the task `{}`", task.task)).detail(detail)
}

fn indent(text: &str) -> String {
    text.trim_end().lines().map(|line| format!("  | {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use gyron_core::exit::Exit;

    use super::{Said, Task, failed_play, wrong_setting};

    fn task(kind: &str, msg: &str) -> Task {
        Task {
            kind: kind.to_owned(),
            task: "middleware : Install nginx".to_owned(),
            path: "roles/middleware/tasks/main.yml".to_owned(),
            line: Some(4),
            msg: msg.to_owned(),
            stdout: String::new(),
            stderr: String::new(),
            item: Some("nginx".into()),
        }
    }

    #[test]
    fn a_base_with_another_python_is_a_wrong_setting() {
        let said = r#"{"unfit": "the base image has Python 3.12, and Ansible is brought for 3.11", "why": "python"}"#;
        let Ok(Said::Unfit { unfit, why }) = serde_json::from_str(said) else { panic!("{said}") };
        let failure = wrong_setting(unfit, why);
        assert_eq!(failure.exit(), Exit::Usage);
        insta::assert_snapshot!(failure.report(), @"
        error: the base image has Python 3.12, and Ansible is brought for 3.11
        hint: bake.base in gyron.toml: an image with Python 3.11 as /usr/bin/python3, such as Debian 12
        ");
    }

    #[test]
    fn a_failed_task_is_shown_with_its_place_and_its_message() {
        let failures = [task("item", "no package nginxx"), task("failed", "One or more items failed")];
        insta::assert_snapshot!(failed_play(2, &failures, &[]).report(), @r#"
        error: the play failed at the task `middleware : Install nginx`
          --> roles/middleware/tasks/main.yml:4
          | One or more items failed
          | item "nginx": no package nginxx
        "#);
    }

    #[test]
    fn what_ansible_says_in_its_log_alone_is_shown_from_there() {
        let last = ["[ERROR]: couldn't resolve module/action 'apk'".to_owned()];
        insta::assert_snapshot!(failed_play(4, &[], &last).report(), @"
        error: ansible-playbook failed (4)
          | [ERROR]: couldn't resolve module/action 'apk'
        ");
    }
}
