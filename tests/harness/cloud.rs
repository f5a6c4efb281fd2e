//! The rehearsal cloud that `scripts/test` brings up, and the apps that are delivered there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::{App, programs};

/// A cloud that is up.
#[derive(Clone, Debug)]
pub struct Cloud {
    name: String,
    /// Signs what is called; the cloud's own where there is none.
    key: Option<String>,
}

/// A fault that is set on a cloud, until it is dropped.
#[derive(Debug)]
pub struct Fault {
    cloud: Cloud,
    id: String,
}

impl Fault {
    /// How many calls it has hit.
    ///
    /// # Panics
    /// Where the cloud is not up, or somebody has cleared the fault.
    #[must_use]
    pub fn hits(&self) -> u64 {
        let listed: Value = serde_json::from_str(&self.cloud.ask(&["fault", "list", "--json"])).expect("JSON");
        let faults = listed["faults"].as_array().cloned().unwrap_or_default();
        let own = faults.iter().find(|fault| fault["id"] == self.id.as_str()).expect("the fault is set");
        own["hit"].as_u64().expect("a number")
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        let _ = self.cloud.rehearse(&["fault", "clear", &self.id]).output();
    }
}

/// What stands on a cloud, by kind: ids and names. Compared before and after a step, it shows what a step left.
pub type Inventory = BTreeMap<String, BTreeSet<String>>;

impl Cloud {
    /// The one of the tests.
    ///
    /// # Panics
    /// Where there is none: `scripts/test` brings it up.
    #[must_use]
    pub fn of_tests() -> Self {
        let name = std::env::var("GYRON_TEST_CLOUD");
        Cloud { name: name.expect("GYRON_TEST_CLOUD names the cloud of the tests: run scripts/test"), key: None }
    }

    /// A cloud of that name, up or not.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Cloud { name: name.to_owned(), key: None }
    }

    /// The same cloud, called with an access key made of this name: faults of that key hit nobody else's calls.
    ///
    /// # Panics
    /// Where the name is too long for one, or holds what none may.
    #[must_use]
    pub fn called_by(&self, name: &str) -> Self {
        let key = format!("AKIA{:0>16}", name.to_uppercase());
        assert!(key.len() == 20 && key.chars().all(|c| c.is_ascii_alphanumeric()), "{name} makes no access key");
        Cloud { key: Some(key), ..self.clone() }
    }

    /// The access key that signs what is called.
    ///
    /// # Panics
    /// Where [`Cloud::called_by`] has set none.
    #[must_use]
    pub fn key(&self) -> &str {
        self.key.as_deref().expect("a cloud that is called by a name")
    }

    /// Sets a fault for what is called with this key.
    #[must_use]
    pub fn fault(&self, args: &[&str]) -> Fault {
        let all = [&["fault"], args, &["--key", self.key()]].concat();
        Fault { cloud: self.clone(), id: self.ask(&all).trim().to_owned() }
    }

    /// What has been called with this key so far, a JSON object each.
    ///
    /// # Panics
    /// Where the cloud has no record.
    #[must_use]
    pub fn calls(&self) -> Vec<Value> {
        let lines = self.ask(&["calls", "--key", self.key()]);
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// A command of `gyron-rehearse` for this cloud.
    #[must_use]
    pub fn rehearse(&self, args: &[&str]) -> Command {
        let mut command = Command::new(programs().join("gyron-rehearse"));
        command.arg("--cloud").arg(&self.name).args(args);
        if let Some(key) = &self.key {
            command.env("AWS_ACCESS_KEY_ID", key);
        }
        command
    }

    /// What a command of `gyron-rehearse` prints; it must succeed.
    ///
    /// # Panics
    /// Where it doesn't.
    #[must_use]
    pub fn ask(&self, args: &[&str]) -> String {
        let output = self.rehearse(args).output().expect("gyron-rehearse runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "gyron-rehearse {args:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What the AWS CLI answers; it must succeed.
    ///
    /// # Panics
    /// Where it doesn't, or answers with something other than JSON.
    #[must_use]
    pub fn aws(&self, args: &[&str]) -> Value {
        let mut all = vec!["exec", "--", "aws", "--output", "json"];
        all.extend(args);
        let text = self.ask(&all);
        if text.trim().is_empty() { Value::Null } else { serde_json::from_str(&text).expect("JSON") }
    }

    /// Texts that a JMESPath query selects from what the AWS CLI answers.
    #[must_use]
    pub fn select(&self, args: &[&str], query: &str) -> BTreeSet<String> {
        let mut all = args.to_vec();
        all.extend(["--query", query]);
        texts(&self.aws(&all))
    }

    /// What stands, apart from what AWS gives each account. Terminated instances are gone, though still described.
    #[must_use]
    pub fn inventory(&self, bucket: &str) -> Inventory {
        self.stands(&[bucket])
    }

    /// What stands of an app: by its tag, and in the bucket of its name.
    #[must_use]
    pub fn inventory_of(&self, app: &str) -> Inventory {
        self.stands(&[&format!("{app}-releases"), app])
    }

    fn stands(&self, args: &[&str]) -> Inventory {
        serde_json::from_str(&self.boto3(include_str!("inventory.py"), args)).expect("an inventory")
    }

    /// What a Python program with boto3 prints; it must succeed.
    #[must_use]
    pub fn boto3(&self, program: &str, args: &[&str]) -> String {
        let python = cache().join("venv/bin/python3").display().to_string();
        self.ask(&[&["exec", "--", &python, "-c", program], args].concat())
    }

    /// The one endpoint of all services.
    ///
    /// # Panics
    /// Where the cloud is not up.
    #[must_use]
    pub fn endpoint(&self) -> SocketAddr {
        let status: Value = serde_json::from_str(&self.ask(&["status", "--json"])).expect("JSON");
        let url = status["endpoint"].as_str().expect("an endpoint").trim_start_matches("http://").to_owned();
        url.parse().expect("an address")
    }

    /// The file of the contexts that CI's jobs can ask for.
    ///
    /// # Panics
    /// Where the cloud is not up.
    #[must_use]
    pub fn contexts(&self) -> String {
        let file = folder_of("XDG_STATE_HOME", ".local/state").join(&self.name).join("contexts.toml");
        std::fs::read_to_string(file).expect("a cloud that is up has contexts")
    }

    /// The control plane behind the endpoint.
    ///
    /// # Panics
    /// Where the cloud is not up.
    #[must_use]
    pub fn moto(&self) -> SocketAddr {
        let file = folder_of("XDG_STATE_HOME", ".local/state").join(&self.name).join("cloud.json");
        let text = std::fs::read_to_string(file).expect("a cloud that is up is written down");
        let cloud: Value = serde_json::from_str(&text).expect("JSON");
        let port = cloud["moto_port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// The address of an app's production listener, from this machine.
    ///
    /// # Panics
    /// Where the app has no edge.
    #[must_use]
    pub fn listener(&self, dns_name: &str) -> SocketAddr {
        let status: Value = serde_json::from_str(&self.ask(&["status", "--json"])).expect("JSON");
        let balancers = status["balancers"].as_array().cloned().unwrap_or_default();
        let balancer = balancers.iter().find(|balancer| balancer["dns"] == dns_name);
        let address = balancer.and_then(|balancer| balancer["addresses"][0].as_str()).expect("a balancer's address");
        SocketAddr::new(address.parse().expect("an address"), 80)
    }

    /// Makes the bucket and the profiles that the app's gyron.toml names.
    pub fn prepare(&self, app: &App) {
        let _ = self.ask(&["prepare", "--directory", &app.path().display().to_string()]);
    }

    /// One of gyron's programs in the app's folder, where the steps run.
    #[must_use]
    pub fn command(&self, app: &App, program: &str, args: &[&str]) -> Command {
        let mut command = self.rehearse(&["exec", "--", program]);
        command.args(args).current_dir(app.path()).env("CI", "true");
        command.envs(&app.variables);
        command
    }

    /// The same as on another machine, as far as a program can tell: its host has another name.
    #[must_use]
    pub fn command_elsewhere(&self, app: &App, program: &str, args: &[&str]) -> Command {
        let script = "hostname elsewhere; exec \"$@\"";
        let mut command = self.rehearse(&["exec", "--", "unshare", "--uts", "sh", "-c", script, "sh", program]);
        command.args(args).current_dir(app.path()).env("CI", "true").envs(&app.variables);
        command
    }

    /// Runs one of gyron's programs in the app's folder.
    ///
    /// # Panics
    /// Where it can't be run at all.
    #[must_use]
    pub fn run(&self, app: &App, program: &str, args: &[&str]) -> Output {
        self.command(app, program, args).output().expect("the program runs")
    }

    /// Runs it, demands success, and gives its result on stdout.
    ///
    /// # Panics
    /// Where it doesn't succeed: shows all of it.
    pub fn succeed(&self, app: &App, program: &str, args: &[&str]) -> String {
        let output = self.run(app, program, args);
        assert!(output.status.success(), "{program} {args:?}:\n{}", app.show(&output));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

fn texts(value: &Value) -> BTreeSet<String> {
    let items = value.as_array().cloned().unwrap_or_default();
    items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A number that one cloud gives back is the next one's: nobody comes up while traces of it are looked for.
static NUMBERS: Mutex<()> = Mutex::new(());

/// A cloud of one test's own, gone at its end however that comes.
#[derive(Debug)]
pub struct OwnCloud {
    /// The cloud.
    pub cloud: Cloud,
    number: String,
}

impl OwnCloud {
    /// Brings one up beside the cloud of the tests.
    ///
    /// # Panics
    /// Where it doesn't come up.
    #[must_use]
    pub fn up(name: &str) -> Self {
        let _alone = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
        let cloud = Cloud::named(&format!("{}-{name}", Cloud::of_tests().name));
        let _ = cloud.ask(&["up"]);
        let status: Value = serde_json::from_str(&cloud.ask(&["status", "--json"])).expect("JSON");
        let endpoint = status["endpoint"].as_str().expect("an endpoint").to_owned();
        let number = endpoint.split('.').nth(2).expect("an address").to_owned();
        OwnCloud { cloud, number }
    }

    /// Takes it down, and lists what is left of it on the machine: containers, namespaces, links, routes, rules,
    /// mounts, processes.
    ///
    /// # Panics
    /// Where it doesn't go down.
    #[must_use]
    pub fn down(self) -> Vec<String> {
        let _alone = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.cloud.ask(&["down"]);
        self.traces()
    }

    /// What of it can be seen on the machine.
    ///
    /// # Panics
    /// Where the machine can't be asked.
    #[must_use]
    pub fn traces(&self) -> Vec<String> {
        let (number, name) = (&self.number, regex::escape(&self.cloud.name));
        let own = regex::Regex::new(&format!(r"gyron[-/]{number}\b|\bgy{number}[is]\b|198\.18\.{number}\.|{name}"));
        let own = own.expect("a pattern");
        let shell = |command: &str| Command::new("sh").args(["-c", command]).output().expect("sh runs").stdout;
        let mut seen = Vec::new();
        for command in ["ip netns", "ip -o link", "ip -o address", "ip route show table all", "iptables-save", "mount"]
        {
            seen.extend(shell(command));
        }
        seen.extend(
            podman().args(["ps", "--all", "--format", "{{.Names}} {{.Labels}}"]).output().expect("podman").stdout,
        );
        seen.extend(podman().args(["images", "--format", "{{.Repository}}:{{.Tag}}"]).output().expect("podman").stdout);
        let mut lines: Vec<String> =
            String::from_utf8_lossy(&seen).lines().filter(|line| own.is_match(line)).map(str::to_owned).collect();
        for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
            let Ok(command) = std::fs::read(entry.path().join("cmdline")) else { continue };
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            if own.is_match(&command) {
                lines.push(command);
            }
        }
        lines
    }
}

impl Drop for OwnCloud {
    fn drop(&mut self) {
        // A test that failed half-way must not leave its cloud; one that took it down finds nothing more to do.
        let _ = self.cloud.rehearse(&["down"]).output();
    }
}

/// What is in `after` and was not in `before`, and the other way round: `+ images ami-1`, `- instances i-1`.
#[must_use]
pub fn difference(before: &Inventory, after: &Inventory) -> Vec<String> {
    let mut lines = Vec::new();
    for (kind, now) in after {
        let then = before.get(kind).cloned().unwrap_or_default();
        lines.extend(now.difference(&then).map(|id| format!("+ {kind} {id}")));
        lines.extend(then.difference(now).map(|id| format!("- {kind} {id}")));
    }
    lines
}

/// How many things of each kind came and went: `+1 images`.
#[must_use]
pub fn counts(before: &Inventory, after: &Inventory) -> Vec<String> {
    let mut counts = BTreeMap::<String, u32>::new();
    for line in difference(before, after) {
        let mut words = line.splitn(2, ' ');
        let (sign, rest) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let kind = rest.rsplit_once(' ').map_or(rest, |(kind, _)| kind);
        *counts.entry(format!("{sign}|{kind}")).or_default() += 1;
    }
    counts.into_iter().map(|(key, count)| key.replacen('|', &format!("{count} "), 1)).collect()
}

/// What all clouds of this user share: programs, base images.
///
/// # Panics
/// Where neither `XDG_CACHE_HOME` nor `HOME` is set.
#[must_use]
pub fn cache() -> PathBuf {
    folder_of("XDG_CACHE_HOME", ".cache")
}

/// The rehearsal's folder where the variable says, else below the home.
fn folder_of(variable: &str, below_home: &str) -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME")).join(below_home);
    std::env::var_os(variable).map_or_else(home, PathBuf::from).join("gyron-rehearse")
}

/// The rehearsal's podman, to look inside an image from outside.
#[must_use]
pub fn podman() -> Command {
    let cache = cache();
    let mut command = Command::new("podman");
    command.env("CONTAINERS_CONF", cache.join("containers.conf")).arg("--root").arg(cache.join("storage"));
    command
}
