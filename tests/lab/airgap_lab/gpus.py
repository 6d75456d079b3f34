# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file that describes a host's simulated GPUs; README.md lists the faults it can hold."""

from __future__ import annotations

import uuid
from pathlib import PurePosixPath
from typing import Any

FOLDER = PurePosixPath("/etc/airgap-lab")
FILE = FOLDER / "gpus.json"


def describe(host: str, count: int = 2) -> dict[str, Any]:
    """Like a server with H100s; each host's GPUs keep their UUIDs for good."""
    return {
        "faults": {},
        "gpus": [
            {
                "name": "NVIDIA H100 80GB HBM3",
                "architecture": "Hopper",
                "uuid": f"GPU-{uuid.uuid5(uuid.NAMESPACE_DNS, f'{host}.gpu{index}.lab')}",
                "serial": str(1650000000000 + index),
                "bus_id": f"00000000:{0x18 + 0x11 * index:02X}:00.0",
                "device_id": "233010DE",
                "subsystem_id": "16C110DE",
                "slot": str(index + 1),
                "memory_mib": 81559,
                "compute_capability": "9.0",
                "faults": {},
            }
            for index in range(count)
        ],
    }
