# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How sealed a running container is, from the kernel's own tables, not from what was asked for."""

from __future__ import annotations

import os
from typing import Any, Mapping, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


class Seal(NamedTuple):
    """What the kernel says of a container's first process."""

    pid: int
    interfaces: list[str]
    routes: int
    user_ids: list[int]
    effective_capabilities: int
    bounding_capabilities: int
    no_new_privileges: bool
    seccomp_mode: int
    root_read_only: bool
    network_mode: str


def read(container: Mapping[str, Any], proc: str = "/proc") -> Seal:
    """Read the seal of a container; the argument is what docker inspect says of it."""
    name = str(container.get("Name", "")).lstrip("/")
    pid = int(container["State"]["Pid"])
    if not container["State"].get("Running") or pid <= 0:
        raise AirgapError(f"The container {name} is not running (state: {container['State'].get('Status')}).")
    base = os.path.join(proc, str(pid))
    status = _status(_text(base + "/status"))
    return Seal(
        pid=pid,
        interfaces=_interfaces(_text(base + "/net/dev")),
        routes=max(len(_text(base + "/net/route").splitlines()) - 1, 0),
        user_ids=sorted({int(field) for field in status["Uid"].split()}),
        effective_capabilities=int(status["CapEff"], 16),
        bounding_capabilities=int(status["CapBnd"], 16),
        no_new_privileges=status.get("NoNewPrivs") == "1",
        seccomp_mode=int(status.get("Seccomp", "0")),
        root_read_only=_root_read_only(_text(base + "/mountinfo")),
        network_mode=str(container["HostConfig"]["NetworkMode"]),
    )


def breaches(seal: Seal) -> list[str]:
    """Every way in which the container is not sealed."""
    found = []
    if seal.interfaces != ["lo"]:
        found.append(f"its interfaces are {', '.join(seal.interfaces)}, not lo alone")
    if seal.routes:
        found.append(f"it has {seal.routes} routes")
    if seal.network_mode != "none":
        found.append(f"its network mode is {seal.network_mode}, not none")
    if 0 in seal.user_ids:
        found.append("it runs as root")
    if seal.effective_capabilities:
        found.append(f"it holds capabilities {seal.effective_capabilities:#x}")
    if seal.bounding_capabilities:
        found.append(f"it can gain capabilities {seal.bounding_capabilities:#x}")
    if not seal.no_new_privileges:
        found.append("it can gain privileges")
    if not seal.root_read_only:
        found.append("its root file system is writable")
    return found


def describe(seal: Seal) -> dict[str, Any]:
    """As data for a module's result."""
    return {
        **seal._asdict(),
        "effective_capabilities": f"{seal.effective_capabilities:#x}",
        "bounding_capabilities": f"{seal.bounding_capabilities:#x}",
    }


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except FileNotFoundError as error:
        raise AirgapError(f"{path} is not there; the container has just stopped.") from error
    except OSError as error:
        raise AirgapError(f"{path} could not be read: {error.strerror}; this needs root on the host.") from error


def _status(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.splitlines())
    return {key: value.strip() for key, _colon, value in pairs}


def _interfaces(text: str) -> list[str]:
    return sorted(line.partition(":")[0].strip() for line in text.splitlines() if ":" in line)


def _root_read_only(text: str) -> bool:
    """The last mount at / decides."""
    options = ""
    for line in text.splitlines():
        fields = line.split()
        if len(fields) > 5 and fields[4] == "/":
            options = fields[5]
    return "ro" in options.split(",")
