"""Bakes on the builder: fetches what it is told by URL and digest, runs the playbook, leaves nothing of itself.

Runs with the distribution's own Python and nothing else; the toolkit it fetches is on the path of Ansible's process
alone, since an exported PYTHONPATH would reach every command that the play starts.
"""

import collections
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request

LAUNCH = """
import sys
sys.path.insert(0, sys.argv.pop(1))
sys.argv[0] = "ansible-playbook"
from ansible.cli.playbook import main
sys.exit(main())
"""

# Where Ansible's log may be long, SSM keeps 24,000 characters of it: what is said here must fit.
LAST_LINES = 40
LONGEST = 600


def fail(what):
    print(json.dumps({"trouble": what}))
    sys.exit(0)


def fetch(thing, to):
    trouble = None
    for attempt in range(8):
        if attempt:
            time.sleep(2)
        try:
            return fetch_once(thing, to)
        except OSError as error:
            trouble = error
    fail("the builder can't fetch %s from S3: %s" % (thing["what"], trouble))


def fetch_once(thing, to):
    digest = hashlib.sha256()
    # Of each read, not of the whole; short, since a connection that stalls is better begun anew.
    with urllib.request.urlopen(thing["url"], timeout=20) as source, open(to, "wb") as sink:
        while chunk := source.read(1 << 20):
            digest.update(chunk)
            sink.write(chunk)
    if digest.hexdigest() != thing["sha256"]:
        fail("%s came to the builder with the sha256 %s, not %s" % (thing["what"], digest.hexdigest(), thing["sha256"]))
    return to


def bring_away(file, url):
    trouble = None
    for attempt in range(8):
        if attempt:
            time.sleep(2)
        try:
            with open(file, "rb") as content:
                # urllib would call it a form.
                headers = {"Content-Type": "text/plain; charset=utf-8"}
                request = urllib.request.Request(url, data=content.read(), method="PUT", headers=headers)
            # As with a fetch: a connection that stalls is better begun anew.
            urllib.request.urlopen(request, timeout=20).close()
            return None
        except OSError as error:
            trouble = error
    return trouble


def unpack(archive, to):
    os.makedirs(to, exist_ok=True)
    # What comes here was checked by its digest, so the filter guards against mistakes only; older Pythons lack it.
    more = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}
    with tarfile.open(archive) as opened:
        opened.extractall(to, **more)


def unpack_zstd(archive, to, toolkit):
    sys.path.insert(0, toolkit)
    import zstandard

    with open(archive, "rb") as source, zstandard.ZstdDecompressor().stream_reader(source) as stream:
        os.makedirs(to, exist_ok=True)
        more = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}
        with tarfile.open(fileobj=stream, mode="r|") as opened:
            opened.extractall(to, **more)


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
        "ANSIBLE_ASYNC_DIR": work + "/state/async",
        "ANSIBLE_CALLBACK_PLUGINS": work + "/callback",
        "ANSIBLE_CALLBACKS_ENABLED": "gyron_failure",
        "GYRON_FAILURES": work + "/failures.jsonl",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_NO_TARGET_SYSLOG": "1",
        "ANSIBLE_RETRY_FILES_ENABLED": "0",
        "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
    }


def play(order, work):
    toolkit = work + "/toolkit"
    unpack(fetch(order["toolkit"], work + "/toolkit.tar.gz"), toolkit)
    unpack(fetch(order["playbook"], work + "/playbook.tar.gz"), work + "/playbook")
    variables = dict(order["variables"])
    if order["release"]:
        release = work + "/" + order["release"]["file"]
        fetch(order["release"], release)
        variables.update(gyron_release_file=release, gyron_release_dir=work + "/release")
        os.makedirs(work + "/release")
        if order["release"]["archive"]:
            unpack_zstd(release, work + "/release", toolkit)
    os.makedirs(work + "/callback")
    with open(work + "/callback/gyron_failure.py", "w", encoding="utf-8") as file:
        file.write(order["callback"])
    with open(work + "/launch.py", "w", encoding="utf-8") as file:
        file.write(LAUNCH)
    with open(work + "/vars.json", "w", encoding="utf-8") as file:
        json.dump(variables, file)
    last = collections.deque(maxlen=LAST_LINES)
    argv = ["/usr/bin/python3", "-B", work + "/launch.py", toolkit, "-c", "local", "-i", "localhost,"]
    argv += [order["file"], "-e", "@" + work + "/vars.json"]
    with open(work + "/ansible.log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(
            argv,
            cwd=work + "/playbook",
            env=environment(work),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        for line in process.stdout:
            log.write(line)
            last.append(line.rstrip("\n").replace(work + "/playbook/", "")[:LONGEST])
    failures = []
    if os.path.exists(work + "/failures.jsonl"):
        with open(work + "/failures.jsonl", encoding="utf-8") as file:
            failures = [json.loads(line) for line in file][-2:]
    for failure in failures:
        failure["path"] = failure["path"].replace(work + "/playbook/", "")
        for key in ("msg", "stdout", "stderr"):
            failure[key] = failure[key][-2000:]
    trouble = bring_away(work + "/ansible.log", order["log"])
    if trouble:
        last.append("(the log could not be brought away: %s)" % trouble)
    return {"exit": process.wait(), "failures": failures, "last": list(last)}


def main():
    order = json.load(sys.stdin)
    if list(sys.version_info[:2]) != order["python"]:
        fail("the base image has Python %d.%d; the toolkit is made for %d.%d" % (*sys.version_info[:2], *order["python"]))
    # Not below /run, /tmp or /var/tmp: hardened images mount them noexec. 0711, so that become_user finds its way.
    work = tempfile.mkdtemp(prefix="gyron.", dir="/var/lib")
    os.chmod(work, 0o711)
    os.mkdir(work + "/tmp")
    os.chmod(work + "/tmp", 0o1777)
    try:
        result = play(order, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(json.dumps(result))


main()
