# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import shutil
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _gpu_bus, _gpu_xid
from ansible_collections.airgap.inference.plugins.modules import gpu_info
from ansible_collections.airgap.inference.tests.unit.plugins.modules.info_module import run_module

REPORT = pathlib.Path(__file__).parent.parent / "module_utils" / "fixtures" / "nvidia_smi" / "h100-580.xml"


BUS = [
    {"pci_address": "0000:1b:00.0", "device_id": "2330", "driver": "nvidia", "slot": "7"},
    {"pci_address": "0000:43:00.0", "device_id": "2330", "driver": "nvidia", "slot": None},
]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the bus nor the kernel log of the machine that the tests run on."""
    monkeypatch.setattr(_gpu_bus, "read", lambda: BUS)
    log("", monkeypatch)


def log(line: str, monkeypatch: pytest.MonkeyPatch, warning: str = "") -> None:
    found = _gpu_xid.find([f"2026-11-21T08:05:19+0000 gpu1 kernel: {line}"])
    monkeypatch.setattr(_gpu_xid, "read", lambda: _gpu_xid.Log(found, warning))


@pytest.fixture
def nvidia_smi(tmp_path: pathlib.Path) -> str:
    shutil.copy(REPORT, tmp_path / "report.xml")
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat {tmp_path}/report.xml\n", encoding="utf-8")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize("check", [False, True])
def test_the_gpus_are_returned(nvidia_smi: str, capsys: pytest.CaptureFixture[str], check: bool) -> None:
    result = run_module(gpu_info, capsys, {"nvidia_smi": nvidia_smi, "required": 2}, check)
    assert [gpu["index"] for gpu in result["gpus"]] == [0, 1]
    assert (result["driver_version"], result["cuda_version"]) == ("580.95.05", "13.0")
    assert [gpu["slot"] for gpu in result["gpus"]] == ["7", None]
    assert (result["gpus_on_bus"], result["xids"], result["problems"]) == (BUS, [], [])
    assert "warnings" not in result


def test_too_few(nvidia_smi: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = run_module(gpu_info, capsys, {"nvidia_smi": nvidia_smi, "required": 3})
    assert result["msg"].startswith("3 GPUs are asked for, and the host has 2: 0 NVIDIA H100")
    assert len(result["gpus"]) == 2


def test_a_failure_is_a_message(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run_module(gpu_info, capsys, {"nvidia_smi": str(tmp_path / "absent")})
    assert "is not installed" in result["msg"]
    assert "The GPU at 0000:1b:00.0 in slot 7 (10de:2330, driver nvidia)" in result["msg"]
    assert (result["gpus_on_bus"], result["xids"]) == (BUS, [])


def test_a_warning_is_passed_on(nvidia_smi: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = "WARNING: infoROM is corrupted at gpu 0000:1B:00.0"
    pathlib.Path(nvidia_smi).write_text(
        f"#!/bin/sh\necho '{said}'\ncat {nvidia_smi[:-10]}report.xml\nexit 14\n", encoding="utf-8"
    )
    result = run_module(gpu_info, capsys, {"nvidia_smi": nvidia_smi})
    assert len(result["gpus"]) == 2
    assert said in str(result["warnings"])


def test_a_sick_gpu_is_described_and_refused_on_request(
    nvidia_smi: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log("NVRM: Xid (PCI:0000:43:00): 48, pid=9, name=python3, DBE", monkeypatch)
    result = run_module(gpu_info, capsys, {"nvidia_smi": nvidia_smi})
    assert [len(gpu["problems"]) for gpu in result["gpus"]] == [0, 1]
    assert [(xid["xid"], xid["gpu"]) for xid in result["xids"]] == [(48, 1)]
    result = run_module(gpu_info, capsys, {"nvidia_smi": nvidia_smi, "healthy": True})
    assert result["msg"].startswith("GPU 1 (NVIDIA H100 80GB HBM3, GPU-0a1b2c3d-1111-2222-3333-777788889999) at ")
    assert "Xid 48" in result["msg"]
    assert len(result["gpus"]) == 2


def test_every_refusal_is_in_one_message(
    nvidia_smi: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log("NVRM: Xid (PCI:0000:43:00): 79, GPU has fallen off the bus.", monkeypatch)
    expected = {"count": 8, "name": "B200"}
    result = run_module(gpu_info, capsys, {"nvidia_smi": nvidia_smi, "expected": expected, "healthy": True})
    for part in ("expected.count is 8", "expected.name is B200", "Xid 79"):
        assert part in result["msg"]


@pytest.mark.parametrize("expected", [{}, {"count": 2}, {"count": "2", "name": "H100"}])
def test_the_expected_gpus(nvidia_smi: str, capsys: pytest.CaptureFixture[str], expected: dict[str, Any]) -> None:
    result = run_module(gpu_info, capsys, {"nvidia_smi": nvidia_smi, "expected": expected, "healthy": True})
    assert len(result["gpus"]) == 2


def test_a_log_that_cannot_be_read_is_a_warning(
    nvidia_smi: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log("", monkeypatch, "The kernel log cannot be read")
    result = run_module(gpu_info, capsys, {"nvidia_smi": nvidia_smi, "healthy": True})
    assert "The kernel log cannot be read" in str(result["warnings"])
