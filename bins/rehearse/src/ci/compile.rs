//! From a config's text to the compiled config and the plan.

use super::fault::{Fault, Faults};
use super::jobs::{self, JobCall};
use super::known::CONFIG_NOT_RUN;
use super::orbs::{self, Library, Orbs};
use super::parameters::Parameters;
use super::pipeline::{self, Known, Pipeline};
use super::plan::Plan;
use super::scope::Scope;
use super::source::{At, Source};
use super::yaml::{self, Key, Map, Node, Value};
use super::{shape, steps, workflows};

/// What a config comes to.
#[derive(Debug)]
pub struct Compiled {
    /// The config with everything resolved, as CircleCI's "compiled" view shows it.
    pub config: Node,
    /// What is to be run.
    pub plan: Plan,
}

/// Compiles a config, or says everything that is wrong with it.
pub fn compile(source: &Source, orbs: &dyn Orbs, pipeline: &Pipeline) -> Result<Compiled, Faults> {
    expand(source, orbs, pipeline).map_err(Faults::sorted)
}

/// Checks a packed orb by itself: its shape, and all of it that can be called without arguments.
pub fn check_orb(orb: &Node, orbs: &dyn Orbs) -> Result<(), Faults> {
    let Some(root) = orb.as_map() else { return Err(orb.not_a("#", "Mapping").into()) };
    let known = Known::default();
    let outcome = orbs::library(root, "#", orbs, &Scope::outer(&Library::NOTHING, &known), 0)
        .and_then(|library| uncalled(&Scope::outer(&library, &known)).or(()));
    outcome.map_err(Faults::sorted)
}

fn expand(source: &Source, orbs: &dyn Orbs, pipeline: &Pipeline) -> Result<Compiled, Faults> {
    let node = yaml::parse(source)?;
    let start = source.start();
    let root = match &node.value {
        Value::Map(map) => map,
        Value::Null => &Map::default(),
        _ => return Err(node.not_a("#", "Mapping").into()),
    };
    check_version(root, &start)?;
    let mut faults = not_run(root);
    let declared = faults.note(Parameters::read(root, "#", "", "")).unwrap_or_default();
    faults.extend(pipeline::check(&declared));
    if !faults.is_empty() {
        return Err(faults);
    }
    let known = Known::new(pipeline, &declared, root, &start)?;
    let (mut library, mut faults) = Library::read(root, "#");
    library.sees_pipeline_parameters = true;
    // "Pipeline parameters are replaced in the orb statement" before there is any library.
    let bare = Library { sees_pipeline_parameters: true, ..Library::NOTHING };
    faults.note(library.import(root, "#", orbs, &Scope::outer(&bare, &known), 1));
    faults.extend(shape::library(root, "#", &library));
    faults.extend(shape::workflows(root, &library));
    if !faults.is_empty() {
        return Err(faults);
    }

    let scope = Scope::outer(&library, &known);
    let declared = match root.get("workflows").map(|node| &node.value) {
        Some(Value::Map(map)) => map.clone(),
        _ => lone_build(root, &library, &start)?,
    };
    let expanded = faults.note(workflows::expand(&declared, &scope));
    faults.extend(uncalled(&scope));
    let Some(expanded) = expanded else { return Err(faults) };
    let jobs = faults.note(workflows::jobs(&expanded)).unwrap_or_default();
    let config: Map = [
        (Key::new("version", &start), Node::new(Value::Int(2), &start)),
        (Key::new("jobs", &start), Node::new(Value::Map(jobs), &start)),
        (Key::new("workflows", &start), workflows::node(&expanded, &start)),
    ]
    .into_iter()
    .collect();
    let plan = if faults.is_empty() { workflows::plan(&expanded) } else { return Err(faults) };
    Ok(Compiled { config: Node::new(Value::Map(config), &start), plan })
}

/// See <https://circleci.com/docs/reference/configuration-reference/#version>; 2 and 2.0 have nothing to expand.
fn check_version(root: &Map, start: &At) -> Result<(), Fault> {
    let wrong = |at: &At| {
        Fault::new(at, "Unsupported or missing workflows config version")
            .hint("begin the file with `version: 2.1`".to_owned())
    };
    match root.get("version").map(|node| (node, &node.value)) {
        None => Err(wrong(start)),
        Some((_, Value::Float(2.1))) => Ok(()),
        Some((_, Value::Text(text))) if text == "2.1" => Ok(()),
        Some((node, Value::Int(2) | Value::Float(2.0))) => {
            Err(Fault::not_run_here(&node.at, "version 2").hint("begin the file with `version: 2.1`".to_owned()))
        }
        Some((node, _)) => Err(wrong(&node.at)),
    }
}

fn not_run(root: &Map) -> Faults {
    let mut faults = Faults::default();
    for (key, node) in root.iter().filter(|(key, _)| CONFIG_NOT_RUN.contains(&key.name.as_str())) {
        if node.value != Value::Bool(false) {
            faults.push(Fault::not_run_here(&key.at, &key.name));
        }
    }
    faults
}

/// A config without workflows runs its job `build`. The wording is the real one, see
/// <https://github.com/CircleCI-Archived/local-cli/issues/4>.
fn lone_build(root: &Map, library: &Library, start: &At) -> Result<Map, Fault> {
    let at = root.entry("jobs").map_or(start, |(key, _)| &key.at);
    let Some(build) = library.jobs.get("build") else {
        let message = "Cannot find a job named `build` to run in the `jobs:` section of your configuration file.\n\
             If you expected a workflow to run, check your config contains a top-level key called 'workflows:'";
        return Err(Fault::new(at, message));
    };
    let at = &build.key.at;
    let list = Node::new(Value::List(vec![Node::text("build", at)]), at);
    let workflow: Map = [(Key::new("jobs", at), list)].into_iter().collect();
    Ok([(Key::new("workflow", at), Node::new(Value::Map(workflow), at))].into_iter().collect())
}

/// What nobody calls is called without arguments, as far as it can be, so that what is wrong in it is told, too.
fn uncalled(scope: &Scope<'_>) -> Faults {
    let mut faults = Faults::default();
    let library = scope.library;
    for (name, job) in library.jobs.iter().filter(|(_, job)| job.parameters.all_have_defaults()) {
        let call = JobCall { given: Vec::new(), pre_steps: None, post_steps: None, at: job.key.at.clone() };
        let outcome = jobs::expand(job, library, &call, scope);
        faults.note(outcome.map_err(|faults| faults.calling("job", name)));
    }
    for (name, command) in library.commands.iter().filter(|(_, it)| it.parameters.all_have_defaults()) {
        let at = &command.key.at;
        let list = Node::new(Value::List(vec![Node::text(name.clone(), at)]), at);
        faults.note(steps::splice(&list, scope));
    }
    faults
}
