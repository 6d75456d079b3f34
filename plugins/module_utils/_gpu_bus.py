# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The NVIDIA GPUs on the PCI bus, as the kernel shows them in sysfs, whether a driver serves them or not."""

from __future__ import annotations

import os
import re
from typing import Any

# Vendor and classes as pci.ids names them: NVIDIA Corporation; VGA compatible controller, 3D controller.
_NVIDIA = "0x10de"
_CLASSES = ("0x0300", "0x0302")

_ADDRESS = re.compile(r"([0-9a-fA-F]{1,8}):([0-9a-fA-F]{2}):([0-9a-fA-F]{2})(?:\.([0-7]))?")


def address(text: str) -> str:
    """The kernel's way to write an address, for the driver's: 00000000:1B:00.0 (in its log 0000:1b:00) is 0000:1b:00.0."""
    match = _ADDRESS.fullmatch(text)
    if match is None:
        return text.lower()
    return f"{int(match[1], 16):04x}:{match[2]}:{match[3]}.{match[4] or 0}".lower()


def read(bus: str = "/sys/bus/pci") -> list[dict[str, Any]]:
    """In the order of the bus; a device that goes away meanwhile is left out."""
    slots = _slots(os.path.join(bus, "slots"))
    devices = os.path.join(bus, "devices")
    found = []
    for name in sorted(_names(devices)):
        path = os.path.join(devices, name)
        if _line(path, "vendor") != _NVIDIA or _line(path, "class")[:6] not in _CLASSES:
            continue
        found.append(
            {
                "pci_address": name,
                "device_id": _line(path, "device")[2:],
                "driver": _driver(path),
                "slot": slots.get(name.rpartition(".")[0]),
            }
        )
    return found


def _slots(directory: str) -> dict[str, str]:
    """The slots by what sits in them: their files `address` name a device without its function."""
    return {_line(os.path.join(directory, name), "address"): name for name in _names(directory)}


def _names(directory: str) -> list[str]:
    # A machine without PCI has no such directory.
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _line(directory: str, name: str) -> str:
    try:
        with open(os.path.join(directory, name), encoding="ascii", errors="replace") as file:
            return file.read(64).strip()
    except OSError:
        return ""


def _driver(path: str) -> str | None:
    try:
        return os.path.basename(os.readlink(os.path.join(path, "driver")))
    except OSError:
        return None
