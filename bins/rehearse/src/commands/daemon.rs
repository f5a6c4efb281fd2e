//! The daemon as a process: started, recognised, ended.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gyron_core::failure::{Failure, OrFail, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::{endpoint, say};
use crate::cloud::Cloud;
use crate::install::tool::{last_lines, search_path};

/// Carried by the daemon and all that it starts, so that what outlives it is recognised.
const MARK: &str = "GYRON_REHEARSE_DAEMON";

/// How long moto and the first seeding may take on a slow machine.
const DEADLINE: Duration = Duration::from_secs(180);

/// A process, told from a later one with the same number by when it started.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Process {
    pid: i32,
    started: u64,
}

/// Starts the daemon unless this cloud's answers already, and waits until it does.
///
/// # Errors
/// Where it ends, or does not answer in time: with the end of its log.
pub async fn ensure(cloud: &Cloud) -> Result<()> {
    if endpoint::is_healthy(cloud).await {
        if !is_outdated(&cloud.home) {
            return Ok(());
        }
        say("the daemon is of another build than this program: a new one takes its cloud over");
    }
    // moto and the bodies stay: the next daemon takes them over.
    end_daemon(&cloud.home).await;
    let log = log_path(&cloud.home);
    let begun = Instant::now();
    let mut child = start(cloud, &log)?;
    let mut said = begun;
    loop {
        if endpoint::is_healthy(cloud).await {
            return Ok(());
        }
        let ended = child.try_wait().or_fail(|| Failure::defect("can't look after the daemon"))?;
        let late = begun.elapsed() > DEADLINE;
        if ended.is_some() || late {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let failure = match ended {
                Some(status) => Failure::program(format!("the cloud's daemon ended at once ({status})")),
                None => Failure::deadline(format!("the cloud's daemon did not answer within {} s", DEADLINE.as_secs())),
            };
            end_daemon(&cloud.home).await;
            return Err(failure.detail(last_lines(&text, 30)).hint(format!("the whole log: {}", log.display())));
        }
        if said.elapsed() > Duration::from_secs(10) {
            said = Instant::now();
            say(&format!("waiting for the endpoint {} ({} s)", cloud.endpoint_url(), begun.elapsed().as_secs()));
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

fn start(cloud: &Cloud, log: &Path) -> Result<std::process::Child> {
    let open = || File::options().create(true).append(true).open(log);
    let broken = || Failure::program(format!("can't start the cloud's daemon with its log at {}", log.display()));
    let program = std::env::current_exe().or_fail(broken)?;
    let child = Command::new(program)
        .args(["--cloud", &cloud.name, "serve"])
        .env(MARK, &cloud.home)
        .env("PATH", search_path())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(open().or_fail(broken)?)
        .stderr(open().or_fail(broken)?)
        .spawn()
        .or_fail(broken)?;
    let pid = i32::try_from(child.id()).or_fail(broken)?;
    let process = Process { pid, started: started(pid).unwrap_or_default() };
    let text = serde_json::to_vec(&process).or_fail(broken)?;
    std::fs::write(record_path(&cloud.home), text).or_fail(broken)?;
    Ok(child)
}

/// Leaves the terminal's session, so that neither Ctrl-C nor a hang-up there reaches the daemon.
pub fn detach() {
    // Refused to the leader of a process group, which in the foreground is a person's own doing.
    let _ = nix::unistd::setsid();
}

/// Ends the daemon of a home, if it runs, but nothing that it started.
async fn end_daemon(home: &Path) {
    if let Some(process) = recorded(home) {
        for (signal, grace) in [(Signal::SIGTERM, 15), (Signal::SIGKILL, 5)] {
            end_processes(&[process.pid], signal, Duration::from_secs(grace)).await;
            if started(process.pid) != Some(process.started) {
                break;
            }
        }
    }
    let _ = std::fs::remove_file(record_path(home));
}

/// Ends the daemon of a home and all that it started and left; none there is no error.
///
/// # Errors
/// Where something does not end even when killed.
pub async fn end(home: &Path) -> Result<()> {
    end_daemon(home).await;
    for (signal, grace) in [(Signal::SIGTERM, 3), (Signal::SIGKILL, 5)] {
        let left = marked(home);
        if left.is_empty() {
            break;
        }
        end_processes(&left, signal, Duration::from_secs(grace)).await;
    }
    let left = marked(home);
    if !left.is_empty() {
        return Err(Failure::program(format!("these processes do not end: {left:?}")));
    }
    Ok(())
}

/// Whether the daemon's program has been replaced since it started, as after an update or a build.
fn is_outdated(home: &Path) -> bool {
    recorded(home).is_some_and(|process| {
        let program = std::fs::read_link(format!("/proc/{}/exe", process.pid)).unwrap_or_default();
        // proc(5): what was unlinked carries this mark.
        program.as_os_str().as_encoded_bytes().ends_with(b" (deleted)")
    })
}

/// The daemon that was started last, if it still runs.
fn recorded(home: &Path) -> Option<Process> {
    let process: Process = serde_json::from_slice(&std::fs::read(record_path(home)).ok()?).ok()?;
    (started(process.pid) == Some(process.started)).then_some(process)
}

async fn end_processes(pids: &[i32], signal: Signal, grace: Duration) {
    for pid in pids {
        // One that has ended by itself is as good.
        let _ = kill(Pid::from_raw(*pid), signal);
    }
    let begun = Instant::now();
    while begun.elapsed() < grace && pids.iter().any(|pid| started(*pid).is_some()) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// When a process started, in clock ticks since the machine's boot; `None` where there is none, or only its zombie.
fn started(pid: i32) -> Option<u64> {
    started_in(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// proc(5): the name in parentheses may hold anything; the state is the 3rd field, the start the 22nd.
fn started_in(stat: &str) -> Option<u64> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// The processes that carry the mark of this home's daemon. Containers do not: podman gives them an environment of their own.
fn marked(home: &Path) -> Vec<i32> {
    let mark = [MARK.as_bytes(), b"=", home.as_os_str().as_encoded_bytes()].concat();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let carries = environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_slice());
        // Each container's monitor ends with its container, in order.
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        carries && name.trim() != "conmon" && started(*pid).is_some()
    })
    .collect()
}

/// The daemon's log.
pub fn log_path(home: &Path) -> PathBuf {
    home.join("serve.log")
}

fn record_path(home: &Path) -> PathBuf {
    home.join("daemon.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_by_its_start() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 10 18446744073709551615";
        assert_eq!(started_in(stat), Some(98_765));
        assert_eq!(started_in(&stat.replace(") S 1", ") Z 1")), None);
        assert_eq!(started_in("42 (x) S 1"), None);
    }

    #[test]
    fn this_test_is_a_process_that_has_started() {
        assert!(i32::try_from(std::process::id()).ok().and_then(started).is_some());
    }
}
