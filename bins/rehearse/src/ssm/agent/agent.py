#!/usr/bin/python3
"""The rehearsal's stand-in for Amazon's SSM agent.

It learns from the metadata service (IMDSv2) which instance it is on, asks there for commands, runs them as root and
reports. What it does to a script follows amazon-ssm-agent's source: `sh -c` of a file that holds the commands line by
line, run in a process group of its own, 137 for a script that it stopped, "failed to run commands: exit status N"
below the stderr of one that failed.

It differs from Amazon's in these: without credentials it asks again after seconds (Amazon's sleeps up to half an
hour); a script dies in the books when the agent is restarted (Amazon's goes on in a worker of its own); it leaves no
folder of a command behind; exit code 194 doesn't reboot the machine, it fails.
"""

import base64
import datetime
import hashlib
import hmac
import http.client
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

VERSION = "@VERSION@"
METADATA = os.environ.get("METADATA_URL", "http://169.254.169.254")
STATE = os.environ.get("SSM_AGENT_STATE", "/var/lib/amazon/ssm")
WORKERS = 5  # CommandWorkersLimit of Amazon's agent
SHOWN = 32 * 1024  # of each stream; the cloud shows less
STOPPED = 137  # 128 + SIGKILL
AGAIN = 2.0  # seconds until the next try of what failed


def log(text):
    print(text, file=sys.stderr, flush=True)


class Refused(Exception):
    """An answer that is neither 200 nor expected."""

    def __init__(self, status):
        super().__init__("HTTP status %d" % status)
        self.status = status


class Metadata:
    """The metadata service, and the cloud's door behind it."""

    def __init__(self):
        self.token = None

    def ask(self, method, path, body=None, headers=None, timeout=10):
        url = urllib.parse.urlsplit(METADATA)
        connection = http.client.HTTPConnection(url.hostname, url.port or 80, timeout=timeout)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def get(self, path):
        """The value at a path, or None where there is none."""
        for _ in range(2):
            if self.token is None:
                ttl = {"X-aws-ec2-metadata-token-ttl-seconds": "21600"}
                status, token = self.ask("PUT", "/latest/api/token", headers=ttl)
                if status != 200:
                    raise Refused(status)
                self.token = token.decode()
            status, value = self.ask("GET", "/latest/" + path, headers={"X-aws-ec2-metadata-token": self.token})
            if status == 200:
                return value.decode()
            if status == 404:
                return None
            self.token = None  # 401: expired, or the cloud was restarted
        raise Refused(status)

    def post(self, path, message, timeout=10):
        body = json.dumps(message).encode()
        status, value = self.ask("POST", "/_agent/" + path, body, {"Content-Type": "application/json"}, timeout)
        if status != 200:
            raise Refused(status)
        return json.loads(value)

    def credentials(self):
        """The credentials of the instance profile, or None where the instance has none."""
        role = self.get("meta-data/iam/security-credentials/")
        text = role and self.get("meta-data/iam/security-credentials/" + role.splitlines()[0])
        return json.loads(text) if text else None


class Script:
    """One command on its way."""

    def __init__(self, task, agent):
        self.task = task
        self.agent = agent
        self.cancelled = False
        self.wake = threading.Event()
        self.stopped = False

    def cancel(self):
        self.cancelled = True
        self.wake.set()

    def run(self):
        """Runs it and gives the report."""
        instance, task = self.agent.instance, self.task
        top = os.path.join(STATE, instance, "document", "orchestration", task["id"])
        folder = os.path.join(top, "awsrunShellScript", "0.awsrunShellScript")
        kept = {"stdout": bytearray(), "stderr": bytearray()}
        try:
            status, code, complaint = self.execute(folder, kept)
            if complaint:
                kept["stderr"] += complaint.encode()
                try:
                    with open(os.path.join(folder, "stderr"), "ab") as file:
                        file.write(complaint.encode())
                except OSError:
                    pass  # a script may remove the agent's folder, as one does that prepares an image
            if task.get("s3"):
                upload(self.agent, task["s3"], folder)
        except Exception as error:  # whatever it is, the cloud must hear of an end
            status, code = "Failed", 1
            kept["stderr"] += ("failed to run commands: %s" % error).encode()
        with self.agent.making:
            shutil.rmtree(top, ignore_errors=True)
            try:
                os.removedirs(os.path.dirname(top))  # all that is empty above it too: images are made of this disk
            except OSError:
                pass
        shown = {name: base64.b64encode(bytes(data[:SHOWN])).decode() for name, data in kept.items()}
        return {"id": task["id"], "status": status, "code": code, **shown}

    def execute(self, folder, kept):
        if self.cancelled:
            return "Cancelled", STOPPED, ""
        task = self.task
        path = os.path.join(folder, "_script.sh")
        where = task["working_directory"] if os.path.isabs(task["working_directory"]) else None
        environment = dict(
            os.environ,
            AWS_SSM_INSTANCE_ID=self.agent.instance,
            AWS_SSM_REGION_NAME=self.agent.region,
            AWS_SSM_PLATFORM_NAME=self.agent.hello["platform_name"],
            AWS_SSM_PLATFORM_VERSION=self.agent.hello["platform_version"],
            SSM_COMMAND_ID=task["id"],
        )
        # A child that another thread starts meanwhile would hold the script open for writing: "text file busy".
        with self.agent.making:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o700), "w") as file:
                file.write("\n".join(task["commands"]) + "\n")
            process = subprocess.Popen(
                ["sh", "-c", path],
                cwd=where,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        readers = [
            threading.Thread(target=self.read, args=(pipe, os.path.join(folder, name), kept[name]), daemon=True)
            for name, pipe in (("stdout", process.stdout), ("stderr", process.stderr))
        ]
        for reader in readers:
            reader.start()

        def wait():
            # As in Amazon's, a script has ended when nobody holds its output any more, not when its shell has.
            for reader in readers:
                reader.join()
            process.wait()
            self.wake.set()

        threading.Thread(target=wait, daemon=True).start()
        limit = task["execution_timeout"] if task["execution_timeout"] >= 5 else 3600
        in_time = self.wake.wait(limit)
        if self.cancelled or not in_time:
            self.stopped = True
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            return "Cancelled" if self.cancelled else "TimedOut", STOPPED, ""
        return verdict(process.returncode)

    def read(self, pipe, path, kept):
        with pipe, open(path, "wb") as file:
            while not self.stopped:
                chunk = pipe.read1(65536)
                if not chunk:
                    return
                kept += chunk[: SHOWN - len(kept)] if len(kept) < SHOWN else b""
                file.write(chunk)
                file.flush()


def verdict(code):
    """Status, code and the agent's complaint for a script that ended by itself."""
    if code == 0:
        return "Success", 0, ""
    if code == 168:
        return "Success", 168, ""
    if code == 194:
        return "Failed", 194, "failed to run commands: exit status 194 asks for a reboot, which is not possible here"
    if code == STOPPED:
        # Amazon's agent can't tell this from a script that it stopped itself: one that was killed has "timed out".
        return "TimedOut", STOPPED, ""
    if code < 0:
        return "Failed", -1, "failed to run commands: signal: %s" % (signal.strsignal(-code) or "").lower()
    return "Failed", code, "failed to run commands: exit status %d" % code


def upload(agent, to, folder):
    """Puts the whole output to S3; what fails is logged and nothing more, as Amazon's does."""
    for name in ("stdout", "stderr"):
        path = os.path.join(folder, name)
        try:
            if os.path.exists(path) and os.path.getsize(path) > 0:
                put(agent, "/%s/%s/%s" % (to["bucket"], to["folder"], name), path)
        except (OSError, ValueError, Refused, http.client.HTTPException) as error:
            log("failed to upload %s to s3: %s" % (name, error))


def put(agent, key, path):
    """PutObject, signed by Signature Version 4 with the instance profile's credentials."""
    credentials = agent.metadata.credentials()
    if credentials is None:
        raise ValueError("no instance profile")
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    url = urllib.parse.urlsplit(agent.endpoint)
    key = urllib.parse.quote(key, safe="/-_.~")
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    headers = {
        "host": url.netloc,
        "x-amz-content-sha256": digest.hexdigest(),
        "x-amz-date": now,
        "x-amz-security-token": credentials["Token"],
    }
    names = ";".join(sorted(headers))
    lines = "".join("%s:%s\n" % (name, headers[name]) for name in sorted(headers))
    request = "\n".join(["PUT", key, "", lines, names, digest.hexdigest()])
    scope = "/".join([now[:8], agent.region, "s3", "aws4_request"])
    text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(request.encode()).hexdigest()])
    secret = ("AWS4" + credentials["SecretAccessKey"]).encode()
    for part in scope.split("/"):
        secret = hmac.new(secret, part.encode(), hashlib.sha256).digest()
    headers["authorization"] = "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s" % (
        credentials["AccessKeyId"],
        scope,
        names,
        hmac.new(secret, text.encode(), hashlib.sha256).hexdigest(),
    )
    connection = http.client.HTTPConnection(url.hostname, url.port or 80, timeout=60)
    try:
        with open(path, "rb") as file:
            headers["content-length"] = str(os.path.getsize(path))
            connection.request("PUT", key, file, headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise Refused(answer.status)
    finally:
        connection.close()


class Agent:
    def __init__(self):
        self.metadata = Metadata()
        self.scripts = {}  # by command id: taken, and not yet reported
        self.told = set()  # ids whose cancelling has arrived
        self.lock = threading.Lock()
        self.making = threading.Lock()
        self.pool = ThreadPoolExecutor(WORKERS)
        self.instance = None
        self.region = self.endpoint = ""
        release = dict(line.split("=", 1) for line in os_release() if "=" in line)
        self.hello = {
            "version": VERSION,
            "platform_name": release.get("NAME", "Linux").strip('"'),
            "platform_version": release.get("VERSION_ID", "").strip('"'),
            "computer_name": platform.node(),
        }

    def serve(self):
        # What an agent that was stopped left behind, perhaps on the machine that this one's image was made of.
        shutil.rmtree(STATE, ignore_errors=True)
        said = None
        while True:
            try:
                if self.instance is None:
                    self.instance = self.metadata.get("meta-data/instance-id")
                if self.metadata.credentials() is None:
                    # Amazon's agent asks again after 25 to 30 minutes.
                    raise ValueError("no credentials: the instance has no instance profile")
                said = None
                while self.work():
                    pass
            except (OSError, ValueError, Refused, http.client.HTTPException) as error:
                if said != str(error):
                    said = str(error)
                    log("offline: %s" % error)
                time.sleep(AGAIN)

    def work(self):
        """Asks once, which may take 20 s, and begins what it is given."""
        with self.lock:
            question = {"agent": self.hello, "holding": list(self.scripts), "cancelling": list(self.told)}
        answer = self.metadata.post("work", question, timeout=60)
        self.endpoint, self.region = answer["endpoint"], answer["region"]
        for task in answer["run"]:
            self.begin(task)
        for command in answer["cancel"]:
            with self.lock:
                self.told.add(command)
                script = self.scripts.get(command)
            if script:
                log("cancelling %s" % command)
                script.cancel()
        return True

    def begin(self, task):
        if task["id"] in self.scripts:
            return
        script = Script(task, self)
        with self.lock:
            self.scripts[task["id"]] = script
        try:
            go = self.metadata.post("take", {"id": task["id"]})["go"]
        except BaseException:
            # Whether it was heard is not known: unknown counts as lost, never as run twice.
            with self.lock:
                del self.scripts[task["id"]]
            raise
        if go:
            log("running %s" % task["id"])
            self.pool.submit(self.finish, script)
        else:
            with self.lock:
                del self.scripts[task["id"]]

    def finish(self, script):
        report = script.run()
        log("%s: %s, exit code %d" % (report["id"], report["status"], report["code"]))
        while True:
            try:
                self.metadata.post("end", report)
                break
            except Refused as error:
                if error.status != 403 and error.status < 500:
                    log("the report of %s was refused: %s" % (report["id"], error))
                    break
            except (OSError, ValueError, http.client.HTTPException):
                pass
            time.sleep(AGAIN)
        with self.lock:
            del self.scripts[report["id"]]
            self.told.discard(report["id"])


def os_release():
    try:
        with open("/etc/os-release") as file:
            return file.read().splitlines()
    except OSError:
        return []


if __name__ == "__main__":
    Agent().serve()
