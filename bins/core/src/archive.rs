//! Reproducible archives: the same files give the same bytes, on any machine and on any day.
//!
//! Sorted names, one time for all, owner and group 0 by number, no access or change times.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobSetBuilder};
use sha2::{Digest as _, Sha256};
use walkdir::WalkDir;

use crate::failure::{Failure, OrFail as _, Result};
use crate::ids::Digest;

/// A file that has been written or read, by what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The SHA-256 of its bytes.
    pub sha256: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// The files below `root` that match one of the globs, relative and sorted. `.git` and `.gyron` are never among them.
///
/// `setting` is where the globs stand (`package.include`), `advice` what to think of where one matches nothing.
///
/// # Errors
/// Usage (2): a glob that is none, or that matches nothing.
pub fn matching(root: &Path, globs: &[String], setting: &str, advice: &str) -> Result<Vec<PathBuf>> {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        let built = GlobBuilder::new(glob).literal_separator(true).build();
        set.add(built.or_fail(|| Failure::usage(format!("`{glob}` in {setting} is no glob")))?);
    }
    let set = set.build().or_fail(|| Failure::usage(format!("{setting} is no list of globs")))?;
    let mut used = vec![false; globs.len()];
    let mut found = Vec::new();
    for path in files(root)? {
        let matches = set.matches(&path);
        for &index in &matches {
            used[index] = true;
        }
        if !matches.is_empty() {
            found.push(path);
        }
    }
    if let Some(index) = used.iter().position(|used| !used) {
        return Err(Failure::usage(format!("`{}` in {setting} matches no file", globs[index]))
            .hint(format!("globs are relative to {}; {advice}", root.display())));
    }
    Ok(found)
}

/// All files and links below `root`, relative and sorted by their bytes.
///
/// # Errors
/// Usage (2) where the folder can't be read.
pub fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let walk = WalkDir::new(root)
        .into_iter()
        .filter_entry(|entry| entry.depth() != 1 || !matches!(entry.file_name().to_str(), Some(".git" | ".gyron")));
    for entry in walk {
        let entry = entry.or_fail(|| Failure::usage(format!("can't read {}", root.display())))?;
        if !entry.file_type().is_dir()
            && let Ok(path) = entry.path().strip_prefix(root)
        {
            found.push(path.to_owned());
        }
    }
    found.sort();
    Ok(found)
}

/// How an archive is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// zstd: small and quick, for what gyron itself or its toolkit unpacks.
    Zstd,
    /// gzip: for what a bare machine's Python unpacks with nothing but its own library.
    Gzip,
}

/// Writes the files (relative to `root`) into an archive at `to`.
///
/// # Errors
/// Usage (2): a file that can't be read. Defect (70): the archive can't be written.
pub fn write(root: &Path, files: &[PathBuf], time: u64, compression: Compression, to: &Path) -> Result<Sealed> {
    let file = File::create(to).or_fail(|| Failure::defect(format!("can't write {}", to.display())))?;
    let sink = Hashing::new(BufWriter::new(file));
    let written = || Failure::defect(format!("can't write {}", to.display()));
    let sink = match compression {
        Compression::Zstd => {
            let encoder = zstd::Encoder::new(sink, 3).or_fail(written)?;
            fill(encoder, root, files, time)?.finish().or_fail(written)?
        }
        Compression::Gzip => {
            let encoder = flate2::GzBuilder::new().mtime(0).write(sink, flate2::Compression::default());
            fill(encoder, root, files, time)?.finish().or_fail(written)?
        }
    };
    sink.seal().or_fail(written)
}

fn fill<W: Write>(sink: W, root: &Path, files: &[PathBuf], time: u64) -> Result<W> {
    let mut archive = tar::Builder::new(sink);
    for path in files {
        let source = root.join(path);
        let read = || Failure::usage(format!("can't read {}", source.display()));
        let metadata = source.symlink_metadata().or_fail(read)?;
        let mut header = tar::Header::new_gnu();
        header.set_mtime(time);
        header.set_uid(0);
        header.set_gid(0);
        if metadata.is_symlink() {
            let target = std::fs::read_link(&source).or_fail(read)?;
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            header.set_size(0);
            archive.append_link(&mut header, path, target).or_fail(read)?;
        } else if metadata.is_file() {
            // Only what git keeps of a mode counts: whether it can be run. The rest is the machine's umask.
            let runnable = metadata.permissions().mode() & 0o111 != 0;
            header.set_entry_type(tar::EntryType::Regular);
            header.set_mode(if runnable { 0o755 } else { 0o644 });
            header.set_size(metadata.len());
            let file = File::open(&source).or_fail(read)?;
            archive.append_data(&mut header, path, BufReader::new(file)).or_fail(read)?;
        }
    }
    archive.into_inner().or_fail(|| Failure::defect("an archive can't be ended"))
}

/// The digest and size of a file.
///
/// # Errors
/// As the file system says.
pub fn seal(path: &Path) -> io::Result<Sealed> {
    let mut sink = Hashing::new(io::sink());
    io::copy(&mut BufReader::new(File::open(path)?), &mut sink)?;
    sink.seal()
}

/// The digest of a tree: names, whether a file can be run, and contents.
///
/// # Errors
/// Usage (2) where a file can't be read.
pub fn tree(root: &Path, files: &[PathBuf]) -> Result<Digest> {
    let mut sink = Hashing::new(io::sink());
    sink = fill(sink, root, files, 0)?;
    Ok(sink.seal().or_fail(|| Failure::defect("a digest can't be made"))?.sha256)
}

struct Hashing<W> {
    inner: W,
    digest: Sha256,
    size: u64,
}

impl<W: Write> Hashing<W> {
    fn new(inner: W) -> Self {
        Hashing { inner, digest: Sha256::new(), size: 0 }
    }

    fn seal(mut self) -> io::Result<Sealed> {
        self.inner.flush()?;
        Ok(Sealed { sha256: Digest::new(hex::encode(self.digest.finalize())), size: self.size })
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Unpacks an archive that [`write`] made with [`Compression::Zstd`]: for tests and for looking inside.
///
/// # Errors
/// As the archive or the file system says.
pub fn unpack_zstd(archive: impl Read, to: &Path) -> io::Result<()> {
    tar::Archive::new(zstd::Decoder::new(archive)?).unpack(to)
}

/// Unpacks an archive that [`write`] made with [`Compression::Gzip`].
///
/// # Errors
/// As the archive or the file system says.
pub fn unpack_gzip(archive: impl Read, to: &Path) -> io::Result<()> {
    tar::Archive::new(flate2::read::GzDecoder::new(archive)).unpack(to)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::{Path, PathBuf};

    use super::{Compression, files, matching, seal, write};

    fn tree(root: &Path) {
        std::fs::create_dir_all(root.join("app/static")).unwrap();
        std::fs::create_dir_all(root.join(".git")).unwrap();
        for (name, content) in [("app/wsgi.py", "x"), ("app/static/a.css", "y"), (".git/HEAD", "z"), ("b", "w")] {
            std::fs::write(root.join(name), content).unwrap();
        }
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for compression in [Compression::Zstd, Compression::Gzip] {
            let sealed = [&one, &two].map(|folder| {
                let root = folder.path().join("tree");
                tree(&root);
                let to = folder.path().join("archive");
                let sealed = write(&root, &files(&root).unwrap(), 1_700_000_000, compression, &to).unwrap();
                assert_eq!(seal(&to).unwrap(), sealed);
                sealed
            });
            assert_eq!(sealed[0], sealed[1]);
        }
    }

    #[test]
    fn globs_take_what_they_name_and_never_git() {
        let folder = tempfile::tempdir().unwrap();
        tree(folder.path());
        let found = matching(folder.path(), &["app/**".to_owned()], "package.include", "").unwrap();
        assert_eq!(found, [PathBuf::from("app/static/a.css"), PathBuf::from("app/wsgi.py")]);
        assert_eq!(files(folder.path()).unwrap().len(), 3);
    }

    #[test]
    fn a_glob_that_matches_nothing_is_said() {
        let folder = tempfile::tempdir().unwrap();
        tree(folder.path());
        let failure =
            matching(folder.path(), &["app/**".to_owned(), "dist/*".to_owned()], "package.include", "is it made?")
                .unwrap_err();
        assert_eq!(failure.message(), "`dist/*` in package.include matches no file");
    }
}
