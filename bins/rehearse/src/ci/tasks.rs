//! From an expanded job, whose shape is known to be right, to what the runner takes.

use std::time::Duration;

use super::duration;
use super::plan::{Job, Run, Step, When};
use super::template::as_text;
use super::yaml::{Map, Node, Value};

/// "The default is 10 minutes", see <https://circleci.com/docs/reference/configuration-reference/#run>.
const SILENCE: Duration = Duration::from_secs(600);

/// The default of <https://circleci.com/docs/reference/configuration-reference/#job-name>.
const DIRECTORY: &str = "~/project";

pub(super) fn job(name: &str, body: &Map) -> Job {
    let docker = body.get("docker").and_then(Node::as_list).unwrap_or_default();
    let machine = body.get("machine").map(|machine| match machine.as_map() {
        Some(map) => text(map, "image").unwrap_or_else(|| "default".to_owned()),
        None => machine.as_text().unwrap_or("default").to_owned(),
    });
    Job {
        name: name.to_owned(),
        images: docker.iter().filter_map(|image| text(image.as_map()?, "image")).collect(),
        machine,
        environment: environment(body),
        shell: text(body, "shell"),
        working_directory: text(body, "working_directory").unwrap_or_else(|| DIRECTORY.to_owned()),
        parallelism: number(body, "parallelism").unwrap_or(1).max(1),
        steps: body.get("steps").and_then(Node::as_list).unwrap_or_default().iter().filter_map(step).collect(),
        resource_class: text(body, "resource_class"),
    }
}

fn step(node: &Node) -> Option<Step> {
    let none = Map::default();
    let (name, map) = match &node.value {
        Value::Text(name) => (name.as_str(), &none),
        Value::Map(map) => map.iter().next().map(|(key, body)| (key.name.as_str(), body.as_map().unwrap_or(&none)))?,
        _ => return None,
    };
    Some(match name {
        "run" => Step::Run(run(map)?),
        "checkout" => Step::Checkout { path: text(map, "path").unwrap_or_else(|| ".".to_owned()) },
        "persist_to_workspace" => Step::PersistToWorkspace { root: text(map, "root")?, paths: texts(map, "paths") },
        "attach_workspace" => Step::AttachWorkspace { at: text(map, "at")? },
        "save_cache" => Step::SaveCache {
            name: text(map, "name"),
            key: text(map, "key")?,
            paths: texts(map, "paths"),
            when: when(map),
        },
        // "If you provide both `key` and `keys`, CircleCI checks `key` first, then `keys`."
        "restore_cache" => Step::RestoreCache {
            name: text(map, "name"),
            keys: text(map, "key").into_iter().chain(texts(map, "keys")).collect(),
        },
        "store_artifacts" => Step::StoreArtifacts { path: text(map, "path")?, destination: text(map, "destination") },
        "store_test_results" => Step::StoreTestResults { path: text(map, "path")? },
        _ => return None,
    })
}

fn run(map: &Map) -> Option<Run> {
    let time = |name| text(map, name).and_then(|text| duration::read(&text));
    Some(Run {
        command: text(map, "command")?,
        name: text(map, "name"),
        shell: text(map, "shell"),
        environment: environment(map),
        working_directory: text(map, "working_directory"),
        background: map.get("background").is_some_and(|node| node.value == Value::Bool(true)),
        no_output_timeout: time("no_output_timeout").unwrap_or(SILENCE),
        when: when(map),
        max_auto_reruns: number(map, "max_auto_reruns").unwrap_or(0),
        auto_rerun_delay: time("auto_rerun_delay").unwrap_or_default(),
    })
}

fn when(map: &Map) -> When {
    match map.get("when").and_then(Node::as_text) {
        Some("always") => When::Always,
        Some("on_fail") => When::OnFail,
        _ => When::OnSuccess,
    }
}

/// Booleans are 1 and 0 in an environment, see <https://github.com/circleci/circleci-docs/issues/5304>, and a pipeline
/// value that is empty is `<nil>`, see <https://circleci.com/docs/guides/orchestrate/pipeline-variables/>.
fn environment(map: &Map) -> Vec<(String, String)> {
    let shown = |node: &Node| match node.value {
        Value::Bool(value) => if value { "1" } else { "0" }.to_owned(),
        Value::Null => "<nil>".to_owned(),
        _ => as_text(node),
    };
    let entries = map.get("environment").and_then(Node::as_map);
    entries.into_iter().flat_map(Map::iter).map(|(key, node)| (key.name.clone(), shown(node))).collect()
}

fn text(map: &Map, name: &str) -> Option<String> {
    map.get(name)?.as_text().map(str::to_owned)
}

/// A list of texts, or one.
pub(super) fn texts(map: &Map, name: &str) -> Vec<String> {
    match map.get(name).map(|node| &node.value) {
        Some(Value::Text(text)) => vec![text.clone()],
        Some(Value::List(items)) => items.iter().filter_map(|item| item.as_text().map(str::to_owned)).collect(),
        _ => Vec::new(),
    }
}

pub(super) fn number(map: &Map, name: &str) -> Option<u32> {
    match map.get(name)?.value {
        Value::Int(number) => u32::try_from(number).ok(),
        _ => None,
    }
}
