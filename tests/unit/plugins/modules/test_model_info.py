# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import pathlib

import pytest
from ansible_collections.airgap.inference.plugins.modules import model_info
from ansible_collections.airgap.inference.tests.unit.plugins.modules.info_module import run_module


@pytest.fixture
def path(tmp_path: pathlib.Path) -> str:
    config = {
        "architectures": ["LlamaForCausalLM"],
        "num_attention_heads": 10,
        "num_key_value_heads": 5,
        "hidden_size": 640,
    }
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return str(tmp_path)


@pytest.mark.parametrize("check", [False, True])
def test_the_model_is_returned(path: str, capsys: pytest.CaptureFixture[str], check: bool) -> None:
    model = run_module(model_info, capsys, {"path": path, "tensor_parallel_size": 5}, check)["model"]
    assert model["architecture"] == "LlamaForCausalLM"
    assert (model["attention_heads"], model["kv_heads"], model["head_size"]) == (10, 5, 64)
    assert model["tensor_parallel_sizes"] == [1, 5, 10]


def test_a_size_is_refused(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = run_module(model_info, capsys, {"path": path, "tensor_parallel_size": 2})
    assert result["msg"].startswith(f"{path}: A model with 10 attention heads and 5 key-value heads cannot be loaded")
    assert result["msg"].endswith("valid sizes: 1, 5, 10")
    assert result["model"]["tensor_parallel_sizes"] == [1, 5, 10]


def test_a_failure_is_a_message(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "holds no config.json" in run_module(model_info, capsys, {"path": str(tmp_path)})["msg"]
