# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts as the kernel shows them, in directories that are made here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Sequence

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _host_hardware
from ansible_collections.airgap.inference.plugins.module_utils._driver_load import Host
from ansible_collections.airgap.inference.plugins.module_utils._driver_services import Said
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.machine import KERNEL, Machine

OPEN = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.105.08  Release Build  (dvs-builder@U22)  Wed Oct 29\n"
    "GCC version:  gcc version 14.2.0 (Debian 14.2.0-19)\n"
)


@pytest.fixture(name="machine")
def fixture_machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def described(machine: Machine, wanted: str | None = None) -> dict[str, Any]:
    return _host_hardware.describe(machine.host(wanted), str(machine.root))


def test_a_bare_machine(machine: Machine) -> None:
    assert described(machine) == {
        "gpus": [],
        "nvswitches": 0,
        "nvlink5": False,
        "kernel": {
            "running": KERNEL,
            "wanted": KERNEL,
            "image": True,
            "headers": False,
            "module_version": None,
            "module_open": None,
            "signed": None,
            "module_file": None,
        },
        "loaded": {"nvidia": None, "open": None, "nouveau": False},
        "secure_boot": False,
        "dkms_key": {"certificate": None, "enrolled": False},
        "users": [],
    }


def test_a_board_of_hopper_gpus_with_switches(machine: Machine) -> None:
    for bus in ("1b", "43"):
        machine.pci(f"0000:{bus}:00.0", device="0x2330", subsystem="0x16c1", driver="nouveau")
    for bus in ("05", "06", "07", "08"):
        machine.pci(f"0000:{bus}:00.0", device="0x22a3", kind="0x068000")
    machine.write("sys/bus/pci/slots/3/address", "0000:1b:00\n")
    # An audio function, another vendor's card, and NVIDIA's network card are no GPUs.
    machine.pci("0000:1b:00.1", device="0x22ba", kind="0x040300")
    machine.pci("0000:02:00.0", vendor="0x1a03", device="0x2000")
    machine.pci("0000:03:00.0", vendor="0x15b3", device="0x1021", kind="0x020700", vpd=b"\x82\x00\x00SMDL=MCX75310AAS")
    found = described(machine)
    assert [gpu["pci_address"] for gpu in found["gpus"]] == ["0000:1b:00.0", "0000:43:00.0"]
    assert found["gpus"][0] == {
        "pci_address": "0000:1b:00.0",
        "device_id": "2330",
        "subsystem_id": "10de:16c1",
        "generation": "hopper",
        "open_modules": True,
        "proprietary_modules": True,
        "driver": "nouveau",
        "slot": "3",
    }
    assert found["gpus"][1]["slot"] is None
    assert (found["nvswitches"], found["nvlink5"]) == (4, False)


def test_a_display_controller_is_a_gpu_too(machine: Machine) -> None:
    machine.pci("0000:01:00.0", device="0x2684", kind="0x030000")
    assert [gpu["generation"] for gpu in described(machine)["gpus"]] == ["ada"]


def test_a_gpu_that_nobody_knows(machine: Machine) -> None:
    machine.pci("0000:01:00.0", device="0x4f00")
    gpu = described(machine)["gpus"][0]
    assert (gpu["generation"], gpu["open_modules"], gpu["proprietary_modules"]) == (None, None, None)


def test_the_bridge_to_nvlink_5_is_found_in_binary_product_data(machine: Machine) -> None:
    vpd = bytes(range(256)) + b"V0\x10SMDL=SW_MNG\x00\xff" + b"\x78"
    machine.pci("0000:05:00.0", vendor="0x15b3", device="0x1021", kind="0x020700", vpd=vpd)
    assert described(machine)["nvlink5"] is True


def test_a_virtual_function_of_the_bridge_is_no_bridge(machine: Machine) -> None:
    path = machine.pci("0000:05:00.1", vendor="0x15b3", device="0x101e", kind="0x020700", vpd=b"SMDL=SW_MNG")
    (path / "physfn").mkdir()
    assert described(machine)["nvlink5"] is False


def test_endless_product_data_are_not_read_to_the_end(machine: Machine) -> None:
    machine.pci("0000:05:00.0", vendor="0x15b3", device="0x1021", vpd=b"\0" * 40000 + b"SMDL=SW_MNG")
    assert described(machine)["nvlink5"] is False


def test_headers_are_there_when_the_link_leads_somewhere(machine: Machine) -> None:
    build = machine.root / f"lib/modules/{KERNEL}/build"
    build.parent.mkdir(parents=True)
    build.symlink_to(machine.root / "usr/src/headers")
    assert described(machine)["kernel"]["headers"] is False
    machine.write("usr/src/headers/Makefile", "all:\n")
    assert described(machine)["kernel"]["headers"] is True
    assert described(machine, "6.1.0-99-amd64")["kernel"]["headers"] is False


@pytest.mark.parametrize("path", ["boot/vmlinuz-{}", "lib/modules/{}/vmlinuz", "lib/modules/{}/kernel/fs/ext4.ko"])
def test_headers_alone_are_no_kernel(machine: Machine, path: str) -> None:
    wanted = "6.1.0-99-amd64"
    machine.write(f"lib/modules/{wanted}/build/Makefile", "all:\n")
    machine.write(f"lib/modules/{wanted}/updates/dkms/nvidia.ko", "")
    kernel = described(machine, wanted)["kernel"]
    assert (kernel["headers"], kernel["image"]) == (True, False)
    machine.write(path.format(wanted), "")
    assert described(machine, wanted)["kernel"]["image"] is True


@pytest.mark.parametrize(
    ("name", "licence", "is_open"),
    [("nvidia", "Dual MIT/GPL", True), ("nvidia", "NVIDIA", False), ("nvidia-current-open", "Dual MIT/GPL", True)],
)
def test_the_installed_module(machine: Machine, name: str, licence: str, is_open: bool) -> None:
    machine.module(name, KERNEL, version="580.105.08", license=licence, signer="lab")
    kernel = described(machine)["kernel"]
    assert (kernel["module_version"], kernel["module_open"], kernel["signed"]) == ("580.105.08", is_open, True)
    assert described(machine, "6.1.0-99-amd64")["kernel"]["module_version"] is None


def test_a_module_without_a_signature(machine: Machine) -> None:
    machine.module("nvidia", KERNEL, version="580.105.08", license="NVIDIA", signer="")
    assert described(machine)["kernel"]["signed"] is False


def test_without_modinfo_there_is_no_driver_yet(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    monkeypatch.setenv("PATH", str(machine.root))
    if any(os.path.exists(f"{directory}/modinfo") for directory in ("/usr/sbin", "/sbin")):
        pytest.skip("modinfo is where no path is needed")
    host = Host(None, run=_host_hardware.run, proc=str(machine.root / "proc"))
    assert _host_hardware.describe(host, str(machine.root))["kernel"]["module_version"] is None


def test_what_is_loaded(machine: Machine) -> None:
    machine.write("proc/driver/nvidia/version", OPEN)
    assert described(machine)["loaded"] == {"nvidia": "580.105.08", "open": True, "nouveau": False}


def test_nouveau_is_seen(machine: Machine) -> None:
    machine.write("sys/module/nouveau/initstate", "live\n")
    assert described(machine)["loaded"] == {"nvidia": None, "open": None, "nouveau": True}


@pytest.mark.parametrize(
    ("value", "on"),
    [(b"\x06\0\0\0\x01", True), (b"\x06\0\0\0\x00", False), (b"\x06\0\0\0", None), (None, None)],
    ids=["on", "off", "damaged", "not shown"],
)
def test_secure_boot(machine: Machine, value: bytes | None, on: bool | None) -> None:
    machine.write("sys/firmware/efi/efivars/Timeout-x", "")
    if value is not None:
        machine.write(f"sys/firmware/efi/efivars/{_host_hardware._SECURE_BOOT}", value)
    assert described(machine)["secure_boot"] is on


@pytest.mark.parametrize("place", ["mok-variables/MokListRT", "efivars/MokListRT-605dab50-e046-4300-abb6-3dd810dd8b23"])
def test_the_key_of_dkms_is_enrolled_when_the_firmwares_list_has_it(machine: Machine, place: str) -> None:
    certificate = b"\x30\x82\x03" + bytes(range(200))
    machine.write("var/lib/dkms/mok.pub", certificate)
    assert described(machine)["dkms_key"] == {"certificate": "/var/lib/dkms/mok.pub", "enrolled": None}
    machine.write(f"sys/firmware/efi/{place}", b"\0" * 44 + certificate[:-1])
    assert described(machine)["dkms_key"]["enrolled"] is False
    machine.write(f"sys/firmware/efi/{place}", b"\0" * 44 + b"other" + certificate + b"more")
    assert described(machine)["dkms_key"]["enrolled"] is True


def test_who_uses_the_gpus_without_the_drivers_own_services(machine: Machine) -> None:
    machine.process(41, "nvidia-persiste", "/dev/nvidia0", "0::/system.slice/nvidia-persistenced.service")
    machine.process(42, "python3", "/dev/nvidia-uvm", "0::/system.slice/docker-0a1b.scope")
    machine.process(43, "sshd", "/dev/null", "0::/system.slice/ssh.service")
    assert described(machine)["users"] == [{"pid": 42, "name": "python3"}]


def test_a_program_that_is_not_there_is_told_by_its_exit_status() -> None:
    arguments: Sequence[str] = ["/no/such/modinfo", "-k", KERNEL]
    said = _host_hardware.run(arguments)
    assert isinstance(said, Said) and said.rc == 127
