"""The first thing on the builder: fetches the job by URL and digest, runs it, and takes all of it away again.

SSM takes 64 KB of a command and keeps what it is told for a month, so all that is longer, and every other address, comes in the
job. Runs with the distribution's own Python and nothing else.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request


def fail(what, hint=None):
    print(json.dumps({"trouble": what, "hint": hint}))
    sys.exit(0)


def fetch(thing, to):
    trouble, left = None, 8
    for attempt in range(60):
        if attempt:
            time.sleep(2)
        try:
            return fetch_once(thing, to)
        except urllib.error.HTTPError as error:
            # S3 asks for patience so: https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html
            trouble, left = error, left - (error.code not in (429, 503))
        except OSError as error:
            trouble, left = error, left - 1
        if not left:
            break
    fail("the builder can't fetch %s from S3: %s" % (thing["what"], trouble))


def fetch_once(thing, to):
    digest = hashlib.sha256()
    # Of each read, not of the whole; short, since a connection that stalls is better begun anew.
    with urllib.request.urlopen(thing["url"], timeout=20) as source, open(to, "wb") as sink:
        while chunk := source.read(1 << 20):
            digest.update(chunk)
            sink.write(chunk)
    # A connection that was closed early is no error of the reading.
    if digest.hexdigest() != thing["sha256"]:
        raise OSError("it came with the sha256 %s, not %s" % (digest.hexdigest(), thing["sha256"]))
    return to


def unpack(archive, to):
    os.makedirs(to, exist_ok=True)
    # What comes here was checked by its digest, so the filter guards against mistakes only; older Pythons lack it.
    more = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}
    with tarfile.open(archive) as opened:
        opened.extractall(to, **more)


def main(url, sha256):
    # Not below /run, /tmp or /var/tmp: hardened images mount them noexec. 0711, so that become_user finds its way.
    work = tempfile.mkdtemp(prefix="gyron.", dir="/var/lib")
    os.chmod(work, 0o711)
    try:
        unpack(fetch({"what": "the job", "url": url, "sha256": sha256}, work + "/job.tar.gz"), work + "/job")
        os.chmod(work + "/job", 0o700)
        return subprocess.call(["/usr/bin/python3", "-B", work + "/job/builder.py", work])
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
