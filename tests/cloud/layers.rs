//! A server baked in layers is the same as one baked at once: file by file.

use std::collections::BTreeMap;

use gyron_tests::App;
use gyron_tests::cloud::Cloud;

use crate::bake::inside;

/// Prints each path of a tree with all that makes it what it is: kind, mode, owner, content or what it points at, the other
/// names it has, and its extended attributes. Times are not among it: they are of the bake.
const TREE: &str = r#"exec python3 -I - "$1" <<'PYTHON'
import hashlib, os, stat, sys
root = os.fsencode(sys.argv[1])
names, found = {}, []
for folder, folders, files in os.walk(root):
    for name in folders + files:
        path = os.path.join(folder, name)
        about = os.lstat(path)
        found.append((path[len(root):], about))
        if not stat.S_ISDIR(about.st_mode):
            names.setdefault(about.st_ino, []).append(path[len(root):])
for path, about in sorted(found):
    kind, what = stat.filemode(about.st_mode), ""
    full = root + path
    if stat.S_ISREG(about.st_mode):
        with open(full, "rb") as file:
            what = hashlib.file_digest(file, "sha256").hexdigest()
    elif stat.S_ISLNK(about.st_mode):
        what = "-> " + os.fsdecode(os.readlink(full))
    elif stat.S_ISCHR(about.st_mode) or stat.S_ISBLK(about.st_mode):
        what = "%d:%d" % (os.major(about.st_rdev), os.minor(about.st_rdev))
    others = sorted(other for other in names.get(about.st_ino, []) if other != path)
    attributes = [(name, os.getxattr(full, name, follow_symlinks=False)) for name in os.listxattr(full, follow_symlinks=False)]
    print(os.fsdecode(path), kind, about.st_uid, about.st_gid, what, others or "", attributes or "", sep="\t")
PYTHON"#;

fn tree(image: &str) -> BTreeMap<String, String> {
    let printed = inside(image, TREE);
    let lines = printed.lines().filter_map(|line| line.split_once('\t'));
    let tree: BTreeMap<String, String> = lines.map(|(path, about)| (path.to_owned(), about.to_owned())).collect();
    assert!(tree.len() > 5000, "{image} has {} files", tree.len());
    tree
}

/// Each path that is not the same in both, with what it is in each.
fn differences(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let nothing = String::new();
    let paths = one.keys().chain(other.keys());
    let differs = paths.filter(|path| one.get(*path) != other.get(*path));
    let line = |path: &String| {
        let (a, b) = (one.get(path).unwrap_or(&nothing), other.get(path).unwrap_or(&nothing));
        (path.clone(), format!("{path}\n  in layers  {a}\n  at once    {b}"))
    };
    differs.map(line).collect()
}

#[test]
fn two_layers_are_the_same_as_one_playbook() {
    let cloud = Cloud::of_tests();
    let app = App::example("shop");
    app.replace("gyron.toml", "app    = \"shop\"", "app    = \"stacked\"");
    app.replace("gyron.toml", "shop-releases", "stacked-releases");
    let site = "- ansible.builtin.import_playbook: middleware.yml\n- ansible.builtin.import_playbook: app.yml\n";
    app.write("ansible/site.yml", site);
    app.commit();
    cloud.prepare(&app);
    cloud.succeed(&app, "gyron-package", &[]);
    let layered = cloud.succeed(&app, "gyron-bake", &[]);
    let at_once = "bake.layers=[{ name = \"whole\", playbook = \"ansible/site.yml\", release = true }]";
    let at_once = cloud.succeed(&app, "gyron-bake", &["--set", at_once]);
    assert_ne!(layered, at_once);

    let (layered, at_once) = (tree(&layered), tree(&at_once));
    for held in ["/srv/shop/app/shop.py", "/usr/sbin/nginx", "/etc/nginx/sites-enabled/shop"] {
        assert!(layered.contains_key(held), "{held} is not in the image");
    }
    // No difference is allowed: the clean-up takes away all that tells two boots of a builder from one.
    let found: Vec<String> = differences(&layered, &at_once).into_values().collect();
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
}
