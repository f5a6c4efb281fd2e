//! Filters of branches and tags, and expressions in their place, see
//! <https://circleci.com/docs/reference/configuration-reference/#jobfilters>.

use crate::ci::fault::{Fault, Faults};
use crate::ci::scope::Scope;
use crate::ci::source::At;
use crate::ci::yaml::{Map, Node};
use crate::ci::{logic, tasks};

/// Whether a job runs in this pipeline. `filters` is filled.
pub(super) fn let_run(filters: Option<&Node>, scope: &Scope<'_>) -> Result<bool, Faults> {
    let filter = |kind: &str| filters.and_then(Node::as_map)?.get(kind);
    match (scope.pipeline.branch(), scope.pipeline.tag()) {
        // "CircleCI does not run workflows for tags unless you explicitly specify tag filters."
        (_, Some(tag)) => match filter("tags") {
            Some(node) => matches(node, tag, false),
            None => Ok(false),
        },
        (Some(branch), None) => match filter("branches") {
            Some(node) => matches(node, branch, true),
            None => Ok(true),
        },
        (None, None) => Ok(true),
    }
}

/// "If you specify both `only` and `ignore`, CircleCI checks `only` before `ignore`."
fn matches(filter: &Node, name: &str, otherwise: bool) -> Result<bool, Faults> {
    let none = Map::default();
    let map = filter.as_map().unwrap_or(&none);
    match (map.get("only"), map.get("ignore")) {
        (Some(only), _) => Ok(any(map, "only", name, &only.at)?),
        (None, Some(ignore)) => Ok(!any(map, "ignore", name, &ignore.at)?),
        (None, None) => Ok(otherwise),
    }
}

fn any(map: &Map, key: &str, name: &str, at: &At) -> Result<bool, Fault> {
    for pattern in tasks::texts(map, key) {
        let found = match pattern.strip_prefix('/').and_then(|pattern| pattern.strip_suffix('/')) {
            // "Regular expressions must match the *entire* string."
            Some(pattern) => logic::matches_all(pattern, name, at)?,
            None => pattern == name,
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}
