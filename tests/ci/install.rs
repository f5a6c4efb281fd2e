//! The orb's `install`, from a local folder: the sums that the orb was packed with decide.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use gyron_tests::{App, programs};

use super::{app, run};

/// The archive of the development build, made once by the release's own script.
fn archives() -> &'static PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(gyron_tests::archives)
}

const CONFIG: &str = "version: 2.1
orbs: {gyron: tama/gyron@1}
jobs:
  use:
    executor: gyron/default
    steps:
      - checkout
      - gyron/install
      - run: {name: where, command: 'command -v gyron-bake; gyron-bake --version'}
      - gyron/install
workflows: {main: {jobs: [use]}}
";

fn installing(folder: &std::path::Path) -> String {
    let app: App = app(CONFIG);
    let folder = folder.display().to_string();
    run(&app, &["--archives", &folder]).replace(&folder, "ARCHIVES")
}

#[test]
fn the_archive_is_verified_installed_once_and_found_again() {
    let shown = installing(archives());
    assert!(shown.starts_with("exit 0\n"), "{shown}");
    let of_install: Vec<&str> =
        shown.lines().filter(|line| line.contains("gyron") && line.contains("use |   ")).collect();
    insta::assert_snapshot!(of_install.join("\n"), @"
    use |   gyron-1.0.0-linux-amd64.tar.xz: from ARCHIVES/gyron-1.0.0-linux-amd64.tar.xz, sha256 verified
    use |   gyron 1.0.0: installed into CI/1-0/home/.local/bin
    use |   1 file kept as gyron-v1-linux-x86_64-0-0-SHA256
    use |   CI/1-0/home/.local/bin/gyron-bake
    use |   gyron-bake 1.0.0
    use |   1 file of gyron-v1-linux-x86_64-0-0-SHA256
    use |   gyron 1.0.0: stands already, at CI/1-0/home/.local/bin/gyron-package
    use |   gyron-v1-linux-x86_64-0-0-SHA256 is there already: left as it is
    ");
}

#[test]
fn an_archive_that_is_not_the_orbs_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").arg("-a").arg(archives().join(".")).arg(folder.path()).status().unwrap();
    assert!(copied.success());
    for entry in std::fs::read_dir(folder.path()).unwrap().flatten() {
        if entry.file_name().to_string_lossy().ends_with(".tar.xz") {
            // The sums were written of what it was; then somebody changed it.
            let mut content = std::fs::read(entry.path()).unwrap();
            let middle = content.len() / 2;
            content[middle] ^= 1;
            std::fs::write(entry.path(), content).unwrap();
        }
    }
    let shown = installing(folder.path());
    assert!(shown.starts_with("exit 1\n"), "{shown}");
    let error = shown.lines().skip_while(|line| !line.contains("error:")).take(5).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(error, @"
    use |   error: ARCHIVES/gyron-1.0.0-linux-amd64.tar.xz has the wrong content
    use |     sha256 expected SHA256
    use |     sha256 found    SHA256
    use |   hint: the orb and the archive are of two releases, or somebody changed the archive
    use |   error: exited with code 3
    ");
    let _ = programs();
}
