# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What switches connect the GPUs, by what the kernel shows of the PCI bus; no driver and no program is needed for it."""

from __future__ import annotations

import os
from typing import Iterator, NamedTuple

BUS = "/sys/bus/pci"

# As pci.ids names them: NVIDIA Corporation, its "Bridge" of subclass "Bridge" (an NVSwitch), Mellanox Technologies.
_NVIDIA = "0x10de"
_SWITCH = "0x0680"
_MELLANOX = "0x15b3"

# NVIDIA Fabric Manager User Guide, "NVLink 5": the switches of B200 and newer boards are not on the bus. The host reaches them by
# ConnectX-7 functions whose vital product data has the vendor's field SMDL with the value SW_MNG; nvidia-fabricmanager looks for it too.
_BRIDGE = b"SMDL=SW_MNG"
# The PCI specification has 15 bits for an address in these data.
_VPD_BYTES = 32768


class Function(NamedTuple):
    """A function on the bus: its address, and where the kernel shows it."""

    address: str
    path: str

    def line(self, name: str) -> str:
        """A one-line attribute; empty where it is not there."""
        try:
            with open(os.path.join(self.path, name), encoding="ascii", errors="replace") as file:
                return file.read(64).strip()
        except OSError:
            return ""

    @property
    def subsystem(self) -> str:
        """Vendor and device of the board, as lspci writes them."""
        parts = [self.line("subsystem_vendor"), self.line("subsystem_device")]
        return ":".join(part[2:] for part in parts) if all(parts) else ""


def functions(vendor: str, bus: str = BUS) -> Iterator[Function]:
    """The functions of a vendor, in the order of the bus."""
    devices = os.path.join(bus, "devices")
    for name in sorted(os.listdir(devices) if os.path.isdir(devices) else []):
        function = Function(name, os.path.join(devices, name))
        if function.line("vendor") == vendor:
            yield function


def subsystems(bus: str = BUS) -> dict[str, str]:
    """The boards of NVIDIA's functions, by address."""
    return {function.address: function.subsystem for function in functions(_NVIDIA, bus)}


def nvswitches(bus: str = BUS) -> int:
    """How many NVSwitches are on the bus."""
    return sum(function.line("class").startswith(_SWITCH) for function in functions(_NVIDIA, bus))


def has_nvlink5(bus: str = BUS) -> bool:
    """Whether there is a bridge to the switches of NVLink 5."""
    return any(_BRIDGE in _vpd(function) for function in functions(_MELLANOX, bus))


def _vpd(function: Function) -> bytes:
    # A virtual function has the product data of its board, and is no bridge.
    if os.path.exists(os.path.join(function.path, "physfn")):
        return b""
    try:
        with open(os.path.join(function.path, "vpd"), "rb") as file:
            return file.read(_VPD_BYTES)
    except OSError:
        return b""
