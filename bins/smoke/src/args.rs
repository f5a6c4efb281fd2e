//! What the user typed, as plain data.

use clap::Parser;
use gyron_core::step::{Common, exit_codes};

/// Asks the launched colour the checks of gyron.toml, before it gets any traffic: through the balancer and on each
/// instance.
///
/// Through the balancer each check must be answered as expected as often in a row as there are instances, and twice more,
/// so that each of them has very likely been met. "Not ready yet" (no answer, 502, 503, 504, slower than `within`) is
/// asked again until smoke.deadline; a wrong answer fails at once.
#[derive(Debug, Parser)]
#[command(name = "gyron-smoke", version, after_help = exit_codes())]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Asks this place instead, with no records read or written: http://127.0.0.1:9000
    #[arg(long, value_name = "URL")]
    pub(crate) target: Option<String>,
    /// With --target: what {version} stands for, instead of the version derived from git
    #[arg(long, value_name = "VERSION", requires = "target")]
    pub(crate) release: Option<String>,
}
