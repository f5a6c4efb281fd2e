//! What a run prints: every line with its job, and a log of each step.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use gyron_core::console::Console;
use gyron_core::failure::{Failure, OrFail, Result};

/// The lines of one job.
#[derive(Clone, Debug)]
pub struct Lines {
    console: Console,
    prefix: String,
}

impl Lines {
    /// Those of the job `name`; names are padded to `width`, so that the lines of several jobs stand in one column.
    #[must_use]
    pub fn of(console: &Console, name: &str, width: usize) -> Self {
        Lines { console: console.clone(), prefix: format!("{name:width$} |") }
    }

    /// A line of the runner's own; bold on a terminal.
    pub fn say(&self, line: &str) {
        let bold = anstyle::Style::new().bold();
        self.console.say(format!("{} {bold}{line}{bold:#}", self.prefix).trim_end());
    }

    /// A line of a step's output.
    pub fn output(&self, line: &str) {
        self.console.say(format!("{}   {line}", self.prefix).trim_end());
    }
}

/// The log of a step: all that it printed.
#[derive(Debug)]
pub struct Log(File);

impl Log {
    /// Begins one.
    ///
    /// # Errors
    /// Usage (2) where it can't be written.
    pub fn begin(path: &Path) -> Result<Self> {
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| File::create(path));
        Ok(Log(made.or_fail(|| Failure::usage(format!("can't write {}", path.display())))?))
    }

    /// Adds a line. A disk that is full does not end a job: its output is on the terminal, too.
    pub fn line(&mut self, line: &str) {
        let _ = writeln!(self.0, "{line}");
    }
}

/// A file's name for a step: its number, and what of its name a file's name can hold.
#[must_use]
pub fn log_name(number: usize, step: &str) -> String {
    let plain: String = step.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(40).collect();
    format!("{number:02}-{}.log", plain.trim_matches('-').to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::log_name;

    #[test]
    fn a_logs_name_says_which_step_it_is_of() {
        assert_eq!(log_name(3, "Install gyron 0.1"), "03-install-gyron-0-1.log");
        assert_eq!(log_name(12, "echo $HOME/../x"), "12-echo--home----x.log");
    }
}
