//! What the user typed, as plain data.

use clap::{Parser, ValueEnum};
use gyron_core::config::schema::Span;
use gyron_core::failure::{Failure, Result};
use gyron_core::step::{Common, exit_codes};

/// Bakes a release into an AMI with the app's own Ansible playbook; prints the image's id.
#[derive(Debug, Parser)]
#[command(name = "gyron-bake", version, after_help = exit_codes())]
pub(crate) struct Args {
    /// What to do, instead of a bake
    #[arg(value_enum)]
    pub(crate) what: Option<What>,
    /// With diff: two images, each by id or version; the newest, and the one before, where they are left out
    #[arg(value_name = "IMAGE", num_args = 0..=2)]
    pub(crate) of: Vec<String>,
    #[command(flatten)]
    pub(crate) common: Common,
    /// Bakes anew, also where an image of the same fingerprint is there
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Keeps the builder of a bake that fails, to look at it: an hour, or as long as `=4h` says
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "1h")]
    pub(crate) keep_on_failure: Option<Span>,
    /// With sweep and prune: takes away what they say would go
    #[arg(long)]
    pub(crate) yes: bool,
}

/// Instead of a bake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// Show what killed bakes and specs of the app have left, with age and cost; `--yes` takes it away. What a live bake owns is
    /// never touched
    Sweep,
    /// Show every image and why it stays or goes; `--yes` takes those away that go. The newest of each layer stay, what is in use,
    /// and what these stand on
    Prune,
    /// Say whether there is anything newer than gyron.lock pins (exit 1)
    Outdated,
    /// Pin in gyron.lock what gyron.toml asks for, as it is found now
    Update,
    /// Show which packages changed between two images
    Diff,
}

impl Args {
    /// Refuses what nothing can be made of: a flag of something else, forgotten words before it, must not start a bake.
    pub(crate) fn check(&self) -> Result<()> {
        let removes = matches!(self.what, Some(What::Sweep | What::Prune));
        let (stray, hint) = match self.what {
            what if !self.of.is_empty() && what != Some(What::Diff) => (self.of.join(" "), "gyron-bake --help"),
            _ if self.yes && !removes => ("--yes".to_owned(), "it goes with sweep and prune: gyron-bake sweep --yes"),
            Some(_) if self.fresh => ("--fresh".to_owned(), "it goes with a bake alone: gyron-bake --fresh"),
            Some(_) if self.keep_on_failure.is_some() => {
                ("--keep-on-failure".to_owned(), "it goes with a bake alone: gyron-bake --keep-on-failure")
            }
            _ => return Ok(()),
        };
        Err(Failure::usage(format!("nothing can be made of `{stray}` here")).hint(hint))
    }
}
