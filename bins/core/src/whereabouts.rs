//! Where a program runs: which machine and which process, so that another one can tell whether it is dead.

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// A process, told apart from every other of its machine over all boots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whereabouts {
    /// The machine's boot and the process's view of processes: two containers of one host are two places.
    pub place: String,
    /// The process id there.
    pub pid: u32,
    /// When it began, in clock ticks since the boot: a process id is given again.
    pub began: u64,
}

impl Whereabouts {
    /// This process's; none where the machine does not say (it is Linux's /proc that does).
    #[must_use]
    pub fn own() -> Option<Self> {
        let pid = std::process::id();
        Some(Whereabouts { place: place()?, pid, began: began(pid)? })
    }

    /// Whether the process has certainly ended: it was of this place, and is not there any more. What can't be seen from
    /// here may live.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        let ended = match std::fs::read_to_string(format!("/proc/{}/stat", self.pid)) {
            Ok(stat) => beginning(&stat) != Some(self.began),
            // /proc may hide others' processes (hidepid): the kernel itself is asked whether there is one of that number.
            Err(_) => {
                let there = i32::try_from(self.pid).map(|pid| kill(Pid::from_raw(pid), None));
                matches!(there, Ok(Err(Errno::ESRCH)))
            }
        };
        ended && place().is_some_and(|here| here == self.place)
    }
}

fn place() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let processes = std::fs::read_link("/proc/self/ns/pid").ok()?;
    let host = nix::unistd::gethostname().ok()?;
    Some(format!("{} {} {}", boot.trim(), processes.display(), host.to_string_lossy()))
}

fn began(pid: u32) -> Option<u64> {
    beginning(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The 22nd field of /proc/PID/stat (proc(5)); a zombie has ended as well.
fn beginning(stat: &str) -> Option<u64> {
    // The program's name stands in parentheses and may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if matches!(fields.first(), Some(&"Z" | &"X")) {
        return None;
    }
    fields.get(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::Whereabouts;

    #[test]
    fn a_process_is_dead_when_this_machine_has_it_no_more() {
        let own = Whereabouts::own().unwrap();
        assert!(!own.is_dead());
        let another_of_its_number = Whereabouts { began: own.began + 1, ..own.clone() };
        assert!(another_of_its_number.is_dead());
        let elsewhere = Whereabouts { place: "another machine".to_owned(), ..another_of_its_number };
        assert!(!elsewhere.is_dead(), "of another machine nothing is known");
    }

    #[test]
    fn a_child_that_was_killed_is_dead() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let of_child =
            Whereabouts { pid: child.id(), began: super::began(child.id()).unwrap(), ..Whereabouts::own().unwrap() };
        assert!(!of_child.is_dead());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(of_child.is_dead());
    }
}
