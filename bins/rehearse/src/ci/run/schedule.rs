//! Which jobs begin next: a pure decision over what has become of the others.

use std::collections::BTreeMap;

use crate::ci::plan::{Kind, Node, Status};

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Running,
    /// An approval that nobody has given.
    OnHold,
    /// It has ended.
    Ended(Status),
}

/// What to do with a job that has not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Run it.
    Start,
    /// Ask for its approval.
    Hold,
    /// It ends at once: a no-op, an approval that was given beforehand, or a job whose requirements can't be met any more.
    End(Status),
}

/// What each job that has not begun can do now, in the order of the workflow.
///
/// A job waits until all that it requires has ended, and runs if each ended in one of the wanted statuses; a requirement
/// that was filtered out counts for nothing (<https://circleci.com/docs/reference/configuration-reference/#requires>).
pub fn next(nodes: &[Node], states: &BTreeMap<String, State>, approved: &[String]) -> Vec<(String, Next)> {
    let filtered_out = |name: &str| nodes.iter().any(|node| node.name == name && node.filtered_out);
    let mut decided = Vec::new();
    for node in nodes.iter().filter(|node| !node.filtered_out && !states.contains_key(&node.name)) {
        let wanted = node.requires.iter().filter(|require| !filtered_out(&require.job));
        let mut waits = false;
        let mut missed = false;
        for require in wanted {
            match states.get(&require.job) {
                Some(State::Ended(status)) => missed |= !require.statuses.contains(status),
                _ => waits = true,
            }
        }
        let next = match node.kind {
            _ if missed => Next::End(Status::NotRun),
            _ if waits => continue,
            Kind::NoOp => Next::End(Status::Success),
            Kind::Approval if approved.contains(&node.name) => Next::End(Status::Success),
            Kind::Approval => Next::Hold,
            Kind::Run => Next::Start,
        };
        decided.push((node.name.clone(), next));
    }
    decided
}

/// All that a job stands on, the farthest first: the order in which a workspace's layers are laid.
pub fn upstream(nodes: &[Node], name: &str) -> Vec<String> {
    fn visit(nodes: &[Node], name: &str, seen: &mut Vec<String>) {
        let Some(node) = nodes.iter().find(|node| node.name == name) else { return };
        for require in &node.requires {
            visit(nodes, &require.job, seen);
            if !seen.contains(&require.job) {
                seen.push(require.job.clone());
            }
        }
    }
    let mut seen = Vec::new();
    visit(nodes, name, &mut seen);
    seen
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ci::plan::Require;

    fn node(name: &str, requires: &[(&str, &[Status])]) -> Node {
        let requires = requires
            .iter()
            .map(|(job, statuses)| Require { job: (*job).to_owned(), statuses: statuses.to_vec() })
            .collect();
        Node {
            name: name.to_owned(),
            kind: Kind::Run,
            requires,
            contexts: Vec::new(),
            serial_group: None,
            filtered_out: false,
            job: None,
            override_with: None,
        }
    }

    const WELL: &[Status] = &[Status::Success];

    #[test]
    fn a_job_waits_for_all_and_runs_only_if_each_ended_as_wanted() {
        let nodes = [node("a", &[]), node("b", &[]), node("c", &[("a", WELL), ("b", WELL)])];
        let start = |name: &str| (name.to_owned(), Next::Start);
        let mut states = BTreeMap::new();
        assert_eq!(next(&nodes, &states, &[]), [start("a"), start("b")]);
        states.insert("a".to_owned(), State::Ended(Status::Success));
        states.insert("b".to_owned(), State::Running);
        assert_eq!(next(&nodes, &states, &[]), []);
        states.insert("b".to_owned(), State::Ended(Status::Failed));
        assert_eq!(next(&nodes, &states, &[]), [("c".to_owned(), Next::End(Status::NotRun))]);
        states.insert("b".to_owned(), State::Ended(Status::Success));
        assert_eq!(next(&nodes, &states, &[]), [start("c")]);
    }

    #[test]
    fn a_job_for_failures_runs_after_one_and_what_is_filtered_out_is_ignored() {
        let mut nodes = vec![node("a", &[]), node("alarm", &[("a", &[Status::Failed])]), node("b", &[("a", WELL)])];
        let states = BTreeMap::from([("a".to_owned(), State::Ended(Status::Failed))]);
        let decided = next(&nodes, &states, &[]);
        assert_eq!(decided[0], ("alarm".to_owned(), Next::Start));
        assert_eq!(decided[1], ("b".to_owned(), Next::End(Status::NotRun)));
        nodes[0].filtered_out = true;
        assert_eq!(next(&nodes, &BTreeMap::new(), &[]).len(), 2);
    }

    #[test]
    fn an_approval_holds_until_it_is_given() {
        let mut hold = node("hold", &[]);
        hold.kind = Kind::Approval;
        let nodes = [hold];
        assert_eq!(next(&nodes, &BTreeMap::new(), &[]), [("hold".to_owned(), Next::Hold)]);
        let approved = ["hold".to_owned()];
        assert_eq!(next(&nodes, &BTreeMap::new(), &approved), [("hold".to_owned(), Next::End(Status::Success))]);
    }

    #[test]
    fn upstream_is_everything_a_job_stands_on_the_farthest_first() {
        let nodes = [node("a", &[]), node("b", &[("a", WELL)]), node("c", &[("b", WELL), ("a", WELL)])];
        assert_eq!(upstream(&nodes, "c"), ["a", "b"]);
        assert_eq!(upstream(&nodes, "a"), [""; 0]);
    }

    proptest! {
        /// Whatever becomes of the jobs, a workflow without cycles comes to an end and no job begins twice.
        #[test]
        fn a_workflow_always_ends(
            edges in proptest::collection::vec((0usize..8, 0usize..8), 0..16),
            fates in proptest::collection::vec(any::<bool>(), 8),
        ) {
            let mut nodes: Vec<Node> = (0..8).map(|n| node(&n.to_string(), &[])).collect();
            for (from, to) in edges {
                let (low, high) = (from.min(to), from.max(to));
                if low != high {
                    nodes[high].requires.push(Require { job: low.to_string(), statuses: WELL.to_vec() });
                }
            }
            let mut states = BTreeMap::new();
            for _ in 0..9 {
                for (name, what) in next(&nodes, &states, &[]) {
                    prop_assert!(!states.contains_key(&name));
                    let fate = if fates[name.parse::<usize>().unwrap()] { Status::Success } else { Status::Failed };
                    let status = match what { Next::End(status) => status, _ => fate };
                    states.insert(name, State::Ended(status));
                }
            }
            prop_assert_eq!(states.len(), nodes.len());
        }
    }
}
