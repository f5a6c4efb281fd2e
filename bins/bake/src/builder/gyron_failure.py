"""Writes each failed or unreachable task as a line of JSON to the file named by GYRON_FAILURES."""

import json
import os

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: gyron_failure
type: notification
short_description: failed tasks as JSON lines
description: One line for each failed task, for the program that runs the play.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "gyron_failure"
    CALLBACK_NEEDS_ENABLED = True

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
