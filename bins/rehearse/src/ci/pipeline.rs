//! What is known of the pipeline: its values and its parameters.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::fault::{Fault, Faults};
use super::nearest::{did_you_mean, nearest};
use super::parameters::{Parameters, Type};
use super::source::At;
use super::yaml::{Map, Node, Value};

/// What a run says of itself.
#[derive(Debug, Clone, Default)]
pub struct Pipeline {
    /// Pipeline values by their names behind `pipeline.`: `git.branch`, `number`, … One that isn't given is null.
    pub values: BTreeMap<String, Json>,
    /// Pipeline parameters as given by whoever triggered it; text is taken as the declared type where it reads like it.
    pub parameters: BTreeMap<String, Json>,
}

/// The names behind `pipeline.`, see <https://circleci.com/docs/guides/orchestrate/pipeline-variables/#pipeline-values>.
const VALUES: &[&str] = &[
    "id",
    "number",
    "name",
    "definition.id",
    "integration_source",
    "project.git_url",
    "project.slug",
    "project.type",
    "git.tag",
    "git.branch",
    "git.branch.is_default",
    "git.revision",
    "git.base_revision",
    "git.repo_url",
    "git.repo_owner",
    "git.repo_name",
    "git.repo_id",
    "git.commit.url",
    "git.commit.author_login",
    "git.commit.author_name",
    "git.commit.author_email",
    "git.commit.subject",
    "git.commit.body",
    "config.file_path",
    "config.ref",
    "config.sha",
    "config.repository.name",
    "config.repository.url",
    "trigger_source",
    "trigger.id",
    "trigger.name",
    "trigger.type",
    "trigger.received_at",
    "schedule.id",
    "schedule.name",
    "event.name",
    "event.action",
];

/// Names below these depend on the event: any is taken.
const OPEN: &[&str] = &["event.", "trigger_parameters.", "deploy."];

/// The values that templates and expressions see.
#[derive(Debug, Default)]
pub(super) struct Known {
    values: BTreeMap<String, Value>,
    parameters: BTreeMap<String, Value>,
}

impl Known {
    /// Checks the given parameters against the declared ones.
    pub(super) fn new(pipeline: &Pipeline, declared: &Parameters, root: &Map, at: &At) -> Result<Self, Faults> {
        let values =
            pipeline.values.iter().map(|(name, json)| (name.clone(), Node::from_json(json, at).value)).collect();
        let place = root.entry("parameters").map_or(at, |(key, _)| &key.at);
        let mut faults = Faults::default();
        let mut parameters = BTreeMap::new();
        for parameter in declared.iter() {
            let given = match pipeline.parameters.get(&parameter.key.name) {
                Some(json) => Some(as_declared(&parameter.kind, Node::from_json(json, &parameter.key.at))),
                None => parameter.default.clone(),
            };
            match given {
                // Told where the declarations are checked.
                None => {}
                Some(node) => match parameter.check(&node) {
                    Ok(()) => _ = parameters.insert(parameter.key.name.clone(), node.value),
                    Err(fault) => faults.push(fault),
                },
            }
        }
        for name in pipeline.parameters.keys().filter(|name| declared.get(name).is_none()) {
            let hint = did_you_mean(name, declared.names());
            faults.push(Fault::new(place, format!("Unexpected argument(s): {name}")).hint(hint));
        }
        faults.or(Known { values, parameters })
    }

    /// The value behind `pipeline.`, or why there is none.
    pub(super) fn value(&self, name: &str, parameters_in_scope: bool, at: &At) -> Result<Value, Fault> {
        if let Some(parameter) = name.strip_prefix("parameters.") {
            return self.parameters.get(parameter).filter(|_| parameters_in_scope).cloned().ok_or_else(|| {
                unknown(name, at).hint(if parameters_in_scope {
                    nearest(parameter, self.parameters.keys().map(String::as_str))
                        .map(|near| format!("did you mean `pipeline.parameters.{near}`?"))
                } else {
                    Some("pipeline parameters are not in scope in an orb; pass it as a parameter".to_owned())
                })
            });
        }
        match self.values.get(name) {
            Some(value) => Ok(value.clone()),
            None if VALUES.contains(&name) || OPEN.iter().any(|open| name.starts_with(open)) => Ok(Value::Null),
            None => {
                let near = nearest(name, VALUES.iter().copied());
                Err(unknown(name, at).hint(near.map(|near| format!("did you mean `pipeline.{near}`?"))))
            }
        }
    }

    /// The branch, or none where a tag is built.
    pub(super) fn branch(&self) -> Option<&str> {
        self.text("git.branch")
    }

    /// The tag, if one is built.
    pub(super) fn tag(&self) -> Option<&str> {
        self.text("git.tag")
    }

    fn text(&self, name: &str) -> Option<&str> {
        match self.values.get(name) {
            Some(Value::Text(text)) if !text.is_empty() => Some(text),
            _ => None,
        }
    }
}

fn unknown(name: &str, at: &At) -> Fault {
    Fault::new(at, format!("Referred to a variable \"pipeline.{name}\" that does not exist"))
}

/// The wording of the real compiler, see
/// <https://circleci.com/docs/guides/orchestrate/pipeline-variables/#element-parameter-scope>.
pub(super) fn undeclared(at: &At, name: &str) -> Fault {
    Fault::new(at, format!("Arguments referenced without declared parameters: {name}"))
}

/// A command line knows only text.
fn as_declared(kind: &Type, given: Node) -> Node {
    let Value::Text(text) = &given.value else { return given };
    let value = match kind {
        Type::Boolean => match text.as_str() {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            _ => None,
        },
        Type::Integer => text.parse().ok().map(Value::Int),
        _ => None,
    };
    match value {
        Some(value) => Node::new(value, &given.at),
        None => given,
    }
}

/// What is wanting in the declarations: the types that pipeline parameters can have are fewer, and a default is
/// "Required for pipeline parameters", see <https://circleci.com/docs/reference/reusing-config/#parameter-syntax>.
pub(super) fn check(parameters: &Parameters) -> Faults {
    let mut faults = Faults::default();
    for parameter in parameters.iter() {
        let path = format!("#/parameters/{}", parameter.key.name);
        if matches!(parameter.kind, Type::Executor | Type::Steps | Type::EnvVarName) {
            let message = format!("[{path}/type] Input not a valid enum value: {}", parameter.kind.name());
            let hint = "a pipeline parameter is a string, boolean, integer or enum".to_owned();
            faults.push(Fault::new(&parameter.kind_at, message).hint(hint));
        }
        if parameter.default.is_none() {
            faults.push(Fault::new(&parameter.key.at, format!("[{path}] required key [default] not found")));
        }
    }
    faults
}
