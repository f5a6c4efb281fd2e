//! Kill points: a bake is killed right before or right after one of its calls to AWS, then it is run again. What stands afterwards
//! must be what a bake leaves that nobody kills.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::os::unix::process::ExitStatusExt as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cloud::{Cloud, Inventory};
use crate::{App, plain};

/// An app that is baked again and again, each time under a name of its own.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// The app, committed, whose name and bucket are of this name.
    pub make: fn(&str) -> App,
    /// The layers that a bake of it makes.
    pub layers: usize,
}

/// A call of a bake at which it is killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// `RunInstances` …
    pub action: String,
    /// What of: the part of an object's key that is the same in each run; empty for what is not about one.
    pub of: String,
    /// Which of the bake's calls of this action and of such an object, from 1.
    pub nth: usize,
    /// `--before` or `--after`.
    pub when: &'static str,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Point { action, of, nth, when } = self;
        write!(f, "{} {action} {of} {nth}", when.trim_start_matches('-'))
    }
}

/// What came of a bake that was killed there.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Where it was killed.
    pub point: Point,
    /// Whether it came that far.
    pub killed: bool,
    /// How the bake ended that was run again: `0 in 21s`.
    pub rerun: String,
    /// What is left that no bake leaves, and what lacks: `+ instances i-…`.
    pub left: Vec<String>,
    /// What the runs said, where something is wrong.
    pub said: String,
}

impl Outcome {
    /// Whether the second bake brought its image, and nothing else is left. A bake that never came that far left its image, too:
    /// it had one call less by the clock, or waited a moment less.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.rerun.starts_with("0 ") && self.left.is_empty()
    }
}

/// A table: the call, when it was killed, how the bake ended that was run again, and what is left.
#[must_use]
pub fn table(outcomes: &[Outcome]) -> String {
    let mut text = format!("{:<7} {:<44} {:<14} left\n", "killed", "call", "rerun");
    for outcome in outcomes {
        let Point { action, of, nth, when } = &outcome.point;
        let killed = if outcome.killed { when.trim_start_matches('-') } else { "never" };
        let left = if outcome.left.is_empty() { "nothing".to_owned() } else { outcome.left.join(", ") };
        text.push_str(&format!("{killed:<7} {:<44} {:<14} {left}\n", format!("{action} {of} {nth}"), outcome.rerun));
    }
    text
}

/// A bake that nobody kills: its calls, and what it leaves.
#[derive(Debug)]
pub struct Reference {
    name: String,
    subject: Subject,
    /// The calls that it made by itself, in their order.
    pub calls: Vec<Value>,
    leaves: BTreeMap<String, usize>,
}

/// What stands on the whole cloud; of objects only those that AWS itself has from the start.
#[must_use]
pub fn everything(cloud: &Cloud) -> Inventory {
    cloud.inventory("amazon-ssm-us-east-1")
}

/// An object's key, or an id, without what differs from app to app and from run to run.
fn alike(name: &str, text: &str) -> String {
    let run = regex::Regex::new(r"\b[0-9a-f]{16}\b").expect("a pattern");
    let text = text.replace(&format!("{name}/"), "APP/").replace(name, "APP");
    run.replace_all(&plain(&text), "RUN").into_owned()
}

/// The longest part of an object's place that is the same for each app and run.
fn part(alike: &str) -> String {
    let within = alike.split_once("/APP/").map_or("", |(_, key)| key);
    let differing = regex::Regex::new("[A-Z][A-Z0-9]+").expect("a pattern");
    differing.split(within).max_by_key(|part| part.len()).unwrap_or_default().to_owned()
}

fn counted(name: &str, inventory: &Inventory) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (kind, things) in inventory {
        for thing in things {
            *counts.entry(format!("{kind} {}", alike(name, thing))).or_default() += 1;
        }
    }
    counts
}

/// An app that has been packaged; with the toolkit of another one, which takes longest to make.
fn packaged(cloud: &Cloud, subject: Subject, name: &str, toolkit_of: Option<&str>) -> App {
    let app = (subject.make)(name);
    cloud.prepare(&app);
    cloud.succeed(&app, "gyron-package", &[]);
    if let Some(other) = toolkit_of {
        let _ = cloud.boto3(include_str!("toolkit.py"), &[other, name]);
    }
    app
}

impl Reference {
    /// Bakes once, undisturbed.
    ///
    /// # Panics
    /// Where that doesn't succeed, or doesn't leave an image and a snapshot a layer.
    #[must_use]
    pub fn bake(cloud: &Cloud, subject: Subject, name: &str) -> Self {
        // The one whose toolkit the others take makes it; the one that counts has it, too.
        let first = format!("{name}0");
        let maker = packaged(cloud, subject, &first, None);
        cloud.succeed(&maker, "gyron-bake", &[]);
        let app = packaged(cloud, subject, name, Some(&first));
        let own = cloud.called_by(name);
        own.succeed(&app, "gyron-bake", &[]);
        let calls = own.calls().into_iter().filter(|call| call["from"] == "steps").collect();
        let inventory = cloud.inventory_of(name);
        let made = |kind: &str| inventory.get(kind).map_or(0, BTreeSet::len);
        assert_eq!((made("images"), made("snapshots"), made("instances")), (subject.layers, subject.layers, 0));
        Reference { name: name.to_owned(), subject, calls, leaves: counted(name, &inventory) }
    }

    /// The points at which to kill: before and after each call that changes something, and once for each kind of read; with
    /// `every`, before and after all other calls as well, behind those.
    ///
    /// What comes by the clock, a lease's renewal and a heartbeat, comes once more or less in each run: of those only the first
    /// two are taken, which each run has.
    #[must_use]
    pub fn points(&self, every: bool) -> Vec<Point> {
        let of = |call: &Value| part(&alike(&self.name, call["object"].as_str().unwrap_or_default()));
        let calls: Vec<(&str, String)> =
            self.calls.iter().map(|call| (call["action"].as_str().unwrap_or_default(), of(call))).collect();
        let taken = |index: usize| {
            let call = &calls[index];
            let before = &calls[..index];
            let by_the_clock = call.1.starts_with("leases/") || call.0 == "CreateTags";
            match ["Describe", "Get", "Head", "List"].iter().any(|verb| call.0.starts_with(verb)) {
                true => !before.iter().any(|(action, _)| *action == call.0),
                false => !by_the_clock || before.iter().filter(|other| *other == call).count() < 2,
            }
        };
        let (mut order, rest): (Vec<usize>, Vec<usize>) = (0..calls.len()).partition(|index| taken(*index));
        if every {
            order.extend(rest);
        }
        let at = order.into_iter().flat_map(|index| {
            let (action, of) = &calls[index];
            let nth = calls[..=index].iter().filter(|call| **call == calls[index]).count();
            ["--before", "--after"].map(|when| Point { action: (*action).to_owned(), of: of.clone(), nth, when })
        });
        at.collect()
    }

    /// Kills a bake at each of these points, runs it again, sweeps and looks; so many side by side. `told` hears of each outcome
    /// as it comes.
    ///
    /// # Panics
    /// Where a run can't be set up.
    #[must_use]
    pub fn kill_at(
        &self,
        cloud: &Cloud,
        points: &[Point],
        at_once: usize,
        told: impl Fn(usize, &Outcome) + Sync,
    ) -> Vec<Outcome> {
        let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
        std::thread::scope(|scope| {
            for _ in 0..at_once {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(point) = points.get(index) else { return };
                        let outcome = self.kill(cloud, point, &format!("{}k{index}", self.name));
                        told(index, &outcome);
                        outcomes.lock().expect("no thread has panicked").insert(index, outcome);
                    }
                });
            }
        });
        outcomes.into_inner().expect("no thread has panicked").into_values().collect()
    }

    fn kill(&self, cloud: &Cloud, point: &Point, name: &str) -> Outcome {
        let app = packaged(cloud, self.subject, name, Some(&self.name));
        let own = cloud.called_by(name);
        let nth = point.nth.to_string();
        let mut kill = vec!["kill", &point.action, "--nth", &nth, point.when];
        if !point.of.is_empty() {
            kill.extend(["--object", &point.of]);
        }
        let fault = own.fault(&kill);
        let first = own.run(&app, "gyron-bake", &[]);
        let killed = first.status.signal() == Some(9);
        drop(fault);
        let begun = Instant::now();
        let second = own.run(&app, "gyron-bake", &[]);
        let took = Duration::from_secs(begun.elapsed().as_secs());
        let code = second.status.code().map_or_else(|| second.status.to_string(), |code| code.to_string());
        let swept = own.run(&app, "gyron-bake", &["sweep", "--yes"]);
        let mut left = self.difference(cloud, name);
        if !swept.status.success() {
            left.push("the sweep failed".to_owned());
        }
        let rerun = format!("{code} in {}s", took.as_secs());
        let mut outcome = Outcome { point: point.clone(), killed, rerun, left, said: String::new() };
        if !killed || !outcome.is_good() {
            let said = [("killed", &first), ("again", &second), ("swept", &swept)];
            outcome.said = said.map(|(what, output)| format!("=== {what}\n{}", app.show(output))).concat();
        }
        outcome
    }

    /// What stands for an app and does not for this one, and the other way round.
    fn difference(&self, cloud: &Cloud, name: &str) -> Vec<String> {
        let there = counted(name, &cloud.inventory_of(name));
        let things: BTreeSet<&String> = self.leaves.keys().chain(there.keys()).collect();
        let sign = |thing: &&String| {
            let (wanted, found) = (self.leaves.get(*thing).unwrap_or(&0), there.get(*thing).unwrap_or(&0));
            match found.cmp(wanted) {
                std::cmp::Ordering::Equal => None,
                std::cmp::Ordering::Greater => Some(format!("+{} {thing}", found - wanted)),
                std::cmp::Ordering::Less => Some(format!("-{} {thing}", wanted - found)),
            }
        };
        things.iter().filter_map(sign).collect()
    }

    /// What stands on the whole cloud since `before` that belongs to none of the apps of these kills: what no tag names.
    #[must_use]
    pub fn strays(&self, cloud: &Cloud, before: &Inventory, kills: usize) -> Vec<String> {
        let mut names = vec![format!("{}0", self.name), self.name.clone()];
        names.extend((0..kills).map(|index| format!("{}k{index}", self.name)));
        let after = everything(cloud);
        let mut of_apps = Inventory::new();
        for name in &names {
            for (kind, things) in cloud.inventory_of(name) {
                of_apps.entry(kind).or_default().extend(things);
            }
        }
        let mut strays = crate::cloud::difference(before, &after);
        strays.retain(|line| {
            let mut words = line.splitn(3, ' ');
            let (sign, kind, thing) = (words.next(), words.next(), words.next().unwrap_or_default());
            let known = kind.and_then(|kind| of_apps.get(kind)).is_some_and(|things| things.contains(thing));
            !(sign == Some("+") && known)
        });
        strays
    }
}

#[cfg(test)]
mod tests {
    use super::{alike, part};

    #[test]
    fn objects_of_all_apps_and_runs_are_told_by_what_they_are() {
        let sha = "9714a13ea7a2381188403c5b01355f2ef10a894aff7f14e59d4b59925215ac59";
        for (key, said, same) in [
            (
                format!("kill-releases/kill/leases/bake-{sha}.json"),
                "APP-releases/APP/leases/bake-SHA256.json",
                "leases/bake-",
            ),
            (
                "kill-releases/kill/runs/6b06a96a584f76af/image/playbook.tar.gz".to_owned(),
                "APP-releases/APP/runs/RUN/image/playbook.tar.gz",
                "/image/playbook.tar.gz",
            ),
            (format!("kill/packages/{sha}/6b06a96a584f76af.txt"), "APP/packages/SHA256/RUN.txt", ""),
            ("kill-releases/".to_owned(), "APP-releases/", ""),
        ] {
            assert_eq!(alike("kill", &key), said);
            assert_eq!(part(&alike("kill", &key)), same);
        }
    }
}
