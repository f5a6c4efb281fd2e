//! What the user typed, as plain data.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

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
    Calls,
    /// Run a command where the steps run: it reaches the endpoint, the listeners and package registries, no instance
    Exec {
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
    /// Make what the owner of an AWS account has before gyron comes: the bucket and instance profiles that gyron.toml names
    Prepare {
        /// The app's folder
        #[arg(short = 'C', long = "directory", value_name = "FOLDER", default_value = ".")]
        folder: PathBuf,
    },
    /// Take all of it away: processes, containers, images, network
    Down,
    /// Install what a cloud needs and build the base images, without bringing one up
    Setup,
    /// The daemon itself, in the foreground; `up` starts it
    #[command(hide = true)]
    Serve,
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
        assert!(matches!(args.command, Command::Exec { command } if command == ["ls", "--cloud", "b", "-l"]));
    }

    #[test]
    fn a_cloud_name_is_no_path() {
        for name in ["..", "a/b", "", "-x", &"x".repeat(41)] {
            assert!(cloud_name(name).is_err(), "{name}");
        }
        assert_eq!(cloud_name("ci-1_b").unwrap(), "ci-1_b");
    }
}
