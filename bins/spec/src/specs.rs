//! The app's spec files.

use std::path::{Path, PathBuf};

use gyron_core::archive::{self, Compression, Sealed};
use gyron_core::failure::{Failure, Result};
use gyron_core::ids::Digest;

/// The folder of the specs, by what is in it.
#[derive(Debug)]
pub(crate) struct Specs {
    folder: PathBuf,
    files: Vec<PathBuf>,
    /// The folder, relative to gyron.toml.
    pub(crate) path: String,
    /// How many of the files hold specs.
    pub(crate) count: usize,
    /// The digest of the whole tree.
    pub(crate) digest: Digest,
}

impl Specs {
    /// Finds the specs below `root`.
    ///
    /// # Errors
    /// Usage (2): no such folder, or no `*_spec.rb` in it: rspec would call that a success.
    pub(crate) fn find(root: &Path, path: &str) -> Result<Self> {
        let folder = root.join(path);
        if !folder.is_dir() {
            return Err(Failure::usage(format!("there is no folder {path}")).hint(
                "spec.path in gyron.toml is the folder of serverspec's *_spec.rb files, relative to gyron.toml",
            ));
        }
        let files = archive::files(&folder)?;
        let count = files.iter().filter(|file| file.to_string_lossy().ends_with("_spec.rb")).count();
        if count == 0 {
            return Err(Failure::usage(format!("no file in {path} is named *_spec.rb: nothing would be tested"))
                .hint("rspec runs the files of that name; spec.path in gyron.toml names their folder"));
        }
        let digest = archive::tree(&folder, &files)?;
        Ok(Specs { folder, files, path: path.trim_end_matches('/').to_owned(), count, digest })
    }

    /// Packs them, so that a bare machine can unpack them.
    pub(crate) fn pack(&self, to: &Path) -> Result<Sealed> {
        archive::write(&self.folder, &self.files, 0, Compression::Gzip, to)
    }

    /// `2 files of spec`
    pub(crate) fn in_words(&self) -> String {
        match self.count {
            1 => format!("the one file of {}", self.path),
            count => format!("the {count} files of {}", self.path),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::Specs;

    #[test]
    fn a_folder_without_specs_is_no_success() {
        let app = tempfile::tempdir().unwrap();
        insta::assert_snapshot!(Specs::find(app.path(), "spec").unwrap_err().report(), @"
        error: there is no folder spec
        hint: spec.path in gyron.toml is the folder of serverspec's *_spec.rb files, relative to gyron.toml
        ");
        std::fs::create_dir(app.path().join("spec")).unwrap();
        std::fs::write(app.path().join("spec/spec_helper.rb"), "").unwrap();
        insta::assert_snapshot!(Specs::find(app.path(), "spec").unwrap_err().report(), @"
        error: no file in spec is named *_spec.rb: nothing would be tested
        hint: rspec runs the files of that name; spec.path in gyron.toml names their folder
        ");
        std::fs::create_dir(app.path().join("spec/web")).unwrap();
        std::fs::write(app.path().join("spec/web/nginx_spec.rb"), "").unwrap();
        let specs = Specs::find(app.path(), "spec/").unwrap();
        assert_eq!((specs.count, specs.path.as_str()), (1, "spec"));
    }
}
