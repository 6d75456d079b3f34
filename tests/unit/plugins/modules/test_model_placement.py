# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib

import pytest
import yaml
from ansible_collections.airgap.inference.plugins.modules import model_placement
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils import placement_models as models
from ansible_collections.airgap.inference.tests.unit.plugins.modules.info_module import run_module


@pytest.mark.parametrize("check", [False, True])
def test_the_answer_is_as_documented(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], check: bool) -> None:
    path = models.write(tmp_path, models.LLAMA_8B)
    result = run_module(model_placement, capsys, {"path": path, "gpus": [models.H100]}, check)
    documented = yaml.safe_load(model_placement.RETURN)
    assert set(result) - {"changed", "invocation"} == set(documented)
    assert result["verdict"] == "fits"


def test_what_does_not_fit_is_no_failure(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = models.write(tmp_path, models.LLAMA_70B)
    disks = [{"name": "depot", "free_bytes": 1, "needed_bytes": 10**12}]
    result = run_module(model_placement, capsys, {"path": path, "gpus": {"gpus": [models.T4]}, "disks": disks})
    assert result["verdict"] == "does not fit"
    assert any("depot" in reason for reason in result["reasons"])


def test_a_failure_is_a_message(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run_module(model_placement, capsys, {"path": str(tmp_path)})
    assert "holds no config.json" in result["msg"]
