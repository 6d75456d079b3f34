# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The instances of a host one by one: replicas with names of their own, the GPUs of each, the models that each needs and serves."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from ansible_collections.airgap.inference.plugins.module_utils._instance_types import Instance

MOST_REPLICAS = 64


def expand(instances: Sequence[Instance]) -> list[dict[str, Any]]:
    """Replicas become instances of their own.

    Each has as C(base) the name that the person gave, and as C(position) where it stands in the list.
    """
    expanded = []
    for position, instance in enumerate(instances):
        name, count = str(instance.get("name", "")), replicas(instance)
        for number in range(1, count + 1):
            own = {key: value for key, value in instance.items() if key != "replicas"}
            own.update(name=f"{name}-{number}" if count > 1 else name, base=name, position=position)
            expanded.append(own)
    return expanded


def replicas(instance: Instance) -> int:
    """How often an instance runs on a host; what is no such number is refused elsewhere, and is one here."""
    count = instance.get("replicas", 1)
    return count if isinstance(count, int) and not isinstance(count, bool) and 0 < count <= MOST_REPLICAS else 1


def assign_gpus(instances: Sequence[Instance]) -> list[list[int]]:
    """The GPUs of a host, handed out in the order of the (expanded) instances, each to one instance only."""
    assigned: list[list[int]] = []
    first = 0
    for instance in instances:
        count = int(instance.get("gpus") or 0)
        assigned.append(list(range(first, first + count)))
        first += count
    return assigned


def adapters(instance: Instance) -> list[Mapping[str, Any]]:
    """The LoRA adapters of an instance, as far as they are readable."""
    listed = instance.get("adapters") or []
    if not isinstance(listed, (list, tuple)):
        return []
    return [entry for entry in listed if isinstance(entry, Mapping)]


def model_names(instance: Instance) -> list[str]:
    """The models of the bundle that an instance needs: its own, its draft, its adapters'."""
    names = [instance.get("model"), instance.get("draft_model"), *(entry.get("model") for entry in adapters(instance))]
    return list(dict.fromkeys(str(name) for name in names if name not in (None, "")))


def serves(instance: Instance) -> list[str]:
    """The names by which clients ask for what the instance serves."""
    return [str(instance["model"]), *(str(entry["name"]) for entry in adapters(instance))]
