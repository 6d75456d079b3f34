# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who holds the device files of NVIDIA's driver."""

from __future__ import annotations

import contextlib
import os
import re
from typing import NamedTuple, Sequence

_UNIT = re.compile(r"/([^/\n]+\.service)(?:/|$)", re.M)


class User(NamedTuple):
    """A process that has a device file of the driver open; the unit that it belongs to, where there is one."""

    pid: int
    name: str
    unit: str


def users(proc: str = "/proc") -> list[User]:
    """The processes that hold /dev/nvidia*; only root sees those of others."""
    found = []
    for pid in sorted((int(entry) for entry in os.listdir(proc) if entry.isdigit()), key=int):
        folder = os.path.join(proc, str(pid))
        # A process may end while it is looked at.
        with contextlib.suppress(OSError):
            if any(
                _link(os.path.join(folder, "fd", entry)).startswith("/dev/nvidia")
                for entry in os.listdir(folder + "/fd")
            ):
                units = _UNIT.findall(_text(folder + "/cgroup"))
                found.append(User(pid, _text(folder + "/comm").strip() or "?", units[-1] if units else ""))
    return found


def named(found: Sequence[User]) -> str:
    """Process names and ids for a message, the first ones of many."""
    told = [f"{user.name} (process {user.pid}{', ' + user.unit if user.unit else ''})" for user in found[:8]]
    return ", ".join(told) + (f" and {len(found) - 8} more" if len(found) > 8 else "")


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
