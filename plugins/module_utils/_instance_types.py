# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules about instances hand to each other."""

from __future__ import annotations

from typing import Any, Mapping

# An instance as a person describes it, and an engine's data (roles/inference/vars/engines).
Instance = Mapping[str, Any]
Engine = Mapping[str, Any]

GENERATE = "generate"
# container.entrypoint of an engine whose image starts it: the command is what its vendor writes after docker run <image>.
IMAGE_ENTRYPOINT = "image"


def underscored(name: str) -> str:
    """An option's name as engines' data and plans have it."""
    return name.replace("-", "_")


def task(instance: Instance) -> str:
    """What the instance is for."""
    return str(instance.get("task") or GENERATE)


def task_data(instance: Instance, engine: Engine) -> Mapping[str, Any]:
    """What the engine's data say of the instance's task; nothing where the engine cannot do it."""
    data: Mapping[str, Any] = (engine.get("tasks") or {}).get(task(instance)) or {}
    return data


def names(entries: Any) -> str:
    """A list for a message."""
    return ", ".join(sorted(str(entry) for entry in entries)) or "none"
