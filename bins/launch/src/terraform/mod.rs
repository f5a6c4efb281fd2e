//! Terraform, run on one of the built-in modules with its state in the bucket.

pub mod stream;
mod trouble;

use std::cell::RefCell;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use gyron_core::failure::{Failure, OrFail as _, Result};
use gyron_core::program::{Ended, Program, Stream};
use gyron_core::records::FOLDER;
use gyron_core::registry::Registry;
use gyron_core::step::Context;
use nix::sys::signal::Signal;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::stream::{Change, Diagnostic, Event};
use crate::modules::Module;

const INSTALL: &str = "install Terraform 1.11 or newer: https://developer.hashicorp.com/terraform/install";

/// How long an apply goes on after a signal before it is asked to stop: a colour's takes about ten seconds, and one that
/// is cancelled half-way may leave what no state knows.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long Terraform may take to write its state and give back the lock.
const GRACE: Duration = Duration::from_secs(60);

/// A module, its folder on this machine and its state in the bucket.
#[derive(Debug)]
pub struct Terraform<'a> {
    context: &'a Context,
    /// `edge`, `blue` or `green`.
    name: String,
    folder: PathBuf,
    module: &'static Module,
    bucket: String,
    state: String,
}

/// What a plan would change.
#[derive(Debug)]
pub struct Plan {
    /// Its changes.
    pub changes: Vec<Change>,
    /// Nothing differs, not even what Terraform only remembers.
    pub empty: bool,
}

impl<'a> Terraform<'a> {
    /// Lays the module out in `.gyron/ENV/terraform/NAME` and makes it ready; `name` is `edge`, `blue` or `green`.
    ///
    /// # Errors
    /// Program (5) where Terraform is missing or can't get the provider; usage (2) where the folder can't be written.
    pub async fn prepare(
        context: &'a Context,
        registry: &Registry,
        env: &str,
        name: &str,
        module: &'static Module,
    ) -> Result<Self> {
        // Looked for before anything is written.
        Program::find("terraform", INSTALL)?;
        let terraform = Terraform {
            context,
            name: name.to_owned(),
            folder: context.config.root.join(FOLDER).join(env).join("terraform").join(name),
            module,
            bucket: registry.bucket().to_owned(),
            state: registry.env_key(env, &format!("terraform/{name}.tfstate")),
        };
        terraform.lay_out().or_fail(|| Failure::usage(format!("can't write {}", terraform.folder.display())))?;
        terraform.init().await?;
        Ok(terraform)
    }

    fn lay_out(&self) -> std::io::Result<()> {
        let module = self.folder.join("module");
        if let Some(environment) = self.folder.parent().and_then(Path::parent) {
            std::fs::create_dir_all(environment)?;
        }
        // For the owner alone: variables and plan hold the edge's secret while they are there.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&module)?;
        for entry in std::fs::read_dir(&module)? {
            let path = entry?.path();
            // A file that an older gyron's module had would still be part of this one.
            if path.extension().is_some_and(|extension| extension == "tf") {
                std::fs::remove_file(path)?;
            }
        }
        for (file, text) in self.module.0 {
            std::fs::write(module.join(file), text)?;
        }
        Ok(())
    }

    fn program(&self) -> Result<Program> {
        let mut program = Program::find("terraform", INSTALL)?
            .args([format!("-chdir={}", self.folder.join("module").display())])
            .env("TF_DATA_DIR", self.folder.join("data"))
            .env("TF_IN_AUTOMATION", "1")
            .env("TF_INPUT", "0")
            .env("CHECKPOINT_DISABLE", "1")
            // Its providers live in the same process group and ignore SIGINT, not SIGTERM.
            .ends(Duration::ZERO, Signal::SIGINT, GRACE);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            // A workspace would move the state; the others would change what is applied.
            if text == "TF_WORKSPACE" || text.starts_with("TF_CLI_ARGS") || text.starts_with("TF_VAR_") {
                program = program.without(&name);
            }
        }
        Ok(program)
    }

    async fn init(&self) -> Result<()> {
        let what = format!("preparing {}", self.name);
        let backend = [
            format!("bucket={}", self.bucket),
            format!("key={}", self.state),
            format!("region={}", self.context.config.tables.region),
            "use_lockfile=true".to_owned(),
        ];
        let program = self
            .program()?
            .args(["init", "-input=false", "-no-color", "-reconfigure"])
            .args(backend.map(|setting| format!("-backend-config={setting}")));
        let ended = self.watch(program, &what, |_, _| Event::Nothing).await?;
        if ended.status.success() { Ok(()) } else { Err(trouble::init_failure(&what, &ended.last_lines)) }
    }

    /// Plans with these variables; `look` plans without the lock and without keeping the plan.
    ///
    /// # Errors
    /// Refused (3) where the state is locked; AWS (4); program (5).
    pub async fn plan(&self, variables: &impl Serialize, look: bool) -> Result<Plan> {
        let what = format!("planning {}", self.name);
        let variables = Secret::write(self.folder.join("vars.tfvars.json"), variables)?;
        let mut program = self
            .program()?
            .args(["plan", "-input=false", "-json", "-detailed-exitcode"])
            .args([format!("-var-file={}", variables.0.display())]);
        program = if look {
            program.args(["-lock=false"])
        } else {
            program.args(["-lock-timeout=60s".to_owned(), format!("-out={}", self.plan_file().display())])
        };
        let (ended, events) = self.stream(program, &what).await?;
        match ended.status.code() {
            Some(2) => Ok(Plan { changes: events.changes, empty: false }),
            Some(0) => {
                drop(Secret(self.plan_file()));
                Ok(Plan { changes: events.changes, empty: true })
            }
            _ => Err(self.failure(&what, &ended, &events)),
        }
    }

    /// Applies what was planned.
    ///
    /// # Errors
    /// As [`Terraform::plan`].
    pub async fn apply(&self) -> Result<()> {
        let what = format!("applying {}", self.name);
        let plan = Secret(self.plan_file());
        let program = self
            .program()?
            .args(["apply", "-input=false", "-json", "-lock-timeout=60s"])
            .args([&plan.0])
            .ends(PATIENCE, Signal::SIGINT, GRACE);
        let (ended, events) = self.stream(program, &what).await?;
        if ended.status.success() { Ok(()) } else { Err(self.failure(&what, &ended, &events)) }
    }

    /// Takes into the state what AWS already has: what a run that was killed made and could not write down.
    ///
    /// # Errors
    /// As [`Terraform::plan`].
    pub async fn import(&self, variables: &impl Serialize, address: &str, id: &str) -> Result<()> {
        let what = format!("taking over {address}");
        let variables = Secret::write(self.folder.join("vars.tfvars.json"), variables)?;
        let program = self
            .program()?
            .args(["import", "-input=false", "-no-color", "-lock-timeout=60s"])
            .args([format!("-var-file={}", variables.0.display())])
            .args([address, id]);
        let ended = self.watch(program, &what, |_, _| Event::Nothing).await?;
        if ended.status.success() { Ok(()) } else { Err(trouble::init_failure(&what, &ended.last_lines)) }
    }

    /// The module's outputs; none where it was never applied.
    ///
    /// # Errors
    /// Program (5); defect (70) where the module gives other outputs than it should.
    pub async fn outputs<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        let text = self.program()?.args(["output", "-json", "-no-color"]).output(&self.context.stop).await?;
        let outputs: Value = serde_json::from_str(&text).or_fail(|| Failure::program("terraform output is no JSON"))?;
        let outputs: serde_json::Map<_, _> = outputs
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, output)| (name.clone(), output.get("value").cloned().unwrap_or_default()))
            .collect();
        if outputs.is_empty() {
            return Ok(None);
        }
        let read = serde_json::from_value(Value::Object(outputs));
        read.map(Some).or_fail(|| Failure::defect(format!("the module {} lacks outputs", self.name)))
    }

    fn plan_file(&self) -> PathBuf {
        self.folder.join("plan")
    }

    fn failure(&self, what: &str, ended: &Ended, events: &Events) -> Failure {
        if let Some(version) = &events.foreign {
            return Failure::program(format!("terraform speaks version {version} of its stream, gyron knows 1"))
                .hint(INSTALL);
        }
        if events.diagnostics.iter().any(|diagnostic| diagnostic.severity == "error") {
            let lock = format!("s3://{}/{}.tflock", self.bucket, self.state);
            return trouble::failure(what, &lock, &events.diagnostics);
        }
        trouble::init_failure(what, &ended.last_lines)
    }

    async fn stream(&self, program: Program, what: &str) -> Result<(Ended, Events)> {
        let events = RefCell::new(Events::default());
        let ended = self
            .watch(program, what, |stream, text| {
                let event = if stream == Stream::Out { stream::read(text) } else { Event::Nothing };
                events.borrow_mut().take(&event);
                event
            })
            .await?;
        Ok((ended, events.into_inner()))
    }

    /// Runs it, shows what is done, and keeps the heartbeat.
    async fn watch(&self, program: Program, what: &str, read: impl Fn(Stream, &str) -> Event) -> Result<Ended> {
        let console = &self.context.console;
        let state = RefCell::new("terraform runs".to_owned());
        // With a file, Terraform outlives a gyron that is killed for long enough to write its state and unlock it.
        let program = program.writes_to(&self.folder.join("log"));
        let run = program.run(&self.context.stop, |stream, text| match read(stream, text) {
            Event::Done(line) => console.say(format!("    {line}")),
            Event::State(now) => *state.borrow_mut() = now,
            _ => {}
        });
        tokio::pin!(run);
        let mut waiting = console.waiting(what);
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                ended = &mut run => return ended,
                _ = tick.tick() => waiting.seen(&state.borrow()),
            }
        }
    }
}

/// What a stream brought.
#[derive(Debug, Default)]
struct Events {
    changes: Vec<Change>,
    diagnostics: Vec<Diagnostic>,
    foreign: Option<String>,
}

impl Events {
    fn take(&mut self, event: &Event) {
        match event {
            Event::Planned(change) => self.changes.push(change.clone()),
            Event::Diagnostic(diagnostic) => self.diagnostics.push(diagnostic.clone()),
            Event::Version(version) if !version.starts_with("1.") => self.foreign = Some(version.clone()),
            _ => {}
        }
    }
}

/// A file for the owner alone, gone when it is no longer needed.
struct Secret(PathBuf);

impl Secret {
    fn write(path: PathBuf, content: &impl Serialize) -> Result<Self> {
        let text = serde_json::to_vec_pretty(content).or_fail(|| Failure::defect("variables can't be written"))?;
        write_private(&path, &text).or_fail(|| Failure::usage(format!("can't write {}", path.display())))?;
        Ok(Secret(path))
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        // Already gone, or not to be removed: the folder is the owner's alone.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    // Anew each time: an old file would keep its own mode.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(content)
}
