//! The `circleci` command inside a job: the environment CLI, as far as jobs on this machine need it
//! (<https://circleci.com/docs/guides/toolkit/environment-cli-usage-guide/>).

pub mod oidc;
mod release;
mod subst;
mod tests_split;

use std::ffi::OsString;
use std::io::Read as _;
use std::path::Path;

use clap::{Args, Parser, Subcommand, ValueEnum};
use gyron_core::failure::{Failure, OrFail, Result};

use super::run::globbed;

/// The names under which this program is that command.
pub const NAMES: [&str; 2] = ["circleci", "circleci-agent"];

/// The variable that names the file by which a step halts its job.
pub const HALT: &str = "CIRCLE_INTERNAL_HALT";

/// The variable that names the file in which deploy markers are kept.
pub const RELEASES: &str = "CIRCLE_INTERNAL_RELEASES";

/// Whether the program was called by one of its names.
#[must_use]
pub fn is_called(program: &std::ffi::OsStr) -> bool {
    Path::new(program).file_name().is_some_and(|name| NAMES.iter().any(|own| name == *own))
}

/// CircleCI's environment CLI, of gyron-rehearse
#[derive(Debug, Parser)]
#[command(name = "circleci", version)]
struct Called {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Environment variables
    #[command(subcommand)]
    Env(Env),
    /// The step that runs
    #[command(subcommand, alias = "task")]
    Step(Step),
    /// Other commands of the agent
    #[command(subcommand)]
    Run(Run),
    /// Tests, for parallel jobs
    #[command(subcommand)]
    Tests(Tests),
    /// The version
    Version,
}

#[derive(Debug, Subcommand)]
enum Env {
    /// Puts variables' values for $NAME and ${NAME} in the text, or in what comes on standard input
    Subst { text: Option<String> },
}

#[derive(Debug, Subcommand)]
enum Step {
    /// Ends the job as a success once this step has ended
    Halt,
}

#[derive(Debug, Subcommand)]
enum Run {
    /// Deploy markers
    #[command(subcommand)]
    Release(Release),
    /// OpenID Connect tokens
    #[command(subcommand)]
    Oidc(Oidc),
}

#[derive(Debug, Subcommand)]
enum Release {
    /// Plans a deployment
    Plan {
        /// The deployment's name, unique within the workflow
        name: Option<String>,
        #[command(flatten)]
        what: What,
        /// It is a rollback
        #[arg(long)]
        rollback: bool,
    },
    /// Tells how it goes
    Update {
        /// The deployment's name
        name: Option<String>,
        /// running, success, failed or canceled
        #[arg(long, value_enum, ignore_case = true)]
        status: Status,
        /// Why it failed
        #[arg(long)]
        failure_reason: Option<String>,
    },
    /// Logs a deployment without following it
    Log(What),
}

/// What is deployed, and where.
#[derive(Debug, Args)]
struct What {
    /// `default` unless told
    #[arg(long)]
    environment_name: Option<String>,
    /// The project's name unless told
    #[arg(long)]
    component_name: Option<String>,
    /// The version
    #[arg(long)]
    target_version: Option<String>,
    /// `default` unless told
    #[arg(long)]
    namespace: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Status {
    Running,
    Success,
    Failed,
    Canceled,
}

#[derive(Debug, Subcommand)]
enum Oidc {
    /// Prints a new token
    Get {
        /// More claims, as a JSON object
        #[arg(long)]
        claims: Option<String>,
        /// How long it lives: an hour unless told
        #[arg(long)]
        ttl: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
enum Tests {
    /// Prints the files that match
    Glob {
        /// `*`, `**`, `?`, `[…]` and `{…}`
        #[arg(required = true)]
        patterns: Vec<String>,
    },
    /// Prints this node's share of the lines of a file, or of standard input
    Split(tests_split::Split),
}

/// Does what a step has called the command for.
///
/// # Errors
/// Usage (2), in words.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Result<()> {
    let variable = |name: &str| std::env::var(name).ok();
    match Called::parse_from(args).command {
        Command::Env(Env::Subst { text }) => {
            let (text, newline) = match text {
                Some(text) => (text, "\n"),
                None => (standard_input()?, ""),
            };
            anstream::print!("{}{newline}", subst::fill_in(&text, variable)?);
            Ok(())
        }
        Command::Step(Step::Halt) => {
            let file = variable(HALT).ok_or_else(|| Failure::usage("there is no job to halt here"))?;
            std::fs::write(&file, "").or_fail(|| Failure::program(format!("can't write {file}")))
        }
        Command::Run(Run::Release(release)) => release::mark(release, variable),
        Command::Run(Run::Oidc(Oidc::Get { claims, ttl })) => {
            let more = claims
                .map(|claims| serde_json::from_str(&claims).or_fail(|| Failure::usage("--claims is no JSON object")));
            let lives = ttl.map(|ttl| oidc::ttl(&ttl)).transpose()?;
            anstream::println!("{}", oidc::mint(&variable, Some(oidc::More { claims: more.transpose()?, lives })));
            Ok(())
        }
        Command::Tests(Tests::Glob { patterns }) => {
            for pattern in patterns {
                for file in globbed(Path::new("."), &pattern)? {
                    if Path::new(&file).is_file() {
                        anstream::println!("{}", file.display());
                    }
                }
            }
            Ok(())
        }
        Command::Tests(Tests::Split(split)) => split.run(standard_input),
        Command::Version => {
            anstream::println!("{} (gyron-rehearse)", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    }
}

fn standard_input() -> Result<String> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).or_fail(|| Failure::usage("standard input can't be read"))?;
    Ok(text)
}
