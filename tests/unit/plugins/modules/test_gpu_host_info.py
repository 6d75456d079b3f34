# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from typing import Any

import pytest
import yaml
from ansible_collections.airgap.inference.plugins.modules import gpu_host_info
from ansible_collections.airgap.inference.tests.unit.plugins.modules.info_module import run_module


@pytest.mark.parametrize("check", [False, True])
def test_this_machine_is_described(capsys: pytest.CaptureFixture[str], check: bool) -> None:
    result = run_module(gpu_host_info, capsys, {}, check)
    assert result["kernel"]["running"] == result["kernel"]["wanted"] == os.uname().release
    assert isinstance(result["gpus"], list) and isinstance(result["nvswitches"], int)


def test_another_kernel(capsys: pytest.CaptureFixture[str]) -> None:
    kernel = run_module(gpu_host_info, capsys, {"kernel": "6.1.0-0-none"})["kernel"]
    assert (kernel["wanted"], kernel["headers"], kernel["module_version"]) == ("6.1.0-0-none", False, None)


def test_all_that_is_returned_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    described = yaml.safe_load(gpu_host_info.RETURN)
    result = {name: value for name, value in run_module(gpu_host_info, capsys, {}).items() if name in described}
    assert set(result) == set(described)
    for name, value in result.items():
        if isinstance(value, dict):
            assert set(value) == set(described[name]["contains"]), name


def test_a_failure_is_a_message(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*_arguments: Any) -> None:
        raise PermissionError(13, "Permission denied", "/proc/modules")

    monkeypatch.setattr(gpu_host_info._host_hardware, "describe", fail)
    assert "/proc/modules" in run_module(gpu_host_info, capsys, {})["msg"]
