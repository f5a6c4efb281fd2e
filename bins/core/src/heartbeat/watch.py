"""Powers the instance off when its owner has not renewed the heartbeat for too long."""

import datetime
import subprocess
import time
import urllib.request

PATIENCE = @PATIENCE@
METADATA = "http://169.254.169.254/latest/"


def ask(path, method="GET", **headers):
    named = {"X-aws-ec2-metadata-" + name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(METADATA + path, method=method, headers=named)
    # No proxy leads to the metadata service.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=5) as answer:
        return answer.read().decode()


def tag(name):
    try:
        token = ask("api/token", "PUT", token_ttl_seconds="60")
        return ask("meta-data/tags/instance/" + name, token=token)
    except OSError:
        # A metadata service that does not answer is no heartbeat either.
        return None


def is_kept():
    try:
        until = datetime.datetime.strptime(tag("@KEPT@") or "", "%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return False
    return until.replace(tzinfo=datetime.timezone.utc) > datetime.datetime.now(datetime.timezone.utc)


# Whether the tag changes is all that counts: no clock has to agree with another.
last, heard = None, time.monotonic()
while True:
    said = tag("@HEARTBEAT@")
    if said is not None and said != last:
        last, heard = said, time.monotonic()
    if time.monotonic() - heard > PATIENCE and not is_kept():
        message = "gyron: nobody has renewed the heartbeat for %d s: powering off" % PATIENCE
        with open("/dev/console", "w", encoding="utf-8") as console:
            print(message, file=console)
        subprocess.run(["systemctl", "poweroff"], check=False)
        time.sleep(60)
    time.sleep(min(10, PATIENCE / 10))
