# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A preset of an engine: options for throughput or for latency, for all GPUs or for those of a generation."""

from __future__ import annotations

from typing import Any

from ansible_collections.airgap.inference.plugins.module_utils._instance_types import Engine, Instance

PRESETS = ("throughput", "latency")
ANY, CPU = "any", "cpu"


def options(instance: Instance, engine: Engine, generation: str = "") -> dict[str, Any]:
    """The options of the instance's preset; those for a generation replace those for any."""
    fitting = [
        entry for entry in entries(instance, engine) if entry.get("gpus", ANY) in (ANY, of(instance, generation))
    ]
    found: dict[str, Any] = {}
    for entry in sorted(fitting, key=lambda one: one.get("gpus", ANY) != ANY):
        found.update(entry.get("options") or {})
    return found


def entries(instance: Instance, engine: Engine) -> list[Any]:
    """What the engine's data have for the instance's preset."""
    return list((engine.get("presets") or {}).get(instance.get("preset")) or [])


def of(instance: Instance, generation: str) -> str:
    """What the instance computes on."""
    return generation if instance.get("gpus") else CPU
