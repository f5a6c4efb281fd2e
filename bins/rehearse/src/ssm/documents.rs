//! What SendCommand may ask for: its form, the one document that is served, and that document's parameters.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use super::failure::AwsError;

/// The document that is served.
pub const DOCUMENT: &str = "AWS-RunShellScript";
/// Its one plugin.
pub const PLUGIN: &str = "aws:runShellScript";

/// Document and parameters together, in bytes.
const SIZE: usize = 64 * 1024;
/// What AWS-RunShellScript itself takes of that, about.
const DOCUMENT_SIZE: usize = 1024;
/// `TimeoutSeconds` where none is given.
const DELIVERY_TIMEOUT: u32 = 3600;

/// A SendCommand that passed all checks which need no look at the instances.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// The document's name as the caller gave it.
    pub document: String,
    /// The version as the caller gave it, or empty.
    pub version: String,
    /// At most 100 characters.
    pub comment: String,
    /// Lines of the script.
    pub commands: Vec<String>,
    /// Empty for the agent's own.
    pub working_directory: String,
    /// Seconds the script may run: 1 to 172,800. The agent takes less than 5 as 3600, as the real one does.
    pub execution_timeout: u32,
    /// Seconds within which the agent must take the command: 30 to 2,592,000.
    pub timeout_seconds: u32,
    /// As given.
    pub parameters: Value,
    /// As given; empty where targets are.
    pub instance_ids: Vec<String>,
    /// As given.
    pub targets: Vec<Target>,
    /// As given: `50`, `10%`.
    pub max_concurrency: String,
    /// As given: `0`, `10%`.
    pub max_errors: String,
    /// Where the whole output goes.
    pub s3: Option<S3Output>,
}

/// A folder in S3 for output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Output {
    /// The bucket.
    pub bucket: String,
    /// Without a trailing slash; may be empty.
    pub prefix: String,
}

impl S3Output {
    /// The folder of one invocation's `stdout` and `stderr`, as the real agent names it.
    #[must_use]
    pub fn folder(&self, command: &str, instance: &str) -> String {
        let prefix = if self.prefix.is_empty() { String::new() } else { format!("{}/", self.prefix) };
        format!("{prefix}{command}/{instance}/awsrunShellScript/0.awsrunShellScript")
    }
}

/// One of `Targets`: all must hold, within one any value.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Target {
    /// `InstanceIds`, `tag:KEY` or `tag-key`.
    #[serde(default)]
    pub key: String,
    /// At most 50.
    #[serde(default)]
    pub values: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Request {
    document_name: String,
    #[serde(default)]
    instance_ids: Vec<String>,
    #[serde(default)]
    targets: Vec<Target>,
    #[serde(default)]
    document_version: String,
    document_hash: Option<String>,
    document_hash_type: Option<String>,
    timeout_seconds: Option<i64>,
    #[serde(default)]
    comment: String,
    #[serde(default)]
    parameters: BTreeMap<String, Vec<String>>,
    #[serde(rename = "OutputS3Region")]
    output_s3_region: Option<String>,
    #[serde(default, rename = "OutputS3BucketName")]
    output_s3_bucket_name: String,
    #[serde(default, rename = "OutputS3KeyPrefix")]
    output_s3_key_prefix: String,
    max_concurrency: Option<String>,
    max_errors: Option<String>,
    service_role_arn: Option<String>,
    notification_config: Option<Value>,
    cloud_watch_output_config: Option<Value>,
    alarm_configuration: Option<Value>,
}

/// Reads and checks a SendCommand.
///
/// # Errors
/// As SendCommand documents them, and `UnsupportedOperationException` for what the rehearsal can't do.
pub fn order(body: &Value) -> Result<Order, AwsError> {
    let request: Request = parse(body)?;
    document(&request)?;
    refuse_what_is_beyond(&request)?;
    targets(&request)?;

    let timeout = request.timeout_seconds.unwrap_or_else(|| DELIVERY_TIMEOUT.into());
    let timeout_seconds = u32::try_from(timeout).ok().filter(|t| (30..=2_592_000).contains(t)).ok_or_else(|| {
        AwsError::validation(format!(
            "1 validation error detected: Value '{timeout}' at 'timeoutSeconds' failed to satisfy constraint: \
             Member must have value between 30 and 2592000"
        ))
    })?;
    if request.comment.chars().count() > 100 {
        return Err(AwsError::validation(
            "1 validation error detected: Value at 'comment' failed to satisfy constraint: Member must have length \
             less than or equal to 100",
        ));
    }

    let max_concurrency = request.max_concurrency.unwrap_or_else(|| "50".to_owned());
    let max_errors = request.max_errors.unwrap_or_else(|| "0".to_owned());
    let well_formed = share(&max_concurrency, 1).is_some_and(|n| n > 0) && share(&max_errors, 1).is_some();
    if !well_formed {
        return Err(AwsError::validation("MaxConcurrency and MaxErrors must be a number or a percentage up to 100%"));
    }

    let size = DOCUMENT_SIZE + json!(request.parameters).to_string().len();
    if size > SIZE {
        return Err(AwsError::new("MaxDocumentSizeExceeded", "The size limit of a document is 64 KB."));
    }
    let mut parameters = request.parameters.clone();
    let commands = parameters.remove("commands").unwrap_or_default();
    if commands.is_empty() {
        return Err(invalid("Document AWS-RunShellScript requires the parameter commands"));
    }
    let working_directory = single(&mut parameters, "workingDirectory")?.unwrap_or_default();
    if working_directory.chars().count() > 4096 {
        return Err(invalid("parameter workingDirectory is longer than 4096 characters"));
    }
    let execution_timeout = match single(&mut parameters, "executionTimeout")? {
        None => 3600,
        Some(text) => execution_timeout(&text)
            .ok_or_else(|| invalid("parameter executionTimeout must be a number of seconds from 1 to 172800"))?,
    };
    if let Some(unknown) = parameters.keys().next() {
        return Err(invalid(&format!("Document AWS-RunShellScript does not support the parameter {unknown}")));
    }
    let references = commands.iter().chain([&working_directory]).any(|text| refers_to_the_parameter_store(text));
    if references {
        return Err(AwsError::beyond("references to Parameter Store in a command ({{ssm:NAME}})"));
    }

    Ok(Order {
        document: request.document_name,
        version: request.document_version,
        comment: request.comment,
        commands,
        working_directory,
        execution_timeout,
        timeout_seconds,
        parameters: json!(request.parameters),
        instance_ids: request.instance_ids,
        targets: request.targets,
        max_concurrency,
        max_errors,
        s3: (!request.output_s3_bucket_name.is_empty()).then(|| S3Output {
            bucket: request.output_s3_bucket_name.clone(),
            prefix: request.output_s3_key_prefix.trim_matches('/').to_owned(),
        }),
    })
}

/// Reads a request of any action strictly.
///
/// # Errors
/// `ValidationException` for a member that is missing, unknown or of another type.
pub fn parse<T: serde::de::DeserializeOwned>(body: &Value) -> Result<T, AwsError> {
    T::deserialize(body).map_err(|error| AwsError::validation(format!("the request can't be read: {error}")))
}

/// `50` or `10%` of a number of targets; `None` where it is neither. A percentage is rounded up.
#[must_use]
pub fn share(text: &str, of: usize) -> Option<usize> {
    match text.strip_suffix('%') {
        Some(percent) => percent.parse::<usize>().ok().filter(|p| *p <= 100).map(|p| (of * p).div_ceil(100)),
        None => text.parse().ok(),
    }
}

fn document(request: &Request) -> Result<(), AwsError> {
    let name = request.document_name.rsplit("document/").next().unwrap_or_default();
    if name != DOCUMENT {
        return Err(AwsError::new(
            "InvalidDocument",
            format!("the rehearsal cloud runs {DOCUMENT} only, and not {}", request.document_name),
        ));
    }
    if !["", "1", "$DEFAULT", "$LATEST"].contains(&request.document_version.as_str()) {
        return Err(AwsError::new("InvalidDocumentVersion", "the document version is not valid or doesn't exist"));
    }
    Ok(())
}

fn refuse_what_is_beyond(request: &Request) -> Result<(), AwsError> {
    let logs =
        request.cloud_watch_output_config.as_ref().is_some_and(|config| config["CloudWatchOutputEnabled"] == true);
    for (asked, what) in [
        (logs, "sending output to CloudWatch Logs (CloudWatchOutputConfig)"),
        (
            request.document_hash.is_some() || request.document_hash_type.is_some(),
            "checking a document by DocumentHash",
        ),
        (request.service_role_arn.is_some() || request.notification_config.is_some(), "notifications by SNS"),
        (request.alarm_configuration.is_some(), "stopping a command by an alarm (AlarmConfiguration)"),
    ] {
        if asked {
            return Err(AwsError::beyond(what));
        }
    }
    // Deprecated and ignored by AWS too: it finds the bucket's region by itself.
    let _ = &request.output_s3_region;
    Ok(())
}

fn targets(request: &Request) -> Result<(), AwsError> {
    match (request.instance_ids.is_empty(), request.targets.is_empty()) {
        (true, true) => return Err(invalid("either InstanceIds or Targets must be given")),
        (false, false) => return Err(invalid("InstanceIds and Targets can't both be given")),
        _ => {}
    }
    if request.instance_ids.len() > 50 {
        return Err(AwsError::validation(
            "1 validation error detected: Value at 'instanceIds' failed to satisfy constraint: Member must have \
             length less than or equal to 50",
        ));
    }
    if request.instance_ids.iter().collect::<BTreeSet<_>>().len() < request.instance_ids.len() {
        return Err(AwsError::new("DuplicateInstanceId", "You can't specify an instance ID in more than one target."));
    }
    if request.targets.len() > 5 || request.targets.iter().any(|target| target.values.len() > 50) {
        return Err(AwsError::validation("at most 5 targets with at most 50 values each can be given"));
    }
    for target in &request.targets {
        let known = target.key == "InstanceIds" || target.key == "tag-key" || target.key.strip_prefix("tag:").is_some();
        if !known {
            return Err(AwsError::beyond(&format!("targets by {}", target.key)));
        }
    }
    Ok(())
}

fn single(parameters: &mut BTreeMap<String, Vec<String>>, name: &str) -> Result<Option<String>, AwsError> {
    match parameters.remove(name).as_deref() {
        None | Some([]) => Ok(None),
        Some([value]) => Ok(Some(value.clone())),
        Some(_) => Err(invalid(&format!("parameter {name} is a String and takes one value"))),
    }
}

fn execution_timeout(text: &str) -> Option<u32> {
    let plain = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|seconds| plain && (1..=172_800).contains(seconds))
}

/// SSM would replace these before the agent sees them.
fn refers_to_the_parameter_store(text: &str) -> bool {
    text.split("{{").skip(1).any(|rest| {
        let rest = rest.trim_start();
        rest.starts_with("ssm:") || rest.starts_with("ssm-secure:")
    })
}

fn invalid(message: &str) -> AwsError {
    AwsError::new("InvalidParameters", message)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn with(changes: &[(&str, Value)]) -> Value {
        let mut body = json!({
            "DocumentName": "AWS-RunShellScript",
            "InstanceIds": ["i-0123456789abcdef0"],
            "Parameters": { "commands": ["id", "pwd"] },
        });
        for (key, value) in changes {
            body[*key] = value.clone();
        }
        body
    }

    #[test]
    fn defaults() {
        let order = order(&with(&[])).unwrap();
        assert_eq!(order.commands, ["id", "pwd"]);
        assert_eq!((order.execution_timeout, order.timeout_seconds), (3600, 3600));
        assert_eq!((order.max_concurrency.as_str(), order.max_errors.as_str()), ("50", "0"));
        assert_eq!((order.working_directory.as_str(), order.s3), ("", None));
    }

    #[test]
    fn refusals() {
        let commands = |more: Value| {
            let mut parameters = json!({ "commands": ["id"] });
            parameters.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            ("Parameters", parameters)
        };
        let table: &[(&[(&str, Value)], &str)] = &[
            (&[("DocumentName", json!("AWS-RunPowerShellScript"))], "InvalidDocument"),
            (&[("DocumentVersion", json!("7"))], "InvalidDocumentVersion"),
            (&[("Nonsense", json!("7"))], "ValidationException"),
            (&[("InstanceIds", json!([]))], "InvalidParameters"),
            (&[("Targets", json!([{ "Key": "tag:a", "Values": ["b"] }]))], "InvalidParameters"),
            (&[("InstanceIds", json!(["i-1", "i-1"]))], "DuplicateInstanceId"),
            (
                &[("InstanceIds", json!([])), ("Targets", json!([{ "Key": "resource-groups:Name", "Values": ["b"] }]))],
                "UnsupportedOperationException",
            ),
            (&[("TimeoutSeconds", json!(29))], "ValidationException"),
            (&[("TimeoutSeconds", json!(2_592_001))], "ValidationException"),
            (&[("Comment", json!("x".repeat(101)))], "ValidationException"),
            (&[("Parameters", json!({}))], "InvalidParameters"),
            (&[("Parameters", json!({ "commands": [] }))], "InvalidParameters"),
            (&[commands(json!({ "other": ["1"] }))], "InvalidParameters"),
            (&[commands(json!({ "executionTimeout": ["0"] }))], "InvalidParameters"),
            (&[commands(json!({ "executionTimeout": ["172801"] }))], "InvalidParameters"),
            (&[commands(json!({ "executionTimeout": ["+5"] }))], "InvalidParameters"),
            (&[commands(json!({ "executionTimeout": ["5", "6"] }))], "InvalidParameters"),
            (&[("Parameters", json!({ "commands": ["echo {{ ssm:secret }}"] }))], "UnsupportedOperationException"),
            (&[("Parameters", json!({ "commands": ["x".repeat(65_536)] }))], "MaxDocumentSizeExceeded"),
            (&[("MaxConcurrency", json!("0"))], "ValidationException"),
            (&[("MaxErrors", json!("101%"))], "ValidationException"),
            (
                &[("CloudWatchOutputConfig", json!({ "CloudWatchOutputEnabled": true }))],
                "UnsupportedOperationException",
            ),
            (&[("NotificationConfig", json!({}))], "UnsupportedOperationException"),
        ];
        for (changes, code) in table {
            let error = order(&with(changes)).unwrap_err();
            assert_eq!(error.code, *code, "{changes:?}: {}", error.message);
        }
    }

    #[test]
    fn accepted() {
        let table: &[&[(&str, Value)]] = &[
            &[
                ("DocumentName", json!("arn:aws:ssm:us-east-1::document/AWS-RunShellScript")),
                ("DocumentVersion", json!("$LATEST")),
            ],
            &[("CloudWatchOutputConfig", json!({ "CloudWatchOutputEnabled": false }))],
            &[("Parameters", json!({ "commands": ["echo '{{ jinja }}'"], "executionTimeout": ["172800"] }))],
            &[("Parameters", json!({ "commands": ["x".repeat(60_000)] }))],
            &[("InstanceIds", json!([])), ("Targets", json!([{ "Key": "tag:a", "Values": ["b"] }]))],
        ];
        for changes in table {
            order(&with(changes)).unwrap_or_else(|error| panic!("{changes:?}: {}", error.message));
        }
    }

    #[test]
    fn shares() {
        for (text, of, want) in [
            ("50", 3, Some(50)),
            ("10%", 3, Some(1)),
            ("100%", 3, Some(3)),
            ("0%", 3, Some(0)),
            ("x", 3, None),
            ("-1", 3, None),
        ] {
            assert_eq!(share(text, of), want, "{text}");
        }
    }
}
