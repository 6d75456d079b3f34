# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine's Docker daemon: the running one, else started here."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

from airgap_lab import cache
from airgap_lab.console import LabError, run, say, succeeds
from airgap_lab.machine import has_systemd


def ensure() -> None:
    if answers():
        return
    if has_systemd():
        run(["systemctl", "start", "docker"])
    started = None
    for _attempt in range(60):
        if answers():
            return
        # One that is still going down makes the new one give up: then try again.
        if not has_systemd() and (started is None or started.poll() is not None):
            started = _start_by_hand()
        time.sleep(1)
    raise LabError("dockerd does not answer; see {}".format(cache.log("dockerd")))


def answers() -> bool:
    return succeeds(["docker", "info"])


def _start_by_hand() -> subprocess.Popen[bytes]:
    """No service manager here: the daemon gets a session of its own and outlives this command."""
    log = cache.log("dockerd")
    log.parent.mkdir(parents=True, exist_ok=True)
    say(f"start dockerd (log: {log})")
    with log.open("a", encoding="utf-8") as stream:
        return subprocess.Popen(
            ["dockerd"], stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True
        )


def inspect(kind: str, name: str) -> dict[str, Any]:
    """What Docker knows of an object, or nothing when there is no such object."""
    if not succeeds(["docker", kind, "inspect", name]):
        return {}
    found: list[dict[str, Any]] = json.loads(run(["docker", kind, "inspect", name]))
    return found[0]
