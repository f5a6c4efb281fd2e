//! The variables of a step, laid over one another as CircleCI documents it: the machine's, contexts', CircleCI's own, the
//! job's, the step's (<https://circleci.com/docs/guides/security/env-vars/#order-of-precedence>).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use super::Site;
use crate::ci::agent::{self, oidc};
use crate::ci::plan::Node;

/// Which of the jobs this is, and where it stands on this machine.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// The job's node in its workflow.
    pub node: &'a Node,
    /// The workflow's id.
    pub workflow_id: &'a str,
    /// The job's number.
    pub number: u64,
    /// Which of its parallel runs this is.
    pub index: u32,
    /// How many there are.
    pub total: u32,
    /// Its home: empty when it begins.
    pub home: &'a Path,
    /// The file that every shell of it reads.
    pub bash_env: &'a Path,
    /// The file that `circleci step halt` leaves.
    pub halt: &'a Path,
}

/// Of a person's own shell, a job gets nothing but the way to the network: proxies, package indexes, certificates.
pub fn of_the_network(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    name.ends_with("_PROXY")
        || ["PIP_", "NPM_CONFIG_", "GOPROXY", "SSL_CERT_", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]
            .iter()
            .any(|beginning| name.starts_with(beginning))
}

/// The variables of a job, before those of its steps.
pub fn of_job(site: &Site, place: &Place<'_>, contexts: &BTreeMap<String, String>) -> BTreeMap<String, OsString> {
    let mut all: BTreeMap<String, OsString> = site.machine.iter().cloned().collect();
    let text = |path: &Path| path.as_os_str().to_owned();
    all.insert("HOME".to_owned(), text(place.home));
    all.insert("BASH_ENV".to_owned(), text(place.bash_env));
    all.insert(agent::HALT.to_owned(), text(place.halt));
    all.insert(agent::RELEASES.to_owned(), text(&site.results.join("releases.jsonl")));
    all.extend(contexts.iter().map(|(name, value)| (name.clone(), value.into())));
    all.extend(built_in(site, place).into_iter().map(|(name, value)| (name.to_owned(), value.into())));
    if !place.node.contexts.is_empty() {
        // Only jobs with a context get one (https://circleci.com/docs/guides/permissions-authentication/openid-connect-tokens/).
        let token = oidc::mint(&|name| all.get(name).map(|value| value.to_string_lossy().into_owned()), None);
        all.insert("CIRCLE_OIDC_TOKEN".to_owned(), token.clone().into());
        all.insert("CIRCLE_OIDC_TOKEN_V2".to_owned(), token.into());
    }
    let own = place.node.job.iter().flat_map(|job| &job.environment);
    all.extend(own.map(|(name, value)| (name.clone(), value.into())));
    all
}

/// <https://circleci.com/docs/reference/variables/#built-in-environment-variables>
fn built_in(site: &Site, place: &Place<'_>) -> Vec<(&'static str, String)> {
    let (owner, name) = site.project.names();
    let mut all = vec![
        ("CI", "true".to_owned()),
        ("CIRCLECI", "true".to_owned()),
        ("CIRCLE_BUILD_NUM", place.number.to_string()),
        ("CIRCLE_JOB", place.node.name.clone()),
        ("CIRCLE_NODE_INDEX", place.index.to_string()),
        ("CIRCLE_NODE_TOTAL", place.total.to_string()),
        ("CIRCLE_ORGANIZATION_ID", site.ids.organization.clone()),
        ("CIRCLE_PIPELINE_ID", site.ids.pipeline.clone()),
        ("CIRCLE_PROJECT_ID", site.ids.project.clone()),
        ("CIRCLE_PROJECT_REPONAME", name.to_owned()),
        ("CIRCLE_PROJECT_USERNAME", owner.to_owned()),
        ("CIRCLE_REPOSITORY_URL", site.project.url.clone()),
        ("CIRCLE_SHA1", site.project.revision.clone()),
        ("CIRCLE_USERNAME", "rehearsal".to_owned()),
        ("CIRCLE_WORKFLOW_ID", place.workflow_id.to_owned()),
        ("CIRCLE_WORKFLOW_JOB_ID", uuid::Uuid::new_v4().to_string()),
        ("CIRCLE_WORKFLOW_WORKSPACE_ID", place.workflow_id.to_owned()),
        (
            "CIRCLE_WORKING_DIRECTORY",
            place.node.job.as_ref().map_or_else(String::new, |job| job.working_directory.clone()),
        ),
    ];
    match &site.tag {
        Some(tag) => all.push(("CIRCLE_TAG", tag.clone())),
        None => all.push(("CIRCLE_BRANCH", site.branch.clone())),
    }
    all
}

#[cfg(test)]
mod tests {
    use super::of_the_network;

    #[test]
    fn a_job_gets_the_way_to_the_network_and_nothing_else_of_the_shell() {
        for name in ["https_proxy", "NO_PROXY", "PIP_INDEX_URL", "npm_config_registry", "SSL_CERT_FILE"] {
            assert!(of_the_network(name), "{name}");
        }
        for name in ["AWS_SECRET_ACCESS_KEY", "HOME", "GYRON_ENV", "GITHUB_TOKEN", "PATH"] {
            assert!(!of_the_network(name), "{name}");
        }
    }
}
