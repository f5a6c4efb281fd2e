"""Says when each task begins, as an event on the play's own output, and writes each failed or unreachable task as a line of
JSON to the file named by GYRON_FAILURES."""

import json
import os
import sys

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: gyron_tasks
type: notification
short_description: tasks as JSON lines
description: One line for the beginning of each task and one for each that failed, for the program that runs the play.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "gyron_tasks"
    # Not by a variable, which would hide the callbacks that the app's ansible.cfg enables.
    CALLBACK_NEEDS_ENABLED = False
    _missed = False

    def _say(self, **event):
        # One write of a whole line, behind what Ansible has printed so far: lines and events keep their order.
        sys.stdout.flush()
        os.write(1, b"\x1e" + json.dumps(event).encode() + b"\n")

    def v2_playbook_on_task_start(self, task, is_conditional):
        self._say(task=task.get_name().strip(), path=task.get_path() or "")

    def v2_playbook_on_handler_task_start(self, task):
        self._say(task=task.get_name().strip(), path=task.get_path() or "", handler=True)

    def v2_playbook_on_no_hosts_matched(self):
        self._missed = True

    def v2_playbook_on_stats(self, stats):
        self._say(end=True)
        # Ansible calls it success, and the image would be empty.
        if self._missed and not stats.processed:
            self._keep({"kind": "nobody", "task": "", "path": "", "line": None, "msg": "", "stdout": "", "stderr": "", "item": None})

    def _note(self, kind, result):
        answer = result._result
        where = result._task.get_path() or ""
        path, _, line = where.rpartition(":")
        note = {
            "kind": kind,
            "task": result._task.get_name(),
            "action": result._task.action,
            "path": path,
            "line": int(line) if line.isdigit() else None,
            "msg": str(answer.get("msg") or answer.get("reason") or ""),
            "rc": answer.get("rc"),
            "stdout": str(answer.get("stdout") or "")[-4000:],
            "stderr": str(answer.get("stderr") or answer.get("module_stderr") or "")[-4000:],
            "item": answer.get(answer.get("ansible_loop_var", "item")),
        }
        if answer.get("_ansible_no_log"):
            note.update(msg="hidden by no_log", stdout="", stderr="", item=None)
        self._keep(note)

    def _keep(self, note):
        with open(os.environ["GYRON_FAILURES"], "a", encoding="utf-8") as file:
            file.write(json.dumps(note, default=str) + "\n")

    def v2_runner_on_failed(self, result, ignore_errors=False):
        if not ignore_errors:
            self._note("failed", result)

    def v2_runner_item_on_failed(self, result):
        # The task as a whole follows by v2_runner_on_failed; the item is what says why.
        if not result._task.ignore_errors:
            self._note("item", result)

    def v2_runner_on_unreachable(self, result):
        self._note("unreachable", result)
