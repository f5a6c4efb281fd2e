//! Which bodies are as the control plane says.

use std::collections::BTreeSet;

use gyron_core::failure::Result;

use super::Bodies;
use super::plan::{Body, BodyState};
use crate::world::{Instance, InstanceState};

impl Bodies {
    /// The ids of the instances whose bodies are in line: up, shut down, or gone, as wanted.
    ///
    /// # Errors
    /// Where podman can't be asked.
    pub async fn in_line(&self, wanted: &[Instance]) -> Result<BTreeSet<String>> {
        Ok(in_line(wanted, &self.observe().await?))
    }
}

fn in_line(wanted: &[Instance], observed: &[Body]) -> BTreeSet<String> {
    let stands = |instance: &&Instance| {
        let body = observed.iter().find(|body| body.instance_id == instance.id);
        matches!(
            (instance.state.end(), body.map(|body| (body.state, body.linked))),
            (InstanceState::Running, Some((BodyState::Up, _)))
                | (InstanceState::Stopped, None | Some((BodyState::Ended(_), false)))
                | (InstanceState::Terminated, None)
        )
    };
    wanted.iter().filter(stands).map(|instance| instance.id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::overlay::tests::instance;

    #[test]
    fn a_body_is_in_line_when_it_is_as_wanted() {
        use InstanceState::{Running, Stopped, Terminated};
        for (wanted, body, stands) in [
            (Running, None, false),
            (Running, Some((BodyState::Up, true)), true),
            (Running, Some((BodyState::Ended(0), true)), false),
            (Stopped, Some((BodyState::Up, true)), false),
            // Ended, but its network still stands: the stop is not through.
            (Stopped, Some((BodyState::Ended(0), true)), false),
            (Stopped, Some((BodyState::Ended(0), false)), true),
            (Terminated, Some((BodyState::Ended(0), false)), false),
            (Terminated, None, true),
        ] {
            let observed: Vec<Body> =
                body.map(|(state, linked)| Body { instance_id: "i-1".to_owned(), state, linked }).into_iter().collect();
            assert_eq!(
                in_line(&[instance("i-1", wanted)], &observed).len(),
                usize::from(stands),
                "{wanted:?} {body:?}"
            );
        }
    }
}
