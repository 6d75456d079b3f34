# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.airgap.inference.plugins.modules import gpu_mig
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.smi_simulator import Simulator

REPORT = pathlib.Path(__file__).parent.parent / "module_utils" / "fixtures" / "nvidia_smi" / "h100-580.xml"


@pytest.fixture
def gpus(tmp_path: pathlib.Path) -> Simulator:
    return Simulator(tmp_path, REPORT)


def call(
    gpus: Simulator, capsys: pytest.CaptureFixture[str], layout: list[dict[str, Any]], check: bool = False
) -> dict[str, Any]:
    arguments = {"layout": layout, "nvidia_smi": gpus.program, "_ansible_check_mode": check}
    with patch_module_args(arguments), pytest.raises(SystemExit):
        gpu_mig.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_check_run_check_run(gpus: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
    # Numbers, as a playbook writes them.
    layout: list[dict[str, Any]] = [{"gpus": [1], "instances": ["3g.40gb"]}]
    changes = [call(gpus, capsys, layout, check)["changed"] for check in (True, False, True, False)]
    assert changes == [True, True, False, False]
    assert (gpus.instances(0), gpus.instances(1)) == ([], ["3g.40gb"])


def test_one_word_means_all(gpus: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
    result = call(gpus, capsys, [{"gpus": "all", "instances": ["7g.80gb"]}])
    assert [gpu["index"] for gpu in result["gpus"]] == [0, 1]
    assert len(result["commands"]) == 4


def test_a_refusal_is_a_message(gpus: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
    result = call(gpus, capsys, [{"instances": ["9g.99gb"]}])
    assert (result["failed"], result["changed"], result["gpus"]) == (True, False, [])
    assert "has no profile 9g.99gb" in result["msg"]
    assert "PCI 00000000:43:00.0" in result["msg"]
