# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.airgap.inference.plugins.modules import gpu_settings
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.smi_simulator import Simulator

REPORT = pathlib.Path(__file__).parent.parent / "module_utils" / "fixtures" / "nvidia_smi" / "h100-580.xml"


@pytest.fixture
def gpus(tmp_path: pathlib.Path) -> Simulator:
    return Simulator(tmp_path, REPORT)


def call(
    smi: Simulator, capsys: pytest.CaptureFixture[str], check: bool = False, **arguments: object
) -> dict[str, Any]:
    arguments.update(nvidia_smi=smi.program, _ansible_check_mode=check)
    with patch_module_args(arguments), pytest.raises(SystemExit):
        gpu_settings.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_check_run_check_run(gpus: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
    changes = [call(gpus, capsys, check, power_limit_watts=400)["changed"] for check in (True, False, True, False)]
    assert changes == [True, True, False, False]


def test_a_refusal_is_a_message(gpus: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
    result = call(gpus, capsys, power_limit_watts=5000, **{"gpus": [1]})
    assert (result["failed"], result["gpus"]) == (True, [])
    assert "takes 200 to 700 W" in result["msg"]


def test_a_warning_is_passed_on(gpus: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
    gpus.fault("floor", 600.0)
    assert "the limit in force is 600 W" in str(call(gpus, capsys, power_limit_watts=500)["warnings"])
