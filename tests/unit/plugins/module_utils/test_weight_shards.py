# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import (
    _model,
    _placement,
    _placement_case,
    _weight_estimate,
    _weight_shards,
)
from ansible_collections.airgap.inference.plugins.module_utils._weight_shards import Shares, Tensor
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils import placement_models as models

SHARES = Shares(ranks=4, stages=1, layers=4, heads=32, kv_heads=8, latent=False, tied=False, element=2)


def plain(name: str, elements: int = 3200, dtype: str = "BF16", width: int = 2) -> Tensor:
    return Tensor(name, dtype, elements, elements * width)


def fullest(tensors: list[Tensor], shares: Shares) -> int:
    return _weight_shards.fullest(_weight_shards.parts(tensors), shares)


def extra(tensors: list[Tensor], shares: Shares) -> int:
    return _weight_shards.extra(_weight_shards.parts(tensors), shares)


def share(name: str, **changes: Any) -> float:
    """What of one tensor the fullest GPU holds."""
    tensor = plain(name)
    return fullest([tensor], SHARES._replace(**changes)) / tensor.bytes


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.down_proj.weight", "model.layers.3.mlp.experts.7.gate_proj.weight",
        "model.layers.0.self_attn.q_b_proj.weight", "model.layers.0.self_attn.kv_b_proj.weight", "model.embed_tokens.weight", "lm_head.weight",
        "transformer.h.1.attn.c_attn.weight", "transformer.h.1.mlp.c_fc.bias", "vision_tower.encoder.layers.0.mlp.fc1.weight",
        "model.layers.0.linear_attn.in_proj_qkvz.weight",
    ],
)  # fmt: skip
def test_what_is_divided(name: str) -> None:
    assert share(name) == 0.25


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.0.input_layernorm.weight", "model.norm.weight", "transformer.h.0.ln_1.weight", "transformer.ln_f.bias", "transformer.wpe.weight",
        "model.layers.0.mlp.gate.weight", "model.layers.0.block_sparse_moe.gate.weight", "model.layers.0.mlp.router.weight",
        "model.layers.0.self_attn.q_a_proj.weight", "model.layers.0.self_attn.kv_a_proj_with_mqa.weight", "model.layers.0.self_attn.o_proj.bias",
        "transformer.h.0.mlp.c_proj.bias",
    ],
)  # fmt: skip
def test_what_every_gpu_has_whole(name: str) -> None:
    assert share(name) == 1


@pytest.mark.parametrize(
    ("name", "kv_heads", "part"),
    [
        ("model.layers.0.self_attn.k_proj.weight", 8, 1 / 4),
        ("model.layers.0.self_attn.v_proj.weight", 2, 1 / 2),
        ("model.layers.0.self_attn.v_proj.bias", 1, 1),
        ("model.layers.0.self_attn.qkv_proj.weight", 2, (8 + 2) / 36),
        ("transformer.h.0.self_attention.query_key_value.weight", 1, (8 + 2) / 34),
    ],
    ids=["divided", "half", "one", "fused", "one-fused"],
)
def test_key_and_value_heads_are_repeated(name: str, kv_heads: int, part: float) -> None:
    assert share(name, kv_heads=kv_heads) == pytest.approx(part, rel=0.001)


def test_a_tower_that_stays_whole() -> None:
    assert share("vision_tower.encoder.layers.0.mlp.fc1.weight", tower_whole=True) == 1


def test_experts_that_fill_whole_tiles(tmp_path: pathlib.Path) -> None:
    # gpt-oss-20b on one GPU (docs/placement.md): its files are 12.8 GiB, and loading took 13.72.
    case = _placement_case.read({"path": models.write(tmp_path, models.GPT_OSS_20B), "gpus": [models.A100]})
    assert _placement.evaluate(case).figures["weights_bytes_per_gpu"] / 2**30 == pytest.approx(13.72, rel=0.01)
    assert _weight_shards.expert_padding("fp8", 2880, 2880, 1) == 1
    assert _weight_shards.expert_padding("mxfp4", 2880, 2880, 4) == (768 / 720) * (3072 / 2880)


def test_stages_have_some_of_the_layers_each() -> None:
    # Four stages of 61 layers: 15, 15, 16, 15, as vLLM's get_pp_indices has them; the first and the last have the embeddings.
    layers = [plain(f"model.layers.{layer}.mlp.up_proj.weight", 100) for layer in range(61)]
    shares = SHARES._replace(ranks=1, stages=4, layers=61)
    assert fullest(layers, shares) == 16 * 200
    assert fullest([*layers, plain("model.embed_tokens.weight", 1000)], shares) == 15 * 200 + 2000
    assert fullest([*layers, plain("lm_head.weight", 1000)], shares) == 15 * 200 + 2000
    tied = shares._replace(tied=True)
    assert fullest([*layers, plain("model.embed_tokens.weight", 1000)], tied) == 15 * 200 + 2000


def test_what_is_not_loaded() -> None:
    # The prediction of further tokens, and a head that is the embedding.
    assert share("model.layers.4.mlp.up_proj.weight") == 0
    assert share("mtp.layers.0.mlp.up_proj.weight") == 0
    assert share("lm_head.weight", tied=True) == 0


@pytest.mark.parametrize(
    ("name", "dtype", "width", "part"),
    [
        ("model.layers.0.mlp.up_proj.weight", "F32", 4, 2 / 4),
        ("model.layers.0.mlp.up_proj.weight_scale_inv", "F32", 4, 4 / 4),
        ("model.layers.0.mlp.gate.e_score_correction_bias", "F32", 4, 4),
        ("model.layers.0.mlp.up_proj.weight", "F8_E4M3", 1, 1 / 4),
    ],
    ids=["plain", "scale", "bias", "fp8"],
)
def test_types_in_memory(name: str, dtype: str, width: int, part: float) -> None:
    assert fullest([plain(name, 3200, dtype, width)], SHARES) == 3200 * part


def test_quantised_latent_attention_keeps_its_up_projection_twice() -> None:
    quantised = plain("model.layers.0.self_attn.kv_b_proj.weight", 3200, "F8_E4M3", 1)
    assert extra([quantised], SHARES._replace(latent=True)) == 3200 * 2 / 4
    assert extra([plain("model.layers.0.self_attn.kv_b_proj.weight")], SHARES._replace(latent=True)) == 0
    assert extra([quantised], SHARES) == 0


@pytest.mark.parametrize(
    ("config", "billions", "gigabytes"),
    [
        # Parameters and sizes as the models' public pages state them.
        (models.LLAMA_8B, 8.03, 16.06),
        (models.LLAMA_70B, 70.6, 141.1),
        (models.QWEN_7B, 7.62, 15.2),
        (models.DEEPSEEK_V3, 671, 673),
        (models.GPT_OSS_20B, 20.9, 13.8),
        (models.QWEN3_SMALL, 0.596, 1.19),
        # Without the layer that predicts further tokens: loading took 8.61 GiB (docs/placement.md).
        (models.QWEN35_4B, 4.6, 9.24),
    ],
    ids=["llama-8b", "llama-70b", "qwen-7b", "deepseek-v3", "gpt-oss-20b", "qwen3-0.6b", "qwen3.5-4b"],
)
def test_weights_that_are_only_described(config: dict[str, Any], billions: float, gigabytes: float) -> None:
    model = _model.describe(config, "config.json")
    tensors = _weight_estimate.tensors(model, config)
    assert tensors is not None
    assert sum(tensor.elements for tensor in tensors) / 1e9 == pytest.approx(billions, rel=0.025)
    assert sum(tensor.bytes for tensor in tensors) / 1e9 == pytest.approx(gigabytes, rel=0.025)


@pytest.mark.parametrize(
    "change",
    [
        {"vocab_size": None},
        {"intermediate_size": None},
        {"model_type": "jamba", "attn_layer_period": 8, "attn_layer_offset": 4, "mamba_d_state": 16, "mamba_d_conv": 4},
        {"vision_config": {"num_attention_heads": 16}},
    ],
    ids=["vocabulary", "width", "recurrent", "vision"],
)
def test_what_cannot_be_told_from_a_configuration(change: dict[str, Any]) -> None:
    config = {
        key: value for key, value in {**models.LLAMA_8B, "model_type": "own", **change}.items() if value is not None
    }
    assert _weight_estimate.tensors(_model.describe(config, "config.json"), config) is None
