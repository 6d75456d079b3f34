# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _model_parameters, _model_quantization
from ansible_collections.airgap.inference.plugins.module_utils._safetensors import Tensor

# A layer of 256 by 128 numbers and its bias, as each method stores it.
WEIGHTS = 256 * 128
STORED: dict[str, tuple[dict[str, Any], dict[str, tuple[str, int]]]] = {
    "none": ({}, {"a.weight": ("BF16", WEIGHTS)}),
    "fp8": (
        {"quant_method": "fp8", "weight_block_size": [128, 128]},
        {"a.weight": ("F8_E4M3", WEIGHTS), "a.weight_scale_inv": ("F32", 2)},
    ),
    "awq": (
        {"quant_method": "awq", "bits": 4, "group_size": 128},
        {"a.qweight": ("I32", WEIGHTS // 8), "a.qzeros": ("I32", 32), "a.scales": ("F16", 256)},
    ),
    "gptq": (
        {"quant_method": "gptq", "bits": 8, "group_size": 128},
        {"a.qweight": ("I32", WEIGHTS // 4), "a.g_idx": ("I32", 256), "a.scales": ("F16", 256), "a.qzeros": ("I32", 64)},
    ),
    "packed": (
        {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 4, "type": "int"}}}},
        {"a.weight_packed": ("I32", WEIGHTS // 8), "a.weight_scale": ("BF16", 256), "a.weight_shape": ("I64", 2)},
    ),
    "mxfp4": (
        {"quant_method": "mxfp4"},
        {"a.experts.gate_up_proj_blocks": ("U8", WEIGHTS // 2), "a.experts.gate_up_proj_scales": ("U8", WEIGHTS // 32)},
    ),
    "nvfp4": (
        {"quant_method": "modelopt", "quant_algo": "NVFP4"},
        {"a.weight": ("U8", WEIGHTS // 2), "a.weight_scale": ("F8_E4M3", WEIGHTS // 16), "a.weight_scale_2": ("F32", 1)},
    ),
    "bitsandbytes": (
        {"load_in_4bit": True},
        {"a.weight": ("U8", WEIGHTS // 2), "a.weight.absmax": ("U8", 512), "a.weight.quant_state.bitsandbytes__nf4": ("U8", 82)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("method", STORED)
def test_packed_weights_are_counted_unpacked(method: str) -> None:
    config, stored = STORED[method]
    tensors = {name: Tensor(dtype, [count], count, count) for name, (dtype, count) in stored.items()}
    tensors["a.bias"] = Tensor("BF16", [128], 128, 256)
    quantization = _model_quantization.describe(config or None, "c")
    assert _model_parameters.count(tensors, quantization) == WEIGHTS + 128


@pytest.mark.parametrize(
    "config",
    [
        {"quant_method": "made-up"},
        {
            "quant_method": "compressed-tensors",
            "config_groups": {"g": {"weights": {"num_bits": 4}}, "h": {"weights": {"num_bits": 8}}},
        },
    ],
    ids=str,
)
def test_an_unknown_packing_is_not_guessed(config: dict[str, Any]) -> None:
    assert _model_parameters.count({"a": Tensor("I32", [8], 8, 32)}, _model_quantization.describe(config, "c")) is None
