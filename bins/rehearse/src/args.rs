//! What the user typed, as plain data.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use gyron_core::config::schema::Span;

/// A cloud with bodies on one Linux machine: instances are containers, balancers balance, and no AWS account is needed.
#[derive(Debug, Parser)]
#[command(name = "gyron-rehearse", version, propagate_version = true)]
pub struct Args {
    /// Which cloud: several can stand side by side
    #[arg(long, global = true, env = "GYRON_CLOUD", default_value = "default", value_parser = cloud_name)]
    pub cloud: String,

    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring a cloud up, in the background; with one up already, mend what lacks
    Up {
        /// The region whose instances get bodies
        #[arg(long, env = "GYRON_REHEARSE_REGION", default_value = "us-east-1")]
        region: String,
    },
    /// Print the shell's `export` lines that point every AWS tool at the cloud
    Env,
    /// Say what stands: instances, target groups with their targets' health, balancers with addresses for a browser
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print every AWS call so far, as JSON lines: service, action, status, milliseconds
    Calls {
        /// Only those signed with this access key
        #[arg(long, value_name = "ACCESS-KEY")]
        key: Option<String>,
    },
    /// Set faults on a running cloud, each as AWS fails; list and clear them
    #[command(subcommand)]
    Fault(Box<FaultCommand>),
    /// Run a command where the steps run: it reaches the endpoint, the listeners and package registries, no instance
    Exec {
        /// Where the instances are instead: for tools of others that come in by ssh, from a machine of the VPC's own
        #[arg(long)]
        in_vpc: bool,
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
    /// Make what the owner of an AWS account has before gyron comes: the bucket and instance profiles that gyron.toml names
    Prepare {
        /// The app's folder
        #[arg(short = 'C', long = "directory", value_name = "FOLDER", default_value = ".")]
        folder: PathBuf,
    },
    /// A CircleCI on this machine: packs orbs, expands an app's config, runs its jobs
    #[command(subcommand)]
    Ci(Box<Ci>),
    /// Take all of it away: processes, containers, images, network
    Down,
    /// Install what a cloud needs and build the base images, without bringing one up
    Setup,
    /// The daemon itself, in the foreground; `up` starts it
    #[command(hide = true)]
    Serve,
}

/// What goes wrong from now on, until it is cleared; setting a fault prints its id.
#[derive(Debug, Subcommand)]
pub enum FaultCommand {
    /// Refuse calls as the service refuses what comes too fast: RequestLimitExceeded, Throttling, SlowDown …
    Throttle {
        /// Calls of this action only
        action: Option<String>,
        #[command(flatten)]
        hit: Hit,
    },
    /// Refuse calls with an error: the service's own internal one unless told
    Fail {
        /// Calls of this action only
        action: Option<String>,
        /// The error code
        #[arg(long, value_name = "CODE")]
        error: Option<String>,
        /// Its HTTP status; unless told what such a code usually has
        #[arg(long, value_name = "NUMBER", requires = "error")]
        status: Option<u16>,
        /// Its sentence, where callers read that
        #[arg(long, value_name = "TEXT", requires = "error")]
        message: Option<String>,
        #[command(flatten)]
        hit: Hit,
    },
    /// Serve calls later
    Delay {
        /// By so much: 500ms, 5s
        by: Span,
        /// Calls of this action only
        action: Option<String>,
        #[command(flatten)]
        hit: Hit,
    },
    /// Let EC2's Describe calls show what was made or changed only after a while, and until then as it was before
    Stale {
        /// After so long: 30s
        by: Span,
        #[command(flatten)]
        scope: Scope,
    },
    /// Let RunInstances find no capacity (InsufficientInstanceCapacity)
    NoCapacity {
        /// For this instance type; every type unless told
        #[arg(long = "type", value_name = "TYPE")]
        types: Vec<String>,
        /// In this availability zone; every zone unless told
        #[arg(long = "zone", value_name = "ZONE")]
        zones: Vec<String>,
        #[command(flatten)]
        scope: Scope,
    },
    /// Keep the SSM agents of instances that start from now on from ever coming online
    NoAgent {
        #[command(flatten)]
        scope: Scope,
    },
    /// Kill the process that calls (SIGKILL), where it runs in the steps' network
    Kill {
        /// Calls of this action only
        action: Option<String>,
        /// Before the call has any effect
        #[arg(long, required_unless_present = "after", conflicts_with = "after")]
        before: bool,
        /// After it has had its effect, before the answer is there
        #[arg(long)]
        after: bool,
        #[command(flatten)]
        hit: Hit,
    },
    /// Print the faults that are set, with how many calls they have hit
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Take faults away: all of them unless told
    Clear {
        /// These
        ids: Vec<String>,
        /// Those of this access key
        #[arg(long, value_name = "ACCESS-KEY", conflicts_with = "ids")]
        key: Option<String>,
    },
}

/// Which calls are hit; all of them unless told.
#[derive(Debug, clap::Args)]
pub struct Hit {
    /// Only the n-th from now on
    #[arg(long, value_name = "N", group = "which")]
    pub nth: Option<u64>,
    /// Every m-th
    #[arg(long, value_name = "M", group = "which")]
    pub every: Option<u64>,
    /// The first k
    #[arg(long, value_name = "K", group = "which")]
    pub first: Option<u64>,
    /// This share of them by chance: 0.5
    #[arg(long, value_name = "SHARE", group = "which")]
    pub share: Option<f64>,
    /// Decides which ones chance takes
    #[arg(long, value_name = "NUMBER", default_value_t = 1, requires = "share")]
    pub seed: u64,
    /// Calls of this service only, as a signature names it: ec2, s3, ssm, elasticloadbalancing, autoscaling …
    #[arg(long, value_name = "SERVICE")]
    pub service: Option<String>,
    /// Calls of S3 only that are about an object with this in its bucket and key
    #[arg(long, value_name = "TEXT")]
    pub object: Option<String>,
    #[command(flatten)]
    pub scope: Scope,
}

/// Whom a fault concerns; everybody unless told.
#[derive(Debug, clap::Args)]
pub struct Scope {
    /// Only calls signed with this access key, and what was made with it
    #[arg(long, value_name = "ACCESS-KEY")]
    pub key: Option<String>,
}

/// What the CircleCI of this machine does.
#[derive(Debug, Subcommand)]
pub enum Ci {
    /// Print an orb's source as one document, as `circleci orb pack` does
    Pack {
        /// The orb's folder; gyron's own unless told
        folder: Option<PathBuf>,
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        orbs: Orbs,
    },
    /// Print the config with everything resolved, as CircleCI's compiled view does
    Expand {
        #[command(flatten)]
        pipeline: Pipeline,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Say whether the config can be expanded, or whether the orb in the folder is right
    Validate(Pipeline),
    /// Run the config's jobs on this machine, in their order
    Run {
        #[command(flatten)]
        pipeline: Pipeline,
        /// This workflow alone
        #[arg(long, value_name = "NAME")]
        workflow: Option<String>,
        /// This job alone, with nothing that it requires
        #[arg(long, value_name = "NAME")]
        job: Option<String>,
        /// Approve this job beforehand
        #[arg(long, value_name = "NAME")]
        approve: Vec<String>,
        /// The file of contexts: TOML, a table each; the cloud's own unless told
        #[arg(long, value_name = "FILE")]
        contexts: Option<PathBuf>,
    },
    /// Compile configs for the real circleci CLI: prints the CIRCLE_HOST to give it
    Serve {
        /// Where to listen
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
        listen: std::net::SocketAddr,
        #[command(flatten)]
        orbs: Orbs,
    },
}

/// What the pipeline is of.
#[derive(Debug, clap::Args)]
pub struct Pipeline {
    /// The app's folder
    #[arg(short = 'C', long = "directory", value_name = "FOLDER", default_value = ".")]
    pub folder: PathBuf,
    /// The config; .circleci/config.yml of the app's repo unless told
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The branch that the pipeline is of; main unless told
    #[arg(long, conflicts_with = "tag")]
    pub branch: Option<String>,
    /// The tag that it is of, instead
    #[arg(long)]
    pub tag: Option<String>,
    /// A pipeline parameter
    #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub parameter: Vec<(String, String)>,
    #[command(flatten)]
    pub orbs: Orbs,
}

/// Where orbs come from.
#[derive(Debug, clap::Args)]
pub struct Orbs {
    /// An orb by its reference, and the folder with its source: circleci/node@7.1.0=./node-orb
    #[arg(long = "orb", value_name = "REFERENCE=FOLDER", value_parser = reference_and_folder)]
    pub orbs: Vec<(String, PathBuf)>,
    /// The folder with gyron's archives and their sums, which go into its orb; as scripts/release writes it
    #[arg(long, value_name = "FOLDER", env = "GYRON_ARCHIVES")]
    pub archives: Option<PathBuf>,
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').ok_or("it is NAME=VALUE")?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}

fn reference_and_folder(text: &str) -> Result<(String, PathBuf), String> {
    let (reference, folder) = text.split_once('=').ok_or("it is REFERENCE=FOLDER")?;
    if !reference.contains('/') || !reference.contains('@') {
        return Err("a reference is NAMESPACE/NAME@VERSION".into());
    }
    Ok((reference.to_owned(), folder.into()))
}

/// A name becomes a folder's name and part of messages.
fn cloud_name(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if text.is_empty() || text.len() > 40 || !text.chars().all(good) || text.starts_with('-') {
        return Err("a cloud's name has 1 to 40 letters, digits, - and _".into());
    }
    Ok(text.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn all_behind_exec_is_the_commands() {
        let args = Args::parse_from(["gyron-rehearse", "--cloud", "a", "exec", "--", "ls", "--cloud", "b", "-l"]);
        assert_eq!(args.cloud, "a");
        assert!(matches!(args.command, Command::Exec { command, .. } if command == ["ls", "--cloud", "b", "-l"]));
        let args = Args::parse_from(["gyron-rehearse", "exec", "--in-vpc", "ls", "--in-vpc", "-l"]);
        assert!(matches!(args.command, Command::Exec { in_vpc: true, command } if command == ["ls", "--in-vpc", "-l"]));
    }

    #[test]
    fn a_cloud_name_is_no_path() {
        for name in ["..", "a/b", "", "-x", &"x".repeat(41)] {
            assert!(cloud_name(name).is_err(), "{name}");
        }
        assert_eq!(cloud_name("ci-1_b").unwrap(), "ci-1_b");
    }
}
