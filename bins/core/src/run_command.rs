//! SSM Run Command: a script that runs on an instance, where no ssh leads.

use std::time::Duration;

use aws_sdk_ssm::types::CommandInvocationStatus;
use tokio::time::Instant;

use crate::aws::{Aws, OrAws as _, code};
use crate::consistency::LAG;
use crate::console::Console;
use crate::failure::{Failure, Result};
use crate::ids::InstanceId;
use crate::instance;
use crate::stop::Stop;
use crate::wait::{Look, Wait, poll_until};

/// A script to run as root by `sh`.
#[derive(Clone, Debug)]
pub struct Script {
    /// What it does, as heartbeat and SSM's console show it; at most 100 characters reach SSM.
    pub what: String,
    /// The script. Document and parameters take at most 64 KB together.
    pub text: String,
    /// The longest that it may run.
    pub deadline: Duration,
}

/// What came of a script: SSM keeps 24,000 characters of stdout and 8,000 of stderr.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The script's exit status.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// How often it is looked whether the instance is still there: of one that is gone SSM goes on saying that the script runs.
const LOOK: Duration = Duration::from_secs(30);

/// Runs a script on an instance and brings back what it printed; any exit status of the script is a reply.
///
/// # Errors
/// AWS (4): the command can't be sent, can't be delivered, or was cancelled by somebody else. Deadline (6).
pub async fn run(aws: &Aws, console: &Console, stop: &Stop, instance: &InstanceId, script: &Script) -> Result<Reply> {
    let seconds = script.deadline.as_secs().max(1);
    let comment: String = script.what.chars().take(100).collect();
    let sent = aws
        .ssm
        .send_command()
        .document_name("AWS-RunShellScript")
        .instance_ids(instance.as_str())
        .comment(comment)
        .timeout_seconds(60)
        .parameters("commands", vec![script.text.clone()])
        .parameters("executionTimeout", vec![seconds.to_string()])
        .send()
        .await
        .or_aws("SendCommand")?;
    let id = sent.command().and_then(|command| command.command_id()).unwrap_or_default().to_owned();
    let wait = Wait::new(&script.what, script.deadline + Duration::from_secs(90));
    let wait = wait.every(Duration::from_millis(700)).soon();
    let (begun, mut looked) = (Instant::now(), Instant::now());
    let reply = poll_until(console, stop, &wait, async || {
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            instance::still_there(aws, instance, &script.what).await?;
        }
        let asked = aws.ssm.get_command_invocation().command_id(&id).instance_id(instance.as_str()).send().await;
        let seen = match asked {
            // A command is not to be seen at once everywhere.
            Err(error) if code(&error) == Some("InvocationDoesNotExist") && begun.elapsed() < LAG => {
                return Ok(Look::Pending("on its way".to_owned()));
            }
            other => other.or_aws("GetCommandInvocation")?,
        };
        let reply = || Reply {
            status: seen.response_code(),
            stdout: seen.standard_output_content().unwrap_or_default().to_owned(),
            stderr: seen.standard_error_content().unwrap_or_default().to_owned(),
        };
        let details = seen.status_details().unwrap_or_default();
        match seen.status() {
            Some(CommandInvocationStatus::Success) => Ok(Look::Done(reply())),
            Some(CommandInvocationStatus::Failed) if details == "Failed" => Ok(Look::Done(reply())),
            Some(CommandInvocationStatus::TimedOut) => {
                Err(Failure::deadline(format!("{} was not done after {seconds} s ({details})", script.what)))
            }
            Some(CommandInvocationStatus::Cancelled | CommandInvocationStatus::Failed) => {
                Err(Failure::aws(format!("{} came to nothing: {details}", script.what)))
            }
            other => {
                let state = other.map_or("pending", CommandInvocationStatus::as_str);
                Ok(Look::Pending(state.to_owned()))
            }
        }
    })
    .await;
    if let Err(failure) = &reply
        && failure.exit() != crate::exit::Exit::Aws
    {
        // The instance may live on (smoke asks production machines): don't leave the script running on it.
        let _ = aws.ssm.cancel_command().command_id(&id).send().await;
    }
    reply
}
