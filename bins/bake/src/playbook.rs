//! The playbook's tree: all that stands in the folder of the playbook's file.

use std::path::{Path, PathBuf};

use gyron_core::archive::{self, Compression};
use gyron_core::failure::{Failure, Result};
use gyron_core::ids::Digest;

/// A playbook as it goes to the builder.
#[derive(Clone, Debug)]
pub(crate) struct Playbook {
    folder: PathBuf,
    files: Vec<PathBuf>,
    /// The playbook's own file, relative to the folder.
    pub(crate) file: String,
    /// The digest of the whole tree.
    pub(crate) digest: Digest,
}

impl Playbook {
    /// Reads the tree around `path`, which is relative to gyron.toml.
    pub(crate) fn read(root: &Path, path: &str) -> Result<Self> {
        let full = root.join(path);
        let (Some(folder), Some(file), true) =
            (full.parent(), full.file_name().and_then(|name| name.to_str()), full.is_file())
        else {
            return Err(Failure::usage(format!("the playbook {path} is not there"))
                .hint("bake.playbook in gyron.toml is relative to it, and stands in a folder of its own"));
        };
        let same = |a: &Path, b: &Path| a.canonicalize().ok() == b.canonicalize().ok();
        if same(folder, root) {
            return Err(Failure::usage(format!("the playbook {path} stands beside gyron.toml"))
                .hint("its whole folder goes to the builder: give it a folder of its own, such as ansible/"));
        }
        let files = archive::files(folder)?;
        let digest = archive::tree(folder, &files)?;
        Ok(Playbook { folder: folder.to_owned(), files, file: file.to_owned(), digest })
    }

    /// Each file of the tree with the digest of its name, mode and content.
    pub(crate) fn parts(&self) -> Result<Vec<(String, Digest)>> {
        let part = |file: &PathBuf| {
            let digest = archive::tree(&self.folder, std::slice::from_ref(file))?;
            Ok((file.display().to_string(), digest))
        };
        self.files.iter().map(part).collect()
    }

    /// Writes the tree as an archive; gives its SHA-256.
    pub(crate) fn archive(&self, to: &Path) -> Result<Digest> {
        Ok(archive::write(&self.folder, &self.files, 0, Compression::Gzip, to)?.sha256)
    }
}
