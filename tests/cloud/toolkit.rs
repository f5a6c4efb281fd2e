//! The Ansible that a bake brings along, and what it is made with.

use std::os::unix::fs::PermissionsExt as _;

use gyron_tests::cloud::Cloud;

use crate::bake::packaged;

/// As CircleCI's base images have it: a Python, and neither pip nor venv.
const BARE: &str = "#!/bin/sh
case \"$1 $2\" in
  '-m pip' | '-m venv' | '-m ensurepip') echo \"No module named $2\" >&2; exit 1 ;;
esac
exec /usr/bin/python3 \"$@\"
";

#[test]
fn a_python_without_pip_makes_the_toolkit_too() {
    let cloud = Cloud::of_tests();
    let app = packaged(&cloud, "pipless");
    let folder = tempfile::tempdir().unwrap();
    let python = folder.path().join("python3");
    std::fs::write(&python, BARE).unwrap();
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let app = app.with("PATH", &path);
    // No builder is needed to see it.
    let output = cloud.run(&app, "gyron-bake", &["--set", "bake.instance-types=[\"t3.nonsense\"]"]);
    let shown = app.show(&output);
    assert_eq!(output.status.code(), Some(4), "{shown}");
    assert!(shown.contains("  python3 has no pip: fetching pip-"), "{shown}");
    assert!(shown.contains("  ready: ansible-core "), "{shown}");
}
