//! Steps: commands spliced, conditions decided, what is built in left as it is.

use super::fault::{Fault, Faults, gather};
use super::known::STEPS;
use super::scope::{Argument, Scope, enter, written};
use super::source::At;
use super::yaml::{Key, Map, Node, Value};
use super::{logic, template};

/// All steps of a list, in the order in which they will run.
pub(super) fn splice(list: &Node, scope: &Scope<'_>) -> Result<Vec<Node>, Faults> {
    if let Some(parameter) = template::sole_parameter(list) {
        return match scope.look_up(&format!("parameters.{parameter}"), &list.at)? {
            Argument::Steps(steps) => Ok(steps),
            _ => Err(Fault::new(&list.at, format!("the parameter `{parameter}` is not of type steps")).into()),
        };
    }
    match &list.value {
        Value::List(items) => Ok(gather(items.iter().map(|item| step(item, scope)))?.concat()),
        Value::Null => Ok(Vec::new()),
        _ => Err(Fault::new(&list.at, "steps are a list").into()),
    }
}

fn step(node: &Node, scope: &Scope<'_>) -> Result<Vec<Node>, Faults> {
    match &node.value {
        Value::Text(_) if template::has_tag(node) => Err(Fault::new(&node.at, "a step's name can't be a template")
            .hint("steps from a parameter are spliced by `- steps: << parameters.NAME >>`".to_owned())
            .into()),
        Value::Text(name) => named(&Key::new(name, &node.at), None, scope),
        Value::Map(map) => {
            let mut entries = map.iter();
            match (entries.next(), entries.next()) {
                (Some((key, arguments)), None) => named(key, Some(arguments), scope),
                (Some(_), Some((second, _))) => Err(Fault::new(&second.at, "a step has one key")
                    .hint("what belongs to the step stands further to the right".to_owned())
                    .into()),
                (None, _) => Err(Fault::new(&node.at, "a step has one key").into()),
            }
        }
        _ => Err(Fault::new(&node.at, "a step is a name, or a map of one key").into()),
    }
}

fn named(key: &Key, arguments: Option<&Node>, scope: &Scope<'_>) -> Result<Vec<Node>, Faults> {
    let name = key.name.as_str();
    // "It is possible to override the special keys with a custom command", which may then use the special one itself,
    // see <https://circleci.com/docs/reference/reusing-config/#special-keys>.
    let built_in = STEPS.contains(&name) || ["when", "unless", "steps"].contains(&name);
    let within_itself = scope.calling.iter().any(|calling| calling == name);
    if let Some(found) = scope.library.command(name).filter(|_| !(built_in && within_itself)) {
        if within_itself {
            let chain = scope.calling.join(" -> ");
            return Err(Fault::new(&key.at, format!("the command calls itself: {chain} -> {name}")).into());
        }
        return call(key, arguments, found, scope).map_err(|faults| faults.calling("command", name));
    }
    match (name, arguments) {
        ("when" | "unless", Some(arguments)) => conditional(key, arguments, scope),
        ("steps", Some(arguments)) => splice(arguments, scope),
        ("run", Some(arguments)) => run(key, arguments, scope),
        _ if built_in => Ok(vec![built_in_step(key, arguments, scope)?]),
        _ => Err(scope.library.no_definition("command", name, &key.at, STEPS).into()),
    }
}

fn call<'a>(
    key: &Key,
    arguments: Option<&Node>,
    (definition, home): (&'a super::orbs::Definition, &'a super::orbs::Library),
    scope: &Scope<'a>,
) -> Result<Vec<Node>, Faults> {
    let none = Map::default();
    let given = match arguments.map(|node| (node, &node.value)) {
        None | Some((_, Value::Null)) => &none,
        Some((_, Value::Map(map))) => map,
        Some((node, _)) => return Err(Fault::new(&node.at, "a command's arguments are a map").into()),
    };
    let mut inner = enter(definition, home, &written(given), &key.at, scope, &[])?;
    // An orb's command may bear the name of one of the config's: only its own library's names lead back to it.
    if !std::ptr::eq(home, scope.library) {
        inner.calling.clear();
    }
    inner.calling.push(definition.key.name.clone());
    match definition.body.get("steps") {
        Some(steps) => splice(steps, &inner),
        None => Ok(Vec::new()),
    }
}

/// "Conditions are determined at config compilation time", see
/// <https://circleci.com/docs/reference/reusing-config/#defining-conditional-steps>.
fn conditional(key: &Key, arguments: &Node, scope: &Scope<'_>) -> Result<Vec<Node>, Faults> {
    let Some(map) = arguments.as_map() else {
        return Err(arguments.not_a(&format!("#/{}", key.name), "Mapping").into());
    };
    let (Some(condition), Some(steps)) = (map.get("condition"), map.get("steps")) else {
        return Err(Fault::new(&key.at, format!("`{}` takes a `condition` and `steps`", key.name)).into());
    };
    let holds = logic::judge(condition, scope)?;
    if holds == (key.name == "when") { splice(steps, scope) } else { Ok(Vec::new()) }
}

/// `run: text` is short for `run: {command: text}`, see
/// <https://circleci.com/docs/reference/configuration-reference/#shorthand-syntax>.
fn run(key: &Key, arguments: &Node, scope: &Scope<'_>) -> Result<Vec<Node>, Faults> {
    let filled = template::fill(arguments, scope)?;
    let at = filled.at.clone();
    let body = match filled.value {
        Value::Map(map) => map,
        Value::Text(_) => [(Key::new("command", &at), filled)].into_iter().collect(),
        _ => return Err(filled.not_a("#/run", "String or Mapping").into()),
    };
    Ok(vec![keyed(key, Node::new(Value::Map(body), &at), &key.at)])
}

fn built_in_step(key: &Key, arguments: Option<&Node>, scope: &Scope<'_>) -> Result<Node, Faults> {
    match arguments {
        None => Ok(Node::text(key.name.clone(), &key.at)),
        Some(node) if node.is_null() => Ok(Node::text(key.name.clone(), &key.at)),
        Some(node) => Ok(keyed(key, template::fill(node, scope)?, &key.at)),
    }
}

fn keyed(key: &Key, node: Node, at: &At) -> Node {
    Node::new(Value::Map([(key.clone(), node)].into_iter().collect()), at)
}
