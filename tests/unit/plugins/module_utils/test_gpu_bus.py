# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _gpu_bus


def device(bus: pathlib.Path, address: str, vendor: str, kind: str, number: str, driver: str = "") -> None:
    path = bus / "devices" / address
    path.mkdir(parents=True)
    for name, value in (("vendor", vendor), ("class", kind), ("device", number)):
        (path / name).write_text(f"{value}\n", encoding="ascii")
    if driver:
        (path / "driver").symlink_to(f"../../../../bus/pci/drivers/{driver}")


def test_gpus_with_their_slots(tmp_path: pathlib.Path) -> None:
    device(tmp_path, "0000:43:00.0", "0x10de", "0x030200", "0x2330")
    device(tmp_path, "0000:1b:00.0", "0x10de", "0x030200", "0x2330", "nvidia")
    device(tmp_path, "0000:09:00.0", "0x10de", "0x030000", "0x1eb8", "nouveau")
    # A sound function, an NVSwitch and the board's own display are no GPUs of NVIDIA.
    device(tmp_path, "0000:09:00.1", "0x10de", "0x040300", "0x10f8", "snd_hda_intel")
    device(tmp_path, "0000:c1:00.0", "0x10de", "0x068000", "0x22a3", "nvidia-nvswitch")
    device(tmp_path, "0000:03:00.0", "0x1a03", "0x030000", "0x2000", "ast")
    slot = tmp_path / "slots" / "7"
    slot.mkdir(parents=True)
    (slot / "address").write_text("0000:1b:00\n", encoding="ascii")
    assert _gpu_bus.read(str(tmp_path)) == [
        {"pci_address": "0000:09:00.0", "device_id": "1eb8", "driver": "nouveau", "slot": None},
        {"pci_address": "0000:1b:00.0", "device_id": "2330", "driver": "nvidia", "slot": "7"},
        {"pci_address": "0000:43:00.0", "device_id": "2330", "driver": None, "slot": None},
    ]


def test_a_device_that_goes_away_while_it_is_read(tmp_path: pathlib.Path) -> None:
    (tmp_path / "devices" / "0000:1b:00.0").mkdir(parents=True)
    assert _gpu_bus.read(str(tmp_path)) == []


def test_a_machine_without_pci(tmp_path: pathlib.Path) -> None:
    assert _gpu_bus.read(str(tmp_path)) == []


@pytest.mark.parametrize(
    ("written", "kernel"),
    [
        ("00000000:1B:00.0", "0000:1b:00.0"),
        ("0000:1b:00", "0000:1b:00.0"),
        ("0000000F:01:00.0", "000f:01:00.0"),
        ("00010000:0A:1F.7", "10000:0a:1f.7"),
        ("an unknown address", "an unknown address"),
    ],
)
def test_one_address_is_written_in_three_ways(written: str, kernel: str) -> None:
    assert _gpu_bus.address(written) == kernel
