//! Runs gyron's programs as a user would, and shows the whole of what came of it: exit code, stdout, stderr.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that can't be set up has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use regex::Regex;
use tempfile::TempDir;

pub mod cloud;
pub mod kills;
pub mod load;

/// The folder of the built programs: beside the folder in which cargo puts tests.
///
/// # Panics
/// Where they have not been built: `scripts/test` builds them first.
#[must_use]
pub fn programs() -> PathBuf {
    let own = std::env::current_exe().expect("a program knows its own path");
    let folder = own.parent().expect("a program stands in a folder");
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder }.to_owned();
    assert!(folder.join("gyron-rehearse").is_file(), "gyron's programs are not built: run scripts/test");
    folder
}

/// The folder with the archive of the development build, as the orb installs it: made by the release's own script, unless
/// the one there is newer than the programs.
///
/// # Panics
/// Where it can't be made.
#[must_use]
pub fn archives() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/release");
    let made = Command::new(script).arg("--from").arg(programs()).output().expect("sh runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    programs().join("archives")
}

/// An app's repo in a temporary folder.
#[derive(Debug)]
pub struct App {
    folder: TempDir,
    variables: BTreeMap<String, String>,
}

impl App {
    /// An empty folder that is no repo.
    #[must_use]
    pub fn empty() -> Self {
        let folder = tempfile::Builder::new().prefix("gyron-app-").tempdir().expect("a temporary folder");
        App { folder, variables: BTreeMap::new() }
    }

    /// A small app, committed: a file, a playbook, a spec and a gyron.toml, all of which tests may change.
    #[must_use]
    pub fn small() -> Self {
        let app = Self::empty();
        app.write("gyron.toml", SMALL);
        app.write("app/index.html", "hello\n");
        app.write("app/health", "ok\n");
        app.write("ansible/site.yml", PLAYBOOK);
        app.write("spec/small_spec.rb", SPEC);
        app.commit();
        app
    }

    /// The small app under a name of its own, so that tests on one cloud don't meet.
    #[must_use]
    pub fn small_named(name: &str) -> Self {
        let app = Self::small();
        app.replace("gyron.toml", "\"small\"", &format!("\"{name}\""));
        app.replace("gyron.toml", "small-releases", &format!("{name}-releases"));
        app.commit();
        app
    }

    /// A copy of one of the example apps in `tests/apps`, committed.
    #[must_use]
    pub fn example(name: &str) -> Self {
        let app = Self::empty();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("apps").join(name);
        let copied = Command::new("cp").arg("-a").arg(source.join(".")).arg(app.path()).status();
        assert!(copied.expect("cp runs").success());
        app.commit();
        app
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Sets a variable for every command.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Writes a file.
    pub fn write(&self, name: &str, content: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a folder");
        fs::write(path, content).expect("a file");
    }

    /// Reads a file.
    #[must_use]
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Puts one text for another in a file, where it must stand.
    pub fn replace(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{name} has no {from:?}");
        self.write(name, &text.replace(from, to));
    }

    /// Commits all that stands.
    pub fn commit(&self) {
        self.git(&["init", "--quiet"]);
        self.write(".git/info/exclude", "/.gyron/\n");
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", "as it stands"]);
    }

    fn git(&self, args: &[&str]) {
        let identity = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"];
        let done = Command::new("git").current_dir(self.path()).args(identity).args(args).output();
        let done = done.expect("git runs");
        assert!(done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// One of gyron's programs in this app, away from any cloud.
    #[must_use]
    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(programs().join(program));
        command.args(args).current_dir(self.path());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        // No instance's role may serve as credentials by chance, and no wait for a metadata service.
        command.env("HOME", self.path()).env("AWS_EC2_METADATA_DISABLED", "true").env("CI", "true");
        command.envs(&self.variables);
        command
    }

    /// Runs it and shows all of it.
    #[must_use]
    pub fn run(&self, program: &str, args: &[&str]) -> String {
        self.show(&self.command(program, args).output().expect("the program runs"))
    }

    /// The whole of what came of a command, with what differs from run to run named instead.
    #[must_use]
    pub fn show(&self, output: &Output) -> String {
        let code = output.status.code().map_or_else(|| output.status.to_string(), |code| code.to_string());
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        let text = format!("exit {code}\n--- stdout\n{stdout}--- stderr\n{stderr}");
        plain(&text.replace(&self.path().display().to_string(), "APP"))
    }
}

/// Names what differs from run to run: versions, digests, ids, times, addresses.
///
/// # Panics
/// Where one of the patterns is none.
#[must_use]
pub fn plain(text: &str) -> String {
    let patterns = [
        (r"\d{8}\.\d{6}-[0-9a-f]{12}(-dirty-[0-9a-f]{8})?", "VERSION"),
        (r"\b[0-9a-f]{64}\b", "SHA256"),
        (r"\bsha256 [0-9a-f]{12}\b", "sha256 DIGEST"),
        (r" = [0-9a-f]{12}\b", " = DIGEST"),
        (r"(the record|the digest|it says) [0-9a-f]{12}\b", "$1 DIGEST"),
        (r"\b(ami|i|igw|subnet|sg|vpc|snap)-[0-9a-f]{8,17}\b", "$1-ID"),
        (r" of \d+(\.\d+)? k?B,", " of SIZE,"),
        (r"\(\d+(\.\d+)?(ms|s|m)( \d+s)?\)", "(TIME)"),
        (r"request [0-9A-Za-z-]{20,}", "request ID"),
        (r"198\.18\.\d+\.\d+", "198.18.N.N"),
        (r"172\.31\.\d+\.\d+", "172.31.N.N"),
    ];
    patterns.iter().fold(text.to_owned(), |text, (pattern, name)| {
        Regex::new(pattern).expect("a pattern").replace_all(&text, *name).into_owned()
    })
}

const PLAYBOOK: &str = r#"- name: A web server that needs no package
  hosts: all
  gather_facts: false
  tasks:
    - name: Bring the pages
      ansible.builtin.copy: {src: "{{ gyron_release_dir }}/app/", dest: /srv/small/, mode: preserve}
    - name: Say which version they are
      ansible.builtin.copy: {content: "{{ gyron_version }}\n", dest: /srv/small/version, mode: "0644"}
    - name: Serve them
      ansible.builtin.copy:
        dest: /etc/systemd/system/small.service
        mode: "0644"
        content: |
          [Unit]
          After=network-online.target
          [Service]
          ExecStart=/usr/bin/python3 -m http.server --directory /srv/small 80
          Restart=always
          [Install]
          WantedBy=multi-user.target
    - name: At each boot
      ansible.builtin.systemd_service: {name: small, enabled: true, daemon_reload: true}
"#;

const SPEC: &str = r#"require 'serverspec'
set :backend, :exec

describe service('small') do
  it { should be_enabled }
  it { should be_running }
end

describe port(80) do
  it { should be_listening }
end
"#;

const SMALL: &str = r#"app    = "small"
region = "us-east-1"
bucket = "small-releases"

[package]
include = ["app/**"]

[bake]
base             = { ssm = "/aws/service/debian/release/12/latest/amd64" }
instance-types   = ["t3.small"]
instance-profile = "gyron-builder"
playbook         = "ansible/site.yml"

[spec]
path = "spec"

[launch]
instance-type    = "t3.small"
instance-profile = "gyron-app"
capacity         = { min = 1, max = 2 }

[[smoke.check]]
get = "/health"

[env.production]
protected = true
"#;
