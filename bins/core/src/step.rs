//! How every step runs: the same flags, the same settings, the same end.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Instant, SystemTime};

use clap::Args;
use serde::Serialize;

use crate::aws::Aws;
use crate::config::{Config, Override};
use crate::console::{Console, span};
use crate::exit::Exit;
use crate::failure::{Failure, OrFail as _, Result};
use crate::ids::Digest;
use crate::names::{BUCKET, Tags};
use crate::patience::Patience;
use crate::records::{Facts, Happened, Record, Records, So, Step};
use crate::registry::Registry;
use crate::stop::Stop;
use crate::version::Version;

/// The flags that every step has.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// The app's folder: gyron.toml is looked for here and above
    #[arg(short = 'C', long = "directory", value_name = "FOLDER", default_value = ".")]
    pub folder: PathBuf,
    /// The environment whose tables are laid over
    #[arg(long, value_name = "NAME", env = "GYRON_ENV")]
    pub env: Option<String>,
    /// Sets a key of gyron.toml; beats the variable `GYRON_TABLE_KEY` and the file
    #[arg(long = "set", value_name = "TABLE.KEY=VALUE")]
    pub set: Vec<String>,
    /// Says what would happen and touches nothing
    #[arg(long)]
    pub plan: bool,
    /// Prints the record as JSON on stdout, instead of the short result
    #[arg(long)]
    pub json: bool,
}

/// The exit codes, as every `--help` ends.
#[must_use]
pub fn exit_codes() -> String {
    let lines = Exit::ALL.map(|exit| format!("  {:<4} {}", exit.code(), exit.meaning()));
    format!("Exit codes:\n{}", lines.join("\n"))
}

/// What a step works with.
#[derive(Debug)]
pub struct Context {
    /// The settings.
    pub config: Config,
    /// The printer.
    pub console: Console,
    /// Whether the step has been asked to stop.
    pub stop: Stop,
    /// This run's id: in names, tags and client tokens.
    pub run: String,
    /// `--plan`
    pub plan: bool,
    /// `--json`
    pub json: bool,
    begun: Instant,
}

impl Context {
    /// The AWS clients, in the region of gyron.toml.
    pub async fn aws(&self) -> Aws {
        Aws::connect(&self.config.tables.region, Patience::new(&self.console, &self.stop)).await
    }

    /// The registry in the bucket of gyron.toml.
    #[must_use]
    pub fn registry(&self, aws: &Aws) -> Registry {
        Registry::new(aws, &self.config.tables.bucket, self.config.app())
    }

    /// The records beside gyron.toml.
    #[must_use]
    pub fn records(&self) -> Records {
        Records::new(&self.config.root, self.config.app(), self.config.env.as_deref())
    }

    /// The tags of what this run makes; `lives` is for what is temporary.
    #[must_use]
    pub fn tags(&self, step: Step, lives: Option<std::time::Duration>, mut more: Vec<(String, String)>) -> Tags {
        // Whose leases say whether it is in use.
        more.push((BUCKET.to_owned(), self.config.tables.bucket.clone()));
        let expires = lives.and_then(|lives| {
            let now = jiff::Timestamp::now();
            now.checked_add(lives).ok().map(|at| format!("{at:.0}"))
        });
        Tags { app: self.config.app().to_owned(), step: step.name().to_owned(), run: self.run.clone(), expires, more }
    }

    /// Keeps what no commit holds out of a protected environment.
    ///
    /// # Errors
    /// Refused (3): the version is of a dirty work tree, and the environment's table says `protected = true`.
    pub fn check_protected(&self, version: &Version) -> Result<()> {
        if !(version.dirty && self.config.tables.protected) {
            return Ok(());
        }
        let env = self.config.env.as_deref().unwrap_or("the environment");
        let why = format!("{} is of a work tree that no commit holds, and {env} is protected", version.name);
        Err(Failure::refused(why).hint("commit, then package, bake and test again"))
    }

    /// Says how the plan goes, on stdout; the step then ends without having touched anything.
    ///
    /// # Errors
    /// Defect (70) where stdout can't be written.
    pub fn show_plan(&self, lines: &[String]) -> Result<()> {
        let text = if self.json {
            serde_json::json!({ "plan": lines }).to_string()
        } else {
            lines.iter().map(|line| format!("would {line}")).collect::<Vec<_>>().join("\n")
        };
        self.print(text)
    }

    /// Makes the step's record of what is so, writes it to `.gyron` and to the registry, and prints the result.
    ///
    /// # Errors
    /// As [`Records::write`] and [`Registry::publish`].
    pub async fn record<F: Facts>(
        &self,
        registry: &Registry,
        version: &Version,
        after: Option<&Digest>,
        facts: F,
        short: &str,
    ) -> Result<Record<F>> {
        let env = self.config.env.clone().filter(|_| F::STEP.in_environment());
        let so = So { app: self.config.app().to_owned(), version: version.clone(), env, after: after.cloned(), facts };
        let record = Record::seal(so, self.happened())?;
        registry.publish(&record).await?;
        self.records().write(&record)?;
        self.print_result(&record, short)?;
        Ok(record)
    }

    /// Prints a record with `--json`, else the short result.
    ///
    /// # Errors
    /// Defect (70) where stdout can't be written.
    pub fn print_result(&self, record: &impl Serialize, short: &str) -> Result<()> {
        let text = if self.json {
            serde_json::to_string(record).or_fail(|| Failure::defect("a record can't be written as JSON"))?
        } else {
            short.to_owned()
        };
        self.print(text)
    }

    fn print(&self, text: String) -> Result<()> {
        self.console.result(text).or_fail(|| Failure::defect("stdout can't be written"))
    }

    fn happened(&self) -> Happened {
        Happened {
            at: format!("{:.0}", jiff::Timestamp::now()),
            milliseconds: u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            run: self.run.clone(),
            host: nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            gyron: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// Runs a step: settings, signals, the work, and its end in words and as an exit code.
pub fn run(common: &Common, work: impl AsyncFnOnce(&Context) -> Result<()>) -> ExitCode {
    let console = Console::new();
    let begun = Instant::now();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return end(&console, &Failure::defect("no threads can be had").because(error)),
    };
    let done = runtime.block_on(async {
        let stop = Stop::listen().or_fail(|| Failure::defect("signals can't be listened to"))?;
        let mut overrides = Override::from_variables(std::env::vars())?;
        for text in &common.set {
            overrides.push(Override::from_flag(text)?);
        }
        let folder = std::path::absolute(&common.folder)
            .or_fail(|| Failure::usage(format!("{} is no folder", common.folder.display())))?;
        let config = Config::find(&folder, common.env.as_deref(), &overrides)?;
        let context = Context {
            config,
            console: console.clone(),
            stop,
            run: run_id(),
            plan: common.plan,
            json: common.json,
            begun,
        };
        work(&context).await
    });
    // A reader thread that is stuck on a pipe must not hold up the end.
    runtime.shutdown_background();
    match done {
        Ok(()) => Exit::Done.into(),
        Err(failure) => end(&console, &failure),
    }
}

fn end(console: &Console, failure: &Failure) -> ExitCode {
    console.say(failure.report().trim_end());
    failure.exit().into()
}

/// Time and chance: sorts by time, and never meets another.
fn run_id() -> String {
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    format!("{seconds:x}{:08x}", rand::random::<u32>())
}

/// Says a step's phase and, when it ends, how long it took.
#[derive(Debug)]
pub struct Phase<'a> {
    console: &'a Console,
    begun: Instant,
}

impl<'a> Phase<'a> {
    /// Begins to count.
    #[must_use]
    pub fn begin(console: &'a Console) -> Self {
        Phase { console, begun: Instant::now() }
    }

    /// Says what is done and how long it took since the last one.
    pub fn done(&mut self, what: impl AsRef<str>) {
        self.console.say(format!("  {} ({})", what.as_ref(), span(self.begun.elapsed())));
        self.begun = Instant::now();
    }
}
