# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The PCI bus and the firmware: one folder for each simulated device, beside the machine's own devices."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path
from typing import Any

from lab_tree import TREE, write

DEVICES = TREE / "pci-devices"
SLOTS = TREE / "pci-slots"
FIRMWARE = TREE / "firmware"
NVIDIA, MELLANOX = 0x10DE, 0x15B3
# The variable of UEFI's global namespace, as the kernel names its file.
SECURE_BOOT = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
NVSWITCH = 0x22A3
CONNECTX_7 = 0x1021


def keep_the_machines() -> None:
    """The machine's own devices stay on the bus, all but NVIDIA's: a lab host has only what is described."""
    for kept, covered in ((DEVICES, Path("/sys/bus/pci/devices")), (SLOTS, Path("/sys/bus/pci/slots"))):
        kept.mkdir(parents=True, exist_ok=True)
        for entry in sorted(covered.iterdir()) if covered.is_dir() else []:
            if not entry.is_symlink():
                continue
            if (entry / "vendor").read_text(encoding="utf-8").strip() != f"{NVIDIA:#06x}":
                (kept / entry.name).symlink_to(os.readlink(entry))


def plug(description: dict[str, Any]) -> None:
    """Make the bus as it is described now."""
    for folder in (DEVICES, SLOTS):
        for entry in folder.iterdir():
            if not entry.is_symlink():
                shutil.rmtree(entry)
    for index, gpu in enumerate(description.get("gpus", [])):
        if gpu.get("faults", {}).get("missing"):
            continue
        address = address_of(gpu)
        identity = int(gpu["device_id"][:4], 16)
        subsystem = gpu.get("subsystem_id", "16C110DE")
        _device(address, NVIDIA, identity, 0x030200, subsystem=subsystem)
        write(SLOTS / str(gpu.get("slot", index + 1)) / "address", address.rpartition(".")[0] + "\n")
    for number in range(int(description.get("nvswitches", 0))):
        _device(f"0000:{0xC0 + number:02x}:00.0", NVIDIA, NVSWITCH, 0x068000, subsystem="179610DE")
    if description.get("nvlink5"):
        # The NVSwitches of an NVLink 5 board are reached through a ConnectX-7 whose vital product data say so.
        _device("0000:d0:00.0", MELLANOX, CONNECTX_7, 0x020700, subsystem="002315B3", vpd=_vpd("SMDL=SW_MNG"))
    _firmware(description.get("secure_boot"))


def bind(driver: str) -> None:
    """Which driver has the GPUs; the kernel makes a link to it."""
    for device in DEVICES.iterdir():
        link = device / "driver"
        if device.is_symlink() or not (device / "class").read_text(encoding="utf-8").startswith("0x0302"):
            continue
        link.unlink(missing_ok=True)
        if driver:
            link.symlink_to(f"../../../../bus/pci/drivers/{driver}")


def address_of(gpu: dict[str, Any]) -> str:
    """As the kernel writes it: four digits of the domain, lower case."""
    domain, _separator, rest = str(gpu["bus_id"]).lower().partition(":")
    return f"{domain[-4:]}:{rest}"


def _device(address: str, vendor: int, device: int, code: int, subsystem: str, vpd: bytes = b"") -> None:
    folder = DEVICES / address
    for name, value in (("vendor", vendor), ("device", device)):
        write(folder / name, f"{value:#06x}\n")
    write(folder / "class", f"{code:#08x}\n")
    write(folder / "subsystem_device", f"0x{subsystem[:4].lower()}\n")
    write(folder / "subsystem_vendor", f"0x{subsystem[4:].lower()}\n")
    write(
        folder / "modalias",
        f"pci:v{vendor:08X}d{device:08X}sv0000{subsystem[4:]}sd0000{subsystem[:4]}bc{code >> 16:02X}\n",
    )
    if vpd:
        write(folder / "vpd", vpd)


def _vpd(keyword: str) -> bytes:
    """Vital product data as in PCI 2.2, appendix I: a name, read-only fields, an end tag."""
    name = b"Nvidia ConnectX-7 bridge of an NVLink 5 board (simulated)"
    field = b"V3" + bytes([len(keyword)]) + keyword.encode()
    return b"\x82" + struct.pack("<H", len(name)) + name + b"\x90" + struct.pack("<H", len(field)) + field + b"\x78"


def _firmware(secure_boot: bool | None) -> None:
    """A machine that says nothing of Secure Boot starts without UEFI."""
    shutil.rmtree(FIRMWARE / "efi", ignore_errors=True)
    if secure_boot is not None:
        write(FIRMWARE / "efi" / "efivars" / SECURE_BOOT, struct.pack("<IB", 6, secure_boot))
