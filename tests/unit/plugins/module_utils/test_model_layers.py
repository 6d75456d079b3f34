# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _model
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

BASE: dict[str, Any] = {
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "hidden_size": 512,
    "num_hidden_layers": 4,
}


def groups(**config: Any) -> list[dict[str, Any]]:
    found = _model.describe({**BASE, **config}, "config.json")["attention"]
    assert isinstance(found, list)
    return found


def kinds(**config: Any) -> list[tuple[str, int, int | None]]:
    return [(group["kind"], group["layers"], group["window"]) for group in groups(**config)]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, [("full", 4, None)]),
        # Every layer by its name, in whichever list; what lies beyond the number of layers belongs to drafts
        (
            {"layer_types": ["sliding_attention", "full_attention"] * 3, "sliding_window": 128},
            [("sliding", 2, 128), ("full", 2, None)],
        ),
        ({"layer_types": ["deepseek_sparse_attention"] * 4}, [("full", 4, None)]),
        ({"layer_types": ["sliding_attention"] * 4}, [("full", 4, None)]),
        ({"layers_block_type": ["mamba", "moe", "attention", "mlp"]}, [("recurrent", 1, None), ("full", 1, None)]),
        ({"block_types": ["recurrent", "attention"]}, [("recurrent", 2, None), ("full", 2, None)]),
        ({"model_type": "zamba2", "layers_block_type": ["mamba", "hybrid"] * 2}, [("recurrent", 4, None), ("full", 2, None)]),
        ({"hybrid_override_pattern": "M-*E"}, [("recurrent", 1, None), ("full", 1, None)]),
        ({"attn_type_list": [0, 1, 0, 1]}, [("linear", 2, None), ("full", 2, None)]),
        ({"hybrid_layer_pattern": [0, 1, 1, 1], "sliding_window": 9}, [("full", 1, None), ("sliding", 3, 9)]),
        ({"model_type": "bamba", "attn_layer_indices": [3]}, [("recurrent", 3, None), ("full", 1, None)]),
        (
            {"model_type": "kimi_linear", "kv_lora_rank": 512, "linear_attn_config": {"full_attn_layers": [4], "num_heads": 8}},
            [("linear", 3, None), ("latent", 1, None)],
        ),
        ({"model_type": "jamba", "attn_layer_period": 2, "attn_layer_offset": 1}, [("recurrent", 2, None), ("full", 2, None)]),
        ({"full_attention_interval": 4, "linear_num_value_heads": 8}, [("linear", 3, None), ("full", 1, None)]),
        ({"model_type": "falcon_h1"}, [("full", 4, None), ("recurrent", 4, None)]),
        # Llama 4: without a list, every fourth layer sees everything
        ({"model_type": "llama4_text", "attention_chunk_size": 99}, [("chunked", 3, 99), ("full", 1, None)]),
        ({"model_type": "llama4_text", "attention_chunk_size": 99, "no_rope_layers": [1, 0, 0, 0]}, [("chunked", 1, 99), ("full", 3, None)]),
        ({"model_type": "llama4_text", "attention_chunk_size": None}, [("full", 4, None)]),
        # Families whose layers take turns
        ({"model_type": "gemma2", "sliding_window": 4096}, [("sliding", 2, 4096), ("full", 2, None)]),
        ({"model_type": "gemma3_text", "sliding_window": 512, "num_hidden_layers": 7}, [("sliding", 6, 512), ("full", 1, None)]),
        ({"model_type": "gemma3_text", "sliding_window": 512, "sliding_window_pattern": 2}, [("sliding", 2, 512), ("full", 2, None)]),
        # vLLM adds the token itself to Cohere's window
        ({"model_type": "cohere2", "sliding_window": 4096}, [("sliding", 3, 4097), ("full", 1, None)]),
        ({"sliding_window": 4096, "sliding_window_pattern": "LLLG"}, [("sliding", 3, 4096), ("full", 1, None)]),
        ({"model_type": "gpt_oss", "sliding_window": 128}, [("sliding", 2, 128), ("full", 2, None)]),
        # Qwen's window is a window only where it is switched on
        ({"model_type": "qwen2", "sliding_window": 99, "use_sliding_window": False}, [("full", 4, None)]),
        ({"model_type": "qwen2", "sliding_window": 99}, [("full", 4, None)]),
        (
            {"model_type": "qwen2", "sliding_window": 99, "use_sliding_window": True, "max_window_layers": 3},
            [("full", 3, None), ("sliding", 1, 99)],
        ),
        # A window without a word on layers is that of all; Mistral's class has one where the configuration states none
        ({"model_type": "mixtral", "sliding_window": 4096}, [("sliding", 4, 4096)]),
        ({"model_type": "mistral"}, [("sliding", 4, 4096)]),
        ({"model_type": "mistral", "sliding_window": None}, [("full", 4, None)]),
        # A latent rank alone is no latent attention
        ({"model_type": "deepseek_v3", "kv_lora_rank": 512, "qk_rope_head_dim": 64}, [("latent", 4, None)]),
        ({"model_type": "minicpm3", "kv_lora_rank": 256, "qk_rope_head_dim": 32, "qk_nope_head_dim": 64}, [("full", 4, None)]),
    ],
    ids=str,
)  # fmt: skip
def test_layers_by_kind(config: dict[str, Any], expected: list[tuple[str, int, int | None]]) -> None:
    assert kinds(**config) == expected


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"layer_types": ["full_attention"]}, "layer_types names 1 layers of 4"),
        ({"layer_types": ["full_attention", "telepathy"] * 2}, "layer_types names a kind of layer that is not known here: 'telepathy'"),
        ({"layer_types": "full_attention"}, "layer_types is 'full_attention'; a list of names"),
        ({"hybrid_override_pattern": "M*"}, "hybrid_override_pattern names 2 layers of 4"),
        ({"attn_type_list": [1]}, "attn_type_list speaks of 1 layers of 4"),
        ({"attn_type_list": [1, 0, "1", 1]}, "attn_type_list is .* whole numbers"),
        ({"model_type": "llama4_text", "attention_chunk_size": 8, "no_rope_layers": [1]}, "no_rope_layers speaks of 1 layers"),
        ({"num_hidden_layers": 2**40}, "1099511627776 layers, which no model can have"),
        ({"num_hidden_layers": 10**5}, "100000 layers, which no model can have"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_is_named(config: dict[str, Any], message: str) -> None:
    with pytest.raises(AirgapError, match=rf"config\.json: {message}"):
        groups(**config)


@pytest.mark.parametrize("config", [{"num_hidden_layers": None}, {"compress_ratios": [1, 4]}], ids=str)
def test_an_unknown_form_is_said_to_be_unknown(config: dict[str, Any]) -> None:
    model = _model.describe({**BASE, **config}, "config.json")
    assert model["attention"] is None
    assert model["kv_cache_bytes_per_token"] is None
    assert any("what its layers keep" in reason for reason in model["unknown"])


def test_encoders() -> None:
    assert [group["cached"] for group in groups(model_type="bert")] == [False]
    assert _model.describe({**BASE, "model_type": "bert"}, "config.json")["kv_cache_bytes_per_token"] == 0
    assert _model.describe({**BASE, "is_encoder_decoder": True}, "config.json")["attention"] is None


def test_layers_that_share_a_cache_are_told_apart() -> None:
    found = groups(model_type="gemma3n_text", sliding_window=512, num_kv_shared_layers=2, num_hidden_layers=10)
    assert [(group["kind"], group["layers"], group["cached"]) for group in found] == [
        ("sliding", 7, True),
        ("full", 1, True),
        ("sliding", 1, False),
        ("full", 1, False),
    ]


def test_heads_of_their_own() -> None:
    """MiMo V2, Gemma 4, Step 3.5 and the Nemotron that was searched for: vLLM 0.32, models of these names."""
    mimo = groups(
        hybrid_layer_pattern=[0, 1, 1, 1], sliding_window_size=128, num_key_value_heads=4, head_dim=192, v_head_dim=128,
        swa_num_attention_heads=8, swa_num_key_value_heads=8, swa_head_dim=192, swa_v_head_dim=128,
    )  # fmt: skip
    assert [(group["kv_heads"], group["head_size"], group["v_head_size"]) for group in mimo] == [
        (4, 192, 128),
        (8, 192, 128),
    ]
    gemma = groups(model_type="gemma4_text", sliding_window=512, global_head_dim=512, num_global_key_value_heads=2)
    assert [(group["kind"], group["kv_heads"], group["head_size"]) for group in gemma] == [("sliding", 4, 64)]
    gemma = groups(
        model_type="gemma4_text", sliding_window=512, num_global_key_value_heads=2, layer_types=["full_attention"] * 4
    )
    assert [(group["kv_heads"], group["head_size"], group["v_head_size"]) for group in gemma] == [(2, 512, 512)]
    setting = {
        "attention_type": "sliding_attention",
        "num_attention_heads": 16,
        "num_attention_groups": 2,
        "head_dim": 32,
    }
    step = groups(
        layer_types=["full_attention", "sliding_attention"] * 2, sliding_window=512, attention_other_setting=setting
    )
    assert [(group["heads"], group["kv_heads"], group["head_size"]) for group in step] == [(8, 4, 64), (16, 2, 32)]
    blocks = [
        {"attention": {"n_heads_in_group": 4}},
        {"attention": {"no_op": True}},
        {"attention": {"n_heads_in_group": 2}},
    ]
    nemotron = _model.describe({**BASE, "num_key_value_heads": None, "block_configs": blocks}, "config.json")
    assert nemotron["kv_heads"] == 2
    assert [(group["layers"], group["kv_heads"]) for group in nemotron["attention"]] == [(1, 2), (1, 4)]


def test_sparse_layers_keep_a_second_key() -> None:
    sparse = {"sparse_attention_freq": [0, 0, 1, 1], "sparse_index_dim": 128}
    assert [(group["layers"], group["indexer_head_size"]) for group in groups(sparse_attention_config=sparse)] == [
        (2, None),
        (2, 128),
    ]
    latent = groups(
        model_type="deepseek_v32", kv_lora_rank=512, qk_rope_head_dim=64, index_topk=2048, index_head_dim=128
    )
    assert [(group["head_size"], group["v_head_size"], group["indexer_head_size"]) for group in latent] == [
        (576, 0, 128)
    ]


@pytest.mark.parametrize(
    ("config", "state"),
    [
        (
            {"model_type": "mamba", "state_size": 16, "conv_kernel": 4, "intermediate_size": 1024},
            {"type": "mamba1", "width": 1024, "state_size": 16, "convolution": 4},
        ),
        (
            {"model_type": "mamba2", "num_heads": 16, "state_size": 128, "conv_kernel": 4, "expand": 2, "n_groups": 8},
            {"type": "mamba2", "width": 1024, "heads": 16, "head_size": 64, "groups": 8, "state_size": 128, "convolution": 4},
        ),
        (
            {"model_type": "jamba", "attn_layer_period": 4, "mamba_expand": 2, "mamba_d_state": 16, "mamba_d_conv": 4},
            {"type": "mamba1", "width": 1024, "state_size": 16, "convolution": 4},
        ),
        (
            {
                "model_type": "nemotron_h", "hybrid_override_pattern": "MMM*", "mamba_num_heads": 16, "mamba_head_dim": 32, "n_groups": 4,
                "ssm_state_size": 128, "conv_kernel": 4,
            },
            {"type": "mamba2", "width": 512, "heads": 16, "head_size": 32, "groups": 4, "state_size": 128, "convolution": 4},
        ),
        (
            {"model_type": "falcon_h1", "mamba_n_heads": 8, "mamba_d_head": 32, "mamba_d_ssm": 256, "mamba_d_state": 64, "mamba_d_conv": 4},
            {"type": "mamba2", "width": 256, "heads": 8, "head_size": 32, "groups": 1, "state_size": 64, "convolution": 4},
        ),
        (
            {"layer_types": ["conv", "conv", "conv", "full_attention"], "conv_L_cache": 3},
            {"type": "short_convolution", "width": 512, "convolution": 3},
        ),
        (
            {
                "full_attention_interval": 4, "linear_num_key_heads": 4, "linear_num_value_heads": 8, "linear_key_head_dim": 64,
                "linear_value_head_dim": 32, "linear_conv_kernel_dim": 4,
            },
            {"type": "gated_delta", "key_heads": 4, "value_heads": 8, "key_head_size": 64, "value_head_size": 32, "convolution": 4},
        ),
        (
            {"linear_attn_config": {"full_attn_layers": [1], "num_heads": 8, "head_dim": 64, "short_conv_kernel_size": 4}},
            {"type": "kda", "heads": 8, "head_size": 64, "convolution": 4},
        ),
        ({"attn_type_list": [0, 0, 0, 1]}, {"type": "lightning", "heads": 8, "head_size": 64}),
        ({"block_types": ["recurrent"]}, None),
    ],
    ids=str,
)  # fmt: skip
def test_states(config: dict[str, Any], state: dict[str, Any] | None) -> None:
    assert next(group["state"] for group in groups(**config) if group["kind"] in ("linear", "recurrent")) == state


def test_a_model_without_attention() -> None:
    model = _model.describe(
        {"model_type": "mamba2", "num_heads": 80, "hidden_size": 2560, "num_hidden_layers": 64, "head_dim": 64}, "c"
    )
    assert (model["attention_heads"], model["kv_heads"], model["kv_cache_bytes_per_token"]) == (0, 0, 0)
    assert model["tensor_parallel_sizes"] == [1, 2, 4, 5, 8, 10, 16]
