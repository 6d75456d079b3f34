# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words in braces that an engine's data may use, in its command, options, environment, probe and rehearsal.

name, model, model_directory, socket, port, gpus; model_file where the engine takes a file (its whole path in the container);
draft_directory and draft_file of an instance with a draft; adapters, a list where it is the whole text.
What a person writes is never changed.
"""

from __future__ import annotations

import re
from typing import Any, Mapping

from ansible_collections.airgap.inference.plugins.module_utils import _instance_expand
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._instance_types import Engine, Instance

_WORD = re.compile(r"\{(\w+)\}")

Words = Mapping[str, Any]


def words(instance: Instance, engine: Engine) -> dict[str, Any]:
    """The words of one instance, each with what it stands for."""
    container = engine["container"]
    values: dict[str, Any] = {
        "name": str(instance["name"]),
        "model": str(instance["model"]),
        "socket": str(container["socket_directory"]) + "/engine.sock",
        "gpus": str(instance.get("gpus") or 0),
    }
    if engine.get("port"):
        values["port"] = str(engine["port"])
    if container.get("model_directory"):
        values["model_directory"] = str(container["model_directory"])
        if instance.get("model_file"):
            values["model_file"] = f"{values['model_directory']}/{instance['model_file']}"
    if instance.get("draft_model") and container.get("draft_directory"):
        values["draft_directory"] = str(container["draft_directory"])
        if instance.get("draft_file"):
            values["draft_file"] = f"{values['draft_directory']}/{instance['draft_file']}"
    listed = _instance_expand.adapters(instance)
    if listed and container.get("adapters_directory"):
        form = str(engine.get("adapter_form", "{adapter}={adapter_directory}"))
        values["adapters"] = [
            fill(
                form,
                {"adapter": entry["name"], "adapter_directory": f"{container['adapters_directory']}/{entry['name']}"},
            )
            for entry in listed
        ]
    return values


def filled(data: Any, values: Words) -> Any:
    """The same data with each word replaced in each of its texts; a text that is one word of a list is that list."""
    if isinstance(data, str):
        match = _WORD.match(data)
        if match and match.end() == len(data) and isinstance(values.get(match.group(1)), list):
            return list(values[match.group(1)])
        return fill(data, values)
    if isinstance(data, Mapping):
        return {name: filled(value, values) for name, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [filled(value, values) for value in data]
    return data


def fill(part: str, values: Words) -> str:
    """Replace {word}; any other word in braces is a fault of the engine's data."""

    def value(match: re.Match[str]) -> str:
        try:
            found = values[match.group(1)]
        except KeyError as error:
            raise AirgapError(
                f"The engine's data name {match.group(0)} in {part!r}; they may use {', '.join(sorted(values))}."
            ) from error
        return ",".join(found) if isinstance(found, list) else str(found)

    return _WORD.sub(value, part)
