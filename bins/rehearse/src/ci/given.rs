//! What a person says of the pipeline on the command line, and what the app's repo adds: the pipeline's values.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gyron_core::failure::{Failure, OrFail, Result};
use serde_json::{Value, json};

use super::pipeline::Pipeline;
use super::run::Project;
use super::source::Source;

/// The branch of a pipeline where nobody names one: a detached HEAD is none, and CircleCI knows none.
const BRANCH: &str = "main";

/// What the pipeline is of, in the user's words.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// The app's folder.
    pub folder: PathBuf,
    /// The config, where it isn't `.circleci/config.yml` of the repo.
    pub config: Option<PathBuf>,
    /// `--branch`
    pub branch: Option<String>,
    /// `--tag`
    pub tag: Option<String>,
    /// `--parameter NAME=VALUE`
    pub parameters: Vec<(String, String)>,
}

impl Given {
    /// The branch that the pipeline is of.
    #[must_use]
    pub fn branch(&self) -> &str {
        self.branch.as_deref().unwrap_or(BRANCH)
    }

    /// Reads the config.
    ///
    /// # Errors
    /// Usage (2) where it isn't there.
    pub fn source(&self, root: &Path) -> Result<Source> {
        let path = self.config.clone().unwrap_or_else(|| root.join(".circleci/config.yml"));
        let text = std::fs::read_to_string(&path).or_fail(|| {
            Failure::usage(format!("can't read {}", path.display()))
                .hint("an app's repo has its CI in .circleci/config.yml; --config names another file")
        })?;
        let shown = path.strip_prefix(root).unwrap_or(&path);
        Ok(Source::new(shown.display().to_string(), text))
    }

    /// The pipeline's values and parameters (<https://circleci.com/docs/reference/variables/#pipeline-values>).
    #[must_use]
    pub fn pipeline(&self, project: Option<&Project>, id: &str) -> Pipeline {
        let mut values = BTreeMap::from([
            ("id".to_owned(), json!(id)),
            ("number".to_owned(), json!(1)),
            ("trigger_source".to_owned(), json!("api")),
            ("event.name".to_owned(), json!("api")),
            ("git.branch.is_default".to_owned(), json!(self.tag.is_none() && self.branch() == BRANCH)),
            ("git.branch".to_owned(), if self.tag.is_some() { json!("") } else { json!(self.branch()) }),
            ("git.tag".to_owned(), json!(self.tag.clone().unwrap_or_default())),
        ]);
        if let Some(project) = project {
            let (owner, name) = project.names();
            let known: [(&str, Value); 8] = [
                ("git.revision", json!(project.revision)),
                ("git.base_revision", json!("")),
                ("git.repo_url", json!(project.url)),
                ("git.repo_owner", json!(owner)),
                ("git.repo_name", json!(name)),
                ("project.git_url", json!(project.url)),
                ("project.slug", json!(project.slug)),
                ("project.type", json!("github")),
            ];
            values.extend(known.map(|(name, value)| (name.to_owned(), value)));
        }
        let parameters = self.parameters.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        Pipeline { values, parameters }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipeline_is_of_a_branch_or_of_a_tag() {
        let of = |given: &Given, name: &str| given.pipeline(None, "id").values.get(name).cloned();
        let mut given = Given::default();
        assert_eq!(of(&given, "git.branch"), Some(json!("main")));
        assert_eq!(of(&given, "git.branch.is_default"), Some(json!(true)));
        given.tag = Some("v1".to_owned());
        assert_eq!(of(&given, "git.branch"), Some(json!("")));
        assert_eq!(of(&given, "git.tag"), Some(json!("v1")));
    }
}
