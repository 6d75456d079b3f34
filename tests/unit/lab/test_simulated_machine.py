# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine under a lab host: what it puts on the bus, and which modules its kernel takes."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import lab_bus
import lab_elf
import lab_kernel
import lab_log
import lab_modules
import pytest
from airgap_lab import gpus

OPEN = {"license": "Dual MIT/GPL", "version": "580.105.08", "signer": ""}
PROPRIETARY = {**OPEN, "license": "NVIDIA"}


@pytest.fixture(name="log")
def fixture_log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(lab_log, "say", lambda text, _level=0: lines.append(text))
    return lines


@pytest.fixture(name="bus")
def fixture_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DEVICES", "SLOTS", "FIRMWARE"):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.setattr(lab_bus, name, folder)
    (tmp_path / "DEVICES/0000:00:01.0").symlink_to("../../../devices/pci0000:00/0000:00:01.0")
    return tmp_path


def described(**changes: Any) -> dict[str, Any]:
    return {**gpus.describe("gpu1"), **changes}


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip()


def test_gpus_are_on_the_bus_and_in_their_slots(bus: Path) -> None:
    lab_bus.plug(described())
    assert sorted(path.name for path in (bus / "DEVICES").iterdir()) == ["0000:00:01.0", "0000:18:00.0", "0000:29:00.0"]
    device = bus / "DEVICES/0000:18:00.0"
    shown = [text(device / name) for name in ("vendor", "device", "class", "subsystem_vendor", "subsystem_device")]
    assert shown == ["0x10de", "0x2330", "0x030200", "0x10de", "0x16c1"]
    assert text(bus / "SLOTS/2/address") == "0000:29:00"


def test_a_driver_is_bound_to_the_gpus_alone(bus: Path) -> None:
    lab_bus.plug(described(nvswitches=1))
    for driver in ("nouveau", "nvidia", ""):
        lab_bus.bind(driver)
        found = [device / "driver" for device in (bus / "DEVICES").iterdir() if not device.is_symlink()]
        links = {link.parent.name: link.readlink().name for link in found if link.is_symlink()}
        assert links == ({"0000:18:00.0": driver, "0000:29:00.0": driver} if driver else {})


def test_a_missing_gpu_leaves_the_bus_and_its_slot(bus: Path) -> None:
    machine = described()
    lab_bus.plug(machine)
    machine["gpus"][1]["faults"]["missing"] = True
    lab_bus.plug(machine)
    assert not (bus / "DEVICES/0000:29:00.0").exists()
    assert not (bus / "SLOTS/2").exists()
    assert (bus / "DEVICES/0000:00:01.0").is_symlink()


def test_switches_of_both_kinds(bus: Path) -> None:
    lab_bus.plug(described(nvswitches=4, nvlink5=True))
    devices = list((bus / "DEVICES").glob("0000:[cd]*"))
    assert [text(path / "class") for path in sorted(devices)] == ["0x068000"] * 4 + ["0x020700"]
    assert b"SMDL=SW_MNG" in (bus / "DEVICES/0000:d0:00.0/vpd").read_bytes()


@pytest.mark.parametrize(("secure_boot", "content"), [(True, b"\x06\0\0\0\x01"), (False, b"\x06\0\0\0\0")])
def test_secure_boot_is_a_variable_of_the_firmware(bus: Path, secure_boot: bool, content: bytes) -> None:
    lab_bus.plug(described(secure_boot=secure_boot))
    assert (bus / "FIRMWARE/efi/efivars" / lab_bus.SECURE_BOOT).read_bytes() == content
    lab_bus.plug(described())
    assert not (bus / "FIRMWARE/efi").exists()


def test_a_module_is_an_elf_file_with_its_information() -> None:
    made = lab_elf.module({"license": "GPL", "version": "1"})
    assert made[:4] == b"\x7fELF"
    table, count, names = struct.unpack_from("<Q", made, 0x28)[0], *struct.unpack_from("<HH", made, 0x3C)
    sections = [struct.unpack_from("<IIQQQQIIQQ", made, table + 64 * number) for number in range(count)]
    strings = made[sections[names][4] :]
    found = {strings[section[0] :].split(b"\0")[0]: made[section[4] : section[4] + section[5]] for section in sections}
    assert found[b".modinfo"] == b"license=GPL\0version=1\0"


@pytest.mark.parametrize(
    ("module", "changes", "architecture", "reason", "words"),
    [
        (OPEN, {}, "Hopper", "", ""),
        (PROPRIETARY, {}, "Hopper", "", ""),
        (OPEN, {"secure_boot": True}, "Hopper", "Key was rejected by service", "unsigned module"),
        ({**OPEN, "signer": "DKMS"}, {"secure_boot": True}, "Hopper", "", ""),
        (OPEN, {"secure_boot": True, "mok_enrolled": True}, "Hopper", "", ""),
        (OPEN, {"gpus": []}, "Hopper", "No such device", "No NVIDIA GPU found"),
        (OPEN, {}, "Volta", "No such device", "not supported by open nvidia.ko"),
        (PROPRIETARY, {}, "Blackwell", "No such device", "requires use of the NVIDIA open kernel modules"),
        (OPEN, {"faults": {"driver_not_loaded": True}}, "Hopper", "No such device", "probe routine failed for 2"),
    ],
)
def test_the_kernel_and_the_driver_refuse(
    log: list[str], module: dict[str, str], changes: dict[str, Any], architecture: str, reason: str, words: str
) -> None:
    machine = described(**changes)
    for gpu in machine["gpus"]:
        gpu["architecture"] = architecture
    assert lab_modules.refusal(module, machine, nouveau=False) == reason
    assert words in " ".join(log)


def test_nouveau_has_the_gpus_first(log: list[str]) -> None:
    assert lab_modules.refusal(OPEN, described(), nouveau=True) == "No such device"
    assert "NVRM: GPU 0000:18:00.0 is already bound to nouveau." in log


def test_a_module_in_use_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab_modules, "loaded", lambda: {"nvidia": OPEN, "nvidia_uvm": OPEN})
    with pytest.raises(lab_modules.Refused, match="Module nvidia is in use by: nvidia_uvm"):
        lab_modules.unload("nvidia", described())
    monkeypatch.setattr(lab_modules, "loaded", lambda: {"nvidia": OPEN})
    monkeypatch.setattr(lab_modules, "_holders", lambda: ["4711"])
    with pytest.raises(lab_modules.Refused, match=r"Module nvidia is in use\."):
        lab_modules.unload("nvidia", described())


def test_a_fault_keeps_modules_from_being_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nvidia.modinfo").write_text("license=GPL\nversion=1\n", encoding="utf-8")
    assert lab_kernel.build(tmp_path, {"faults": {"module_does_not_build": True}}) == 2
    assert "nv-pci.c:237:9: error: too few arguments" in capsys.readouterr().out
    assert not (tmp_path / "nvidia.ko").exists()
    assert lab_kernel.build(tmp_path, {}) == 0
    assert b"vermagic=" in (tmp_path / "nvidia.ko").read_bytes()
