# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of a model that an engine is given, for engines that take a file and not a directory (llama.cpp: GGUF)."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Any, Iterator, Mapping

from ansible_collections.airgap.inference.plugins.module_utils._instance_types import Engine, Instance, names
from ansible_collections.airgap.inference.plugins.module_utils._manifest import path_fault

# As llama.cpp's gguf-split names the parts of a model; it is given the first and finds the others.
_PART = re.compile(r"(?P<stem>.+)-(?P<part>\d{5})-of-(?P<parts>\d{5})(?P<end>\.\w+)\Z")
# A projector stands beside the model that it belongs to (llama.cpp, docs/multimodal.md).
_BESIDE = ("mmproj*", "*/mmproj*")
# The files of a model that is still to be collected: the bundle that is being made will tell.
LATER = "not collected yet"


def chosen(instance: Instance, engine: Engine, models: Mapping[str, Any]) -> dict[str, str]:
    """model_file and draft_file of an instance, where its engine takes files and they can be told."""
    pattern = engine.get("takes_file")
    if not pattern:
        return {}
    files = {}
    for key, model in (("model_file", instance.get("model")), ("draft_file", instance.get("draft_model"))):
        file = instance.get(key) or (file_of(models.get(model) or {}, str(pattern)) if model else None)
        if file:
            files[key] = str(file)
    return files


def file_of(model: Mapping[str, Any], pattern: str) -> str | None:
    """The only file of this kind, or the first part of the only one; None where there is none or a choice."""
    if "gguf" in model and model["gguf"] is None:
        return LATER
    found = candidates(model, pattern)
    return found[0] if len(found) == 1 else None


def candidates(model: Mapping[str, Any], pattern: str) -> list[str]:
    """The files of this kind that an engine can be given, as far as the bundle's facts list them."""
    files = model.get("gguf")
    listed = sorted(str(name) for name in files) if isinstance(files, (list, tuple)) else []
    return [name for name in listed if _fits(name, pattern) and _begins(name)]


def _fits(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) and not any(fnmatchcase(name, each) for each in _BESIDE)


def _begins(name: str) -> bool:
    match = _PART.match(name)
    return match is None or int(match.group("part")) == 1


def refusals(instance: Instance, engine: Engine, models: Mapping[str, Any]) -> Iterator[str]:
    """Why it cannot be told which file the engine is to be given."""
    pattern = engine.get("takes_file")
    for key, of_model in (("model_file", "model"), ("draft_file", "draft_model")):
        stated, name = instance.get(key), instance.get(of_model)
        if stated is not None:
            yield from _stated(key, stated, engine, models.get(name) if isinstance(name, str) else None)
            continue
        if not pattern or not isinstance(name, str) or name not in models:
            continue
        model = models[name] or {}
        if file_of(model, str(pattern)):
            continue
        found = candidates(model, str(pattern))
        if found:
            yield f"the model {name} has {', '.join(found)}, and {engine['name']} takes one of them; name it as {key}."
        elif "gguf" in model:
            yield f"the model {name} has no {pattern}, which {engine['name']} needs. Stage one that has, or use another engine."
        else:
            yield f"{engine['name']} takes a {pattern} of the model {name}, and which it has is not known here; name it as {key}."


def _stated(key: str, stated: Any, engine: Engine, model: Mapping[str, Any] | None) -> Iterator[str]:
    if not engine.get("takes_file"):
        yield f"{key} is {stated!r}, and {engine['name']} takes a model's whole directory. Remove it."
    elif path_fault(stated):
        yield f"{key} is {stated!r}; name a file by its path below the model's directory."
    elif model is not None and isinstance(model.get("gguf"), (list, tuple)) and stated not in model["gguf"]:
        yield f"{key} is {stated!r}, and the model has {names(model['gguf'])}. Name one of these."
