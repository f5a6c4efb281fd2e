//! A program of the machine's that the rehearsal cannot do without, run to its end.

use std::ffi::{OsStr, OsString};
use std::process::Stdio;
use std::time::Duration;

use gyron_core::failure::{Failure, OrFail, Result};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// A command line that is about to run. The child dies with the future that waits for it.
#[derive(Clone, Debug)]
pub struct Tool {
    program: OsString,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    input: Option<String>,
    deadline: Duration,
}

/// How a tool ended, whatever its exit code.
#[derive(Debug)]
pub struct Ending {
    /// The exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub errors: String,
}

impl Tool {
    /// A program by name, looked up on PATH and in the system's own folders, or by path.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Tool {
            program: program.as_ref().into(),
            arguments: Vec::new(),
            variables: Vec::new(),
            input: None,
            deadline: Duration::from_secs(120),
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.as_ref().into(), value.as_ref().into()));
        self
    }

    /// What it reads on standard input; nothing unless told.
    #[must_use]
    pub fn input(mut self, text: impl Into<String>) -> Self {
        self.input = Some(text.into());
        self
    }

    /// After how long it is killed and the run has failed; 2 min unless told.
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The command line as a person would type it.
    #[must_use]
    pub fn line(&self) -> String {
        std::iter::once(&self.program)
            .chain(&self.arguments)
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Runs it and returns its standard output.
    ///
    /// # Errors
    /// Where it is missing, ends with anything but 0, or takes too long: with its command line and the end of what it said.
    pub async fn run(self) -> Result<String> {
        let line = self.line();
        let program = self.program.to_string_lossy().into_owned();
        let ending = self.ending().await?;
        if ending.code == Some(0) {
            return Ok(ending.output);
        }
        let how = ending.code.map_or_else(|| "was killed".into(), |code| format!("ended with {code}"));
        let said = if ending.errors.trim().is_empty() { ending.output } else { ending.errors };
        Err(Failure::program(format!("{program} {how}")).detail(format!("  $ {line}\n{}", last_lines(&said, 20))))
    }

    /// Runs it and says how it ended.
    ///
    /// # Errors
    /// Where it is missing or takes too long.
    pub async fn ending(self) -> Result<Ending> {
        let program = self.program.to_string_lossy().into_owned();
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .envs(self.variables)
            .env("LC_ALL", "C.UTF-8")
            .env("PATH", search_path())
            .stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().or_fail(|| {
            Failure::program(format!("can't run {program}")).hint("gyron-rehearse setup installs what is missing")
        })?;
        let pipe = child.stdin.take();
        let feed = async {
            if let (Some(mut pipe), Some(text)) = (pipe, self.input) {
                // A tool that ends before it has read everything says why by itself.
                let _ = pipe.write_all(text.as_bytes()).await;
            }
        };
        let both = async { tokio::join!(feed, child.wait_with_output()).1 };
        let output = tokio::time::timeout(self.deadline, both)
            .await
            .map_err(|_| Failure::deadline(format!("{program} took longer than {} s", self.deadline.as_secs())))?
            .or_fail(|| Failure::program(format!("can't run {program}")))?;
        Ok(Ending {
            code: output.status.code(),
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

/// PATH with the system's own folders behind it: a person's shell often lacks sbin.
#[must_use]
pub fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    if !path.is_empty() {
        path.push(":");
    }
    path.push("/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin");
    path
}

/// The last `count` lines of a text.
#[must_use]
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failing_tool_is_told_with_its_command_line_and_what_it_said() {
        let failure = Tool::new("sh").args(["-c", "echo broken >&2; exit 3"]).run().await.unwrap_err();
        let report = failure.report();
        assert!(report.contains("sh ended with 3"), "{report}");
        assert!(report.contains("$ sh -c echo broken") && report.contains("\nbroken"), "{report}");
    }

    #[tokio::test]
    async fn input_is_fed_and_output_returned() {
        assert_eq!(Tool::new("cat").input("a\nb\n").run().await.unwrap(), "a\nb\n");
    }

    #[tokio::test]
    async fn a_tool_that_hangs_is_a_deadline_passed() {
        let failure = Tool::new("sleep").args(["60"]).within(Duration::from_millis(50)).run().await.unwrap_err();
        assert_eq!(failure.exit().code(), 6);
    }

    #[test]
    fn last_lines_are_the_last() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("a", 2), "a");
    }
}
