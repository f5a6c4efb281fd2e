"""Installs what a requirements file asks for with the toolkit's own ansible-galaxy, and writes down what came from where.

Arguments: the toolkit's folder, `role` or `collection`, the requirements file, the folder to install into, the file for what
came, then more options of ansible-galaxy. Runs where gyron-bake runs, in the playbook's folder.
"""

import json
import os
import subprocess
import sys
import tarfile

toolkit, kind, requirements, into, told = sys.argv[1:6]
options = sys.argv[6:]
sys.path.insert(0, toolkit)

# ansible-galaxy lists a collection's files in the order of the folder, which is another on each machine.
listed = os.listdir
os.listdir = lambda *path: sorted(listed(*path))

import yaml  # noqa: E402
from ansible.cli.galaxy import main  # noqa: E402
from ansible.galaxy import collection as collections  # noqa: E402
from ansible.galaxy.role import GalaxyRole  # noqa: E402
from ansible.playbook.role import requirement as roles  # noqa: E402

came = []
commits = {}


def asked_for():
    """Old files are a list of roles; newer ones have a table for each kind."""
    with open(requirements, encoding="utf-8") as file:
        content = yaml.safe_load(file)
    if isinstance(content, list):
        return kind == "role" and bool(content)
    # What else it may be is ansible-galaxy's to complain of.
    return not isinstance(content, dict) or bool(content.get(kind + "s"))


def portable(source):
    """A path inside the playbook's folder is the same in every checkout."""
    if os.path.isabs(source) and os.path.commonpath([source, os.getcwd()]) == os.getcwd():
        return os.path.relpath(source)
    return source


def note(name, version, origin, source, commit=None):
    item = {"kind": kind, "name": name, "version": version or "", "from": origin, "source": source}
    came.append({**item, "commit": commit} if commit else item)


def archive_role(source, **more):
    archive = scm_archive(source, **more)
    # git writes the commit into the archive that it makes of it.
    with tarfile.open(archive) as opened:
        commits[source] = opened.pax_headers.get("comment")
    return archive


def install_role(role):
    source, version = role.src, role.version
    done = install(role)
    if done and role.scm:
        note(role.name, version, role.scm, source, commits.get(source))
    elif done and (os.path.isfile(source) or "://" in source):
        note(role.name, version, "url" if "://" in source else "file", portable(source))
    elif done:
        note(role.name, role.version, "galaxy", source)
    return done


def resolve_collections(*args, **more):
    found = resolve(*args, **more)
    artifacts = more["concrete_artifacts_manager"]
    checkouts = {}
    for candidate in found.values():
        if candidate.is_scm:
            path = os.fsdecode(artifacts.get_artifact_path(candidate))
            head = ["git", "-C", path, "rev-parse", "HEAD"]
            checkouts[path] = (candidate.src.split(",")[0], subprocess.check_output(head, text=True).strip())
    for candidate in found.values():
        if candidate.is_virtual:
            continue
        name, version, source = candidate.fqcn, candidate.ver, candidate.src
        git = next((of for path, of in checkouts.items() if candidate.is_dir and source.startswith(path)), None)
        if git:
            note(name, version, "git", *git)
        elif candidate.is_online_index_pointer:
            note(name, version, "galaxy", source.api_server)
        else:
            note(name, version, candidate.type, portable(source))
    return found


scm_archive, roles.scm_archive_resource = roles.scm_archive_resource, archive_role
install, GalaxyRole.install = GalaxyRole.install, install_role
resolve, collections._resolve_depenency_map = collections._resolve_depenency_map, resolve_collections

status = 0
if asked_for():
    try:
        main(["ansible-galaxy", kind, "install", "-r", requirements, "-p", into, *options])
    except SystemExit as end:
        status = end.code
with open(told, "w", encoding="utf-8") as file:
    json.dump(came, file)
sys.exit(status)
