//! What Terraform says in its stream of JSON lines (`-json`), and what a person gets to read of it.

use std::time::Duration;

use gyron_core::console::span;
use serde::Deserialize;

/// One line of the stream.
///
/// Source: developer.hashicorp.com/terraform/internals/machine-readable-ui, whose major version is 1. Unknown types and
/// keys are ignored, as it asks for.
#[derive(Debug, Deserialize)]
pub struct Line {
    #[serde(rename = "@message", default)]
    message: String,
    #[serde(rename = "type", default)]
    kind: String,
    ui: Option<String>,
    change: Option<PlannedChange>,
    hook: Option<Hook>,
    diagnostic: Option<Diagnostic>,
}

#[derive(Debug, Deserialize)]
struct PlannedChange {
    resource: Resource,
    action: String,
}

#[derive(Debug, Deserialize)]
struct Hook {
    resource: Option<Resource>,
    action: Option<String>,
    elapsed_seconds: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Resource {
    addr: String,
}

/// What Terraform has to say about an error or a doubt.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Diagnostic {
    /// `error` or `warning`.
    pub severity: String,
    /// In one line, where Terraform wrote it; the provider puts everything here.
    pub summary: String,
    /// The rest; may be empty.
    #[serde(default)]
    pub detail: String,
    /// The resource, where there is one.
    pub address: Option<String>,
}

/// A change that a plan holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// `create`, `update`, `replace`, `delete` …
    pub action: String,
    /// The resource's address in the module.
    pub address: String,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.action, self.address)
    }
}

/// What a line means for gyron.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The stream's own version: `1.2`.
    Version(String),
    /// A change of the plan.
    Planned(Change),
    /// An error or a warning.
    Diagnostic(Diagnostic),
    /// Something is done: a line for a person.
    Done(String),
    /// Something goes on: the state of a wait.
    State(String),
    /// Nothing that anybody needs.
    Nothing,
}

/// Reads a line of the stream; what is no JSON means nothing.
#[must_use]
pub fn read(text: &str) -> Event {
    let Ok(line) = serde_json::from_str::<Line>(text) else { return Event::Nothing };
    match line.kind.as_str() {
        "version" => line.ui.map_or(Event::Nothing, Event::Version),
        "diagnostic" => line.diagnostic.map_or(Event::Nothing, Event::Diagnostic),
        "planned_change" => match line.change {
            Some(change) if shown(&change.resource.addr) => {
                Event::Planned(Change { action: change.action, address: change.resource.addr })
            }
            _ => Event::Nothing,
        },
        "apply_start" | "apply_progress" | "refresh_start" | "state_lock_acquire" => Event::State(line.message),
        "apply_complete" => line.hook.and_then(done).map_or(Event::Nothing, Event::Done),
        _ => Event::Nothing,
    }
}

fn done(hook: Hook) -> Option<String> {
    let address = hook.resource?.addr;
    if !shown(&address) {
        return None;
    }
    let verb = match hook.action?.as_str() {
        "create" => "created",
        "update" => "updated",
        "delete" => "deleted",
        _ => return None,
    };
    let took = Duration::try_from_secs_f64(hook.elapsed_seconds.unwrap_or_default()).unwrap_or_default();
    Some(if took.as_secs() < 5 { format!("{verb} {address}") } else { format!("{verb} {address} ({})", span(took)) })
}

/// `terraform_data` is how a module remembers something: nothing of it is on AWS.
fn shown(address: &str) -> bool {
    !address.starts_with("terraform_data.")
}

#[cfg(test)]
mod tests {
    use super::{Change, Event, read};

    #[test]
    fn the_stream_is_read_as_terraform_1_11_writes_it() {
        let version =
            r#"{"@level":"info","@message":"Terraform 1.11.4","terraform":"1.11.4","type":"version","ui":"1.2"}"#;
        assert_eq!(read(version), Event::Version("1.2".to_owned()));
        let planned = r#"{"@message":"aws_lb.edge: Plan to create","type":"planned_change",
            "change":{"resource":{"addr":"aws_lb.edge","resource_type":"aws_lb"},"action":"create"}}"#;
        let change = Change { action: "create".to_owned(), address: "aws_lb.edge".to_owned() };
        assert_eq!(read(planned), Event::Planned(change));
        let progress = r#"{"@message":"aws_lb.edge: Still creating... [10s elapsed]","type":"apply_progress",
            "hook":{"resource":{"addr":"aws_lb.edge"},"action":"create","elapsed_seconds":10}}"#;
        assert_eq!(read(progress), Event::State("aws_lb.edge: Still creating... [10s elapsed]".to_owned()));
        let complete = r#"{"@message":"aws_lb.edge: Creation complete after 1m0s","type":"apply_complete",
            "hook":{"resource":{"addr":"aws_lb.edge"},"action":"create","id_key":"id","elapsed_seconds":60}}"#;
        assert_eq!(read(complete), Event::Done("created aws_lb.edge (1m)".to_owned()));
        assert_eq!(read(r#"{"type":"something_new","@message":"x"}"#), Event::Nothing);
        assert_eq!(read("Successfully configured the backend"), Event::Nothing);
    }

    #[test]
    fn what_the_module_only_remembers_is_not_shown() {
        let planned =
            r#"{"type":"planned_change","change":{"resource":{"addr":"terraform_data.body"},"action":"create"}}"#;
        assert_eq!(read(planned), Event::Nothing);
    }
}
