//! Matrices: a job called once for every combination of values, see
//! <https://circleci.com/docs/reference/configuration-reference/#matrix>.

use std::collections::BTreeMap;

use crate::ci::fault::{Fault, Faults, gather};
use crate::ci::scope::Scope;
use crate::ci::template;
use crate::ci::yaml::{Key, Map, Node};

/// No matrix is larger by intent, and a larger one could fill any memory.
const MOST: usize = 1000;

/// One combination: each parameter as written and as filled, by its name.
pub(super) type Combination = BTreeMap<String, Cell>;

#[derive(Clone)]
pub(super) struct Cell {
    pub(super) key: Key,
    pub(super) written: Node,
    pub(super) filled: Node,
}

/// All combinations but the excluded ones. The first name in the alphabet changes slowest, as in the reference's
/// "Equivalent configuration without using matrix jobs".
pub(super) fn combinations(matrix: &Map, owner: &Key, scope: &Scope<'_>) -> Result<Vec<Combination>, Faults> {
    let parameters = matrix.get("parameters").and_then(Node::as_map);
    let mut axes = BTreeMap::new();
    for (key, node) in parameters.into_iter().flat_map(Map::iter) {
        let listed = template::fill(node, scope)?;
        let written = node.as_list().unwrap_or_default();
        let cells = listed.as_list().unwrap_or_default().iter().enumerate().map(|(index, filled)| Cell {
            key: key.clone(),
            written: written.get(index).unwrap_or(filled).clone(),
            filled: filled.clone(),
        });
        axes.insert(key.name.clone(), cells.collect::<Vec<_>>());
    }
    let count = axes.values().map(Vec::len).try_fold(1_usize, |all, axis| all.checked_mul(axis));
    if count.is_none_or(|count| count > MOST) {
        let at = parameters.and_then(|map| map.iter().next()).map_or(&owner.at, |(key, _)| &key.at);
        return Err(Fault::new(at, format!("the matrix has more than {MOST} combinations")).into());
    }
    let mut combinations = vec![Combination::new()];
    for (name, cells) in axes {
        combinations = combinations
            .iter()
            .flat_map(|combination| {
                cells.iter().map(|cell| {
                    let mut longer = combination.clone();
                    longer.insert(name.clone(), cell.clone());
                    longer
                })
            })
            .collect();
    }
    let excluded = matrix.get("exclude").and_then(Node::as_list).unwrap_or_default();
    let excluded = gather(excluded.iter().map(|node| template::fill(node, scope)))?;
    combinations.retain(|combination| !excluded.iter().filter_map(Node::as_map).any(|map| is(combination, map)));
    Ok(combinations)
}

fn is(combination: &Combination, excluded: &Map) -> bool {
    excluded.len() == combination.len()
        && excluded.iter().all(|(key, node)| combination.get(&key.name).is_some_and(|cell| cell.filled == *node))
}

/// `test-14.17.6-docker`: the values in the order of their names.
pub(super) fn name(job: &str, combination: &Combination) -> String {
    let mut name = job.to_owned();
    for cell in combination.values() {
        name.push('-');
        // An executor with arguments goes by its name.
        let shown = cell.filled.as_map().and_then(|map| map.get("name")).unwrap_or(&cell.filled);
        name.push_str(&template::as_text(shown));
    }
    name
}
