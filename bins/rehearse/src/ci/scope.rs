//! What `<< … >>` can see from where it stands. Scope is lexical: a caller's parameters are not a callee's, see
//! <https://circleci.com/docs/reference/reusing-config/#the-scope-of-parameters>.

use std::collections::BTreeMap;

use super::executors::ExecutorCall;
use super::fault::{Fault, Faults};
use super::nearest::did_you_mean;
use super::orbs::{Definition, Library};
use super::parameters::{Parameter, Type};
use super::pipeline::{Known, undeclared};
use super::source::At;
use super::yaml::{Key, Map, Node, Value};
use super::{executors, steps, template};

/// What a parameter is bound to.
#[derive(Clone)]
pub(super) enum Argument<'a> {
    Plain(Node),
    /// Steps that are already spliced: their commands are those of whoever wrote them.
    Steps(Vec<Node>),
    /// An executor, to be looked up where it was named.
    Executor(ExecutorCall<'a>),
}

/// One place's view.
#[derive(Clone)]
pub(super) struct Scope<'a> {
    /// What commands, executors, jobs and orbs are called here.
    pub(super) library: &'a Library,
    pub(super) pipeline: &'a Known,
    /// None in a workflow, where no parameters are declared.
    pub(super) arguments: Option<BTreeMap<String, Argument<'a>>>,
    /// The values of one job of a matrix.
    pub(super) matrix: Option<BTreeMap<String, Node>>,
    /// The commands that are being spliced, outermost first.
    pub(super) calling: Vec<String>,
}

impl<'a> Scope<'a> {
    /// A scope without parameters.
    pub(super) fn outer(library: &'a Library, pipeline: &'a Known) -> Self {
        Scope { library, pipeline, arguments: None, matrix: None, calling: Vec::new() }
    }

    /// The value of a dotted name.
    pub(super) fn look_up(&self, name: &str, at: &At) -> Result<Argument<'a>, Fault> {
        if let Some(parameter) = name.strip_prefix("parameters.") {
            let Some(arguments) = &self.arguments else { return Err(undeclared(at, name)) };
            return arguments.get(parameter).cloned().ok_or_else(|| {
                undeclared(at, parameter).hint(did_you_mean(parameter, arguments.keys().map(String::as_str)))
            });
        }
        if let Some(parameter) = name.strip_prefix("matrix.") {
            let Some(matrix) = &self.matrix else { return Err(undeclared(at, name)) };
            return matrix
                .get(parameter)
                .cloned()
                .map(Argument::Plain)
                .ok_or_else(|| undeclared(at, name).hint(did_you_mean(parameter, matrix.keys().map(String::as_str))));
        }
        match name.strip_prefix("pipeline.") {
            Some(value) => self.pipeline_value(value, at).map(|value| Argument::Plain(Node::new(value, at))),
            None => Err(undeclared(at, name)
                .hint("a tag begins with `parameters.`, `pipeline.` or, in a matrix, `matrix.`".to_owned())),
        }
    }

    /// The value of a name behind `pipeline.`.
    pub(super) fn pipeline_value(&self, name: &str, at: &At) -> Result<Value, Fault> {
        self.pipeline.value(name, self.library.sees_pipeline_parameters, at)
    }
}

/// An argument as it was given.
pub(super) enum Given<'g> {
    /// As written, with the tags that the caller's scope fills.
    Written(&'g Node),
    /// A value in which nothing is left to fill.
    Filled(Node),
}

/// The scope inside of a definition: its arguments checked against its parameters. `beside` is what a call may have
/// beside arguments.
pub(super) fn enter<'a>(
    definition: &Definition,
    home: &'a Library,
    given: &[(Key, Given<'_>)],
    call: &At,
    caller: &Scope<'a>,
    beside: &[&str],
) -> Result<Scope<'a>, Faults> {
    let mut faults = Faults::default();
    let declared = &definition.parameters;
    let unexpected: Vec<_> = given.iter().map(|(key, _)| key).filter(|key| declared.get(&key.name).is_none()).collect();
    if let [first, ..] = unexpected.as_slice() {
        let names = unexpected.iter().map(|key| key.name.as_str()).collect::<Vec<_>>().join(", ");
        let hint = did_you_mean(&first.name, declared.names().chain(beside.iter().copied()));
        faults.push(Fault::new(&first.at, format!("Unexpected argument(s): {names}")).hint(hint));
    }
    let mut inner = Scope::outer(home, caller.pipeline);
    inner.calling = caller.calling.clone();
    let mut arguments = BTreeMap::new();
    let mut missing = Vec::new();
    for parameter in declared.iter() {
        let name = &parameter.key.name;
        let outcome = match given.iter().find(|(key, _)| key.name == *name) {
            Some((_, Given::Written(node))) => argument(parameter, node, caller),
            Some((_, Given::Filled(node))) => {
                parameter.check(node).map(|()| Argument::Plain(node.clone())).map_err(Faults::from)
            }
            None => match &parameter.default {
                // A default was written where the definition was, so that its names are those of that place.
                Some(default) => argument(parameter, default, &inner),
                None => {
                    missing.push(name.as_str());
                    continue;
                }
            },
        };
        if let Some(argument) = faults.note(outcome) {
            arguments.insert(name.clone(), argument);
        }
    }
    if !missing.is_empty() {
        faults.push(Fault::new(call, format!("Missing required argument(s): {}", missing.join(", "))));
    }
    inner.arguments = Some(arguments);
    faults.or(inner)
}

fn argument<'a>(parameter: &Parameter, node: &Node, scope: &Scope<'a>) -> Result<Argument<'a>, Faults> {
    if let Some(passed_on) = template::sole_parameter(node) {
        match (scope.look_up(&format!("parameters.{passed_on}"), &node.at)?, &parameter.kind) {
            (steps @ Argument::Steps(_), Type::Steps) => return Ok(steps),
            (executor @ Argument::Executor(_), Type::Executor) => return Ok(executor),
            _ => {}
        }
    }
    match (&parameter.kind, &node.value) {
        (Type::Steps, Value::List(_)) => steps::splice(node, scope).map(Argument::Steps),
        (Type::Executor, Value::Text(_) | Value::Map(_)) => {
            let call = executors::named(node, scope)?;
            call.find()?;
            Ok(Argument::Executor(call))
        }
        _ => {
            let mut filled = template::fill(node, scope)?;
            // A pipeline value that this pipeline has not, such as a tag, is the empty text to a string parameter, see
            // "Empty if the pipeline checks out from a branch",
            // <https://circleci.com/docs/guides/orchestrate/pipeline-variables/#checkout-information>.
            if filled.is_null() && !node.is_null() && matches!(parameter.kind, Type::String) {
                filled.value = Value::Text(String::new());
            }
            parameter.check(&filled)?;
            Ok(Argument::Plain(filled))
        }
    }
}

/// The arguments of a call, as written.
pub(super) fn written(map: &Map) -> Vec<(Key, Given<'_>)> {
    map.iter().map(|(key, node)| (key.clone(), Given::Written(node))).collect()
}
