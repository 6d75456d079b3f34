# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import pathlib
import time
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _model
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from hypothesis import given, settings
from hypothesis import strategies as st


def describe(**config: Any) -> dict[str, Any]:
    return _model.describe({"architectures": ["LlamaForCausalLM"], **config}, "config.json")


def write(directory: pathlib.Path, content: str | bytes) -> str:
    data = content if isinstance(content, bytes) else content.encode("utf-8")
    (directory / "config.json").write_bytes(data)
    return str(directory)


def test_a_usual_model() -> None:
    model = describe(
        num_attention_heads=32,
        num_key_value_heads=8,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        max_position_embeddings=131072,
        vocab_size=128256,
        torch_dtype="bfloat16",
    )
    assert model == {
        "architecture": "LlamaForCausalLM",
        "known_architecture": True,
        "model_type": None,
        "attention_heads": 32,
        "kv_heads": 8,
        "latent_attention": False,
        "head_size": 128,
        "v_head_size": None,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "experts": 0,
        "experts_shared": 0,
        "experts_per_token": 0,
        "moe_intermediate_size": None,
        "shared_intermediate_size": None,
        "dense_layers": 32,
        "layers": 32,
        "attention": [
            {
                "kind": "full",
                "layers": 32,
                "window": None,
                "heads": 32,
                "kv_heads": 8,
                "head_size": 128,
                "v_head_size": 128,
                "indexer_head_size": None,
                "state": None,
                "cached": True,
            }
        ],
        "vision": None,
        "vision_heads": None,
        "context_length": 131072,
        "context_length_scaled": 131072,
        "context_length_max": 131072,
        "rope_scaling": None,
        "sliding_window": None,
        "vocabulary_size": 128256,
        "tied_embeddings": None,
        "dtype": "bfloat16",
        "engine_dtype": "bfloat16",
        "quantization": None,
        "kv_cache_dtype_hint": None,
        "kv_cache_bytes_per_token": 131072,
        "remote_code": [],
        "unknown": [],
        "tensor_parallel_sizes": [1, 2, 4, 8, 16],
    }


@pytest.mark.parametrize(
    ("config", "heads", "kv_heads", "head_size", "layers"),
    [
        # Falcon 7B, Falcon 40B and the first Falcon configurations
        (
            {
                "model_type": "falcon",
                "num_attention_heads": 71,
                "multi_query": True,
                "hidden_size": 4544,
                "num_hidden_layers": 32,
            },
            71,
            1,
            64,
            32,
        ),
        (
            {
                "model_type": "falcon",
                "num_attention_heads": 128,
                "num_kv_heads": 8,
                "new_decoder_architecture": True,
                "multi_query": True,
                "hidden_size": 8192,
                "num_hidden_layers": 60,
            },
            128,
            8,
            64,
            60,
        ),
        (
            {
                "model_type": "RefinedWeb",
                "n_head": 128,
                "n_head_kv": 8,
                "new_decoder_architecture": True,
                "hidden_size": 8192,
                "n_layer": 60,
            },
            128,
            8,
            64,
            60,
        ),
        # GPT-2, StarCoder
        ({"model_type": "gpt2", "n_head": 12, "n_embd": 768, "n_layer": 12}, 12, 12, 64, 12),
        (
            {"model_type": "gpt_bigcode", "n_head": 48, "n_embd": 6144, "n_layer": 40, "multi_query": True},
            48,
            1,
            128,
            40,
        ),
        # DBRX
        (
            {"model_type": "dbrx", "n_heads": 48, "d_model": 6144, "n_layers": 40, "attn_config": {"kv_n_heads": 8}},
            48,
            8,
            128,
            40,
        ),
        # ChatGLM
        (
            {
                "num_attention_heads": 32,
                "multi_query_attention": True,
                "multi_query_group_num": 2,
                "hidden_size": 4096,
                "kv_channels": 128,
                "num_layers": 28,
            },
            32,
            2,
            128,
            28,
        ),
        # Gemma 3, Mistral Small 3: the text is nested and states its head size
        (
            {
                "text_config": {
                    "num_attention_heads": 8,
                    "num_key_value_heads": 4,
                    "head_dim": 256,
                    "hidden_size": 2560,
                    "num_hidden_layers": 34,
                }
            },
            8,
            4,
            256,
            34,
        ),
        # InternVL, DeepSeek-VL2, Qwen Omni
        ({"llm_config": {"num_attention_heads": 28, "num_key_value_heads": 4, "hidden_size": 3584}}, 28, 4, 128, None),
        ({"language_config": {"num_attention_heads": 10, "hidden_size": 1280}}, 10, 10, 128, None),
        (
            {
                "thinker_config": {
                    "text_config": {"num_attention_heads": 28, "num_key_value_heads": 4, "hidden_size": 3584}
                }
            },
            28,
            4,
            128,
            None,
        ),
        # Key-value heads of null mean as many as attention heads
        ({"num_attention_heads": 16, "num_key_value_heads": None, "hidden_size": 1024}, 16, 16, 64, None),
        # DeepSeek-V3: what is cached for a token is the latent vector and the rotary part
        (
            {
                "num_attention_heads": 128,
                "num_key_value_heads": 128,
                "kv_lora_rank": 512,
                "qk_rope_head_dim": 64,
                "num_hidden_layers": 61,
            },
            128,
            128,
            576,
            61,
        ),
    ],
)
def test_every_spelling(config: dict[str, Any], heads: int, kv_heads: int, head_size: int, layers: int | None) -> None:
    model = describe(**config)
    assert (model["attention_heads"], model["kv_heads"], model["head_size"], model["layers"]) == (
        heads,
        kv_heads,
        head_size,
        layers,
    )


@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        # What vLLM 0.32 was seen to load and to die of: Phi-4 at 4 and 8, Qwen2-7B at 7
        ({"num_attention_heads": 10, "num_key_value_heads": 5}, [1, 5, 10]),
        ({"num_attention_heads": 40, "num_key_value_heads": 10}, [1, 2, 5, 10]),
        ({"num_attention_heads": 28, "num_key_value_heads": 4}, [1, 2, 4]),
        ({"num_attention_heads": 64, "num_key_value_heads": 8}, [1, 2, 4, 8, 16]),
        ({"num_attention_heads": 12, "num_key_value_heads": 2}, [1, 2, 4, 6, 12]),
        ({"num_attention_heads": 12}, [1, 2, 3, 4, 6, 12]),
        ({"num_attention_heads": 71, "multi_query": True}, [1]),
        # Latent attention divides the attention heads only
        ({"num_attention_heads": 12, "num_key_value_heads": 5, "kv_lora_rank": 512}, [1, 2, 3, 4, 6, 12]),
        # A vision tower's heads are divided as well
        ({"text_config": {"num_attention_heads": 32}, "vision_config": {"num_attention_heads": 12}}, [1, 2, 4]),
        ({"num_attention_heads": 32, "vision_config": {"num_heads": 16}}, [1, 2, 4, 8, 16]),
        # The vocabulary is padded to a multiple of 64, then divided: 512 over 5 ranks stops vLLM
        ({"num_attention_heads": 10, "num_key_value_heads": 5, "vocab_size": 512}, [1]),
        ({"num_attention_heads": 10, "num_key_value_heads": 5, "vocab_size": 601}, [1, 5, 10]),
        ({"num_attention_heads": 40, "num_key_value_heads": 10, "vocab_size": 100352}, [1, 2]),
        # So is the feed-forward part, unless experts stand in its place
        ({"num_attention_heads": 12, "intermediate_size": 1000}, [1, 2, 4]),
        ({"num_attention_heads": 12, "intermediate_size": 1000, "num_experts": 8}, [1, 2, 3, 4, 6, 12]),
        ({"num_attention_heads": 12, "intermediate_size": [1000, 2000]}, [1, 2, 3, 4, 6, 12]),
    ],
)
def test_the_sizes_that_load(config: dict[str, Any], sizes: list[int]) -> None:
    assert describe(**config)["tensor_parallel_sizes"] == sizes


def test_a_refusal_states_the_heads_and_the_valid_sizes() -> None:
    model = describe(num_attention_heads=10, num_key_value_heads=5)
    assert _model.tensor_parallel_refusal(model, 5) is None
    assert _model.tensor_parallel_refusal(model, 2) == (
        "A model with 10 attention heads and 5 key-value heads cannot be loaded at tensor parallel size 2: "
        "5 key-value heads can neither be divided by 2 nor be repeated evenly on 2 GPUs; valid sizes: 1, 5, 10"
    )
    assert "10 attention heads cannot be divided by 4" in str(_model.tensor_parallel_refusal(model, 4))
    assert "makes no sense" in str(_model.tensor_parallel_refusal(model, 0))


PLAIN = {
    "engine_support": True,
    "bits": None,
    "weight_type": None,
    "activation_bits": None,
    "group_size": None,
    "block_size": None,
    "per_tensor": False,
    "mixed": False,
    "modules_to_not_convert": [],
    "kv_cache_scheme": None,
}
FP8_WEIGHTS = {"num_bits": 8, "type": "float", "strategy": "channel"}
INT4_WEIGHTS = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"},
            {"method": "fp8", "bits": 8, "weight_type": "float", "activation_bits": 8, "block_size": [128, 128]},
        ),
        (
            {"quant_method": "fp8", "ignored_layers": ["lm_head"]},
            {"method": "fp8", "bits": 8, "weight_type": "float", "activation_bits": 8, "per_tensor": True, "modules_to_not_convert": ["lm_head"]},
        ),
        (
            {"quant_method": "awq", "bits": 4, "group_size": 128, "modules_to_not_convert": ["visual"]},
            {"method": "awq", "bits": 4, "weight_type": "int", "group_size": 128, "modules_to_not_convert": ["visual"]},
        ),
        ({"quant_method": "awq", "w_bit": 4, "q_group_size": 64}, {"method": "awq", "bits": 4, "weight_type": "int", "group_size": 64}),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1}, {"method": "gptq", "bits": 8, "weight_type": "int", "group_size": -1}),
        ({"quant_method": "compressed_tensors"}, {"method": "compressed-tensors"}),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": FP8_WEIGHTS, "input_activations": {"num_bits": 8, "type": "float"}}},
                "ignore": ["lm_head"],
                "kv_cache_scheme": {"num_bits": 8, "type": "float", "dynamic": False, "strategy": "tensor", "symmetric": True},
            },
            {
                "method": "compressed-tensors", "bits": 8, "weight_type": "float", "activation_bits": 8, "modules_to_not_convert": ["lm_head"],
                "kv_cache_scheme": {"num_bits": 8, "type": "float", "dynamic": False, "strategy": "tensor"},
            },
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": INT4_WEIGHTS}, "group_1": {"weights": FP8_WEIGHTS}},
            },
            {"method": "compressed-tensors", "bits": 4, "weight_type": "int", "group_size": 128, "mixed": True},
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"g": {"weights": {"num_bits": 8, "type": "float", "strategy": "block", "block_structure": [128, 128]}}},
            },
            {"method": "compressed-tensors", "bits": 8, "weight_type": "float", "block_size": [128, 128]},
        ),
        ({"quant_method": "mxfp4"}, {"method": "mxfp4", "bits": 4, "weight_type": "float", "group_size": 32}),
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True, "llm_int8_skip_modules": ["lm_head"]},
            {"method": "bitsandbytes", "engine_support": False, "bits": 4, "weight_type": "float", "modules_to_not_convert": ["lm_head"]},
        ),
        (
            {
                "producer": {"name": "modelopt"},
                "quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8", "group_size": 16, "exclude_modules": ["lm_head"]},
            },
            {
                "method": "modelopt_fp4", "bits": 4, "weight_type": "float", "activation_bits": 4, "group_size": 16,
                "modules_to_not_convert": ["lm_head"], "kv_cache_scheme": {"algorithm": "FP8"},
            },
        ),
        (
            {"quant_method": "modelopt", "quant_algo": "FP8"},
            {"method": "modelopt", "bits": 8, "weight_type": "float", "activation_bits": 8, "per_tensor": True},
        ),
        ({"quant_method": "made-up"}, {"method": "made-up", "engine_support": False}),
        ({}, {"method": None, "engine_support": None}),
    ],
)  # fmt: skip
def test_quantisation(config: dict[str, Any], expected: dict[str, Any]) -> None:
    expected = {**PLAIN, **expected}
    assert describe(num_attention_heads=8, quantization_config=config)["quantization"] == expected
    assert describe(text_config={"num_attention_heads": 8, "quantization_config": config})["quantization"] == expected


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "states no number of attention heads"),
        ({"num_attention_heads": 0}, "states no number of attention heads"),
        ({"num_attention_heads": "32"}, "num_attention_heads is '32'"),
        ({"num_attention_heads": True}, "num_attention_heads is True"),
        ({"num_attention_heads": 32.5}, "num_attention_heads is 32.5"),
        ({"num_attention_heads": -1}, "num_attention_heads is -1"),
        ({"num_attention_heads": [8, 8]}, "num_attention_heads is"),
        ({"num_attention_heads": 8, "num_key_value_heads": {}}, "num_key_value_heads is {}"),
        ({"text_config": []}, r"text_config is \[\]"),
        ({"num_attention_heads": 8, "architectures": "Llama"}, "architectures is 'Llama'"),
        ({"num_attention_heads": 8, "quantization_config": "fp8"}, "quantization_config is 'fp8'"),
        ({"num_attention_heads": 8, "vision_config": {"num_heads": "x"}}, "vision_config: num_heads is 'x'"),
    ],
)
def test_a_broken_value_is_named(config: dict[str, Any], message: str) -> None:
    with pytest.raises(AirgapError, match=rf"config\.json.*{message}"):
        describe(**config)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not valid JSON"),
        ('{"num_attention_heads": 8', "not valid JSON"),
        ('{"num_attention_heads": NaN}', "NaN is not allowed"),
        ('{"num_attention_heads": Infinity}', "Infinity is not allowed"),
        ('{"rope_theta": 1e999}', "too large"),
        ('{"num_attention_heads": ' + "9" * 100000 + "}", "100000 digits"),
        ("[" * 200000, "not valid JSON"),
        ('{"a":' * 200000, "not valid JSON"),
        ("[1, 2]", "list instead of an object"),
        (b"\xff\xfe{}", "not valid JSON"),
    ],
)
def test_a_broken_file_is_named(tmp_path: pathlib.Path, content: str | bytes, message: str) -> None:
    started = time.monotonic()
    with pytest.raises(AirgapError, match=rf"config\.json.*{message}"):
        _model.read(write(tmp_path, content))
    assert time.monotonic() - started < 1


def test_a_file_of_200_mb_is_not_read(tmp_path: pathlib.Path) -> None:
    with open(tmp_path / "config.json", "wb") as file:
        file.truncate(200_000_000)
    started = time.monotonic()
    with pytest.raises(AirgapError, match=r"config\.json holds 200000000 bytes"):
        _model.read(str(tmp_path))
    assert time.monotonic() - started < 1


def test_what_is_no_model_directory(tmp_path: pathlib.Path) -> None:
    with pytest.raises(AirgapError, match="is not a directory"):
        _model.read(str(tmp_path / "absent"))
    with pytest.raises(AirgapError, match=r"holds no config\.json"):
        _model.read(str(tmp_path))
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(AirgapError, match="not a regular file"):
        _model.read(str(tmp_path))
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").symlink_to("absent")
    with pytest.raises(AirgapError, match="cannot be read"):
        _model.read(str(tmp_path))


def test_a_directory_with_only_a_configuration(tmp_path: pathlib.Path) -> None:
    model = _model.read(write(tmp_path, json.dumps({"num_attention_heads": 8})))
    assert model["architecture"] is None
    assert model["weights"] is None
    assert model["tokenizer"] is False
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    assert _model.read(str(tmp_path))["tokenizer"] is True


KEYS = [
    "architectures", "text_config", "num_attention_heads", "num_key_value_heads", "kv_lora_rank", "hidden_size", "head_dim", "multi_query",
    "attn_config", "kv_n_heads", "vision_config", "num_experts", "vocab_size", "quantization_config", "weight_block_size", "quant_method",
    "intermediate_size", "max_position_embeddings", "torch_dtype", "model_type", "thinker_config", "num_hidden_layers", "layer_types",
    "layers_block_type", "hybrid_override_pattern", "hybrid_layer_pattern", "attn_type_list", "sliding_window", "sliding_window_pattern",
    "no_rope_layers", "attention_chunk_size", "rope_scaling", "rope_parameters", "factor", "rope_type", "block_configs", "attention",
    "n_heads_in_group", "linear_attn_config", "full_attn_layers", "moe_intermediate_size", "first_k_dense_replace", "moe_layer_freq",
    "config_groups", "weights", "group_size", "num_bits", "strategy", "kv_cache_scheme", "ignore", "auto_map", "mamba_n_heads", "state_size",
    "num_kv_shared_layers", "sparse_attention_config", "sparse_attention_freq", "attn_layer_indices", "index_topk", "mlp_only_layers",
]  # fmt: skip
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(1, 64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(
        [
            "fp8",
            "awq",
            "compressed-tensors",
            "mxfp4",
            "llama",
            "qwen2",
            "llama4_text",
            "gemma3",
            "mamba2",
            "full_attention",
            "M*",
        ]
    )
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=15,
)


PUBLISHED = json.loads(
    (pathlib.Path(__file__).parent / "fixtures" / "models" / "published.json").read_text(encoding="utf-8")
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=10), st.sampled_from(PUBLISHED))
def test_any_configuration_is_described_or_refused(changes: dict[str, Any], published: dict[str, Any]) -> None:
    config = {**published["config"], **changes}
    try:
        model = _model.describe(config, "config.json")
    except AirgapError as error:
        assert "config.json" in str(error)
        return
    assert json.loads(json.dumps(model)) == model
    for size in range(1, 20):
        refused = _model.tensor_parallel_refusal(model, size) is not None
        assert refused != (size in model["tensor_parallel_sizes"]) or size > _model.LARGEST_SIZE
        assert all(
            way["tensor_parallel_size"] in model["tensor_parallel_sizes"] for way in _model.alternatives(model, size)
        )
