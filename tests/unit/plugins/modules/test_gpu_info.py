# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import shutil

import pytest
from ansible_collections.airgap.inference.plugins.modules import gpu_info
from ansible_collections.airgap.inference.tests.unit.plugins.modules.info_module import run_module

REPORT = pathlib.Path(__file__).parent.parent / "module_utils" / "fixtures" / "nvidia_smi" / "h100-580.xml"


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
    assert "warnings" not in result


def test_too_few(nvidia_smi: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = run_module(gpu_info, capsys, {"nvidia_smi": nvidia_smi, "required": 3})
    assert result["msg"].startswith("3 GPUs are asked for, and the host has 2: 0 NVIDIA H100")
    assert len(result["gpus"]) == 2


def test_a_failure_is_a_message(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run_module(gpu_info, capsys, {"nvidia_smi": str(tmp_path / "absent")})
    assert "is not installed" in result["msg"]


def test_a_warning_is_passed_on(nvidia_smi: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = "WARNING: infoROM is corrupted at gpu 0000:1B:00.0"
    pathlib.Path(nvidia_smi).write_text(
        f"#!/bin/sh\necho '{said}'\ncat {nvidia_smi[:-10]}report.xml\nexit 14\n", encoding="utf-8"
    )
    result = run_module(gpu_info, capsys, {"nvidia_smi": nvidia_smi})
    assert len(result["gpus"]) == 2
    assert said in str(result["warnings"])
