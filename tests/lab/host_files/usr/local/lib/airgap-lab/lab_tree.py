# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a lab host keeps the simulated machine, and the files of the kernel that show it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

DESCRIPTION = Path("/etc/airgap-lab/gpus.json")
# Gone after a reboot, as what it stands for.
STATE = Path("/run/airgap-lab")
TREE = STATE / "machine"
REAL = STATE / "real"
# What of the tree covers which part of the kernel's own files; README.md says what they show.
COVERED = {
    TREE / "pci-devices": Path("/sys/bus/pci/devices"),
    TREE / "pci-slots": Path("/sys/bus/pci/slots"),
    TREE / "module": Path("/sys/module"),
    TREE / "firmware": Path("/sys/firmware"),
    TREE / "driver": Path("/proc/driver"),
    TREE / "modules": Path("/proc/modules"),
    TREE / "boot_id": Path("/proc/sys/kernel/random/boot_id"),
}


def description() -> dict[str, Any]:
    """Nothing on the bastion: it has no GPUs."""
    if not DESCRIPTION.exists():
        return {}
    read: dict[str, Any] = json.loads(DESCRIPTION.read_text(encoding="utf-8"))
    return read


def cover() -> None:
    """Mount the tree over the kernel's files, once; a file that this kernel does not have stays absent."""
    for source, target in COVERED.items():
        if target.exists() and not target.samefile(source):
            subprocess.run(["mount", "--bind", str(source), str(target)], check=True)


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # In place: the file may be mounted somewhere.
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def kernel() -> str:
    return os.uname().release
