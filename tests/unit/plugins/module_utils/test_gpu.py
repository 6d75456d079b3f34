# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The XML here has the shape of real reports of the driver branches 535, 550, 580 and 590; its values are made up."""

from __future__ import annotations

import pathlib
import stat
import time

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _gpu
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from hypothesis import given, settings
from hypothesis import strategies as st

FIXTURES = pathlib.Path(__file__).parent / "fixtures" / "nvidia_smi"
REPORTS = sorted(path.name for path in FIXTURES.glob("*.xml"))


def report(name: str) -> str:
    return (FIXTURES / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", REPORTS)
def test_every_branch_is_read(name: str) -> None:
    described = _gpu.parse(report(name))
    assert described["driver_version"].split(".")[0] in name
    assert described["cuda_version"]
    for index, gpu in enumerate(described["gpus"]):
        assert gpu["index"] == index
        assert gpu["uuid"].startswith("GPU-")
        assert gpu["name"].startswith("NVIDIA ")
        assert gpu["pci_address"].startswith("00000000:")
        assert isinstance(gpu["persistence"], bool)
        assert gpu["power_limit_watts"] is None or gpu["power_limit_watts"] > 0


def test_a_data_centre_gpu() -> None:
    described = _gpu.parse(report("h100-580.xml"))
    assert described["driver_version"] == "580.95.05"
    assert described["cuda_version"] == "13.0"
    assert [gpu["pci_address"] for gpu in described["gpus"]] == ["00000000:1B:00.0", "00000000:43:00.0"]
    assert described["gpus"][0] == {
        "index": 0,
        "uuid": "GPU-0a1b2c3d-1111-2222-3333-444455556666",
        "name": "NVIDIA H100 80GB HBM3",
        "architecture": "Hopper",
        "serial": "1650000000001",
        "pci_address": "00000000:1B:00.0",
        "memory_mib": 81559,
        "memory_used_mib": 4,
        "persistence": True,
        "ecc_mode": "enabled",
        "mig_mode": "disabled",
        "temperature_celsius": 31,
        "power_limit_watts": 700.0,
        "vbios_version": "96.00.A5.00.01",
    }


def test_a_workstation_gpu_lacks_what_it_lacks() -> None:
    gpu = _gpu.parse(report("t4-470.xml"))["gpus"][0]
    assert (gpu["ecc_mode"], gpu["mig_mode"], gpu["serial"], gpu["architecture"]) == (None, None, None, None)
    assert gpu["persistence"] is False
    assert gpu["power_limit_watts"] == 70.0


def test_an_instance_of_a_divided_gpu_is_not_taken_for_the_gpu() -> None:
    gpu = _gpu.parse(report("a100-mig-535.xml"))["gpus"][0]
    assert (gpu["memory_mib"], gpu["mig_mode"]) == (81920, "enabled")


def test_a_gpu_that_shares_the_memory_of_its_host() -> None:
    gpu = _gpu.parse(report("gb10-590.xml"))["gpus"][0]
    assert gpu["memory_mib"] is None


def test_a_lost_gpu_is_named() -> None:
    with pytest.raises(AirgapError, match=r"GPU 1 at 00000000:43:00\.0 answers 'GPU is lost'.*Xid"):
        _gpu.parse(report("h100-580.xml").replace("GPU-0a1b2c3d-1111-2222-3333-777788889999", "GPU is lost"))


def test_fewer_gpus_than_the_driver_has() -> None:
    with pytest.raises(AirgapError, match=r"driver has 3 GPUs and nvidia-smi describes 2"):
        _gpu.parse(report("h100-580.xml").replace("<attached_gpus>2<", "<attached_gpus>3<"))


def test_a_report_without_gpus() -> None:
    with pytest.raises(AirgapError, match=r"No devices were found.*lspci"):
        _gpu.parse("<nvidia_smi_log><attached_gpus>0</attached_gpus></nvidia_smi_log>")


@pytest.mark.parametrize(
    "definition",
    [
        '<!DOCTYPE nvidia_smi_log [<!ENTITY a "aaaa">]>',
        '<!DOCTYPE nvidia_smi_log SYSTEM "x.dtd" [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE nvidia_smi_log SYSTEM "a.dtd"><!DOCTYPE nvidia_smi_log [<!ENTITY a "b">]>',
        '<!DOCTYPE other SYSTEM "a.dtd">',
    ],
)
def test_entities_are_not_defined(definition: str) -> None:
    with pytest.raises(AirgapError, match="document type definition"):
        _gpu.parse(
            f'<?xml version="1.0" ?>\n{definition}\n<nvidia_smi_log><gpu><uuid>&a;</uuid></gpu></nvidia_smi_log>'
        )


@pytest.mark.parametrize(
    "document", ["<nvidia_smi_log><gpu>", "<other/>", "<nvidia_smi_log><gpu><uuid>&a;</uuid></gpu></nvidia_smi_log>"]
)
def test_what_is_no_report_is_refused(document: str) -> None:
    with pytest.raises(AirgapError, match="report of nvidia-smi"):
        _gpu.parse(document)


@pytest.mark.parametrize(
    ("status", "said", "meaning"),
    [
        (
            9,
            "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest "
            "NVIDIA driver is installed and running.\n",
            "modprobe nvidia",
        ),
        (
            18,
            "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.173\n",
            "Reboot the host",
        ),
        (255, "Failed to initialize NVML: Driver/library version mismatch\n", "Reboot the host"),
        (6, "No devices were found\n", "lspci -d 10de:"),
        (
            15,
            "Unable to determine the device handle for GPU3: 0000:5F:00.0: Unknown Error\n",
            "GPU3: 0000:5F:00.0.*Xid",
        ),
        (0, "Unable to determine the device handle for GPU1: 0000:44:00.0: Unknown Error\n", "GPU1: 0000:44:00.0.*Xid"),
        (255, "Failed to initialize NVML: Unknown Error\n", "daemon-reload"),
        (255, "Failed to initialize NVML: Insufficient Permissions\n", "become"),
        (12, "NVIDIA-SMI couldn't find libnvidia-ml.so library in your system.\n", "libnvidia-ml.so.1 is missing"),
        (9, "some words that nobody knows\n", "modprobe nvidia"),
        (255, "some words that nobody knows\n", "exit status 255 and says 'some words that nobody knows'"),
        (0, "", "wrote no report"),
    ],
)
def test_failures_are_told_apart(status: int, said: str, meaning: str) -> None:
    for answer in (_gpu.Answer(status, said, ""), _gpu.Answer(status, "", said)):
        with pytest.raises(AirgapError, match=meaning):
            _gpu.read(answer)


def test_a_lost_gpu_beside_a_report_of_the_others() -> None:
    said = "Unable to determine the device handle for GPU2: 0000:5F:00.0: Unknown Error\n"
    for answer in (_gpu.Answer(0, said + report("h100-580.xml"), ""), _gpu.Answer(0, report("h100-580.xml"), said)):
        with pytest.raises(AirgapError, match=r"GPU2: 0000:5F:00\.0"):
            _gpu.read(answer)


def test_a_damaged_inforom_is_a_warning() -> None:
    said = "WARNING: infoROM is corrupted at gpu 0000:1B:00.0\n"
    described = _gpu.read(_gpu.Answer(14, report("h100-580.xml"), said))
    assert len(described["gpus"]) == 2
    assert described["warnings"] == [said.strip()]


def test_a_half_report_of_a_failed_run_is_not_used() -> None:
    with pytest.raises(AirgapError, match="exit status 255"):
        _gpu.read(_gpu.Answer(255, report("h100-580.xml"), ""))


def test_both_numbers_are_stated() -> None:
    gpus = _gpu.parse(report("h100-580.xml"))["gpus"]
    assert _gpu.count_refusal(gpus, 2) is None
    refusal = _gpu.count_refusal(gpus, 3)
    assert refusal is not None
    assert refusal.startswith(
        "3 GPUs are asked for, and the host has 2: 0 NVIDIA H100 80GB HBM3 at 00000000:1B:00.0, 1 "
    )


def program(path: pathlib.Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_the_program_is_run(tmp_path: pathlib.Path) -> None:
    answer = _gpu.ask(program(tmp_path / "nvidia-smi", 'echo "$@ $LC_ALL"; echo no >&2; exit 9'), 10)
    assert answer == _gpu.Answer(9, "-q -x C\n", "no\n")


def test_a_program_that_is_not_there(tmp_path: pathlib.Path) -> None:
    with pytest.raises(AirgapError, match="is not installed"):
        _gpu.ask(str(tmp_path / "nvidia-smi"), 10)


def test_a_program_that_cannot_be_run(tmp_path: pathlib.Path) -> None:
    path = program(tmp_path / "nvidia-smi", "")
    (tmp_path / "nvidia-smi").write_text("#!/no/such/interpreter\n", encoding="utf-8")
    with pytest.raises(AirgapError, match="cannot be started"):
        _gpu.ask(path, 10)


def test_a_program_that_hangs_is_left_behind(tmp_path: pathlib.Path) -> None:
    started = time.monotonic()
    with pytest.raises(AirgapError, match="no answer within 1 seconds"):
        _gpu.ask(program(tmp_path / "nvidia-smi", "exec sleep 30"), 1)
    assert time.monotonic() - started < 5


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damage_is_an_error_or_an_answer(data: st.DataObject) -> None:
    whole = report("h100-580.xml")
    cut = data.draw(st.integers(0, len(whole)))
    noise = data.draw(st.text(max_size=20))
    try:
        described = _gpu.read(_gpu.Answer(0, whole[:cut] + noise + whole[cut + data.draw(st.integers(0, 50)) :], ""))
    except AirgapError:
        return
    assert described["gpus"]
