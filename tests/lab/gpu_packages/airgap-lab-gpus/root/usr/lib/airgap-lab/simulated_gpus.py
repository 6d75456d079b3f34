# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated hardware and driver of a lab host, as every simulated tool sees them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

DESCRIPTION = Path("/etc/airgap-lab/gpus.json")
# Installed by nvidia-open-kernel-dkms: stands for the module that DKMS built.
MODULE = Path("/usr/lib/airgap-lab/kernel-module-version")
# Written when the first tool asks for the driver, as nvidia-modprobe loads the module; a reboot empties /run.
LOADED = Path("/run/airgap-lab/loaded-module-version")
PERSISTENCED = Path("/run/nvidia-persistenced/nvidia-persistenced.pid")


class Host:
    """The GPUs that are on the bus and the driver that is loaded; faults come from the description."""

    def __init__(self, description: dict[str, Any], driver: str, persistence: bool) -> None:
        self.gpus = [gpu for gpu in description.get("gpus", []) if not gpu.get("faults", {}).get("missing")]
        self.faults: dict[str, Any] = description.get("faults", {})
        self.driver = "" if self.faults.get("driver_not_loaded") else driver
        self.persistence = persistence


def read() -> Host:
    description = json.loads(DESCRIPTION.read_text(encoding="utf-8")) if DESCRIPTION.exists() else {}
    return Host(description, _loaded_driver(), _persistenced_runs())


def _loaded_driver() -> str:
    if LOADED.exists():
        return LOADED.read_text(encoding="utf-8").strip()
    if not MODULE.exists():
        return ""
    version = MODULE.read_text(encoding="utf-8").strip()
    if os.geteuid() == 0:
        LOADED.parent.mkdir(exist_ok=True)
        LOADED.write_text(version + "\n", encoding="utf-8")
    return version


def _persistenced_runs() -> bool:
    try:
        return Path("/proc", PERSISTENCED.read_text(encoding="utf-8").strip()).is_dir()
    except FileNotFoundError:
        return False
