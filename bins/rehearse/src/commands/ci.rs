//! `ci`: a CircleCI on this machine.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use gyron_core::failure::{Failure, OrFail, Result};

use super::{block_on, env, exec, flag};
use crate::args::{Ci, Orbs, Pipeline};
use crate::ci::fault::Faults;
use crate::ci::given::Given;
use crate::ci::plan::Plan;
use crate::ci::registry::Registry;
use crate::ci::run::{self, Order, Project};
use crate::ci::yaml::Node;
use crate::ci::{self, Compiled, yaml};
use crate::cloud::Cloud;
use crate::install;

/// Does what was typed.
///
/// # Errors
/// Usage (2) for a config that can't be expanded, with its faults; what a run says.
pub fn run(cloud: &str, command: Ci) -> Result<()> {
    match command {
        Ci::Pack { folder, json, orbs } => {
            let packed = match folder {
                Some(folder) => ci::pack::pack(&folder),
                None => registry(orbs)?.own(),
            };
            let packed = packed.map_err(|faults| shown(&faults, "the orb can't be packed"))?;
            print(&packed, json);
            Ok(())
        }
        Ci::Expand { pipeline, json } => {
            print(&read(pipeline)?.compiled.config, json);
            Ok(())
        }
        Ci::Validate(pipeline) if pipeline.config.is_none() && pipeline.folder.join("@orb.yml").is_file() => {
            let wrong =
                |faults: Faults| shown(&faults, &format!("the orb in {} is not valid", pipeline.folder.display()));
            let orb = ci::pack::pack(&pipeline.folder).map_err(wrong)?;
            ci::check_orb(&orb, &registry(pipeline.orbs)?).map_err(wrong)?;
            anstream::println!("the orb is valid");
            Ok(())
        }
        Ci::Validate(pipeline) => {
            let read = read(pipeline)?;
            let workflows: Vec<_> =
                read.compiled.plan.workflows.iter().map(|workflow| workflow.name.as_str()).collect();
            anstream::println!("the config is valid; its workflows here: {}", or_none(&workflows));
            Ok(())
        }
        Ci::Run { pipeline, workflow, job, approve, contexts } => {
            let read = read(pipeline)?;
            let project = read.project?;
            let plan = chosen(read.compiled.plan, workflow.as_deref())?;
            let standing = Cloud::load(&Cloud::home_of(cloud)?)?;
            let order = Order {
                project,
                branch: read.given.branch().to_owned(),
                tag: read.given.tag.clone(),
                pipeline: read.id,
                approved: approve,
                only: job,
                machine: machine(standing.as_ref(), read.archives),
                contexts: contexts_file(contexts, standing.as_ref())?,
                cache: Cloud::shared_cache()?,
            };
            match &standing {
                Some(standing) => {
                    install::as_root("ci run")?;
                    exec::enter(standing)?;
                }
                None => anstream::eprintln!(
                    "no cloud named {cloud} is up: jobs run without one (gyron-rehearse{} up)",
                    flag(cloud)
                ),
            }
            block_on(run::run(&plan, order))
        }
        Ci::Serve { listen, orbs } => {
            let registry = Arc::new(registry(orbs)?);
            block_on(ci::serve::forever(registry, listen))
        }
    }
}

/// A config that has been read and expanded.
struct Read {
    given: Given,
    id: String,
    /// Without a repo a config can be expanded, but not run.
    project: Result<Project>,
    compiled: Compiled,
    archives: Option<PathBuf>,
}

fn read(pipeline: Pipeline) -> Result<Read> {
    let Pipeline { folder, config, branch, tag, parameter, orbs } = pipeline;
    let folder =
        std::path::absolute(&folder).or_fail(|| Failure::usage(format!("{} is no folder", folder.display())))?;
    let archives = orbs.archives.clone();
    let given = Given { folder, config, branch, tag, parameters: parameter };
    let project = Project::find(&given.folder);
    let root = project.as_ref().map_or(&given.folder, |project| &project.root);
    let source = given.source(root)?;
    let id = uuid::Uuid::new_v4().to_string();
    let compiled = ci::compile(&source, &registry(orbs)?, &given.pipeline(project.as_ref().ok(), &id))
        .map_err(|faults| shown(&faults, &format!("{} can't be expanded", source.name())))?;
    Ok(Read { given, id, project, compiled, archives })
}

fn print(document: &Node, json: bool) {
    if json {
        anstream::println!("{}", document.to_json());
    } else {
        anstream::print!("{}", yaml::emit(document));
    }
}

/// Shows every fault, and fails with how many there are.
fn shown(faults: &Faults, what: &str) -> Failure {
    anstream::eprintln!("{}\n", faults.render());
    let count = faults.iter().count();
    Failure::usage(format!("{what}: {count} {}", if count == 1 { "fault" } else { "faults" }))
}

fn registry(orbs: Orbs) -> Result<Registry> {
    Registry::of(orbs.orbs, orbs.archives)
}

fn chosen(plan: Plan, workflow: Option<&str>) -> Result<Plan> {
    let Some(name) = workflow else { return Ok(plan) };
    let names: Vec<_> = plan.workflows.iter().map(|workflow| workflow.name.as_str()).collect();
    let known = or_none(&names);
    match plan.workflows.iter().find(|workflow| workflow.name == name) {
        Some(workflow) => Ok(Plan { workflows: vec![workflow.clone()] }),
        None => Err(Failure::usage(format!("there is no workflow {name} whose conditions hold"))
            .hint(format!("the workflows of this pipeline: {known}"))),
    }
}

fn or_none(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// What every job has before its own variables: programs, the network, and of the cloud all but its keys, which are a
/// context's.
fn machine(cloud: Option<&Cloud>, archives: Option<PathBuf>) -> Vec<(String, OsString)> {
    let kept = ["PATH", "LANG", "LC_ALL", "TZ", "TERM", "USER", "LOGNAME"];
    let of_the_shell = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    let mut all: Vec<(String, OsString)> =
        of_the_shell.filter(|(name, _)| kept.contains(&name.as_str()) || run::of_the_network(name)).collect();
    if let Some(cloud) = cloud {
        let of_the_cloud = env::for_a_child(cloud);
        all.retain(|(name, _)| !of_the_cloud.iter().any(|(other, _)| other == name));
        all.extend(of_the_cloud.into_iter().filter(|(name, _)| !SECRET.contains(&name.as_str())));
    }
    // A job gets gyron by the orb's install, never this machine's own build.
    let own = env::own_folder();
    for (name, value) in &mut all {
        if name == "PATH" {
            let folders = std::env::split_paths(value).filter(|folder| *folder != own).collect::<Vec<_>>();
            *value = std::env::join_paths(folders).unwrap_or_default();
        }
    }
    let archives = archives.and_then(|archives| std::path::absolute(archives).ok());
    all.extend(archives.map(|archives| ("GYRON_ARCHIVES".to_owned(), archives.into())));
    all
}

const SECRET: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];

fn contexts_file(named: Option<PathBuf>, cloud: Option<&Cloud>) -> Result<PathBuf> {
    match (named, cloud) {
        (Some(file), _) if !file.is_file() => Err(Failure::usage(format!("{} is no file", file.display()))),
        (Some(file), _) => Ok(file),
        (None, Some(cloud)) => Ok(cloud.contexts()),
        (None, None) => Ok(Cloud::shared_cache()?.join("ci/contexts.toml")),
    }
}
