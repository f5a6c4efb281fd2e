//! What an instance that never became healthy has to say: the end of its console and of its journal.

use std::time::Duration;

use base64::Engine as _;
use gyron_core::agent;
use gyron_core::aws::Aws;
use gyron_core::ids::InstanceId;
use gyron_core::run_command::{Script, run};
use gyron_core::step::Context;

/// How many lines of each log are shown.
const LINES: usize = 20;

/// How many characters of a line are shown: a console has keys in it.
const WIDTH: usize = 240;

/// How long the instance may take to say it: the person who waits has waited for the deadline already.
const DEADLINE: Duration = Duration::from_secs(15);

/// The units that failed or start over and over, and the end of the journal: an app that crashes in a loop often says why
/// as plain information. What the agent that brings this says of itself explains nothing.
const SCRIPT: &str = "systemctl list-units --state=failed,activating --all --no-legend --plain --no-pager
journalctl -b -n 80 --no-pager -o short | grep -v amazon-ssm-agent | tail -n 18";

/// The last lines of its journal or, where no agent answers, of its console, indented for a failure's detail. What can't
/// be had is left out: this only explains a failure, and must not become one.
pub async fn of(context: &Context, aws: &Aws, instance: &InstanceId) -> String {
    if let Some(journal) = journal(context, aws, instance).await.filter(|journal| !journal.trim().is_empty()) {
        return section(&format!("the last lines of {instance}:"), &journal);
    }
    let console = console(aws, instance).await.unwrap_or_default();
    section(&format!("the end of {instance}'s console:"), &console)
}

async fn console(aws: &Aws, instance: &InstanceId) -> Option<String> {
    let output = aws.ec2.get_console_output().instance_id(instance.as_str()).send().await.ok()?;
    // AWS sends it as base64, whatever is in it.
    let bytes = base64::engine::general_purpose::STANDARD.decode(output.output()?.trim()).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

async fn journal(context: &Context, aws: &Aws, instance: &InstanceId) -> Option<String> {
    let (console, stop) = (&context.console, &context.stop);
    agent::online(aws, console, stop, instance, Duration::from_secs(2)).await.ok()?;
    let script =
        Script { what: format!("reading the journal of {instance}"), text: SCRIPT.to_owned(), deadline: DEADLINE };
    let reply = tokio::time::timeout(DEADLINE, run(aws, console, stop, instance, &script)).await.ok()?.ok()?;
    Some(reply.stdout)
}

fn section(title: &str, log: &str) -> String {
    let lines: Vec<_> = log.lines().map(str::trim_end).filter(|line| !line.trim().is_empty()).collect();
    let last = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default();
    if last.is_empty() {
        return String::new();
    }
    let shown: Vec<_> = last.iter().map(|line| format!("  | {}", printable(line))).collect();
    format!("  {title}\n{}\n", shown.join("\n"))
}

/// Without what would move a terminal's cursor or ring its bell.
fn printable(line: &str) -> String {
    line.chars().filter(|letter| !letter.is_control() || *letter == '\t').take(WIDTH).collect()
}

#[cfg(test)]
mod tests {
    use super::section;

    #[test]
    fn only_the_end_is_shown_and_nothing_of_nothing() {
        let log: String = (1..=30).map(|at| format!("line {at}\r\n\n")).collect();
        let shown = section("console:", &log);
        assert!(shown.starts_with("  console:\n  | line 11\n") && shown.ends_with("  | line 30\n"), "{shown}");
        assert_eq!(section("console:", "\n\n"), "");
        assert_eq!(section("c:", "\u{1b}[0;32mOK"), "  c:\n  | [0;32mOK\n");
    }
}
