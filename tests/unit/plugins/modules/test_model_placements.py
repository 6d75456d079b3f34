# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib

import pytest
import yaml
from ansible_collections.airgap.inference.plugins.modules import model_placement, model_placements
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils import placement_models as models
from ansible_collections.airgap.inference.tests.unit.plugins.modules.info_module import run_module


@pytest.mark.parametrize("check", [False, True])
def test_the_answers_are_as_documented(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], check: bool) -> None:
    path = models.write(tmp_path, models.LLAMA_8B)
    result = run_module(
        model_placements, capsys, {"cases": [{"path": path, "gpus": [models.H100]}, {"path": "/nowhere"}]}, check
    )
    documented = set(yaml.safe_load(model_placement.RETURN)) | set(
        yaml.safe_load(model_placements.RETURN)["answers"]["contains"]
    )
    assert set(result["answers"][0]) == documented
    assert result["answers"][0]["verdict"] == "fits"
    assert list(result["answers"][1]) == ["error"]


def test_the_options_of_a_case_are_those_of_model_placement() -> None:
    documented = set(yaml.safe_load(model_placement.DOCUMENTATION)["options"])
    from ansible_collections.airgap.inference.plugins.module_utils import _placements

    assert set(_placements._WHOLE + _placements._OTHERS) == documented
