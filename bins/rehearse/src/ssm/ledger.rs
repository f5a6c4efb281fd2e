//! All commands with their invocations: what SendCommand began, agents took and ended, and time overtook.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::documents::{Order, share};
use super::failure::AwsError;
use super::status::{self, State};

/// So many commands are remembered (AWS: 30 days); the oldest finished ones go first.
const KEPT: usize = 1000;
/// Of each stream so many bytes are kept: a little more than is ever shown.
const SHOWN: usize = 32 * 1024;

/// What the real agent says of a document worker that is gone, as after a crash or a reboot of the machine.
const LOST: &[u8] = b"document process failed unexpectedly: document worker timed out , \
    check [ssm-document-worker]/[ssm-session-worker] log for crash reason";

/// A command.
#[derive(Clone, Debug)]
pub struct Command {
    /// A UUID.
    pub id: String,
    /// What was asked.
    pub order: Order,
    /// When.
    pub requested: Timestamp,
    /// One an instance, in the order in which they are served.
    pub invocations: Vec<Invocation>,
}

/// One instance's part of a command.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The instance's id.
    pub instance: String,
    /// The instance's `Name` tag, or empty.
    pub name: String,
    /// Where it stands.
    pub state: State,
    /// Whether its turn has come, by `MaxConcurrency`: its agent may take it.
    pub sent: bool,
    /// When the agent took it.
    pub started: Option<Timestamp>,
    /// When the agent said it had ended.
    pub finished: Option<Timestamp>,
    /// The script's exit code; `None` until the agent said it.
    pub code: Option<i32>,
    /// The beginning of stdout.
    pub stdout: Vec<u8>,
    /// The beginning of stderr.
    pub stderr: Vec<u8>,
}

/// What an agent is given to do.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Task {
    /// The command's id.
    pub id: String,
    /// Lines of the script.
    pub commands: Vec<String>,
    /// Empty for the agent's own.
    pub working_directory: String,
    /// Seconds.
    pub execution_timeout: u32,
    /// Where the whole output goes.
    pub s3: Option<Upload>,
}

/// Where an agent puts the whole output.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Upload {
    /// The bucket.
    pub bucket: String,
    /// The folder of `stdout` and `stderr`.
    pub folder: String,
}

/// What an agent says at a script's end.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    /// The command's id.
    pub id: String,
    /// How it ended.
    pub status: Ending,
    /// The exit code; 137 where the agent stopped it.
    pub code: i32,
    /// The beginning of stdout, base64.
    pub stdout: String,
    /// The beginning of stderr, base64.
    pub stderr: String,
}

/// The ways in which a script ends.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with 0.
    Success,
    /// By itself, otherwise.
    Failed,
    /// Killed at its timeout.
    TimedOut,
    /// Killed since it was cancelled.
    Cancelled,
}

/// The ledger.
#[derive(Debug, Default)]
pub struct Ledger {
    commands: VecDeque<Command>,
}

impl Command {
    /// The states of its invocations.
    #[must_use]
    pub fn states(&self) -> Vec<State> {
        self.invocations.iter().map(|invocation| invocation.state).collect()
    }

    /// `MaxErrors` as a number.
    #[must_use]
    pub fn max_errors(&self) -> usize {
        share(&self.order.max_errors, self.invocations.len()).unwrap_or(0)
    }

    fn is_final(&self) -> bool {
        self.invocations.iter().all(|invocation| invocation.state.is_final())
    }

    /// Sends to as many instances as `MaxConcurrency` lets; after too many errors to no more of them.
    fn send(&mut self) {
        let limit = share(&self.order.max_concurrency, self.invocations.len()).unwrap_or(50).max(1);
        let errors = self.invocations.iter().filter(|i| i.state.is_error()).count();
        let stops = errors > self.max_errors();
        let mut busy = self.invocations.iter().filter(|i| i.sent && !i.state.is_final()).count();
        for invocation in self.invocations.iter_mut().filter(|i| i.state == State::Pending && !i.sent) {
            if stops {
                invocation.state = State::Terminated;
            } else if busy < limit {
                invocation.sent = true;
                busy += 1;
            }
        }
    }
}

impl Ledger {
    /// Writes down a new command; `instances` with their `Name` tags.
    pub fn begin(&mut self, order: Order, instances: Vec<(String, String)>, id: String, now: Timestamp) -> &Command {
        let invocations = instances.into_iter().map(|(instance, name)| Invocation {
            instance,
            name,
            state: State::Pending,
            sent: false,
            started: None,
            finished: None,
            code: None,
            stdout: Vec::new(),
            stderr: Vec::new(),
        });
        let mut command = Command { id, order, requested: now, invocations: invocations.collect() };
        command.send();
        while self.commands.len() >= KEPT {
            // Where all are unfinished the oldest goes all the same: the bound holds.
            let oldest = self.commands.iter().position(Command::is_final).unwrap_or(0);
            self.commands.remove(oldest);
        }
        self.commands.push_back(command);
        &self.commands[self.commands.len() - 1]
    }

    /// All commands, the newest first, as AWS lists them.
    pub fn commands(&self) -> impl Iterator<Item = &Command> {
        self.commands.iter().rev()
    }

    /// A command by its id.
    #[must_use]
    pub fn command(&self, id: &str) -> Option<&Command> {
        self.commands.iter().find(|command| command.id == id)
    }

    /// Lets time and the machine have their way; `gone` says whether an instance no longer exists.
    pub fn overtake(&mut self, gone: impl Fn(&str) -> bool, now: Timestamp) {
        for command in &mut self.commands {
            let waited = now.as_second() - command.requested.as_second();
            let (timeout, execution) = (command.order.timeout_seconds, command.order.execution_timeout);
            for invocation in &mut command.invocations {
                if let Some(state) =
                    status::overtaken(invocation.state, gone(&invocation.instance), waited, timeout, execution)
                {
                    invocation.state = state;
                }
            }
            command.send();
        }
    }

    /// What waits for an instance's agent.
    #[must_use]
    pub fn tasks(&self, instance: &str) -> Vec<Task> {
        let waits = |command: &&Command| {
            command.invocations.iter().any(|i| i.instance == instance && i.state == State::Pending && i.sent)
        };
        let task = |command: &Command| Task {
            id: command.id.clone(),
            commands: command.order.commands.clone(),
            working_directory: command.order.working_directory.clone(),
            execution_timeout: command.order.execution_timeout,
            s3: command
                .order
                .s3
                .as_ref()
                .map(|s3| Upload { bucket: s3.bucket.clone(), folder: s3.folder(&command.id, instance) }),
        };
        self.commands.iter().filter(waits).map(task).collect()
    }

    /// What an instance's agent is to stop.
    #[must_use]
    pub fn cancellations(&self, instance: &str) -> Vec<String> {
        let stops = |command: &&Command| {
            command.invocations.iter().any(|i| i.instance == instance && i.state == State::Cancelling)
        };
        self.commands.iter().filter(stops).map(|command| command.id.clone()).collect()
    }

    /// An agent takes a task: `false` where it must not (cancelled or overtaken meanwhile).
    pub fn take(&mut self, id: &str, instance: &str, now: Timestamp) -> bool {
        let Some(invocation) = self.invocation_mut(id, instance) else { return false };
        if invocation.state != State::Pending {
            return false;
        }
        invocation.state = State::InProgress;
        invocation.started = Some(now);
        true
    }

    /// An agent names all it has in hand: what it took and no longer has was lost with its process.
    pub fn holds(&mut self, instance: &str, holding: &[String], now: Timestamp) {
        for command in &mut self.commands {
            if holding.contains(&command.id) {
                continue;
            }
            for invocation in command.invocations.iter_mut().filter(|i| i.instance == instance) {
                if matches!(invocation.state, State::InProgress | State::Cancelling) {
                    invocation.state = State::Failed;
                    invocation.code = Some(1);
                    invocation.finished = Some(now);
                    invocation.stderr = LOST.to_vec();
                }
            }
        }
    }

    /// An agent says how a script ended; what was overtaken meanwhile stays as it is.
    pub fn end(&mut self, instance: &str, report: &Report, now: Timestamp) {
        let Some(invocation) = self.invocation_mut(&report.id, instance) else { return };
        if !matches!(invocation.state, State::InProgress | State::Cancelling) {
            return;
        }
        let bytes = |text: &str| {
            let mut bytes = STANDARD.decode(text).unwrap_or_default();
            bytes.truncate(SHOWN);
            bytes
        };
        invocation.state = match report.status {
            Ending::Success => State::Success,
            Ending::Failed => State::Failed,
            Ending::TimedOut => State::ExecutionTimedOut,
            Ending::Cancelled => State::Cancelled,
        };
        invocation.code = Some(report.code);
        invocation.finished = Some(now);
        invocation.stdout = bytes(&report.stdout);
        invocation.stderr = bytes(&report.stderr);
    }

    /// CancelCommand: what waits is cancelled, what runs is to be stopped, what has ended stays. No instances: all.
    ///
    /// # Errors
    /// `InvalidCommandId`; `InvalidInstanceId` for one that the command isn't for.
    pub fn cancel(&mut self, id: &str, instances: &[String]) -> Result<(), AwsError> {
        let command = self.commands.iter_mut().find(|command| command.id == id);
        let command = command.ok_or_else(|| AwsError::new("InvalidCommandId", "The command ID isn't valid."))?;
        if let Some(other) = instances.iter().find(|id| !command.invocations.iter().any(|i| i.instance == **id)) {
            return Err(AwsError::new("InvalidInstanceId", format!("the command is not for {other}")));
        }
        for invocation in &mut command.invocations {
            if instances.is_empty() || instances.contains(&invocation.instance) {
                invocation.state = match invocation.state {
                    State::Pending => State::Cancelled,
                    State::InProgress => State::Cancelling,
                    other => other,
                };
            }
        }
        Ok(())
    }

    fn invocation_mut(&mut self, id: &str, instance: &str) -> Option<&mut Invocation> {
        let command = self.commands.iter_mut().find(|command| command.id == id)?;
        command.invocations.iter_mut().find(|invocation| invocation.instance == instance)
    }
}
