# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What nvidia-smi prints in place of an answer, and which GPUs a call is about."""

from __future__ import annotations

import os
from typing import Any

from simulated_gpus import Host


class Refusal(Exception):
    """The words, and the exit code: nvidia-smi(1), RETURN VALUE."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


# How NVML calls them, nvml.h: NVML_ERROR_NO_PERMISSION, NVML_ERROR_NOT_FOUND, NVML_ERROR_IN_USE, NVML_ERROR_INSUFFICIENT_RESOURCES.
NO_PERMISSION, NOT_FOUND, IN_USE, INSUFFICIENT = 4, 6, 19, 23
INVALID = 2


def chosen(host: Host, wanted: str) -> list[tuple[int, dict[str, Any]]]:
    """The GPUs of -i, by index, UUID or bus id; all of them without it."""
    everything = list(enumerate(host.gpus))
    if not wanted:
        return everything
    found = []
    for word in wanted.split(","):
        means = [(index, gpu) for index, gpu in everything if word.lower() in _names(index, gpu)]
        if not means:
            raise Refusal(NOT_FOUND, "No devices were found")
        found += means
    return found


def _names(index: int, gpu: dict[str, Any]) -> tuple[str, ...]:
    bus = str(gpu["bus_id"]).lower()
    return (str(index), str(gpu["uuid"]).lower(), bus, bus[4:])


def need_root() -> None:
    if os.geteuid() != 0:
        raise Refusal(NO_PERMISSION, "Insufficient Permissions")
