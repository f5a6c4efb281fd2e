//! `circleci tests split`: this node's share of a list
//! (<https://circleci.com/docs/guides/optimize/use-the-circleci-cli-to-split-tests/>).

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use gyron_core::failure::{Failure, OrFail, Result};

/// The command's flags.
#[derive(Debug, Args)]
pub struct Split {
    /// Which node this is
    #[arg(long, env = "CIRCLE_NODE_INDEX", default_value_t = 0)]
    index: usize,
    /// How many there are
    #[arg(long, env = "CIRCLE_NODE_TOTAL", default_value_t = 1)]
    total: usize,
    /// How the shares are weighed
    #[arg(long, value_enum, default_value = "name")]
    split_by: By,
    /// The list, a line each; standard input unless told
    file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    Name,
    Filesize,
    Timings,
}

impl Split {
    /// Prints the share.
    ///
    /// # Errors
    /// Usage (2): no such node, or a list that can't be read.
    pub fn run(&self, standard_input: impl FnOnce() -> Result<String>) -> Result<()> {
        let text = match &self.file {
            Some(file) => {
                std::fs::read_to_string(file).or_fail(|| Failure::usage(format!("can't read {}", file.display())))?
            }
            None => standard_input()?,
        };
        if self.total == 0 || self.index >= self.total {
            return Err(Failure::usage(format!("there is no node {} of {}", self.index, self.total)));
        }
        if self.split_by == By::Timings {
            // What CircleCI says, too, where it has stored no results of earlier runs.
            anstream::eprintln!("no timings found: split by name");
        }
        let names: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let size = |name: &str| std::fs::metadata(name).map(|meta| meta.len()).unwrap_or_default();
        for name in share(&names, self.index, self.total, (self.split_by == By::Filesize).then_some(&size)) {
            anstream::println!("{name}");
        }
        Ok(())
    }
}

/// One node's share: by turns in the order of the names, or the heaviest first to whoever has least.
fn share<'a>(names: &[&'a str], index: usize, total: usize, weigh: Option<&dyn Fn(&str) -> u64>) -> Vec<&'a str> {
    let mut names = names.to_vec();
    names.sort_unstable();
    let Some(weigh) = weigh else {
        return names.into_iter().skip(index).step_by(total).collect();
    };
    let mut heavy: Vec<(u64, &str)> = names.into_iter().map(|name| (weigh(name), name)).collect();
    heavy.sort_by_key(|(weight, name)| (std::cmp::Reverse(*weight), *name));
    let mut loads: BTreeMap<usize, u64> = (0..total).map(|node| (node, 0)).collect();
    let mut own = Vec::new();
    for (weight, name) in heavy {
        let least = loads.iter().min_by_key(|(node, load)| (**load, **node)).map_or(0, |(node, _)| *node);
        *loads.entry(least).or_default() += weight;
        if least == index {
            own.push(name);
        }
    }
    own
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::share;

    proptest! {
        #[test]
        fn every_test_is_in_one_share(count in 0usize..40, total in 1usize..6, by_size: bool) {
            let names: Vec<String> = (0..count).map(|n| format!("t{n}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let weigh = |name: &str| name.len() as u64;
            let weigh: Option<&dyn Fn(&str) -> u64> = if by_size { Some(&weigh) } else { None };
            let mut all: Vec<&str> = (0..total).flat_map(|index| share(&names, index, total, weigh)).collect();
            all.sort_unstable();
            let mut wanted = names.clone();
            wanted.sort_unstable();
            prop_assert_eq!(all, wanted);
        }
    }
}
