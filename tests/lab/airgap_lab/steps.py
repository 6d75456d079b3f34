# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The things that can be built, by name, in the order in which they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from airgap_lab import (
    cache,
    compose,
    engine_image,
    gateway_image,
    gpu_repository,
    host_image,
    llama_image,
    models,
    registry,
)
from airgap_lab.console import LabError

STEPS: dict[str, Callable[[], object]] = {
    "host": host_image.build,
    "gpu-packages": gpu_repository.build,
    "models": models.build,
    "gateway": gateway_image.build,
    "engine": engine_image.build,
    "llama": llama_image.build,
    "compose": compose.build,
}


def build(names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in STEPS]
    if unknown:
        raise LabError(f"there is no step {', '.join(unknown)}; the steps are {', '.join(STEPS)}")
    for name, make in STEPS.items():
        if not names or name in names:
            with cache.locked("step-" + name):
                make()
    registry.ensure()
