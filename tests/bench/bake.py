"""gyron-bake against Packer on one rehearsal cloud: the same base, playbook, release, Ansible and clean-up, in turns.

A run is cut into phases by what neither tool says of itself: the cloud's record of calls, its log, and what a callback of
Ansible saw on the machine. Boot (until cloud-init comes to the user data), Ansible (its process) and commit (until the image
is available) are the cloud's and the app's; all else is the tool's overhead, the waits between its looks included.
"""

import argparse
import datetime
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
REPO = HERE.parent.parent
# Debian 12 as Debian publishes it: with sshd, which Packer needs, and without an SSM agent, which gyron-bake installs.
BASE = "ami-0deb1200000000001"
PHASES = ("prepare", "boot", "reach", "Ansible", "clean", "stop", "commit", "finish")
OVERHEAD = ("prepare", "reach", "clean", "stop", "finish")
SINGLE = 'bake.layers=[{ name = "single", playbook = "ansible/site.yml", release = true }]'
LAYERS = """bake.layers=[
  { name = "middleware", playbook = "ansible/middleware.yml", files = ["roles/middleware/**", "callback_plugins/**"] },
  { name = "app", playbook = "ansible/app.yml", files = ["roles/app/**", "callback_plugins/**"], release = true },
]"""
SITE = "- ansible.builtin.import_playbook: middleware.yml\n- ansible.builtin.import_playbook: app.yml\n"
# 200 MB, line by line as they come: a line of a thousand characters is a long one.
LOUD = """- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.debug: {msg: "{{ ['x' * 1000] * 2000 }}"}
      loop: "{{ range(100) | list }}"
      loop_control: {label: ""}
"""


class Cloud:
    """The rehearsal cloud, and what it writes down."""

    def __init__(self, programs):
        self.rehearse = str(programs / "gyron-rehearse")
        state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
        self.home = pathlib.Path(state) / "gyron-rehearse" / os.environ["GYRON_CLOUD"]
        status = subprocess.check_output([self.rehearse, "status", "--json"])
        self.endpoint = "http://" + json.loads(status)["endpoint"].removeprefix("http://")

    def within(self, *args, vpc=False):
        return [self.rehearse, "exec", *(["--in-vpc"] if vpc else []), "--", *args]

    def run(self, *args, cwd=None):
        done = subprocess.run(self.within(*args), cwd=cwd, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"error: {args} exited with {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def calls(self, action, since):
        calls = map(json.loads, (self.home / "calls.jsonl").read_text().splitlines())
        moments = (seconds(call["time"]) for call in calls if call["action"] == action and call["status"] == 200)
        return sorted(moment for moment in moments if moment >= since)

    def available(self, since):
        lines = (self.home / "serve.log").read_text().splitlines()
        moments = (seconds(line.split()[0]) for line in lines if line.endswith(" is available"))
        return sorted(moment for moment in moments if moment >= since)


def seconds(text):
    return datetime.datetime.fromisoformat(text.split(".")[0] + "+00:00").timestamp() + float(
        "0." + text.rstrip("Z").partition(".")[2]
    )


class Run:
    """A tool's run: how long it took, the memory of its largest process, and the end of what it printed."""

    def __init__(self, command, cwd, **variables):
        with tempfile.TemporaryFile() as said:
            self.begin = time.time()
            child = subprocess.Popen(
                command, cwd=cwd, env={**os.environ, **variables}, stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            self.end = time.time()
            self.megabytes = usage.ru_maxrss / 1024
            self.printed = said.seek(0, os.SEEK_END)
            said.seek(max(0, self.printed - (4 << 20)))
            self.said = said.read().decode(errors="replace")
        if child.returncode:
            raise SystemExit(f"error: {command} exited with {child.returncode}\n{self.said}")
        self.phases = {}

    def cut(self, cloud, ansible):
        """Seconds by phase, summed over the images that the run made; `ansible` is what Ansible printed."""
        plays = [json.loads(line.partition("bench ")[2]) for line in ansible.splitlines() if "bench {" in line]
        launched, stopped, created = (
            cloud.calls(action, self.begin) for action in ("RunInstances", "StopInstances", "CreateImage")
        )
        available = cloud.available(self.begin)
        if not len(plays) == len(launched) == len(stopped) == len(created) == len(available):
            raise SystemExit(f"error: of {len(launched)} instances {len(plays)} played, {len(available)} are images")
        self.phases = dict.fromkeys(PHASES, 0.0)
        moment = self.begin
        for launch, play, stop, create, image in zip(launched, plays, stopped, created, available):
            for phase, end in zip(PHASES, (launch, play["up"], play["begin"], play["end"], stop, create, image)):
                self.phases[phase] += end - moment
                moment = end
        self.phases["finish"] = self.end - moment
        return self


class App:
    """The shop in a repo of its own, to be baked in layers, as one playbook, or by Packer."""

    def __init__(self, cloud, folder):
        self.cloud, self.folder = cloud, folder
        shutil.copytree(REPO / "tests/apps/shop", folder, dirs_exist_ok=True)
        shutil.copytree(HERE / "callback_plugins", folder / "ansible/callback_plugins")
        (folder / "ansible/site.yml").write_text(SITE)
        (folder / "loud").mkdir()
        (folder / "loud/site.yml").write_text(LOUD)
        subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
        subprocess.run([cloud.rehearse, "prepare", "-C", folder], check=True, stderr=subprocess.DEVNULL)
        self.release()

    def release(self):
        """Commits and releases a change of the app, and of nothing else."""
        with open(self.folder / "app/shop.py", "a", encoding="utf-8") as file:
            file.write(f"# changed at {time.time()}\n")
        git = ["git", "-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "add", "--all"], cwd=self.folder, check=True)
        subprocess.run([*git, "commit", "--quiet", "--message", "A change"], cwd=self.folder, check=True)
        self.cloud.run("gyron-package", cwd=self.folder)
        record = json.loads((self.folder / ".gyron/package.json").read_text())
        self.version = record["so"]["version"]["name"]

    def gyron(self, layers, *flags):
        logs = self.folder / ".gyron/logs"
        shutil.rmtree(logs, ignore_errors=True)
        run = Run(self.cloud.within("gyron-bake", "--set", layers, *flags), self.folder, CI="true")
        # By name: middleware comes before app, and has to.
        written = sorted(logs.glob("ansible*.log"), key=lambda log: log.stat().st_mtime) if logs.exists() else []
        return run.cut(self.cloud, "\n".join(log.read_text() for log in written))

    def packer(self, toolkit, **variables):
        given = {
            "endpoint": self.cloud.endpoint,
            "base": BASE,
            "name": f"packer-shop-{time.time_ns()}",
            "version": self.version,
            "ansible": self.folder / "ansible",
            "release": self.folder / "app",
            "toolkit": toolkit,
            "clean": REPO / "bins/bake/src/builder/clean.sh",
        }
        flags = [f"-var={name}={value}" for name, value in given.items()]
        command = self.cloud.within("packer", "build", "-color=false", *flags, str(HERE / "shop.pkr.hcl"), vpc=True)
        run = Run(command, self.folder, CHECKPOINT_DISABLE="1", **variables)
        return run.cut(self.cloud, run.said)

    def toolkit(self):
        """gyron's Ansible, for Packer to bring along: made by the first bake of all, and kept in S3."""
        listing = self.cloud.run("aws", "s3", "ls", "--recursive", "s3://shop-releases/shop/toolkits/")
        file = self.folder / ".gyron/toolkit.tar.gz"
        self.cloud.run("aws", "s3", "cp", f"s3://shop-releases/{listing.split()[-1]}", str(file))
        return file


def measure(app, rounds):
    print("warming up: both sides once, and the toolkit made", flush=True)
    app.gyron(SINGLE)
    toolkit = app.toolkit()
    quick = {"AWS_POLL_DELAY_SECONDS": "1"}
    app.packer(toolkit, **quick)
    runs = {}
    for number in range(rounds):
        for name, bake in (
            ("Packer, as it comes", lambda: app.packer(toolkit)),
            ("Packer, looks each second", lambda: app.packer(toolkit, **quick)),
            ("gyron-bake, one playbook", lambda: app.gyron(SINGLE, "--fresh")),
            ("gyron-bake, two layers", lambda: app.gyron(LAYERS, "--fresh")),
            ("  nothing changed", lambda: app.gyron(LAYERS)),
            ("  app-only change", lambda: (app.release(), app.gyron(LAYERS))[1]),
        ):
            run = bake()
            runs.setdefault(name, []).append(run)
            print(f"round {number + 1}: {name.strip()}: {run.end - run.begin:.1f} s", flush=True)
    return runs


def median(runs, of):
    return statistics.median(map(of, runs))


def took(run):
    return run.end - run.begin


def overhead(run):
    return sum(run.phases.get(phase, 0.0) for phase in OVERHEAD) if run.phases else took(run)


def phase(name):
    return lambda run: run.phases.get(name, 0.0)


def show(runs):
    columns = {"in all": took, "overhead": overhead, **{name: phase(name) for name in PHASES}}
    print("\nseconds, median (least); overhead is all but boot, Ansible and commit")
    print(f"{'':27}" + "".join(f"{name:>13}" for name in columns))
    for name, of in runs.items():
        cells = (f"{median(of, column):.1f} ({min(map(column, of)):.1f})" for column in columns.values())
        print(f"{name:27}" + "".join(f"{cell:>13}" for cell in cells))
    packer, quick, single, layers, nothing, change = runs.values()
    ratio = lambda a, b, of=took: median(a, of) / median(b, of)
    print(f"""
                                                          measured      to reach
nothing changed: seconds                                {median(nothing, took):10.2f}      under 1
nothing changed: Packer as it comes, times as long      {ratio(packer, nothing):10.0f}      30
nothing changed: Packer that looks each second          {ratio(quick, nothing):10.0f}      30
app-only change: of the full bake in two layers         {ratio(change, layers):10.2f}      0.33
app-only change: of the full bake as one playbook       {ratio(change, single):10.2f}
app-only change: of Packer as it comes                  {ratio(change, packer):10.2f}
app-only change: of Packer that looks each second       {ratio(change, quick):10.2f}
overhead: of Packer's as it comes                       {ratio(single, packer, overhead):10.2f}      0.50
overhead: of Packer's that looks each second            {ratio(single, quick, overhead):10.2f}      0.50
memory of gyron-bake: MB at most                        {max(run.megabytes for of in (single, layers, nothing, change) for run in of):10.0f}      64""")


def show_memory(app):
    layers = 'bake.layers=[{ name = "loud", playbook = "loud/site.yml", release = true }]'
    run = Run(app.cloud.within("gyron-bake", "--set", layers), app.folder, CI="true")
    print(f"memory while a play prints: MB at most                  {run.megabytes:10.0f}      64")
    print(f"  ({run.printed / 1e6:.0f} MB of output, {took(run):.0f} s)")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only-memory", action="store_true")
    given = parser.parse_args()
    cloud = Cloud(given.programs)
    with tempfile.TemporaryDirectory(prefix="gyron-bench-") as folder:
        app = App(cloud, pathlib.Path(folder))
        if not given.only_memory:
            show(measure(app, given.rounds))
        show_memory(app)


main()
