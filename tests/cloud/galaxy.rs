//! What a playbook takes from Ansible Galaxy: pinned in `gyron.lock`, made once, gone from the image.

use std::process::Command;

use gyron_tests::App;
use gyron_tests::cloud::Cloud;

use crate::bake::inside;

const META: &str =
    "galaxy_info: {author: a, description: d, license: MIT, min_ansible_version: '2.19'}\ndependencies: []\n";

/// A role in a git repository of its own, with a tag.
fn role_in_git(said: &str) -> App {
    let role = App::empty();
    write_role(&role, "", said);
    role.commit();
    tag(&role);
    role
}

fn tag(repo: &App) {
    let tagged = Command::new("git").current_dir(repo.path()).args(["tag", "--force", "v1"]).output().unwrap();
    assert!(tagged.status.success());
}

fn write_role(repo: &App, folder: &str, said: &str) {
    let task = format!("- ansible.builtin.copy: {{content: {said}, dest: /srv/{said}}}\n");
    repo.write(&format!("{folder}tasks/main.yml"), &task);
    repo.write(&format!("{folder}meta/main.yml"), META);
}

/// Two collections in one repository: one to be installed from it, one to be made a tarball of.
fn collections() -> App {
    let repo = App::empty();
    for name in ["tools", "tarred"] {
        let galaxy = format!("namespace: acme\nname: {name}\nversion: 1.2.0\nreadme: README.md\nauthors: [a]\n");
        repo.write(&format!("{name}/galaxy.yml"), &galaxy);
        repo.write(&format!("{name}/README.md"), "hello\n");
        write_role(&repo, &format!("{name}/roles/hello/"), &format!("collection-{name}"));
    }
    repo.commit();
    repo
}

/// A collection's tarball, as `ansible-galaxy collection build` makes it.
const BUILD: &str = r#"
import hashlib, io, json, os, sys, tarfile
source, to = sys.argv[1:]
sha256 = lambda content: hashlib.sha256(content).hexdigest()
members, listed = [], [{"name": ".", "ftype": "dir", "chksum_type": None, "chksum_sha256": None, "format": 1}]
for folder, folders, names in os.walk(source):
    place = os.path.relpath(folder, source)
    if place != ".":
        listed.append({**listed[0], "name": place})
        members.append((place, None))
    for name in names:
        if name != "galaxy.yml":
            content = open(os.path.join(folder, name), "rb").read()
            path = os.path.normpath(os.path.join(place, name))
            members.append((path, content))
            listed.append({"name": path, "ftype": "file", "chksum_type": "sha256", "chksum_sha256": sha256(content), "format": 1})
files = json.dumps({"files": listed, "format": 1}).encode()
about = {"namespace": "acme", "name": "tarred", "version": "1.2.0", "authors": ["a"], "readme": "README.md", "tags": [],
         "description": None, "license": [], "license_file": None, "dependencies": {}, "repository": None,
         "documentation": None, "homepage": None, "issues": None}
entry = {"name": "FILES.json", "ftype": "file", "chksum_type": "sha256", "chksum_sha256": sha256(files), "format": 1}
manifest = json.dumps({"collection_info": about, "file_manifest_file": entry, "format": 1}).encode()
with tarfile.open(to, "w:gz") as archive:
    for path, content in [("MANIFEST.json", manifest), ("FILES.json", files), *members]:
        info = tarfile.TarInfo(path)
        if content is None:
            info.type, info.mode = tarfile.DIRTYPE, 0o755
        else:
            info.size = len(content)
        archive.addfile(info, io.BytesIO(content or b""))
"#;

/// A role's tarball, put to the app's bucket; gives a URL that anybody can read.
fn role_by_url(cloud: &Cloud, bucket: &str, said: &str) -> String {
    let role = App::empty();
    write_role(&role, "role/", said);
    let tarball = role.path().join("role.tar.gz");
    let made = Command::new("tar").arg("-czf").arg(&tarball).arg("-C").arg(role.path()).arg("role").status();
    assert!(made.unwrap().success());
    let place = format!("s3://{bucket}/role.tar.gz");
    let _ = cloud.ask(&["exec", "--", "aws", "s3", "cp", "--quiet", &tarball.display().to_string(), &place]);
    cloud.ask(&["exec", "--", "aws", "s3", "presign", "--expires-in", "3600", &place]).trim().to_owned()
}

/// What differs from run to run: commits, digests, addresses, folders.
fn steady(text: &str) -> String {
    let patterns = [
        (r"commit [0-9a-f]{12}", "commit COMMIT"),
        (r#"commit = "[0-9a-f]{40}""#, r#"commit = "COMMIT""#),
        (r##"file:///[^"#]*"##, "file:///REPO"),
        (r#"http://[^" ]*role.tar.gz[^" ]*"#, "http://BUCKET/role.tar.gz"),
        (r"sha256 [0-9a-f]{12}", "sha256 DIGEST"),
        (r"pins [0-9a-f]{12}", "pins DIGEST"),
        (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "TIME"),
        (r"of today|\d+ days? old", "AGE"),
    ];
    patterns.iter().fold(gyron_tests::plain(text), |text, (pattern, name)| {
        regex::Regex::new(pattern).unwrap().replace_all(&text, *name).into_owned()
    })
}

/// Without ansible-galaxy's own lines, which name temporary folders.
fn ours(text: &str) -> String {
    text.lines().filter(|line| !line.starts_with("  | ")).collect::<Vec<_>>().join("\n")
}

#[test]
fn requirements_are_pinned_and_reach_the_builder_as_they_were_pinned() {
    let cloud = Cloud::of_tests();
    let app = App::small_named("galaxy");
    cloud.prepare(&app);
    let (role, repo) = (role_in_git("role-of-git"), collections());
    let url = role_by_url(&cloud, "galaxy-releases", "role-of-url");
    let tarball = app.path().join("ansible/vendor/acme-tarred-1.2.0.tar.gz");
    std::fs::create_dir_all(tarball.parent().unwrap()).unwrap();
    let built = Command::new("python3").args(["-c", BUILD]).arg(repo.path().join("tarred")).arg(&tarball).status();
    assert!(built.unwrap().success());
    app.write(
        "ansible/requirements.yml",
        &format!(
            "roles:\n  - {{src: 'git+file://{}', name: of_git, version: v1}}\n  - {{src: '{url}', name: of_url}}\n\
             collections:\n  - {{source: 'git+file://{}#/tools', type: git}}\n  \
             - {{source: vendor/acme-tarred-1.2.0.tar.gz, type: file}}\n",
            role.path().display(),
            repo.path().display()
        ),
    );
    app.replace(
        "ansible/site.yml",
        "  gather_facts: false\n",
        "  gather_facts: false\n  roles: [of_app, of_config, of_git, of_url, acme.tools.hello, acme.tarred.hello]\n",
    );
    write_role(&app, "ansible/roles/of_app/", "role-of-app");
    app.write("ansible/ansible.cfg", "[defaults]\nroles_path = more\n");
    write_role(&app, "ansible/more/of_config/", "role-of-config");
    app.commit();
    cloud.succeed(&app, "gyron-package", &[]);
    let run = |args: &[&str]| ours(&steady(&app.show(&cloud.run(&app, "gyron-bake", args))));

    insta::assert_snapshot!(run(&[]), @"
    exit 2
    --- stdout
    --- stderr
    bake galaxy VERSION on ami-ID (debian-12-amd64-20260101-1)
      hint: `gyron-bake update` pins the base image, so that a newer one comes by a commit
    error: gyron.lock does not pin what ansible/requirements.yml asks for
    hint: `gyron-bake update` does, by version, commit and digest; commit the file
    ");
    insta::assert_snapshot!(run(&["update"]), @"
    exit 0
    --- stdout
    base: ami-ID (debian-12-amd64-20260101-1, AGE)
    collection acme.tarred of ansible/requirements.yml: 1.2.0 (sha256 DIGEST)
    collection acme.tools of ansible/requirements.yml: 1.2.0 (commit COMMIT)
    role of_git of ansible/requirements.yml: v1 (commit COMMIT)
    role of_url of ansible/requirements.yml: sha256 DIGEST
    --- stderr
      resolving ansible/requirements.yml
    ");
    insta::assert_snapshot!(steady(&app.read("gyron.lock")), @r#"
    # Written by `gyron-bake update`: commit it. `gyron-bake outdated` says whether there is anything newer.
    version = 1

    [base]
    id = "ami-ID"
    name = "debian-12-amd64-20260101-1"
    architecture = "x86_64"
    created = "TIME"

    [base.by]
    region = "us-east-1"
    ssm = "/aws/service/debian/release/12/latest/amd64"

    [[requirements]]
    file = "ansible/requirements.yml"
    sha256 = "SHA256"

    [[requirements.content]]
    kind = "role"
    name = "of_git"
    version = "v1"
    from = "git"
    source = "file:///REPO"
    commit = "COMMIT"
    sha256 = "SHA256"

    [[requirements.content]]
    kind = "role"
    name = "of_url"
    from = "url"
    source = "http://BUCKET/role.tar.gz"
    sha256 = "SHA256"

    [[requirements.content]]
    kind = "collection"
    name = "acme.tarred"
    version = "1.2.0"
    from = "file"
    source = "vendor/acme-tarred-1.2.0.tar.gz"
    sha256 = "SHA256"

    [[requirements.content]]
    kind = "collection"
    name = "acme.tools"
    version = "1.2.0"
    from = "git"
    source = "git+file:///REPO#/tools"
    commit = "COMMIT"
    sha256 = "SHA256"
    "#);
    let image = cloud.succeed(&app, "gyron-bake", &[]);
    let made = inside(&image, "cd \"$1\"/srv && ls -d role-* collection-*");
    insta::assert_snapshot!(made, @"
    collection-tarred
    collection-tools
    role-of-app
    role-of-config
    role-of-git
    role-of-url
    ");
    let left = r#"cd "$1" && find . -xdev \( -name of_git -o -name 'acme*' -o -name 'gyron.*' \) -print"#;
    assert_eq!(inside(&image, left), "", "nothing of it stays in the image");

    // A tag that was moved changes nothing until the lock is written anew: the same lock gives the same bytes, whenever they are
    // made. A builder can't be had in this subnet, but its job is made first.
    let bundle = || {
        let list = ["s3api", "list-objects-v2", "--bucket", "galaxy-releases", "--prefix", "galaxy/galaxy/"];
        cloud.select(&list, "Contents[].[Key, ETag][]")
    };
    let first = bundle();
    assert_eq!(first.len(), 2, "{first:?}");
    let remove = || {
        let place = "s3://galaxy-releases/galaxy/galaxy/";
        let _ = cloud.ask(&["exec", "--", "aws", "s3", "rm", "--quiet", "--recursive", place]);
    };
    let nowhere = ["--fresh", "--set", "bake.subnets=[\"subnet-00000000\"]"];
    write_role(&role, "", "role-moved");
    role.commit();
    tag(&role);
    let plan = cloud.succeed(&app, "gyron-bake", &["--plan"]);
    assert_eq!(gyron_tests::plain(&plan).split(',').next().unwrap(), "would reuse the image ami-ID");
    remove();
    let shown = run(&nowhere);
    assert!(shown.contains("installing what ansible/requirements.yml asks for, as it is pinned"), "{shown}");
    assert_eq!(bundle(), first, "{shown}");
    insta::assert_snapshot!(run(&["outdated"]), @"
    exit 1
    --- stdout
    role of_git of ansible/requirements.yml: v1 (commit COMMIT) -> v1 (commit COMMIT)
    --- stderr
      resolving ansible/requirements.yml
    error: gyron.lock is outdated
    hint: `gyron-bake update` writes it anew: a diff to test and to review
    ");

    // A tarball has no commit: other content in its place is noticed.
    let _ = role_by_url(&cloud, "galaxy-releases", "role-replaced");
    remove();
    insta::assert_snapshot!(run(&nowhere), @"
    exit 3
    --- stdout
    --- stderr
    bake galaxy VERSION on ami-ID (debian-12-amd64-20260101-1, pinned in gyron.lock)
      installing what ansible/requirements.yml asks for, as it is pinned
      builder terminated (TIME)
    error: the role of_url of http://BUCKET/role.tar.gz has the sha256 DIGEST now, gyron.lock pins DIGEST
      already: no instance and no image of this bake are left
    hint: whoever publishes it has put other content in its place; `gyron-bake update` would pin that
    ");
    insta::assert_snapshot!(run(&["update"]), @"
    exit 0
    --- stdout
    role of_git of ansible/requirements.yml: v1 (commit COMMIT) -> v1 (commit COMMIT)
    role of_url of ansible/requirements.yml: sha256 DIGEST -> sha256 DIGEST
    --- stderr
      resolving ansible/requirements.yml
    ");
    let plan = cloud.succeed(&app, "gyron-bake", &["--plan"]);
    let changes: Vec<&str> = plan.lines().filter(|line| line.contains("bring in")).collect();
    insta::assert_snapshot!(gyron_tests::plain(&changes.join("\n")), @"
    would bring in, since ami-ID of VERSION: ~ role of_git v1
    would bring in, since ami-ID of VERSION: ~ role of_url
    ");

    // Nor is a file believed that asks for something else by now.
    app.write("ansible/requirements.yml", "roles: [{src: nowhere.tar.gz, name: of_git}]\n");
    insta::assert_snapshot!(run(&[]), @"
    exit 3
    --- stdout
    --- stderr
    bake galaxy VERSION on ami-ID (debian-12-amd64-20260101-1, pinned in gyron.lock)
    error: ansible/requirements.yml has changed since gyron.lock was written
    hint: `gyron-bake update` pins what it asks for now
    ");
    let output = cloud.run(&app, "gyron-bake", &["update"]);
    assert_eq!(output.status.code(), Some(5));
    assert!(app.show(&output).contains("hint: ansible-galaxy was to install what ansible/requirements.yml asks for"));
}
