# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The base of the action plugins: runs a module in the background of its host and shows how far it is.

Ansible does everything around the module as ever: arguments, transfer, become, check mode, reading the result. Only the
one command that runs the module is put into a session of its own, see _session.py, and looked at until it has ended.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from typing import Any

from ansible import constants as C
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action.normal import ActionModule as NormalAction
from ansible.utils.display import Display
from ansible_collections.airgap.inference.plugins.plugin_utils import _progress_line, _session

display = Display()

# The connection may be lost for so long: a little less than the host waits before it ends the step.
PATIENCE = _session.PATIENCE - 10

_ABSENT = object()


class BackgroundAction(NormalAction):
    """Ansible's ordinary action, but for the way the module's command is run."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        self._where = str(self._task.delegate_to or (task_vars or {}).get("inventory_hostname", ""))
        result: dict[str, Any] = super().run(tmp, task_vars)
        return result

    def _low_level_execute_command(
        self, cmd: str, sudoable: bool = True, in_data: Any = _ABSENT, **options: Any
    ) -> dict[str, Any]:
        # The command that runs the module is the one that may have input and may need privileges. With the task's own
        # `async`, it starts Ansible's wrapper and ends at once.
        of_module = sudoable and in_data is not _ABSENT and not self._task.async_val
        options["in_data"] = None if in_data is _ABSENT else in_data
        if of_module and self._connection._shell.SHELL_FAMILY == "sh":
            return self._in_background(cmd, options)
        result: dict[str, Any] = super()._low_level_execute_command(cmd, sudoable=sudoable, **options)
        return result

    def _in_background(self, cmd: str, options: dict[str, Any]) -> dict[str, Any]:
        token = f"airgap-{secrets.token_hex(8)}"
        # On this very host the step can be ended as soon as this process is gone.
        owner = os.getpid() if self._connection.transport == "local" else 0
        start = _session.start(cmd, token, owner, options["in_data"] is not None)
        result: dict[str, Any] = super()._low_level_execute_command(start, **options)
        look = _session.read(token, result["stdout"])
        if look is None:
            # There was no place for a session, or there is none to the host: as ever.
            return result
        if not isinstance(look, _session.Ended):
            options["in_data"] = None
            look = self._wait(look, token, options)
        if look is None:
            return _lines(0, json.dumps({"failed": True, "msg": _vanished(self._where)}), "")
        return _lines(look.rc, look.stdout, look.stderr)

    def _wait(self, look: _session.Works, token: str, options: dict[str, Any]) -> _session.Ended | None:
        """Look at the session until it has ended, and show how far it is; None when it is gone without a result."""
        directory = look.directory
        shown = Shown(self._where, bool(self._task.no_log))
        playbook = os.getppid()
        gone = 0
        while True:
            shown.show(look.progress)
            if os.getppid() != playbook:
                # It was killed, and this process would go on for as long as it lasts. Not asked, the host ends the step.
                raise AnsibleError("The playbook is gone; nobody waits for the step any more.")
            found = self._look(directory, token, options)
            if isinstance(found, _session.Ended):
                self._forget(directory, options)
                return found
            look = found
            # Twice: it may have ended, or not yet begun, while the host was looking.
            gone = 0 if look.alive else gone + 1
            if gone == 2:
                self._forget(directory, options)
                return None

    def _look(self, directory: str, token: str, options: dict[str, Any]) -> _session.Ended | _session.Works:
        began = time.monotonic()
        while True:
            late = time.monotonic() - began > PATIENCE
            try:
                result = super()._low_level_execute_command(_session.look(directory, token), **options)
                found = _session.read(token, result["stdout"])
                if found is not None:
                    return found
                if late:
                    said = f"{result['stdout']}{result['stderr']}".strip()
                    raise AnsibleConnectionFailure(f"{self._where} does not say any more how far the step is: {said}")
            except AnsibleConnectionFailure:
                if late:
                    raise
                self._connection.reset()
            time.sleep(2)

    def _forget(self, directory: str, options: dict[str, Any]) -> None:
        try:
            super()._low_level_execute_command(_session.forget(directory), **options)
        except AnsibleConnectionFailure as error:
            display.vv(f"{directory} stays on {self._where}: {error}")


class Shown:
    """Says how far a step is, now and then."""

    def __init__(self, host: str, quiet: bool) -> None:
        self._host = host
        self._quiet = quiet
        self._began = time.monotonic()
        self._next = self._began

    def show(self, progress: str) -> None:
        """Show a line, if it is time for one and the module has said anything."""
        state = _progress_line.parse(progress)
        now = time.monotonic()
        if state and now >= self._next:
            line = _progress_line.format_line(state, self._host, self._quiet)
            # With a JSON callback a program reads the standard output.
            display.display(line, color=C.COLOR_VERBOSE, stderr=str(C.DEFAULT_STDOUT_CALLBACK).endswith("json"))
            # A look takes a little longer than its pause.
            self._next = now + _progress_line.pause(now - self._began) - 0.5


def _lines(rc: int, stdout: str, stderr: str) -> dict[str, Any]:
    return {
        "rc": rc,
        "stdout": stdout,
        "stdout_lines": stdout.splitlines(),
        "stderr": stderr,
        "stderr_lines": stderr.splitlines(),
    }


def _vanished(host: str) -> str:
    return (
        f"The module ended on {host} without a result: it was killed (for lack of memory? see: journalctl -k), "
        "the host was restarted, or the connection was lost for a minute. Run the playbook again; it goes on where it was."
    )
