//! Commands and invocations in the shapes of SSM's answers.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::documents::PLUGIN;
use super::ledger::{Command, Invocation};
use super::output;
use super::status::{self, State, epoch};

/// What the answers need to know of the cloud.
#[derive(Clone, Debug)]
pub struct Place {
    /// The region.
    pub region: String,
    /// The endpoint's URL without a trailing slash: S3 is path-style behind it.
    pub endpoint: String,
}

/// The `Command` of SendCommand and ListCommands.
#[must_use]
pub fn command(command: &Command, place: &Place) -> Value {
    let states = command.states();
    let (status, details) = status::of_command(&states, command.max_errors());
    let order = &command.order;
    let count = |is: fn(&State) -> bool| states.iter().filter(|state| is(state)).count();
    // AWS adds both time limits, though the page calls it the time after which the command won't begin.
    let expires = epoch(command.requested) + f64::from(order.timeout_seconds) + f64::from(order.execution_timeout);
    let mut value = json!({
        "CommandId": command.id,
        "DocumentName": order.document,
        "DocumentVersion": version(command),
        "Comment": order.comment,
        "ExpiresAfter": expires,
        "Parameters": order.parameters,
        "InstanceIds": order.instance_ids,
        "Targets": order.targets,
        "RequestedDateTime": epoch(command.requested),
        "Status": status,
        "StatusDetails": details,
        "OutputS3Region": "",
        "OutputS3BucketName": "",
        "OutputS3KeyPrefix": "",
        "MaxConcurrency": order.max_concurrency,
        "MaxErrors": order.max_errors,
        "TargetCount": states.len(),
        "CompletedCount": count(|state| state.is_final()),
        "ErrorCount": count(|state| state.is_error()),
        "DeliveryTimedOutCount": count(|state| *state == State::DeliveryTimedOut),
        "ServiceRole": "",
        "NotificationConfig": notifications(),
        "CloudWatchOutputConfig": logs(),
        "TimeoutSeconds": order.timeout_seconds,
    });
    bucket(&mut value, command, place);
    value
}

/// GetCommandInvocation.
#[must_use]
pub fn invocation_detail(command: &Command, invocation: &Invocation, online: bool, place: &Place) -> Value {
    let (status, details) = invocation.state.shown(online);
    let (stdout_url, stderr_url) = urls(command, invocation, place);
    let elapsed = match (invocation.started, invocation.finished) {
        (Some(started), Some(finished)) => {
            format!("PT{}S", (finished.as_millisecond() - started.as_millisecond()) as f64 / 1000.0)
        }
        _ => String::new(),
    };
    json!({
        "CommandId": command.id,
        "InstanceId": invocation.instance,
        "Comment": command.order.comment,
        "DocumentName": command.order.document,
        "DocumentVersion": version(command),
        "PluginName": PLUGIN,
        "ResponseCode": invocation.code.unwrap_or(-1),
        "ExecutionStartDateTime": iso(invocation.started),
        "ExecutionElapsedTime": elapsed,
        "ExecutionEndDateTime": iso(invocation.finished),
        "Status": status,
        "StatusDetails": details,
        "StandardOutputContent": output::stream(&invocation.stdout, output::STDOUT),
        "StandardOutputUrl": stdout_url,
        "StandardErrorContent": output::stream(&invocation.stderr, output::STDERR),
        "StandardErrorUrl": stderr_url,
        "CloudWatchOutputConfig": logs(),
    })
}

/// An entry of ListCommandInvocations; its plugin only with `details`.
#[must_use]
pub fn invocation(command: &Command, invocation: &Invocation, online: bool, details: bool, place: &Place) -> Value {
    let (status, status_details) = invocation.state.shown(online);
    let (stdout_url, stderr_url) = urls(command, invocation, place);
    let mut value = json!({
        "CommandId": command.id,
        "InstanceId": invocation.instance,
        "InstanceName": invocation.name,
        "Comment": command.order.comment,
        "DocumentName": command.order.document,
        "DocumentVersion": version(command),
        "RequestedDateTime": epoch(command.requested),
        "Status": status,
        "StatusDetails": status_details,
        "TraceOutput": "",
        "StandardOutputUrl": stdout_url,
        "StandardErrorUrl": stderr_url,
        "CommandPlugins": [],
        "ServiceRole": "",
        "NotificationConfig": notifications(),
        "CloudWatchOutputConfig": logs(),
    });
    if details && let Some(started) = invocation.started {
        let mut plugin = json!({
            "Name": PLUGIN,
            // A plugin has no state of its own for what happens to the delivery.
            "Status": if status == "Cancelling" { "InProgress" } else { status },
            "StatusDetails": status_details,
            "ResponseCode": invocation.code.unwrap_or(-1),
            "ResponseStartDateTime": epoch(started),
            "Output": output::both(&invocation.stdout, stderr_of(invocation)),
            "StandardOutputUrl": stdout_url,
            "StandardErrorUrl": stderr_url,
            "OutputS3Region": "",
            "OutputS3BucketName": "",
            "OutputS3KeyPrefix": "",
        });
        if let Some(finished) = invocation.finished {
            plugin["ResponseFinishDateTime"] = json!(epoch(finished));
        }
        bucket(&mut plugin, command, place);
        value["CommandPlugins"] = json!([plugin]);
    }
    value
}

/// Exit code 168 means "done, skip what would follow": the agent leaves its complaint out of the joint output.
fn stderr_of(invocation: &Invocation) -> &[u8] {
    if invocation.code == Some(168) { &[] } else { &invocation.stderr }
}

fn version(command: &Command) -> &str {
    if command.order.version.is_empty() { "$DEFAULT" } else { &command.order.version }
}

fn bucket(value: &mut Value, command: &Command, place: &Place) {
    if let Some(s3) = &command.order.s3 {
        value["OutputS3Region"] = json!(place.region);
        value["OutputS3BucketName"] = json!(s3.bucket);
        value["OutputS3KeyPrefix"] = json!(s3.prefix);
    }
}

fn urls(command: &Command, invocation: &Invocation, place: &Place) -> (String, String) {
    let Some(s3) = &command.order.s3 else { return (String::new(), String::new()) };
    let folder = s3.folder(&command.id, &invocation.instance);
    let url = |name: &str| format!("{}/{}/{folder}/{name}", place.endpoint, s3.bucket);
    (url("stdout"), url("stderr"))
}

fn iso(at: Option<Timestamp>) -> String {
    at.map(|at| at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()).unwrap_or_default()
}

fn logs() -> Value {
    json!({ "CloudWatchLogGroupName": "", "CloudWatchOutputEnabled": false })
}

fn notifications() -> Value {
    json!({ "NotificationArn": "", "NotificationEvents": [], "NotificationType": "" })
}
