# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sizes that load. Each case names what vLLM 0.32 asserts; heads and vocabularies alone are in test_model.py."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _model, _model_split

HEADS: dict[str, Any] = {
    "num_attention_heads": 64,
    "num_key_value_heads": 64,
    "head_dim": 128,
    "hidden_size": 8192,
    "num_hidden_layers": 4,
}
BLOCK = {"quant_method": "fp8", "weight_block_size": [128, 128]}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128}


def packed(weights: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": weights}}, **more}


GROUPS = packed({"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128})
BLOCKS = packed({"num_bits": 8, "type": "float", "strategy": "block", "block_structure": [128, 128]})


def describe(**config: Any) -> dict[str, Any]:
    return _model.describe({**HEADS, **config}, "config.json")


@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        # Rows of the feed-forward part, 1536 over 8 ranks: one block and a half
        ({"intermediate_size": 1536}, [1, 2, 4, 8, 16]),
        ({"intermediate_size": 1536, "quantization_config": BLOCK}, [1, 2, 4]),
        ({"intermediate_size": 1536, "quantization_config": AWQ}, [1, 2, 4]),
        ({"intermediate_size": 1536, "quantization_config": {**AWQ, "quant_method": "gptq"}}, [1, 2, 4]),
        ({"intermediate_size": 1536, "quantization_config": GROUPS}, [1, 2, 4]),
        ({"intermediate_size": 1536, "quantization_config": BLOCKS}, [1, 2, 4]),
        # A scale for a whole channel is divided anywhere; a scale for a tensor is no scale of a block
        ({"intermediate_size": 1536, "quantization_config": {**AWQ, "group_size": -1}}, [1, 2, 4, 8, 16]),
        ({"intermediate_size": 1536, "quantization_config": {"quant_method": "fp8"}}, [1, 2, 4, 8, 16]),
        ({"intermediate_size": 1536, "quantization_config": {**AWQ, "group_size": 32}}, [1, 2, 4, 8, 16]),
        # What was left as it was has no blocks; a single layer left so changes nothing for the others
        ({"intermediate_size": 1536, "quantization_config": {**AWQ, "modules_to_not_convert": ["mlp"]}}, [1, 2, 4, 8, 16]),
        ({"intermediate_size": 1536, "quantization_config": {**BLOCK, "ignored_layers": ["model.layers.0.mlp"]}}, [1, 2, 4]),
        ({"intermediate_size": 1536, "quantization_config": {**GROUPS, "ignore": ["re:.*mlp.*"]}}, [1, 2, 4, 8, 16]),
        (
            {"intermediate_size": 1536, "quantization_config": {**GROUPS, "ignore": [f"model.layers.{layer}.mlp.down_proj" for layer in range(4)]}},
            [1, 2, 4, 8, 16],
        ),
        # Rows of the attention's output: 64 heads of 64 over 16 ranks are 256, of 16 are 64
        ({"head_dim": 64, "quantization_config": BLOCK}, [1, 2, 4, 8, 16]),
        ({"head_dim": 16, "quantization_config": BLOCK}, [1, 2, 4, 8]),
        # Merged columns of the method fp8 may end inside a block, those of compressed-tensors may not
        ({"head_dim": 64, "num_key_value_heads": 8, "quantization_config": BLOCK}, [1, 2, 4, 8, 16]),
        ({"head_dim": 64, "num_key_value_heads": 8, "quantization_config": BLOCKS}, [1, 2, 4]),
        # Latent attention: the output is as wide as the values' heads
        (
            {
                "model_type": "deepseek_v3", "kv_lora_rank": 512, "qk_rope_head_dim": 64, "v_head_dim": 16, "head_dim": None,
                "quantization_config": BLOCK,
            },
            [1, 2, 4, 8],
        ),
    ],
    ids=str,
)  # fmt: skip
def test_quantised_layers(config: dict[str, Any], sizes: list[int]) -> None:
    assert describe(**config)["tensor_parallel_sizes"] == sizes


@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        ({"num_experts": 8, "moe_intermediate_size": 768}, [1, 2, 4, 8, 16]),
        ({"num_experts": 8, "moe_intermediate_size": 776}, [1, 2, 4, 8]),
        # vLLM refines the scales of FP8 experts to blocks of 64 and 32, where the method is fp8
        ({"num_experts": 8, "moe_intermediate_size": 768, "quantization_config": BLOCK}, [1, 2, 4, 8]),
        ({"num_experts": 8, "moe_intermediate_size": 768, "quantization_config": BLOCKS}, [1, 2]),
        # AWQ's and GPTQ's groups are halved down to 32
        ({"num_experts": 8, "moe_intermediate_size": 768, "quantization_config": AWQ}, [1, 2, 4, 8]),
        ({"num_experts": 8, "moe_intermediate_size": 768, "quantization_config": GROUPS}, [1, 2]),
        ({"num_experts": 8, "moe_intermediate_size": 768, "quantization_config": {**GROUPS, "ignore": ["experts"]}}, [1, 2, 4, 8, 16]),
        # The experts of Mixtral have the width of a dense layer
        ({"model_type": "mixtral", "num_local_experts": 8, "intermediate_size": 1000}, [1, 2, 4, 8]),
        ({"num_local_experts": 8, "intermediate_size": 1000}, [1, 2, 4, 8, 16]),
        # Dense layers among those with experts count as dense ones do, and so do the experts that all tokens take
        ({"n_routed_experts": 8, "moe_intermediate_size": 2048, "first_k_dense_replace": 1, "intermediate_size": 1000}, [1, 2, 4, 8]),
        (
            {"n_routed_experts": 8, "moe_intermediate_size": 2048, "shared_expert_intermediate_size": 512, "quantization_config": BLOCK},
            [1, 2, 4],
        ),
    ],
    ids=str,
)  # fmt: skip
def test_experts(config: dict[str, Any], sizes: list[int]) -> None:
    assert describe(**config)["tensor_parallel_sizes"] == sizes


@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        (
            {
                "full_attention_interval": 4,
                "linear_num_key_heads": 16,
                "linear_num_value_heads": 24,
                "linear_key_head_dim": 128,
            },
            [1, 2, 4, 8],
        ),
        (
            {
                "model_type": "falcon_h1",
                "mamba_n_heads": 24,
                "mamba_d_head": 64,
                "mamba_n_groups": 1,
                "mamba_d_state": 64,
            },
            [1, 2, 4, 8],
        ),
        (
            {
                "model_type": "falcon_h1",
                "mamba_n_heads": 32,
                "mamba_d_head": 64,
                "mamba_n_groups": 2,
                "mamba_d_state": 64,
            },
            [1, 2],
        ),
        ({"model_type": "mamba", "intermediate_size": 1000, "state_size": 16}, [1, 2, 4, 5, 8, 10]),
        ({"hybrid_layer_pattern": [0, 1, 1, 1], "sliding_window": 8, "swa_num_key_value_heads": 6}, [1, 2]),
        # InternViT stays whole where its heads cannot be divided
        ({"vision_config": {"num_attention_heads": 25, "model_type": "intern_vit_6b"}}, [1, 2, 4, 8, 16]),
        ({"vision_config": {"num_attention_heads": 25}}, [1]),
    ],
    ids=str,
)
def test_other_parts(config: dict[str, Any], sizes: list[int]) -> None:
    assert describe(**config)["tensor_parallel_sizes"] == sizes


def test_a_refusal_says_what_divides_what() -> None:
    refusal = str(_model.tensor_parallel_refusal(describe(intermediate_size=1536, quantization_config=AWQ), 8))
    assert (
        "192 rows of its feed-forward part on each of 8 GPUs are no multiple of the quantisation's group of 128"
        in refusal
    )
    assert refusal.endswith("valid sizes: 1, 2, 4")
    several = str(
        _model.tensor_parallel_refusal(describe(num_key_value_heads=8, intermediate_size=1000, vocab_size=100), 3)
    )
    assert "64 attention heads cannot be divided by 3; 8 key-value heads" in several
    assert "; an intermediate size of 1000 cannot be divided by 3; valid sizes: 1, 2, 4, 8" in several


def test_a_model_that_loads_at_no_size() -> None:
    model = describe(num_experts=8, moe_intermediate_size=96, quantization_config=BLOCKS)
    assert model["tensor_parallel_sizes"] == []
    assert str(_model.tensor_parallel_refusal(model, 1)).endswith("valid sizes: none")
    assert _model.alternatives(model, 2) == []


def test_alternatives() -> None:
    qwen = describe(num_attention_heads=28, num_key_value_heads=4, num_hidden_layers=28)
    ways = [tuple(way.values()) for way in _model.alternatives(qwen, 8)]
    assert ways == [(4, 2, 1), (4, 1, 2), (2, 4, 1), (2, 1, 4), (1, 8, 1), (1, 1, 8)]
    assert list(_model.alternatives(qwen, 8)[0]) == [
        "tensor_parallel_size",
        "pipeline_parallel_size",
        "data_parallel_size",
    ]
    assert next(tuple(way.values()) for way in _model.alternatives(qwen, 4)) == (4, 1, 1)
    assert [tuple(way.values()) for way in _model.alternatives(qwen, 7)] == [(1, 7, 1), (1, 1, 7)]
    # No stage is without a layer
    assert (1, 8, 1) not in [tuple(way.values()) for way in _model.alternatives(describe(), 8)]
    assert _model.alternatives(qwen, 0) == []


def test_a_proposal() -> None:
    qwen = describe(num_attention_heads=28, num_key_value_heads=4, num_hidden_layers=28)
    assert _model.proposal(qwen, 8) == (
        "Ways to use 8 GPUs: tensor_parallel_size 4 with pipeline_parallel_size 2; or tensor_parallel_size 4 with data_parallel_size 2; "
        "or tensor_parallel_size 2 with pipeline_parallel_size 4"
    )
    assert _model.proposal(qwen, 4).startswith("Ways to use 4 GPUs: tensor_parallel_size 4; or ")
    assert _model.proposal(describe(num_experts=8, moe_intermediate_size=96, quantization_config=BLOCKS), 2) == ""


def test_every_way_uses_all_gpus() -> None:
    for gpus in range(1, 33):
        for way in _model_split.alternatives(describe(), gpus):
            size, stages, replicas = way.values()
            assert size * stages * replicas == gpus
