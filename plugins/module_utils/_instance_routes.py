# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the instances of a host mean together: names of units, names that clients ask for, routes."""

from __future__ import annotations

from typing import Any, Iterator, Mapping, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import _instance_expand
from ansible_collections.airgap.inference.plugins.module_utils._instance_types import (
    Engine,
    Instance,
    task,
    task_data,
)


def refusals(instances: Sequence[Instance], engines: Mapping[str, Engine]) -> Iterator[tuple[int, str]]:
    """Why these instances cannot stand beside each other, each reason with the position of the instance that is told it."""
    expanded = _instance_expand.expand(instances)
    yield from _names(expanded)
    yield from _served(expanded, engines)


def _names(expanded: Sequence[Instance]) -> Iterator[tuple[int, str]]:
    """A name is a unit, a directory and a container; so is that of each replica."""
    bases: dict[str, int] = {}
    owners: dict[str, int] = {}
    told = set()
    for instance in expanded:
        name, base, position = str(instance["name"]), str(instance["base"]), int(instance["position"])
        if not base or position in told:
            continue
        if bases.setdefault(base, position) != position:
            told.add(position)
            yield position, f"the name {base} stands twice; give each instance of a host its own."
        elif owners.setdefault(name, position) != position:
            told.add(position)
            yield (
                position,
                f"{name} is the name of another instance as well, since replicas are numbered; "
                "give one of the two another name.",
            )


def _served(expanded: Sequence[Instance], engines: Mapping[str, Engine]) -> Iterator[tuple[int, str]]:
    """One name means one thing to clients, and can be asked the same wherever it is served."""
    firsts: dict[str, tuple[Instance, tuple[str, ...], Any]] = {}
    told = set()
    for instance in expanded:
        api = _api(task_data(instance, engines.get(str(instance.get("engine"))) or {}))
        for name, meaning in _meanings(instance):
            first, meant, first_api = firsts.setdefault(name, (instance, meaning, api))
            if (first["position"], instance["position"], name) in told:
                continue
            if meaning != meant:
                told.add((first["position"], instance["position"], name))
                yield (
                    instance["position"],
                    f"clients would ask for {_shown(meaning)} as {name}, and that is {_shown(meant)} in the instance "
                    f"{first['base']}; a name means one model. Give the adapter another name.",
                )
            elif api is not None and first_api is not None and api != first_api:
                told.add((first["position"], instance["position"], name))
                yield (
                    instance["position"],
                    f"it serves {name} for {task(instance)} with {instance.get('engine')}, and the instance {first['base']} "
                    f"does for {task(first)} with {first.get('engine')}; requests for a name are balanced over all that serve it, "
                    "so these must take the same requests. List the model in airgap_models under a second name as well, "
                    "and let one of the instances have that.",
                )


def _meanings(instance: Instance) -> Iterator[tuple[str, tuple[str, ...]]]:
    model = str(instance.get("model", ""))
    yield model, (model,)
    for entry in _instance_expand.adapters(instance):
        if entry.get("name"):
            yield str(entry["name"]), (model, str(entry.get("model", "")))


def _shown(meaning: tuple[str, ...]) -> str:
    return f"the model {meaning[0]}" if len(meaning) == 1 else f"the adapter {meaning[1]} on {meaning[0]}"


def _api(data: Mapping[str, Any]) -> Any:
    if not data:
        return None
    return sorted((str(entry["path"]), sorted(entry["methods"])) for entry in data["api"])
