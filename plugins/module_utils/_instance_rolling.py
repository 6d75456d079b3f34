# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which replicas go on serving while others of the same instance are restarted."""

from __future__ import annotations

from typing import Callable, Mapping, NamedTuple, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import _docker
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


class Wanted(NamedTuple):
    """An instance as it shall run."""

    changed: bool = False
    # The name without a replica's number; empty for one that stands alone.
    base: str = ""
    gpus: Sequence[str] = ()


def held(name: str) -> frozenset[str] | None:
    """The GPUs that an instance's running container has, by their CDI names; None where nobody can tell."""
    try:
        described = _docker.inspect_container(f"airgap-{name}")
    except (AirgapError, ValueError):
        return None
    requests = (described.get("HostConfig") or {}).get("DeviceRequests") or []
    devices = [str(device) for request in requests for device in request.get("DeviceIDs") or []]
    return frozenset(device.rpartition("=")[2] for device in devices)


def second_halves(
    restart: Sequence[str],
    running: Sequence[str],
    wanted: Mapping[str, Wanted],
    gpus: Callable[[str], frozenset[str] | None] = held,
) -> dict[str, list[str]]:
    """Those that are restarted later, each with those that must have started before.

    Only where each keeps its GPUs: otherwise one could start on a GPU that another still has.
    """
    groups: dict[str, list[str]] = {}
    for name in restart:
        if wanted[name].base and name in running:
            groups.setdefault(wanted[name].base, []).append(name)
    found = {}
    for names in groups.values():
        if len(names) < 2 or any(gpus(name) != frozenset(wanted[name].gpus) for name in names):
            continue
        # The smaller half first: what is wrong with the new description is seen while most still serve.
        first, second = names[: len(names) // 2], names[len(names) // 2 :]
        found.update(dict.fromkeys(second, first))
    return found
