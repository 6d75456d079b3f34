# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How sealed a running container is, from the kernel's own tables, not from what was asked for."""

from __future__ import annotations

import os
from typing import Any, Mapping, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

_NO_LIMIT = 1 << 62


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
    # Which network namespace it is in, as the kernel names it; empty where that cannot be read.
    network_namespace: str = ""
    ipc_of_host: bool = False
    # The kernel's limits: None where they cannot be read, 0 where there is none.
    most_processes: int | None = None
    most_memory: int | None = None
    # What was asked for, bytes; 0 for none.
    asked_memory: int = 0


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
        network_namespace=_link(base + "/ns/net"),
        ipc_of_host=bool(_link(base + "/ns/ipc")) and _link(base + "/ns/ipc") == _link(os.path.join(proc, "1/ns/ipc")),
        most_processes=_limit(base, "pids.max", "pids/pids.max"),
        most_memory=_limit(base, "memory.max", "memory/memory.limit_in_bytes"),
        asked_memory=int(container["HostConfig"].get("Memory") or 0),
    )


def breaches(seal: Seal, may_be_root: bool = False, engine: Seal | None = None) -> list[str]:
    """Every way in which the container is not sealed; a relay must be in the network namespace of its engine."""
    found = []
    if seal.interfaces != ["lo"]:
        found.append(f"its interfaces are {', '.join(seal.interfaces)}, not lo alone")
    if seal.routes:
        found.append(f"it has {seal.routes} routes")
    if engine is None and seal.network_mode != "none":
        found.append(f"its network mode is {seal.network_mode}, not none")
    if engine is not None and (not seal.network_namespace or seal.network_namespace != engine.network_namespace):
        found.append("its network is not its engine's")
    if 0 in seal.user_ids and not may_be_root:
        found.append("it runs as root")
    if seal.effective_capabilities:
        found.append(f"it holds capabilities {seal.effective_capabilities:#x}")
    if seal.bounding_capabilities:
        found.append(f"it can gain capabilities {seal.bounding_capabilities:#x}")
    if not seal.no_new_privileges:
        found.append("it can gain privileges")
    # SECCOMP_MODE_FILTER: Docker's own list of system calls, or a stricter one.
    if seal.seccomp_mode != 2:
        found.append("no filter of system calls (seccomp) is on")
    if seal.ipc_of_host:
        found.append("it shares the memory (IPC) of the host")
    if not seal.root_read_only:
        found.append("its root file system is writable")
    if seal.most_processes is None:
        found.append("whether its processes are limited cannot be read")
    elif not seal.most_processes:
        found.append("its processes are not limited (pids)")
    if seal.asked_memory and not 0 < (seal.most_memory or 0) <= seal.asked_memory:
        found.append(f"its memory is not limited to the {seal.asked_memory} bytes that were asked for")
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


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _limit(base: str, unified: str, divided: str) -> int | None:
    """A limit as the container's own file system of control groups shows it, of version 2 or 1."""
    for name in (unified, divided):
        try:
            with open(os.path.join(base, "root/sys/fs/cgroup", name), encoding="ascii") as stream:
                text = stream.read().strip()
        except OSError:
            continue
        # Version 1 says "none" by the largest number of pages.
        return int(text) if text.isdigit() and int(text) < _NO_LIMIT else 0
    if not os.path.isdir(base + "/root/"):
        raise AirgapError(f"{base}/root is not there; the container has just stopped.")
    return None


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
