# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A preset of an engine: options for throughput or for latency, for all GPUs or for those of a generation."""

from __future__ import annotations

from typing import Any, Mapping

from ansible_collections.airgap.inference.plugins.module_utils import _compute_capability, _gpu_catalogue
from ansible_collections.airgap.inference.plugins.module_utils._instance_types import Engine, Instance

ANY, CPU = "any", "cpu"
# NVIDIA, "CUDA GPU Compute Capability" (https://developer.nvidia.com/cuda-gpus): the first of each generation, newest first.
_GENERATIONS = (
    ((10, 0), "blackwell"),
    ((9, 0), "hopper"),
    ((8, 9), "ada"),
    ((8, 0), "ampere"),
    ((7, 5), "turing"),
    ((7, 0), "volta"),
)


def generation(expected: Any) -> str:
    """The generation of a host's GPUs as gpu_host_expected states them; nothing where it does not tell."""
    if not isinstance(expected, Mapping) or not expected:
        return ""
    capability = _compute_capability.read(_gpu_catalogue.stated(dict(expected))["compute_capability"])
    return next((name for least, name in _GENERATIONS if capability and capability >= least), "")


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
