# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest
import yaml
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
    assert result["msg"].endswith(
        "valid sizes: 1, 5, 10. Ways to use 2 GPUs: tensor_parallel_size 1 with data_parallel_size 2"
    )
    assert result["model"]["tensor_parallel_sizes"] == [1, 5, 10]


def test_a_failure_is_a_message(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "holds no config.json" in run_module(model_info, capsys, {"path": str(tmp_path)})["msg"]


def test_other_ways_are_proposed(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = run_module(model_info, capsys, {"path": path, "tensor_parallel_size": 4})
    assert result["failed"]
    assert result["alternatives"] == [
        {"tensor_parallel_size": 1, "pipeline_parallel_size": 1, "data_parallel_size": 4},
    ]
    assert "alternatives" not in run_module(model_info, capsys, {"path": path})


def documented(contains: dict[str, Any], returned: dict[str, Any]) -> None:
    assert set(returned) == set(contains)
    for key, value in returned.items():
        inner = value[0] if isinstance(value, list) and value else value
        if "contains" in contains[key] and inner is not None:
            documented(contains[key]["contains"], inner)


def test_every_value_is_documented(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = {
        **json.loads((pathlib.Path(path) / "config.json").read_text(encoding="utf-8")),
        "num_hidden_layers": 2,
        "quantization_config": {"quant_method": "awq"},
        "rope_scaling": {"type": "linear", "factor": 2.0},
        "vision_config": {"num_heads": 5},
    }
    (pathlib.Path(path) / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (pathlib.Path(path) / "generation_config.json").write_text("{}", encoding="utf-8")
    header = json.dumps({"a": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}}).encode()
    (pathlib.Path(path) / "m.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"ab")
    contains = yaml.safe_load(model_info.RETURN)["model"]["contains"]
    documented(contains, run_module(model_info, capsys, {"path": path})["model"])


def test_a_model_need_not_be_complete(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    index = {"weight_map": {"a": "model-00001-of-00001.safetensors"}}
    (pathlib.Path(path) / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    assert "lacks 1 of the 1 weight files" in run_module(model_info, capsys, {"path": path})["msg"]
    model = run_module(model_info, capsys, {"path": path, "complete": False})["model"]
    assert model["weights"]["missing_files"] == ["model-00001-of-00001.safetensors"]
