"""Bakes on the builder: fetches what the job's order names by URL and digest, and runs the playbook.

Runs with the distribution's own Python and nothing else; the toolkit it fetches is on the path of Ansible's process
alone, since an exported PYTHONPATH would reach every command that the play starts.
"""

import collections
import json
import os
import shutil
import subprocess
import sys
import tarfile

import installed
import requirements
from bootstrap import fail, fetch, unpack
from live import Stream
from sealed import Sealed

LAUNCH = """
import sys
sys.path.insert(0, sys.argv.pop(1))
sys.argv[0] = "ansible-playbook"
from ansible.cli.playbook import main
sys.exit(main())
"""

LAST_LINES = 40
LONGEST = 600

# SSM keeps 24,000 bytes: what is said at the end must fit.
SAID = 20_000


def unpack_zstd(archive, to, toolkit):
    sys.path.insert(0, toolkit)
    import zstandard

    with open(archive, "rb") as source, zstandard.ZstdDecompressor().stream_reader(source) as stream:
        os.makedirs(to, exist_ok=True)
        more = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}
        with tarfile.open(fileobj=stream, mode="r|") as opened:
            opened.extractall(to, **more)


def own_callbacks(playbook):
    """Where the app's ansible.cfg has callback plugins: the variable would hide them."""
    config = requirements.configuration(playbook)
    said = config.get("defaults", "callback_plugins", fallback="")
    return [os.path.join(playbook, os.path.expanduser(folder)) for folder in said.split(":") if folder.strip()]


def environment(work):
    kept = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": work + "/tmp",
        "ANSIBLE_HOME": work + "/state",
        "ANSIBLE_LOCAL_TEMP": work + "/tmp",
        "ANSIBLE_REMOTE_TEMP": work + "/tmp",
        # Whatever user a task becomes keeps there how it goes on.
        "ANSIBLE_ASYNC_DIR": work + "/async",
        "ANSIBLE_CALLBACK_PLUGINS": ":".join([work + "/callback", *own_callbacks(work + "/playbook")]),
        # Nobody sits there to be asked.
        "ANSIBLE_ASK_VAULT_PASS": "0",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_NO_TARGET_SYSLOG": "1",
        "ANSIBLE_RETRY_FILES_ENABLED": "0",
        # A module comes to Python through a pipe, not by a file: what its arguments hold is on no disk, and a task is sooner done.
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
    }


def play(order, work):
    toolkit = work + "/toolkit"
    unpack(fetch(order["toolkit"], work + "/toolkit.tar.gz"), toolkit)
    unpack(fetch(order["playbook"], work + "/playbook.tar.gz"), work + "/playbook")
    galaxy = requirements.bring(order["galaxy"], work)
    variables = dict(order["variables"])
    if order["release"]:
        release = work + "/" + order["release"]["file"]
        fetch(order["release"], release)
        variables.update(gyron_release_file=release, gyron_release_dir=work + "/release")
        os.makedirs(work + "/release")
        if order["release"]["archive"]:
            unpack_zstd(release, work + "/release", toolkit)
    # The user that the play becomes may not look into the job, but Ansible's workers must be able to read this.
    os.makedirs(work + "/callback")
    shutil.copy(os.path.join(os.path.dirname(__file__), "gyron_tasks.py"), work + "/callback/gyron_tasks.py")
    with open(work + "/launch.py", "w", encoding="utf-8") as file:
        file.write(LAUNCH)
    with open(work + "/vars.json", "w", encoding="utf-8") as file:
        json.dump(variables, file)
    secrets = Sealed(order["secrets"])
    try:
        return run(order, work, galaxy, secrets)
    finally:
        secrets.end()


def run(order, work, galaxy, secrets):
    toolkit = work + "/toolkit"
    last = collections.deque(maxlen=LAST_LINES)
    argv = ["/usr/bin/python3", "-B", work + "/launch.py", toolkit, "-c", "local", "-i", "localhost,"]
    argv += [order["file"], "-e", "@" + work + "/vars.json", *secrets.arguments]
    stream = Stream(work + "/stream", order["log"])
    # As a task says it, and so with secrets: in memory, not on the disk that becomes an image.
    failed = secrets.folder + "/failures.jsonl"
    process = subprocess.Popen(
        argv,
        cwd=work + "/playbook",
        env={**environment(work), **galaxy, **secrets.environment, "GYRON_FAILURES": failed},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )

    def see(line):
        last.append(line.decode("utf-8", "replace").rstrip("\n")[:LONGEST])

    # Whoever reads it knows the playbook by its own paths.
    folder = (work + "/playbook/").encode()
    stream.read(process.stdout, lambda line: secrets.hide(line.replace(folder, b"")), see)
    failures = []
    if os.path.exists(failed):
        with open(failed, encoding="utf-8") as file:
            failures = [json.loads(line) for line in file][-2:]
    failures = [{name: secrets.hide.deep(value) for name, value in failure.items()} for failure in failures]
    for failure in failures:
        failure["path"] = failure["path"].replace(work + "/playbook/", "")
        for key in ("msg", "stdout", "stderr"):
            failure[key] = failure[key][-2000:]
    trouble = stream.end()
    if trouble:
        last.append("(%s)" % trouble)
    code = process.wait()
    if code:
        return fitting({"exit": code, "failures": failures, "last": list(last)})
    if any(failure["kind"] == "nobody" for failure in failures):
        return {"unfit": "%s has played nothing: none of its plays is for the builder" % order["file"], "why": "hosts"}
    installed.bring_away(order["packages"])
    return {"exit": 0, "failures": [], "last": []}


def fitting(said):
    """Shortened until SSM keeps all of it: the last lines go first, and a task's message last."""
    while len(json.dumps(said)) > SAID and said["last"]:
        said["last"].pop(0)
    for longest in (500, 150):
        for key in ("item", "stdout", "stderr", "msg"):
            if len(json.dumps(said)) > SAID:
                for failure in said["failures"]:
                    failure[key] = shortened(failure[key], longest)
    return said


def shortened(content, longest):
    text = content if isinstance(content, str) else json.dumps(content)
    return text if len(text) <= longest else "…" + text[-longest:]


def main(work):
    with open(work + "/job/order.json", encoding="utf-8") as file:
        order = json.load(file)
    if list(sys.version_info[:2]) != order["python"]:
        versions = (*sys.version_info[:2], *order["python"])
        unfit = "the base image has Python %d.%d, and Ansible is brought for %d.%d" % versions
        print(json.dumps({"unfit": unfit, "why": "python"}))
        return
    os.mkdir(work + "/async")
    os.chmod(work + "/async", 0o1777)
    os.mkdir(work + "/tmp")
    os.chmod(work + "/tmp", 0o1777)
    print(json.dumps(play(order, work)))


main(sys.argv[1])
