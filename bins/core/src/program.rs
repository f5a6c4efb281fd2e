//! Programs that gyron runs: argv, a process group of their own, streamed output; a signal is forwarded, then grace,
//! then kill.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::sync::mpsc;

use crate::exit::Exit;
use crate::failure::{Failure, OrFail as _, Result};
use crate::stop::Stop;

/// How long a program may take to end by itself once it was asked to.
const GRACE: Duration = Duration::from_secs(20);

/// How many of a program's last lines an error shows.
const LAST_LINES: usize = 20;

/// A program and its arguments.
#[derive(Debug)]
pub struct Program {
    name: String,
    path: PathBuf,
    args: Vec<OsString>,
    folder: Option<PathBuf>,
    env: Vec<(OsString, OsString)>,
    without: Vec<OsString>,
    patience: Duration,
    grace: Duration,
    ask_with: Option<Signal>,
    file: Option<PathBuf>,
    alone: bool,
    longest_silence: Option<Duration>,
}

/// Which of the two streams a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// Its status.
    pub status: ExitStatus,
    /// Its last lines, of both streams as they came.
    pub last_lines: Vec<String>,
}

impl Program {
    /// Finds the program on PATH.
    ///
    /// # Errors
    /// Program (5) where it isn't there; `hint` says how it is installed.
    pub fn find(name: &str, hint: &str) -> Result<Self> {
        let path = which::which(name)
            .or_fail(|| Failure::program(format!("{name} is not on this machine's PATH")).hint(hint))?;
        Ok(Self::at(name, path))
    }

    /// The program at this path, called `name` in messages.
    #[must_use]
    pub fn at(name: &str, path: impl Into<PathBuf>) -> Self {
        Program {
            name: name.to_owned(),
            path: path.into(),
            args: Vec::new(),
            folder: None,
            env: Vec::new(),
            without: Vec::new(),
            patience: Duration::ZERO,
            grace: GRACE,
            ask_with: None,
            file: None,
            alone: false,
            longest_silence: None,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Runs it in this folder.
    #[must_use]
    pub fn folder(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// Sets a variable for it.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Keeps a variable of gyron's own environment from it.
    #[must_use]
    pub fn without(mut self, name: impl AsRef<OsStr>) -> Self {
        self.without.push(name.as_ref().to_owned());
        self
    }

    /// Gives it none of gyron's own environment, only what is set here.
    #[must_use]
    pub fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// Ends it when it has printed nothing for so long.
    #[must_use]
    pub fn silent_for_at_most(mut self, longest: Duration) -> Self {
        self.longest_silence = Some(longest);
        self
    }

    /// How it is asked to end: it may go on for `patience` first, since its end is near and a half-done work is worse;
    /// then comes the signal, and after `grace` the kill.
    #[must_use]
    pub fn ends(mut self, patience: Duration, signal: Signal, grace: Duration) -> Self {
        (self.patience, self.ask_with, self.grace) = (patience, Some(signal), grace);
        self
    }

    /// Has it write both streams to a file, from which the lines are read: should gyron be killed, a program that has work
    /// to put in order doesn't die of a pipe that nobody reads. All lines then count as standard output.
    #[must_use]
    pub fn writes_to(mut self, file: &Path) -> Self {
        self.file = Some(file.to_owned());
        self
    }

    /// Runs it to its end and hands over each line as it comes.
    ///
    /// # Errors
    /// Program (5) where it can't be started; deadline (6) where it was silent for too long; the signal (130, 143) that
    /// asked to stop, once the program has ended.
    pub async fn run(&self, stop: &Stop, mut line: impl FnMut(Stream, &str)) -> Result<Ended> {
        stop.check()?;
        let mut command = Command::new(&self.path);
        if self.alone {
            command.env_clear();
        }
        command.args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
        for name in &self.without {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        if let Some(path) = &self.file {
            let unwritable = || Failure::usage(format!("can't write {}", path.display()));
            let file = std::fs::File::create(path).or_fail(unwritable)?;
            command.stdout(file.try_clone().or_fail(unwritable)?).stderr(file);
        }
        die_with_parent(&mut command);
        let mut child = command.spawn().or_fail(|| Failure::program(format!("{} can't be started", self.name)))?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);

        let (tell, mut lines) = mpsc::channel(256);
        if let Some(out) = child.stdout.take() {
            tokio::spawn(read(out, Stream::Out, tell.clone()));
        }
        if let Some(err) = child.stderr.take() {
            tokio::spawn(read(err, Stream::Err, tell.clone()));
        }
        let over = Arc::new(AtomicBool::new(false));
        if let Some(path) = &self.file {
            tokio::spawn(follow(path.clone(), over.clone(), tell.clone()));
        }
        drop(tell);

        let mut last_lines = VecDeque::with_capacity(LAST_LINES);
        let mut asked = None;
        let mut status = None;
        let mut open = true;
        let mut signal = None;
        let mut too_silent = false;
        let next_at = tokio::time::sleep(Duration::MAX);
        let silence = tokio::time::sleep(self.longest_silence.unwrap_or(Duration::MAX));
        tokio::pin!(next_at, silence);
        while status.is_none() || open {
            tokio::select! {
                by = stop.asked(), if asked.is_none() => {
                    asked = Some(by);
                    let same = if by == Exit::Interrupted { Signal::SIGINT } else { Signal::SIGTERM };
                    signal = Some(self.ask_with.unwrap_or(same));
                    next_at.as_mut().reset(tokio::time::Instant::now() + self.patience);
                }
                () = &mut silence, if asked.is_none() && !too_silent && status.is_none() => {
                    too_silent = true;
                    signal = Some(self.ask_with.unwrap_or(Signal::SIGTERM));
                    next_at.as_mut().reset(tokio::time::Instant::now());
                }
                () = &mut next_at, if asked.is_some() || too_silent => {
                    send(group, signal.take().unwrap_or(Signal::SIGKILL));
                    next_at.as_mut().reset(tokio::time::Instant::now() + self.grace);
                }
                next = lines.recv(), if open => match next {
                    Some((stream, text)) => {
                        line(stream, &text);
                        if let Some(longest) = self.longest_silence {
                            silence.as_mut().reset(tokio::time::Instant::now() + longest);
                        }
                        if last_lines.len() == LAST_LINES {
                            last_lines.pop_front();
                        }
                        last_lines.push_back(text);
                    }
                    None => open = false,
                },
                ended = child.wait(), if status.is_none() => {
                    status = Some(ended.or_fail(|| Failure::defect(format!("lost sight of {}", self.name)))?);
                    over.store(true, Ordering::Release);
                    // What it left behind in its group would hold the pipes open for ever. After a signal it is left its
                    // grace: a shell dies of it at once, while what it ran cleans up.
                    if asked.is_none() {
                        send(group, Signal::SIGTERM);
                    }
                }
            }
        }
        stop.check()?;
        if let (true, Some(longest)) = (too_silent, self.longest_silence) {
            let longest = crate::console::span(longest);
            return Err(Failure::deadline(format!("{} was ended: it had printed nothing for {longest}", self.name)));
        }
        let status = status.ok_or_else(|| Failure::defect(format!("{} ended without a status", self.name)))?;
        Ok(Ended { status, last_lines: last_lines.into() })
    }

    /// Runs it, and makes an end other than success a failure that shows its status and its last lines.
    ///
    /// # Errors
    /// As [`Program::run`]; program (5) where it did not end with success.
    pub async fn succeed(&self, stop: &Stop, line: impl FnMut(Stream, &str)) -> Result<()> {
        let ended = self.run(stop, line).await?;
        if ended.status.success() { Ok(()) } else { Err(self.failed(&ended)) }
    }

    /// Runs it and takes its whole standard output.
    ///
    /// # Errors
    /// As [`Program::succeed`].
    pub async fn output(&self, stop: &Stop) -> Result<String> {
        let mut output = String::new();
        self.succeed(stop, |stream, line| {
            if stream == Stream::Out {
                output.push_str(line);
                output.push('\n');
            }
        })
        .await?;
        Ok(output)
    }

    /// The failure that says how it ended.
    #[must_use]
    pub fn failed(&self, ended: &Ended) -> Failure {
        let lines: Vec<_> = ended.last_lines.iter().map(|line| format!("  | {line}")).collect();
        let failure = Failure::program(format!("{} failed ({})", self.name, ended.status));
        if lines.is_empty() { failure } else { failure.detail(lines.join("\n")) }
    }
}

#[expect(unsafe_code, reason = "prctl between fork and exec: the one way to have a child end with its parent")]
fn die_with_parent(command: &mut Command) {
    // SAFETY: prctl is async-signal-safe and touches only the child itself.
    unsafe {
        command.pre_exec(|| nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).map_err(Into::into));
    }
}

fn send(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        // A group that is already gone needs no signal.
        let _ = killpg(group, signal);
    }
}

async fn read(stream: impl AsyncRead + Unpin, from: Stream, tell: mpsc::Sender<(Stream, String)>) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line);
                if tell.send((from, text.trim_end_matches(['\n', '\r']).to_owned())).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Reads the lines that a program appends to a file, until it is over.
async fn follow(path: PathBuf, over: Arc<AtomicBool>, tell: mpsc::Sender<(Stream, String)>) {
    let Ok(file) = tokio::fs::File::open(path).await else { return };
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        // Asked before reading: what was written before the end is then read for certain.
        let last = over.load(Ordering::Acquire);
        match reader.read_until(b'\n', &mut line).await {
            Ok(0) if !last => tokio::time::sleep(Duration::from_millis(100)).await,
            Ok(0) | Err(_) if line.is_empty() => return,
            Err(_) => return,
            Ok(_) if line.ends_with(b"\n") || last => {
                let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
                line.clear();
                if tell.send((Stream::Out, text)).await.is_err() {
                    return;
                }
            }
            // Half a line: the rest is being written.
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{Program, Stream};
    use crate::stop::Stop;

    fn shell(script: &str) -> Program {
        Program::find("sh", "").unwrap().args(["-c", script])
    }

    #[tokio::test]
    async fn lines_come_from_both_streams() {
        let mut seen = Vec::new();
        shell("echo out; echo err >&2")
            .succeed(&Stop::never(), |stream, line| seen.push((stream, line.to_owned())))
            .await
            .unwrap();
        seen.sort_by_key(|(stream, _)| *stream == Stream::Err);
        assert_eq!(seen, [(Stream::Out, "out".to_owned()), (Stream::Err, "err".to_owned())]);
    }

    #[tokio::test]
    async fn a_failure_shows_status_and_last_lines() {
        let failure = shell("echo no such table >&2; exit 3").succeed(&Stop::never(), |_, _| {}).await.unwrap_err();
        insta::assert_snapshot!(failure.report(), @"
        error: sh failed (exit status: 3)
          | no such table
        ");
    }

    #[tokio::test]
    async fn what_a_program_leaves_in_the_background_does_not_hold_it_up() {
        let begun = std::time::Instant::now();
        shell("sleep 60 & echo done").succeed(&Stop::never(), |_, _| {}).await.unwrap();
        assert!(begun.elapsed().as_secs() < 30);
    }

    #[tokio::test]
    async fn silence_ends_a_program_and_each_line_gives_it_time() {
        let silent_for = |script: &str| shell(script).silent_for_at_most(std::time::Duration::from_millis(800));
        silent_for("for n in 1 2 3 4; do echo $n; sleep 0.4; done").succeed(&Stop::never(), |_, _| {}).await.unwrap();
        let failure = silent_for("echo begun; sleep 60").succeed(&Stop::never(), |_, _| {}).await.unwrap_err();
        insta::assert_snapshot!(failure.report(), @"error: sh was ended: it had printed nothing for 800ms");
    }

    #[tokio::test]
    async fn a_program_alone_has_the_environment_that_it_is_given() {
        let shell = shell("echo ${HOME-none} $GIVEN").alone().env("GIVEN", "this");
        assert_eq!(shell.output(&Stop::never()).await.unwrap(), "none this\n");
    }

    #[tokio::test]
    async fn lines_come_from_a_file_too_to_the_last_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut seen = Vec::new();
        shell("echo one; sleep 0.3; printf tw; sleep 0.3; echo o >&2; printf three")
            .writes_to(&folder.path().join("log"))
            .succeed(&Stop::never(), |_, line| seen.push(line.to_owned()))
            .await
            .unwrap();
        assert_eq!(seen, ["one", "two", "three"]);
    }

    #[test]
    fn a_missing_program_is_said_with_what_installs_it() {
        let failure = Program::find("gyron-no-such-program", "apt-get install it").unwrap_err();
        insta::assert_snapshot!(failure.report(), @"
        error: gyron-no-such-program is not on this machine's PATH
          caused by: cannot find binary path
        hint: apt-get install it
        ");
    }
}
