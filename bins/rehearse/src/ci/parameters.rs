//! Declared parameters, their types, and the check of arguments against them.

use super::fault::{Fault, Faults};
use super::nearest::did_you_mean;
use super::source::At;
use super::yaml::{Key, Map, Node, Value};

/// The types of <https://circleci.com/docs/reference/reusing-config/#parameter-types>.
#[derive(Debug, Clone)]
pub(super) enum Type {
    String,
    Boolean,
    Integer,
    Enum(Vec<Node>),
    Executor,
    Steps,
    EnvVarName,
}

const TYPES: &[&str] = &["string", "boolean", "integer", "enum", "executor", "steps", "env_var_name"];

/// See <https://circleci.com/docs/reference/configuration-reference/#parameters-job>.
const RESERVED_IN_JOBS: &[&str] = &["name", "requires", "context", "type", "filters", "matrix"];

const KEYS: &[&str] = &["type", "description", "default", "enum"];

/// One declared parameter.
#[derive(Debug, Clone)]
pub(super) struct Parameter {
    pub(super) key: Key,
    pub(super) kind: Type,
    pub(super) kind_at: At,
    pub(super) default: Option<Node>,
}

/// All that one command, job, executor or pipeline declares.
#[derive(Debug, Clone, Default)]
pub(super) struct Parameters(Vec<Parameter>);

impl Type {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Type::String => "string",
            Type::Boolean => "boolean",
            Type::Integer => "integer",
            Type::Enum(_) => "enum",
            Type::Executor => "executor",
            Type::Steps => "steps",
            Type::EnvVarName => "env_var_name",
        }
    }

    /// Whether a value that is written out is of this type.
    fn holds(&self, node: &Node) -> bool {
        match (self, &node.value) {
            (Type::String, Value::Text(_)) | (Type::Boolean, Value::Bool(_)) | (Type::Integer, Value::Int(_)) => true,
            (Type::Enum(members), _) => members.contains(node),
            (Type::EnvVarName, Value::Text(name)) => is_posix_name(name),
            (Type::Steps, Value::List(_)) | (Type::Executor, Value::Text(_) | Value::Map(_)) => true,
            _ => false,
        }
    }
}

/// <https://circleci.com/docs/reference/reusing-config/#environment-variable-name>.
fn is_posix_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl Parameter {
    /// Checks a value that holds no template any more.
    ///
    /// The wording is the real compiler's, see <https://github.com/cypress-io/circleci-orb/issues/178>.
    pub(super) fn check(&self, given: &Node) -> Result<(), Fault> {
        if self.kind.holds(given) {
            return Ok(());
        }
        let (name, kind, actual) = (&self.key.name, self.kind.name(), shown(given));
        let message = format!("Type error for argument {name}: expected type: {kind}, actual value: {actual}");
        Err(Fault::new(&given.at, message).hint(self.members_hint()))
    }

    fn members_hint(&self) -> Option<String> {
        match &self.kind {
            Type::Enum(members) => {
                Some(format!("it is one of {}", members.iter().map(bare).collect::<Vec<_>>().join(", ")))
            }
            _ => None,
        }
    }

    /// A default must be of the declared type.
    ///
    /// The wording is the real compiler's, as CircleCI's CLI quotes it at
    /// <https://github.com/CircleCI-Public/circleci-cli/blob/main/internal/pack/pack.go>.
    fn check_default(&self) -> Result<(), Fault> {
        let Some(default) = &self.default else { return Ok(()) };
        let template = default.as_text().is_some_and(|text| text.contains("<<"));
        if template || self.kind.holds(default) {
            return Ok(());
        }
        let message = format!(
            "Parameter error: default value of parameter '{}' is '{}' (type {}): expected type {}",
            self.key.name,
            bare(default),
            kind_of(default),
            self.kind.name()
        );
        Err(Fault::new(&default.at, message).hint(self.members_hint()))
    }
}

/// A value and its type as the real compiler shows them.
pub(super) fn shown(node: &Node) -> String {
    format!("\"{}\" (type {})", bare(node), kind_of(node))
}

fn bare(node: &Node) -> String {
    match &node.value {
        Value::Text(text) => text.clone(),
        _ => node.to_json().to_string(),
    }
}

fn kind_of(node: &Node) -> &'static str {
    match &node.value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Int(_) => "integer",
        Value::Float(_) => "number",
        Value::Text(_) => "string",
        Value::List(_) => "list",
        Value::Map(_) => "map",
    }
}

impl Parameters {
    /// Reads what stands under a `parameters:` key. `path` is that of the element, `kind` and `name` its own.
    pub(super) fn read(body: &Map, path: &str, kind: &str, name: &str) -> Result<Self, Faults> {
        let Some(node) = body.get("parameters") else { return Ok(Parameters::default()) };
        let path = format!("{path}/parameters");
        let declared = match &node.value {
            Value::Null => return Ok(Parameters::default()),
            Value::Map(map) => map,
            _ => return Err(node.not_a(&path, "Mapping").into()),
        };
        let mut faults = Faults::default();
        let mut parameters = Vec::new();
        for (key, node) in declared.iter() {
            let path = format!("{path}/{}", key.name);
            if kind == "job" && RESERVED_IN_JOBS.contains(&key.name.as_str()) {
                faults.push(Fault::new(&key.at, format!("[{path}] the parameter name `{}` is reserved", key.name)));
            }
            if !kind.is_empty() && !is_element_name(&key.name) {
                faults.push(misnamed(key, &path));
            }
            let Some(parameter) = faults.note(Parameter::read(key, node, &path)) else { continue };
            if let Err(fault) = parameter.check_default() {
                let fault = Faults::from(fault);
                faults.extend(if kind.is_empty() { fault } else { fault.calling(kind, name) });
            }
            parameters.push(parameter);
        }
        faults.or(Parameters(parameters))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Parameter> {
        self.0.iter()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Parameter> {
        self.0.iter().find(|parameter| parameter.key.name == name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|parameter| parameter.key.name.as_str())
    }

    /// Whether it can be called without arguments.
    pub(super) fn all_have_defaults(&self) -> bool {
        self.0.iter().all(|parameter| parameter.default.is_some())
    }
}

impl Parameter {
    fn read(key: &Key, node: &Node, path: &str) -> Result<Self, Faults> {
        let Some(body) = node.as_map() else { return Err(node.not_a(path, "Mapping").into()) };
        let mut faults = Faults::default();
        for (key, _) in body.iter().filter(|(key, _)| !KEYS.contains(&key.name.as_str())) {
            faults.push(extraneous(key, path, KEYS));
        }
        let Some(kind) = body.get("type") else {
            faults.push(Fault::new(&key.at, format!("[{path}] required key [type] not found")));
            return Err(faults);
        };
        let named = match kind.as_text() {
            Some("string") => Some(Type::String),
            Some("boolean") => Some(Type::Boolean),
            Some("integer") => Some(Type::Integer),
            Some("executor") => Some(Type::Executor),
            Some("steps") => Some(Type::Steps),
            Some("env_var_name") => Some(Type::EnvVarName),
            Some("enum") => match body.get("enum").map(|members| &members.value) {
                Some(Value::List(members)) if !members.is_empty() => Some(Type::Enum(members.clone())),
                _ => {
                    faults.push(
                        Fault::new(&key.at, format!("[{path}] required key [enum] not found"))
                            .hint("an enum lists its members".to_owned()),
                    );
                    None
                }
            },
            other => {
                let (shown, hint) = match other {
                    Some(other) => (other.to_owned(), did_you_mean(other, TYPES.iter().copied())),
                    None => (kind.to_json().to_string(), None),
                };
                let hint = hint.unwrap_or_else(|| format!("the types are {}", TYPES.join(", ")));
                let message = format!("[{path}/type] Input not a valid enum value: {shown}");
                faults.push(Fault::new(&kind.at, message).hint(hint));
                None
            }
        };
        match named {
            Some(named) if faults.is_empty() => {
                let default = body.get("default").cloned();
                Ok(Parameter { key: key.clone(), kind: named, kind_at: kind.at.clone(), default })
            }
            _ => Err(faults),
        }
    }
}

/// A key that CircleCI doesn't know, in the words of the real compiler's schema, see
/// <https://github.com/CircleCI-Public/circleci-cli/issues/326>.
pub(super) fn extraneous(key: &Key, path: &str, known: &[&str]) -> Fault {
    let hint = did_you_mean(&key.name, known.iter().copied())
        .unwrap_or_else(|| format!("the keys here are {}", known.join(", ")));
    Fault::new(&key.at, format!("[{path}] extraneous key [{}] is not permitted", key.name)).hint(hint)
}

/// See <https://circleci.com/docs/reference/reusing-config/#notes-on-reusable-configuration>.
pub(super) fn is_element_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'))
}

pub(super) fn misnamed(key: &Key, path: &str) -> Fault {
    Fault::new(&key.at, format!("[{path}] `{}` is not a name here", key.name))
        .hint("a name starts with a letter and has lowercase letters, digits, `_` and `-` only".to_owned())
}
