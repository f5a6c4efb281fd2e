//! Names that are given twice get a number, see
//! <https://circleci.com/docs/reference/reusing-config/#authoring-parameterized-jobs>.

use std::collections::{BTreeMap, BTreeSet};

use super::Workflow;

/// Gives each job of these workflows its name in the end. The same job in two workflows keeps one name, as long as it
/// is the same once its parameters are put in.
pub(super) fn number(mut workflows: Vec<&mut Workflow>) {
    let mut places: BTreeMap<String, Vec<(usize, usize)>> = BTreeMap::new();
    for (outer, workflow) in workflows.iter().enumerate() {
        for (inner, call) in workflow.calls.iter().enumerate() {
            places.entry(call.asked.clone()).or_default().push((outer, inner));
        }
    }
    let mut taken: BTreeSet<String> = places.keys().cloned().collect();
    for (asked, places) in places {
        let twice_in_one = places.windows(2).any(|pair| pair[0].0 == pair[1].0);
        let body = |(outer, inner): &(usize, usize)| &workflows[*outer].calls[*inner].body;
        let different = places.windows(2).any(|pair| body(&pair[0]) != body(&pair[1]));
        if !twice_in_one && !different {
            for (outer, inner) in places {
                workflows[outer].calls[inner].name.clone_from(&asked);
            }
            continue;
        }
        let mut number = 0;
        for (outer, inner) in places {
            let name = loop {
                number += 1;
                let name = format!("{asked}-{number}");
                if taken.insert(name.clone()) {
                    break name;
                }
            };
            workflows[outer].calls[inner].name = name;
        }
    }
}
