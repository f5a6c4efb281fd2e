//! Executors: named, given arguments, and merged into the job that names them.

use super::fault::{Fault, Faults};
use super::orbs::{Definition, Library};
use super::pipeline::Known;
use super::scope::{Argument, Given, Scope, enter};
use super::source::At;
use super::template;
use super::yaml::{Key, Map, Node, Value};

/// The keys of which a job has one, see <https://circleci.com/docs/reference/configuration-reference/#executor-job>.
pub(super) const KINDS: &[&str] = &["docker", "machine", "macos", "windows"];

/// An executor that was named somewhere, to be looked up there.
#[derive(Clone)]
pub(super) struct ExecutorCall<'a> {
    pub(super) name: String,
    at: At,
    arguments: Map,
    library: &'a Library,
}

impl<'a> ExecutorCall<'a> {
    /// Its definition, and where that stands.
    pub(super) fn find(&self) -> Result<(&'a Definition, &'a Library), Fault> {
        self.library
            .executor(&self.name)
            .ok_or_else(|| self.library.no_definition("executor", &self.name, &self.at, &[]))
    }

    /// Its body with all arguments put in.
    fn body(&self, pipeline: &'a Known) -> Result<Map, Faults> {
        let (definition, home) = self.find()?;
        let given: Vec<_> =
            self.arguments.iter().map(|(key, node)| (key.clone(), Given::Filled(node.clone()))).collect();
        let caller = Scope::outer(self.library, pipeline);
        let inside = || -> Result<Map, Faults> {
            let scope = enter(definition, home, &given, &self.at, &caller, &["name"])?;
            let mut body = definition.body.clone();
            body.take("parameters");
            body.take("description");
            template::fill_map(&body, &scope)
        };
        inside().map_err(|faults| faults.calling("executor", &self.name))
    }
}

/// Reads `executor: NAME`, `executor: {name: NAME, …}`, or an executor parameter in the place of either name.
pub(super) fn named<'a>(node: &Node, scope: &Scope<'a>) -> Result<ExecutorCall<'a>, Faults> {
    match &node.value {
        Value::Text(_) => by_name(node, scope),
        Value::Map(map) => {
            let Some(name) = map.get("name") else {
                return Err(Fault::new(&node.at, "an executor that is given arguments has a `name`").into());
            };
            let mut call = by_name(name, scope)?;
            for (key, node) in map.iter().filter(|(key, _)| key.name != "name") {
                call.arguments.put(key.clone(), template::fill(node, scope)?);
            }
            Ok(call)
        }
        _ => Err(Fault::new(&node.at, "an executor is named by a text or a map with a `name`").into()),
    }
}

fn by_name<'a>(node: &Node, scope: &Scope<'a>) -> Result<ExecutorCall<'a>, Faults> {
    if let Some(parameter) = template::sole_parameter(node)
        && let Argument::Executor(call) = scope.look_up(&format!("parameters.{parameter}"), &node.at)?
    {
        return Ok(call);
    }
    let filled = template::fill(node, scope)?;
    match filled.as_text() {
        Some(name) => Ok(ExecutorCall {
            name: name.to_owned(),
            at: node.at.clone(),
            arguments: Map::default(),
            library: scope.library,
        }),
        None => Err(Fault::new(&node.at, "an executor's name is a text").into()),
    }
}

/// Puts an executor's keys under a job's own: "any keys in the job itself will override those of the executor invoked",
/// environments "are additive", see
/// <https://circleci.com/docs/reference/reusing-config/#overriding-keys-when-invoking-an-executor>.
pub(super) fn merge<'a>(job: Map, call: &ExecutorCall<'a>, pipeline: &'a Known) -> Result<Map, Faults> {
    let mut merged = call.body(pipeline)?;
    if KINDS.iter().any(|kind| job.get(kind).is_some()) {
        for kind in KINDS {
            merged.take(kind);
        }
    }
    for (key, node) in job.iter() {
        let node = match (key.name.as_str(), merged.get(&key.name)) {
            ("environment", Some(below)) => join_environments(below, key, node),
            _ => node.clone(),
        };
        merged.put(key.clone(), node);
    }
    Ok(merged)
}

fn join_environments(below: &Node, key: &Key, above: &Node) -> Node {
    let (Some(below), Some(over)) = (below.as_map(), above.as_map()) else { return above.clone() };
    let mut joined = below.clone();
    for (name, value) in over.iter() {
        joined.put(name.clone(), value.clone());
    }
    Node::new(Value::Map(joined), &key.at)
}
