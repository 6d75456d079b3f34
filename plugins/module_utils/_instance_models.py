# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The models of an instance, its own, its draft and its adapters': what an engine cannot take, and what the bundle has not."""

from __future__ import annotations

import re
from typing import Any, Iterator, Mapping

from ansible_collections.airgap.inference.plugins.module_utils import _instance_expand
from ansible_collections.airgap.inference.plugins.module_utils._instance_types import (
    GENERATE,
    Engine,
    Instance,
    names,
    task,
)

# As names of models: clients ask for it, and it names a directory.
_ADAPTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")


def unsupported(instance: Instance, engine: Engine) -> Iterator[str]:
    """Why the engine cannot take the instance's draft or adapters."""
    container = engine["container"]
    if instance.get("draft_model"):
        if not container.get("draft_directory"):
            yield f"draft_model is {instance['draft_model']!r}, and {engine['name']} takes no draft here. Remove it."
        elif task(instance) != GENERATE:
            yield f"draft_model is {instance['draft_model']!r}, and task is {task(instance)}; a draft speeds up generation alone."
    if instance.get("adapters") and not container.get("adapters_directory"):
        yield f"adapters are listed, and {engine['name']} takes none here. Remove them."


def refusals(instance: Instance, models: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the names of models and adapters."""
    yield from _adapters(instance)
    wanted = {
        "model": instance.get("model"),
        **({"draft_model": instance["draft_model"]} if instance.get("draft_model") else {}),
        **{
            f"adapters[{position}].model": entry.get("model")
            for position, entry in enumerate(_instance_expand.adapters(instance))
        },
    }
    for key, name in wanted.items():
        if not isinstance(name, str) or name not in models:
            yield f"{key} {name!r} is not in the bundle, which has {names(models)}. Stage a bundle with it."


def _adapters(instance: Instance) -> Iterator[str]:
    listed = instance.get("adapters") or []
    if not isinstance(listed, (list, tuple)) or not all(isinstance(entry, Mapping) for entry in listed):
        yield f"adapters is {listed!r}; it is a list such as [{{name: legal, model: legal-lora}}]."
        return
    seen: list[str] = [str(instance.get("model"))]
    for position, entry in enumerate(listed):
        name = str(entry.get("name") or "")
        if not _ADAPTER.match(name):
            yield (
                f"adapters[{position}].name is {name!r}; use letters, digits, '.', '_' and '-', "
                "since clients ask for it and it names a directory."
            )
        elif name in seen[1:]:
            yield f"adapters[{position}].name {name} stands twice; give each adapter its own."
        seen.append(name)
        unknown = sorted(str(key) for key in set(entry) - {"name", "model"})
        if unknown:
            yield f"adapters[{position}] has {', '.join(unknown)}; an adapter has name and model."
