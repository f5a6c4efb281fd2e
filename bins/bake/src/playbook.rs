//! The playbook's tree: what stands in the folder of the playbook's file, all of it or what its layer names.

use std::path::{Path, PathBuf};

use gyron_core::archive::{self, Compression};
use gyron_core::config::schema::Layer;
use gyron_core::failure::{Failure, Result};
use gyron_core::ids::Digest;

/// A playbook as it goes to the builder.
#[derive(Clone, Debug)]
pub(crate) struct Playbook {
    pub(crate) folder: PathBuf,
    files: Vec<PathBuf>,
    /// The playbook's own file, relative to the folder.
    pub(crate) file: String,
    /// The digest of the whole tree.
    pub(crate) digest: Digest,
}

impl Playbook {
    /// Reads the tree around the layer's playbook, which is relative to gyron.toml.
    pub(crate) fn read(root: &Path, layer: &Layer) -> Result<Self> {
        let path = &layer.playbook;
        let full = root.join(path);
        let (Some(folder), Some(file), true) =
            (full.parent(), full.file_name().and_then(|name| name.to_str()), full.is_file())
        else {
            return Err(Failure::usage(format!("the playbook {path} is not there"))
                .hint("bake.playbook in gyron.toml is relative to it, and stands in a folder of its own"));
        };
        let same = |a: &Path, b: &Path| a.canonicalize().ok() == b.canonicalize().ok();
        if layer.files.is_none() && same(folder, root) {
            return Err(Failure::usage(format!("the playbook {path} stands beside gyron.toml"))
                .hint("its whole folder goes to the builder: give it a folder of its own, such as ansible/, or name its `files`"));
        }
        let files = match &layer.files {
            None => archive::files(folder)?,
            Some(globs) => named(folder, file, globs, path)?,
        };
        let digest = archive::tree(folder, &files)?;
        Ok(Playbook { folder: folder.to_owned(), files, file: file.to_owned(), digest })
    }

    /// Whether this file, relative to the folder, goes to the builder.
    pub(crate) fn holds(&self, file: &Path) -> bool {
        self.files.iter().any(|there| there == file)
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

/// The playbook's own file and what the globs name, sorted.
fn named(folder: &Path, file: &str, globs: &[String], playbook: &str) -> Result<Vec<PathBuf>> {
    let setting = format!("the `files` of {playbook}");
    let mut files = archive::matching(folder, globs, &setting, "all that is in a folder is `FOLDER/**`")?;
    if let Err(place) = files.binary_search(&PathBuf::from(file)) {
        files.insert(place, PathBuf::from(file));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may")]

    use std::path::Path;

    use gyron_core::config::schema::Layer;

    use super::Playbook;

    fn layer(playbook: &str, files: Option<&[&str]>) -> Layer {
        let files = files.map(|globs| globs.iter().map(|glob| (*glob).to_owned()).collect());
        Layer { name: "middleware".to_owned(), playbook: playbook.to_owned(), files, release: false }
    }

    fn write(root: &Path, name: &str, content: &str) {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn names(playbook: &Playbook) -> Vec<String> {
        playbook.parts().unwrap().into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn layers_of_one_folder_do_not_see_each_others_files() {
        let root = tempfile::tempdir().unwrap();
        for name in ["middleware.yml", "app.yml", "roles/middleware/tasks/main.yml", "roles/app/tasks/main.yml"] {
            write(root.path(), &format!("ansible/{name}"), "as it was");
        }
        let read = |files| Playbook::read(root.path(), &layer("ansible/middleware.yml", files)).unwrap();
        let (own, whole) = (read(Some(&["roles/middleware/**"])), read(None));
        assert_eq!(names(&own), ["middleware.yml", "roles/middleware/tasks/main.yml"]);
        assert_eq!(names(&read(Some(&[]))), ["middleware.yml"]);
        assert_eq!(names(&whole).len(), 4);

        write(root.path(), "ansible/roles/app/tasks/main.yml", "changed");
        assert_eq!(read(Some(&["roles/middleware/**"])).parts().unwrap(), own.parts().unwrap());
        assert_ne!(read(None).digest, whole.digest);
        write(root.path(), "ansible/roles/middleware/tasks/main.yml", "changed");
        assert_ne!(read(Some(&["roles/middleware/**"])).digest, own.digest);
    }

    #[test]
    fn a_playbook_beside_gyron_toml_must_name_its_files() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "site.yml", "");
        write(root.path(), "gyron.toml", "");
        assert_eq!(names(&Playbook::read(root.path(), &layer("site.yml", Some(&[]))).unwrap()), ["site.yml"]);
        let failure = Playbook::read(root.path(), &layer("site.yml", None)).unwrap_err();
        assert_eq!(failure.message(), "the playbook site.yml stands beside gyron.toml");
    }
}
