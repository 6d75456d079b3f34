# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import pathlib
import time
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _model
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

CONFIG = {"architectures": ["LlamaForCausalLM"], "num_attention_heads": 8, "hidden_size": 512, "num_hidden_layers": 2}


def write(directory: pathlib.Path, **files: Any) -> str:
    """A model directory; a key's double underscore stands for the dot of a file's name."""
    for name, content in {"config__json": CONFIG, **files}.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (directory / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return str(directory)


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ([], None),
        (["tokenizer.json", "tokenizer.model"], "tokenizers"),
        (["tokenizer.model"], "sentencepiece"),
        (["tekken.json"], "mistral"),
        (["tiktoken.model"], "tiktoken"),
        (["vocab.json", "merges.txt"], "bpe"),
        (["vocab.txt"], "wordpiece"),
        (["tokenizer_config.json"], None),
    ],
    ids=str,
)
def test_tokenizers(tmp_path: pathlib.Path, files: list[str], kind: str | None) -> None:
    for name in files:
        (tmp_path / name).write_text("{}", encoding="utf-8")
    model = _model.read(write(tmp_path))
    assert (model["tokenizer"], model["tokenizer_kind"]) == (kind is not None, kind)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            {"max_length": 4096, "max_new_tokens": 2048, "eos_token_id": [1, 2], "temperature": 0.6},
            {"max_length": 4096, "max_new_tokens": 2048, "eos_token_ids": [1, 2]},
        ),
        ({"eos_token_id": 7}, {"max_length": None, "max_new_tokens": None, "eos_token_ids": [7]}),
        ({}, {"max_length": None, "max_new_tokens": None, "eos_token_ids": []}),
    ],
    ids=str,
)
def test_generation(tmp_path: pathlib.Path, content: dict[str, Any], expected: dict[str, Any]) -> None:
    assert _model.read(write(tmp_path))["generation"] is None
    assert _model.read(write(tmp_path, generation_config__json=content))["generation"] == expected


@pytest.mark.parametrize(
    "content", ["{", '{"max_length": "long"}', '{"eos_token_id": {}}', '{"max_length": NaN}'], ids=str
)
def test_a_broken_generation_file_is_named(tmp_path: pathlib.Path, content: str) -> None:
    with pytest.raises(AirgapError, match=r"generation_config\.json"):
        _model.read(write(tmp_path, generation_config__json=content))


def test_licence(tmp_path: pathlib.Path) -> None:
    assert _model.read(write(tmp_path))["licence"] is None
    assert _model.read(write(tmp_path, LICENSE="Apache License"))["licence"] == "LICENSE"
    assert _model.read(write(tmp_path, README__md="---\nlicense: llama3.1\n---\n# A model"))["licence"] == "llama3.1"


def test_modelopt_in_a_file_of_its_own(tmp_path: pathlib.Path) -> None:
    older = {
        "producer": {"name": "modelopt", "version": "0.23.0"},
        "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]},
    }
    model = _model.read(write(tmp_path, hf_quant_config__json=older))
    assert (model["quantization"]["method"], model["quantization"]["bits"]) == ("modelopt", 8)
    assert model["quantization"]["modules_to_not_convert"] == ["lm_head"]
    assert model["kv_cache_dtype_hint"] == "fp8_e4m3"
    # What the configuration says itself counts more.
    config = {**CONFIG, "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}}
    assert _model.read(write(tmp_path, config__json=config))["quantization"]["method"] == "awq"


def test_remote_code(tmp_path: pathlib.Path) -> None:
    config = {
        **CONFIG,
        "auto_map": {
            "AutoConfig": "configuration_x.X",
            "AutoModel": ["modeling_x.X", "modeling_x.Y", None],
            "AutoTokenizer": 1,
        },
    }
    assert _model.read(write(tmp_path, config__json=config))["remote_code"] == [
        "configuration_x.X",
        "modeling_x.X",
        "modeling_x.Y",
    ]


def test_what_the_class_leaves_to_the_engine() -> None:
    """Gemma 3 4B and LLaVA 1.5 7B, whose nested configurations state neither heads nor, the latter, layers."""
    text = {
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "model_type": "gemma3_text",
        "num_hidden_layers": 34,
        "sliding_window": 1024,
    }
    gemma = _model.describe(
        {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "text_config": text}, "c"
    )
    assert (gemma["attention_heads"], gemma["kv_heads"], gemma["head_size"]) == (8, 4, 256)
    assert [(group["kind"], group["layers"]) for group in gemma["attention"]] == [("sliding", 29), ("full", 5)]
    text = {"model_type": "llama", "vocab_size": 32064, "max_position_embeddings": 4096}
    llava = _model.describe(
        {"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava", "text_config": text}, "c"
    )
    assert (llava["attention_heads"], llava["kv_heads"], llava["layers"], llava["vocabulary_size"]) == (
        32,
        32,
        32,
        32064,
    )
    # A null is stated, and another name of a value is that value.
    assert _model.describe({"model_type": "mixtral", "num_key_value_heads": None}, "c")["kv_heads"] == 32
    assert _model.describe({"model_type": "gpt2", "n_head": 16, "n_embd": 1024}, "c")["attention_heads"] == 16


@pytest.mark.parametrize(
    ("architecture", "known", "unknown"),
    [
        ("LlamaForCausalLM", True, []),
        ("Olmo2ForCausalLM", True, []),
        ("MPTForCausalLM", False, ["the architecture MPTForCausalLM: vLLM 0.32 has it no more, older ones had"]),
        ("MadeUpForCausalLM", False, ["the architecture MadeUpForCausalLM is not among those of vLLM 0.32"]),
        (None, None, ["the configuration names no architecture"]),
    ],
)
def test_architectures(architecture: str | None, known: bool | None, unknown: list[str]) -> None:
    model = _model.describe({**CONFIG, "architectures": [architecture] if architecture else None}, "c")
    assert (model["known_architecture"], model["unknown"]) == (known, unknown)


def test_an_engine_that_does_not_know_the_quantisation() -> None:
    model = _model.describe({**CONFIG, "quantization_config": {"load_in_4bit": True}}, "c")
    assert model["unknown"] == ["how it is quantised: bitsandbytes is none that vLLM 0.32 loads"]


def test_vision() -> None:
    vision = {"num_heads": 16, "depth": 27, "hidden_size": 1152, "model_type": "qwen3_vl"}
    expected = {"heads": 16, "hidden_size": 1152, "layers": 27, "replicated": False}
    assert _model.describe({"text_config": CONFIG, "vision_config": vision}, "c")["vision"] == expected
    assert (
        _model.describe({"thinker_config": {"text_config": CONFIG, "vision_config": vision}}, "c")["vision_heads"] == 16
    )


def test_a_quantisation_of_200_mb_costs_no_memory(tmp_path: pathlib.Path) -> None:
    for name in ("generation_config.json", "hf_quant_config.json"):
        directory = tmp_path / name.split("_", 1)[0]
        directory.mkdir()
        write(directory)
        with open(directory / name, "wb") as file:
            file.truncate(200_000_000)
        started = time.monotonic()
        with pytest.raises(AirgapError, match="holds 200000000 bytes"):
            _model.read(str(directory))
        assert time.monotonic() - started < 1
