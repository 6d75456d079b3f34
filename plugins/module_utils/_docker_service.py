# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker's daemon as a service of systemd: asked what it is, and restarted so that nothing is lost by it."""

from __future__ import annotations

import json
import re
import time

from ansible_collections.airgap.inference.plugins.module_utils import _docker_options
from ansible_collections.airgap.inference.plugins.module_utils._command import last_words, run
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

SERVICE = "docker.service"

_REASON = re.compile(r"^failed to |^unable to configure |\blevel=(error|fatal)\b")


def active() -> bool:
    """Whether the daemon runs. Its socket is not asked: that would start it."""
    return run(["systemctl", "is-active", "--quiet", SERVICE]).rc == 0


def daemon() -> _docker_options.Daemon | None:
    """The daemon as it describes itself; None where none runs or answers."""
    if not active():
        return None
    result = run(["docker", "info", "--format", "{{json .}}"])
    try:
        info = json.loads(result.stdout)
    except ValueError:
        return None
    return None if info.get("ServerErrors") else _docker_options.described(info)


def keep_containers(seconds: int = 10) -> bool:
    """Let a daemon that runs take live-restore from its configuration, so that a restart leaves its containers alone.

    It is one of the options that Docker reads anew on a reload (docs.docker.com, "Live restore").
    """
    if run(["systemctl", "reload", SERVICE]).rc != 0:
        return False
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        running = daemon()
        if running is not None and running.live_restore:
            return True
        time.sleep(0.2)
    return False


def restart() -> str | None:
    """Restart the daemon with all that is configured; why it did not start, or None."""
    run(["systemctl", "daemon-reload"])
    # A few failed starts, and systemd would refuse the good one too.
    run(["systemctl", "reset-failed", SERVICE])
    begun = int(time.time())
    result = run(["systemctl", "restart", SERVICE])
    if result.rc == 0:
        return None
    told = run(["journalctl", f"--unit={SERVICE}", f"--since=@{begun}", "--output=cat", "--no-pager"])
    return reason(told.stdout.decode("utf-8", "replace")) or last_words(result)


def reason(log: str) -> str:
    """Of a daemon's log, what made it end; systemd's own lines only say that it did."""
    return "\n".join([line for line in log.splitlines() if _REASON.search(line)][-5:])


def require_restart(what: str) -> None:
    """Restart the daemon, or say why it does not run."""
    reason = restart()
    if reason is not None:
        raise AirgapError(f"{what}, and Docker does not start: {reason}\nSee 'journalctl -u docker'.")
