//! Terraform and its provider: the real ones, from the machine where it has them, else from their publisher.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gyron_core::failure::{Failure, OrFail, Result};
use sha2::{Digest, Sha256};

use super::tool::{self, Tool};
use super::venv;

/// S3's own lock (`use_lockfile`) is stable from here on.
const AT_LEAST: (u32, u32) = (1, 11);

const VERSION: &str = "1.11.4";

/// From `terraform_1.11.4_SHA256SUMS`, which HashiCorp signs.
const SHA256: [(&str, &str); 2] = [
    ("amd64", "1ce994251c00281d6845f0f268637ba50c0005657eb3cf096b92f753b42ef4dc"),
    ("arm64", "a43d1d0da9b9bab214a8305a39db0e40869572594ccf50c416a7756499143633"),
];

/// Finds Terraform on PATH, else fetches it from its publisher into the cache.
///
/// # Errors
/// Where neither is to be had.
pub async fn ensure(cache: &Path, say: impl Fn(&str)) -> Result<()> {
    let own = venv::programs(cache).join("terraform");
    let found = which::which_in("terraform", Some(tool::search_path()), "/").ok();
    for candidate in found.into_iter().chain(own.exists().then(|| own.clone())) {
        let asked = Tool::new(&candidate).args(["version", "-json"]).env("CHECKPOINT_DISABLE", "1").ending().await;
        if asked.is_ok_and(|ending| new_enough(&ending.output)) {
            return Ok(());
        }
    }
    fetch(&own, say).await
}

fn new_enough(answer: &str) -> bool {
    let version = serde_json::from_str::<serde_json::Value>(answer).ok();
    let version = version.as_ref().and_then(|answer| answer["terraform_version"].as_str());
    let mut numbers = version.unwrap_or_default().split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= AT_LEAST
}

async fn fetch(to: &Path, say: impl Fn(&str)) -> Result<()> {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let expected = SHA256.iter().find(|(name, _)| *name == architecture).map(|(_, digest)| *digest).unwrap_or_default();
    let url =
        format!("https://releases.hashicorp.com/terraform/{VERSION}/terraform_{VERSION}_linux_{architecture}.zip");
    let hint = format!("put Terraform {}.{} or newer on PATH: {url}", AT_LEAST.0, AT_LEAST.1);
    say(&format!("fetching Terraform {VERSION}"));
    let folder = tempfile::tempdir().or_fail(|| Failure::program("can't make a temporary folder"))?;
    let archive = folder.path().join("terraform.zip");
    // curl knows the person's proxies and certificates; Python, which the venv needs anyway, has an unzip.
    Tool::new("curl")
        .args([
            "--fail",
            "--silent",
            "--show-error",
            "--location",
            "--proto",
            "=https",
            "--max-time",
            "600",
            "--output",
        ])
        .args([archive.as_os_str(), url.as_ref()])
        .within(Duration::from_secs(620))
        .run()
        .await
        .map_err(|failure| failure.hint(hint.clone()))?;
    let content = tokio::fs::read(&archive).await.or_fail(|| Failure::program("can't read what curl fetched"))?;
    let got = hex::encode(Sha256::digest(&content));
    if got != expected {
        return Err(Failure::program(format!("{url} has the wrong content"))
            .detail(format!("  sha256 expected {expected}\n  sha256 found    {got}"))
            .hint(hint));
    }
    Tool::new("python3")
        .args(["-m", "zipfile", "-e"])
        .args([&archive, &folder.path().to_path_buf()])
        .run()
        .await
        .map_err(|failure| failure.hint(hint))?;
    let unpacked = folder.path().join("terraform");
    let installed = async {
        use std::os::unix::fs::PermissionsExt;
        if let Some(parent) = to.parent() {
            tokio::fs::create_dir_all(parent).await?;
        }
        // Across file systems, so by copy; under its name only once it is whole.
        tokio::fs::copy(&unpacked, to.with_extension("new")).await?;
        tokio::fs::set_permissions(to.with_extension("new"), std::fs::Permissions::from_mode(0o755)).await?;
        tokio::fs::rename(to.with_extension("new"), to).await
    };
    installed.await.or_fail(|| Failure::program(format!("can't install Terraform as {}", to.display())))
}

/// The CLI configuration of a cloud: every provider that a mirror folder on this machine has comes from there, all others
/// from the registry.
#[must_use]
pub fn configuration(mirrors: &[Mirror]) -> String {
    let mut text = String::from("disable_checkpoint = true\n");
    if mirrors.is_empty() {
        return text;
    }
    let list =
        |providers: &[String]| providers.iter().map(|provider| format!("{provider:?}")).collect::<Vec<_>>().join(", ");
    text.push_str("\nprovider_installation {\n");
    for mirror in mirrors {
        text.push_str(&format!(
            "  filesystem_mirror {{\n    path    = {:?}\n    include = [{}]\n  }}\n",
            mirror.folder.display().to_string(),
            list(&mirror.providers)
        ));
    }
    let all: Vec<_> = mirrors.iter().flat_map(|mirror| mirror.providers.clone()).collect();
    text.push_str(&format!("  direct {{\n    exclude = [{}]\n  }}\n}}\n", list(&all)));
    text
}

/// A folder that has providers, laid out as Terraform's `filesystem_mirror` wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The folder in which `registry.terraform.io` lies.
    pub folder: PathBuf,
    /// `registry.terraform.io/NAMESPACE/NAME`
    pub providers: Vec<String>,
}

const REGISTRY: &str = "registry.terraform.io";

/// Looks in Terraform's implied mirror folders
/// (developer.hashicorp.com/terraform/cli/config/config-file#implied-local-mirror-directories) and in any
/// `registry.terraform.io` folder directly under a folder of /usr/share, /usr/local/share or /opt.
#[must_use]
pub fn find_mirrors() -> Vec<Mirror> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let data = data.or_else(|| Some(home.as_ref()?.join(".local/share")));
    let mut implied: Vec<_> = home.map(|home| home.join(".terraform.d/plugins")).into_iter().collect();
    implied.extend(data.map(|data| data.join("terraform/plugins")));
    implied.extend(["/usr/local/share/terraform/plugins", "/usr/share/terraform/plugins"].map(PathBuf::from));
    mirrors_in(implied, ["/usr/share", "/usr/local/share", "/opt"].map(PathBuf::from))
}

fn mirrors_in(implied: Vec<PathBuf>, parents: impl IntoIterator<Item = PathBuf>) -> Vec<Mirror> {
    let below = parents.into_iter().flat_map(|parent| folders(&parent));
    let mut mirrors: BTreeMap<PathBuf, Mirror> = BTreeMap::new();
    let mut taken: Vec<String> = Vec::new();
    for folder in implied.into_iter().chain(below) {
        let namespaces = folders(&folder.join(REGISTRY));
        let providers = namespaces.iter().flat_map(|namespace| folders(namespace)).filter_map(|provider| {
            let name = provider.strip_prefix(&folder).ok()?.to_str()?.to_owned();
            (!folders_or_files(&provider).is_empty()).then_some(name)
        });
        // The first folder that has a provider gives it.
        let providers: Vec<_> = providers.filter(|provider| !taken.contains(provider)).collect();
        if !providers.is_empty() {
            taken.extend(providers.clone());
            mirrors.insert(folder.clone(), Mirror { folder, providers });
        }
    }
    mirrors.into_values().collect()
}

fn folders(of: &Path) -> Vec<PathBuf> {
    folders_or_files(of).into_iter().filter(|path| path.is_dir()).collect()
}

fn folders_or_files(of: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(of).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use super::*;

    #[test]
    fn versions_from_1_11_on_will_do() {
        let answer = |version: &str| format!(r#"{{"terraform_version": "{version}", "platform": "linux_amd64"}}"#);
        assert!(new_enough(&answer("1.11.0")) && new_enough(&answer("1.12.0-beta1")) && new_enough(&answer("2.0.0")));
        assert!(!new_enough(&answer("1.9.8")) && !new_enough("Terraform v1.11") && !new_enough(""));
    }

    #[test]
    fn without_a_mirror_everything_comes_from_the_registry() {
        assert_eq!(configuration(&[]), "disable_checkpoint = true\n");
    }

    #[test]
    fn a_mirror_serves_what_it_has_and_the_registry_the_rest() {
        let root = tempfile::tempdir().unwrap();
        let provider = root.path().join("opt/mirror/registry.terraform.io/hashicorp/aws/5.100.0/linux_amd64");
        std::fs::create_dir_all(provider).unwrap();
        std::fs::create_dir_all(root.path().join("opt/other/x")).unwrap();
        std::fs::create_dir_all(root.path().join("opt/empty/registry.terraform.io/hashicorp/aws")).unwrap();
        let mirrors = mirrors_in(vec![root.path().join("implied")], [root.path().join("opt")]);
        assert_eq!(mirrors.len(), 1);
        let text = configuration(&mirrors).replace(root.path().to_str().unwrap(), "");
        assert_eq!(
            text,
            r#"disable_checkpoint = true

provider_installation {
  filesystem_mirror {
    path    = "/opt/mirror"
    include = ["registry.terraform.io/hashicorp/aws"]
  }
  direct {
    exclude = ["registry.terraform.io/hashicorp/aws"]
  }
}
"#
        );
    }
}
