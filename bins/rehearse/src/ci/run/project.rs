//! The app's repo as CircleCI would see it: a commit on a branch, never a detached HEAD.

use std::path::{Path, PathBuf};
use std::process::Command;

use gyron_core::failure::{Failure, OrFail, Result};

/// A repo at a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Its root.
    pub root: PathBuf,
    /// `gh/OWNER/NAME` of a repo that has GitHub as its origin, else `local/local/NAME` for the folder's name.
    pub slug: String,
    /// Where it was cloned from, or the folder itself.
    pub url: String,
    /// The commit that runs.
    pub revision: String,
    /// Whether the work tree differs from it: a runner sees the commit alone.
    pub dirty: bool,
}

impl Project {
    /// The repo that holds `folder`.
    ///
    /// # Errors
    /// Usage (2) where it is no repo, or has no commit.
    pub fn find(folder: &Path) -> Result<Self> {
        let root = git(folder, &["rev-parse", "--show-toplevel"])
            .ok_or_else(|| Failure::usage(format!("{} is in no git repo", folder.display())).hint("git init"))?;
        let root = PathBuf::from(root);
        let revision = git(&root, &["rev-parse", "--verify", "--quiet", "HEAD"]).ok_or_else(|| {
            Failure::usage(format!("{} has no commit yet", root.display())).hint("git add --all && git commit")
        })?;
        let dirty = git(&root, &["status", "--porcelain", "--", ".", ":(exclude).gyron"])
            .is_some_and(|changes| !changes.is_empty());
        let url = git(&root, &["remote", "get-url", "origin"]);
        let name = root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let slug = url.as_deref().and_then(github).unwrap_or_else(|| format!("local/local/{name}"));
        let url = url.unwrap_or_else(|| format!("file://{}", root.display()));
        Ok(Project { root, slug, url, revision, dirty })
    }

    /// The owner and the name, as `CIRCLE_PROJECT_USERNAME` and `CIRCLE_PROJECT_REPONAME` have them.
    #[must_use]
    pub fn names(&self) -> (&str, &str) {
        let mut parts = self.slug.splitn(3, '/').skip(1);
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
    }

    /// Clones the commit into `to`, on the branch or at the tag that the pipeline is of.
    ///
    /// # Errors
    /// Program (5) where git fails.
    pub fn checkout(&self, to: &Path, branch: &str, tag: Option<&str>) -> Result<()> {
        std::fs::create_dir_all(to).or_fail(|| Failure::program(format!("can't make {}", to.display())))?;
        let source = self.root.display().to_string();
        let run = |args: &[&str]| {
            let output = Command::new("git").arg("-C").arg(to).args(args).output();
            let output = output.or_fail(|| Failure::program("can't run git"))?;
            if output.status.success() {
                return Ok(());
            }
            let said = String::from_utf8_lossy(&output.stderr);
            Err(Failure::program(format!("git {} failed", args.join(" "))).detail(format!("  {}", said.trim_end())))
        };
        // Into a folder that may hold something already, as after attach_workspace.
        run(&["init", "--quiet"])?;
        run(&["fetch", "--quiet", "--tags", &source, &self.revision])?;
        match tag {
            Some(tag) => run(&["checkout", "--quiet", "--force", &format!("refs/tags/{tag}")]),
            None => run(&["checkout", "--quiet", "--force", "-B", branch, &self.revision]),
        }
    }
}

/// `gh/OWNER/NAME` of a GitHub address, https or ssh.
fn github(url: &str) -> Option<String> {
    let rest = url.split_once("github.com")?.1.trim_start_matches([':', '/']);
    let name = rest.strip_suffix(".git").unwrap_or(rest);
    (name.split('/').count() == 2).then(|| format!("gh/{name}"))
}

/// What git prints, trimmed; none where it fails.
fn git(folder: &Path, args: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(folder).args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_is_githubs_where_it_is_known() {
        assert_eq!(github("https://github.com/tama/shop.git").as_deref(), Some("gh/tama/shop"));
        assert_eq!(github("git@github.com:tama/shop").as_deref(), Some("gh/tama/shop"));
        assert_eq!(github("https://example.com/tama/shop"), None);
    }
}
