# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an instance's socket is open to the gateway alone, and whether the engine behind it does what it is for."""

from __future__ import annotations

import os
import stat
from typing import Any

from ansible_collections.airgap.inference.plugins.module_utils import _await_answer


def look(socket: str, uid: int, gid: int) -> tuple[dict[str, Any], list[str]]:
    """Owners and modes of a socket and its directory, and what is wrong with them."""
    directory = os.path.dirname(socket)
    seen: dict[str, Any] = {"path": socket}
    faults = []
    for name, path in (("directory", directory), ("socket", socket)):
        try:
            # The engine owns the directory: a link there would show what is elsewhere.
            state = os.lstat(path)
        except OSError as error:
            return seen, [f"{path}: {error.strerror}"]
        seen[name] = {"uid": state.st_uid, "gid": state.st_gid, "mode": f"{stat.S_IMODE(state.st_mode):04o}"}
        if stat.S_ISLNK(state.st_mode):
            faults.append(f"{path} is a symbolic link, which leads to {os.readlink(path)}")
            return seen, faults
        if name == "socket" and not stat.S_ISSOCK(state.st_mode):
            faults.append(f"{path} is no socket")
        if state.st_uid not in (uid, 0):
            faults.append(f"{path} belongs to the user {state.st_uid}, not to {uid}, the engine's")
        if state.st_gid != gid:
            faults.append(f"{path} belongs to the group {state.st_gid}, not to {gid}, the gateway's")
        # Some programs open their sockets to everybody; then the directory decides.
        if name == "directory" and state.st_mode & stat.S_IRWXO:
            faults.append(f"{path} has mode {seen[name]['mode']}: others than the engine and the gateway can enter it")
    return seen, faults


def answer(probe_file: str) -> tuple[str, str]:
    """What the engine does when asked at its socket, and what it does not."""
    try:
        probe = _await_answer.read(probe_file)
        _await_answer.ask(probe)
    except (_await_answer.NotYet, _await_answer.WrongAnswer) as error:
        return "", f"asked at its socket, {error}"
    except (OSError, ValueError, TypeError, KeyError) as error:
        return "", f"{probe_file} cannot be used: {error}. Deploy again"
    return f"{probe.path} at its socket: {probe.expects}", ""
