//! One item of a workflow's `jobs`: a job with its arguments, or a whole matrix of it.

use super::matrix::{self, Combination};
use super::requires::Required;
use super::{Called, filters};
use crate::ci::fault::{Fault, Faults, gather};
use crate::ci::jobs::{self, JobCall};
use crate::ci::known::CALL;
use crate::ci::nearest::did_you_mean;
use crate::ci::orbs::{Definition, Library};
use crate::ci::plan::Kind;
use crate::ci::scope::{Given, Scope};
use crate::ci::source::At;
use crate::ci::yaml::{Key, Map, Node, Value};
use crate::ci::{expression, logic, template};

/// What the compiled config doesn't show of a call: it is put in, or is the call's name.
const PUT_IN: &[&str] = &["name", "matrix", "pre-steps", "post-steps", "override-with", "requires"];

/// All jobs that an item stands for.
pub(super) fn read(item: &Node, scope: &Scope<'_>) -> Result<Vec<Called>, Faults> {
    let none = Map::default();
    let (job, map) = match &item.value {
        Value::Text(name) => (Key::new(name.clone(), &item.at), &none),
        Value::Map(map) => match map.iter().next() {
            Some((key, node)) => (key.clone(), node.as_map().unwrap_or(&none)),
            None => return Ok(Vec::new()),
        },
        _ => return Ok(Vec::new()),
    };
    let Some(matrix) = map.get("matrix").and_then(Node::as_map) else {
        return Ok(vec![one(&job, map, scope, None)?]);
    };
    let alias = match matrix.get("alias") {
        Some(alias) => template::as_text(&template::fill(alias, scope)?),
        None => job.name.clone(),
    };
    let combinations = matrix::combinations(matrix, &job, scope)?;
    gather(combinations.iter().map(|combination| {
        let mut scope = scope.clone();
        scope.matrix = Some(combination.iter().map(|(name, cell)| (name.clone(), cell.filled.clone())).collect());
        let mut called = one(&job, map, &scope, Some(combination))?;
        called.alias = Some(alias.clone());
        Ok(called)
    }))
}

fn one(job: &Key, map: &Map, scope: &Scope<'_>, combination: Option<&Combination>) -> Result<Called, Faults> {
    let mut faults = Faults::default();
    let asked = match map.get("name") {
        Some(name) => faults.note(template::fill(name, scope)).map(|name| template::as_text(&name)),
        None => Some(combination.map_or_else(|| job.name.clone(), |values| matrix::name(&job.name, values))),
    };
    let requires = map.get("requires").map(|list| template::fill(list, scope)).transpose();
    let requires = faults.note(requires).flatten().as_ref().map(Required::read).unwrap_or_default();
    let shown: Map = map
        .iter()
        .filter(|(key, _)| CALL.entry(&key.name).is_some() && !PUT_IN.contains(&key.name.as_str()))
        .map(|(key, node)| (key.clone(), node.clone()))
        .collect();
    let shown = faults.note(template::fill_map(&shown, scope)).unwrap_or_default();
    faults.extend(check_serial_group(&shown));
    let unfiltered = faults.note(unfiltered(map, &shown, scope)).unwrap_or(true);
    let expanded = faults.note(expand(job, map, scope, combination));
    match (asked, expanded) {
        (Some(asked), Some(expanded)) if faults.is_empty() => Ok(Called {
            at: job.at.clone(),
            name: asked.clone(),
            asked,
            alias: None,
            kind: expanded.kind,
            body: expanded.body,
            declared_at: expanded.declared_at,
            requires,
            shown,
            unfiltered,
            override_with: expanded.override_with,
        }),
        _ => Err(faults),
    }
}

struct Expanded {
    kind: Kind,
    body: Option<Map>,
    declared_at: At,
    override_with: Option<String>,
}

fn expand(job: &Key, map: &Map, scope: &Scope<'_>, combination: Option<&Combination>) -> Result<Expanded, Faults> {
    let approval = map.get("type").and_then(Node::as_text) == Some("approval");
    let defined = scope.library.job(&job.name);
    let kind_of = |definition: &Definition| match definition.body.get("type").and_then(Node::as_text) {
        Some("approval") => Kind::Approval,
        Some("no-op") => Kind::NoOp,
        _ => Kind::Run,
    };
    if approval {
        if defined.is_some_and(|(definition, _)| kind_of(definition) != Kind::Approval) {
            let message = format!("`{}` is the name of a job and can't be that of an approval", job.name);
            return Err(Fault::new(&job.at, message).into());
        }
        let unexpected = map.iter().map(|(key, _)| key).find(|key| CALL.entry(&key.name).is_none());
        if let Some(key) = unexpected {
            let fault = Fault::new(&key.at, format!("Unexpected argument(s): {}", key.name));
            let fault = fault.hint(did_you_mean(&key.name, CALL.names()));
            return Err(Faults::from(fault).calling("job", &job.name));
        }
        return Ok(Expanded { kind: Kind::Approval, body: None, declared_at: job.at.clone(), override_with: None });
    }
    let Some(own) = defined else {
        return Err(scope.library.no_definition("job", &job.name, &job.at, &[]).into());
    };
    let (override_with, (definition, home)) = match overriding(map, scope)? {
        Some((name, found)) => (Some(name), found),
        None => (None, own),
    };
    let call = JobCall {
        given: given(map, combination),
        pre_steps: map.get("pre-steps"),
        post_steps: map.get("post-steps"),
        at: job.at.clone(),
    };
    let body = jobs::expand(definition, home, &call, scope).map_err(|faults| faults.calling("job", &job.name))?;
    let kind = kind_of(definition);
    let body = (kind != Kind::Approval).then_some(body);
    Ok(Expanded { kind, body, declared_at: definition.key.at.clone(), override_with })
}

/// What is not a key of the call itself is an argument, and so are the matrix's values.
fn given<'n>(map: &'n Map, combination: Option<&'n Combination>) -> Vec<(Key, Given<'n>)> {
    let arguments = map.iter().filter(|(key, _)| CALL.entry(&key.name).is_none());
    let mut given: Vec<_> = arguments.map(|(key, node)| (key.clone(), Given::Written(node))).collect();
    let cells = combination.into_iter().flat_map(Combination::values);
    given.extend(cells.map(|cell| (cell.key.clone(), Given::Written(&cell.written))));
    given
}

type Found<'a> = (&'a Definition, &'a Library);

/// "If the referenced orb job does not exist, your original job definition is used as a fallback", see
/// <https://circleci.com/docs/guides/orchestrate/how-to-override-config/>.
fn overriding<'a>(map: &Map, scope: &Scope<'a>) -> Result<Option<(String, Found<'a>)>, Faults> {
    let Some(node) = map.get("override-with") else { return Ok(None) };
    let name = template::as_text(&template::fill(node, scope)?);
    match name.split_once('/') {
        Some((orb, _)) if scope.library.orbs.contains_key(orb) => {
            Ok(scope.library.job(&name).map(|found| (name.clone(), found)))
        }
        _ => Err(scope.library.no_definition("job", &name, &node.at, &[]).into()),
    }
}

fn unfiltered(map: &Map, shown: &Map, scope: &Scope<'_>) -> Result<bool, Faults> {
    let (written, filled) = (map.get("filters"), shown.get("filters"));
    match (written, filled) {
        (Some(written), Some(Node { value: Value::Text(text), .. })) if !template::is_sole_tag(written) => {
            Ok(expression::holds(text, scope, &written.at)?)
        }
        (Some(_), Some(filled)) if filled.as_map().is_none() => Ok(logic::truthy(&filled.value)),
        _ => filters::let_run(filled, scope),
    }
}

/// See <https://circleci.com/docs/reference/configuration-reference/#serial-group>.
fn check_serial_group(shown: &Map) -> Faults {
    let Some(node) = shown.get("serial-group") else { return Faults::default() };
    let group = template::as_text(node);
    let wrong = if group.trim().is_empty() {
        "serial-group must not be blank".to_owned()
    } else if group.chars().count() > 512 {
        "serial-group must have 512 characters or fewer".to_owned()
    } else if !group.chars().all(|c| c.is_ascii_alphanumeric() || ".-_/".contains(c)) {
        format!("serial-group '{group}' may hold only letters, digits, '.', '-', '_' and '/'")
    } else {
        return Faults::default();
    };
    Fault::new(&node.at, wrong).into()
}
