//! The toolkit: a pinned ansible-core in a folder of its own, made once, kept in S3 by digest.

mod pip;

use std::path::Path;

use gyron_core::archive::{self, Compression};
use gyron_core::failure::{Failure, OrFail as _, Result};
use gyron_core::ids::Digest;
use gyron_core::registry::{Put, Registry};
use gyron_core::step::Context;

/// Versions and hashes of ansible-core and what it needs, for the Python of Debian 12 on both architectures.
const LOCK: &str = include_str!("builder/ansible.lock");

/// The builder's Python for which the lock's compiled parts are made.
pub(crate) const PYTHON: [u8; 2] = [3, 11];

/// Counts changes of how the toolkit is made from the lock.
const RECIPE: u32 = 1;

/// A toolkit in S3.
#[derive(Clone, Debug)]
pub(crate) struct Toolkit {
    pub(crate) key: String,
    pub(crate) sha256: Digest,
    /// `ansible-core 2.19.14`
    pub(crate) name: String,
}

/// pip's name of a platform on which the builder's wheels run.
fn platform(architecture: &str) -> &'static str {
    match architecture {
        "arm64" => "manylinux2014_aarch64",
        _ => "manylinux2014_x86_64",
    }
}

fn name() -> String {
    LOCK.split_whitespace().next().unwrap_or("ansible-core").replace("==", " ")
}

/// The digest of all that decides what is in the toolkit.
pub(crate) fn recipe(architecture: &str) -> Digest {
    let [major, minor] = PYTHON;
    Digest::of(format!("{RECIPE} {major}.{minor} {} {LOCK}", platform(architecture)).as_bytes())
}

/// Where the toolkit for an architecture stands in the registry.
pub(crate) fn key(registry: &Registry, architecture: &str) -> String {
    registry.key(&format!("toolkits/{}.tar.gz", recipe(architecture)))
}

/// Finds the toolkit in S3, or makes it and puts it there.
pub(crate) async fn find_or_make(context: &Context, registry: &Registry, architecture: &str) -> Result<Toolkit> {
    let key = key(registry, architecture);
    if let Some(sha256) = registry.sha256(&key).await? {
        return Ok(Toolkit { key, sha256: Digest::new(sha256), name: name() });
    }
    context.console.say(format!("  making the toolkit: {}", name()));
    let scratch = tempfile::tempdir().or_fail(|| Failure::defect("no temporary folder can be made"))?;
    let tree = scratch.path().join("toolkit");
    install(context, architecture, scratch.path(), &tree).await?;
    let file = scratch.path().join("toolkit.tar.gz");
    let files = archive::files(&tree)?.into_iter().filter(|path| belongs(path)).collect::<Vec<_>>();
    let sealed = archive::write(&tree, &files, 0, Compression::Gzip, &file)?;
    // Made the same way it is the same to the byte; if not, what others have used already counts.
    let sha256 = match registry.put_once(&key, &file, &sealed.sha256).await? {
        Put::New | Put::Same => sealed.sha256,
        Put::Other(Some(there)) => Digest::new(there),
        Put::Other(None) => {
            return Err(Failure::refused(format!("s3://{}/{key} carries no sha256", registry.bucket())));
        }
    };
    Ok(Toolkit { key, sha256, name: name() })
}

/// Brings the toolkit to this machine at `to`, for its ansible-galaxy: from S3, or made here where nobody has needed it yet.
///
/// # Errors
/// AWS (4); program (5): pip failed.
pub(crate) async fn bring(context: &Context, registry: &Registry, architecture: &str, to: &Path) -> Result<()> {
    let key = key(registry, architecture);
    let Some(sha256) = registry.sha256(&key).await? else {
        let scratch = tempfile::tempdir().or_fail(|| Failure::defect("no temporary folder can be made"))?;
        return install(context, architecture, scratch.path(), to).await;
    };
    let place = format!("s3://{}/{key}", registry.bucket());
    let bytes = registry.bytes(&key).await?.ok_or_else(|| Failure::refused(format!("{place} has gone")))?;
    if Digest::of(&bytes).as_str() != sha256 {
        return Err(Failure::refused(format!("{place} is not what its sha256 says")));
    }
    archive::unpack_gzip(bytes.as_slice(), to).or_fail(|| Failure::defect(format!("can't unpack {place}")))
}

/// The scripts' first lines name this machine's Python, and RECORD has their hashes: neither is of use elsewhere.
fn belongs(path: &Path) -> bool {
    let first = path.components().next().map(|part| part.as_os_str().to_owned()).unwrap_or_default();
    first != "bin" && first != "ansible_test" && path.file_name().is_none_or(|name| name != "RECORD")
}

async fn install(context: &Context, architecture: &str, scratch: &Path, tree: &Path) -> Result<()> {
    let lock = scratch.join("ansible.lock");
    std::fs::write(&lock, LOCK).or_fail(|| Failure::defect(format!("can't write {}", lock.display())))?;
    let [major, minor] = PYTHON;
    let pip = pip::find(context, scratch)
        .await?
        .args(["install", "--quiet", "--no-deps", "--require-hashes", "--no-compile", "--no-cache-dir"])
        .args(["--root-user-action=ignore", "--disable-pip-version-check", "--only-binary=:all:"])
        .args(["--implementation", "cp", "--python-version", &format!("{major}.{minor}")])
        .args(["--platform", platform(architecture)])
        .args([Path::new("--target"), tree, Path::new("-r"), &lock]);
    pip.succeed(&context.stop, |_, line| context.console.say(format!("  | {line}"))).await
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{belongs, name, recipe};

    #[test]
    fn each_architecture_has_a_toolkit_of_its_own() {
        assert_ne!(recipe("x86_64"), recipe("arm64"));
        assert!(name().starts_with("ansible-core 2."));
    }

    #[test]
    fn what_holds_this_machines_paths_stays_here() {
        let kept = ["ansible/cli/playbook.py", "yaml/_yaml.cpython-311-x86_64-linux-gnu.so"];
        let left = ["bin/ansible-playbook", "jinja2-3.1.6.dist-info/RECORD", "ansible_test/_data/x"];
        assert!(kept.iter().all(|path| belongs(Path::new(path))));
        assert!(!left.iter().any(|path| belongs(Path::new(path))));
    }
}
