# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A GGUF file of the lab says what llama.cpp needs to know."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
from airgap_lab import write_gguf

HIDDEN, HEADS, KV_HEADS, PADDED = 8, 2, 1, 6
TOKENS = ["<|begin|>", "<|end|>", "a", "b"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """What transformers leaves of a model, but for its weights."""
    folder = tmp_path / "model"
    folder.mkdir()
    config = {
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "max_position_embeddings": 64,
        "hidden_size": HIDDEN,
        "num_hidden_layers": 1,
        "intermediate_size": 16,
        "head_dim": HIDDEN // HEADS,
        "rope_parameters": {"rope_theta": 10000.0},
        "rms_norm_eps": 1e-6,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
    }
    added = [{"id": number, "content": TOKENS[number], "special": True} for number in range(2)]
    tokenizer = {
        "added_tokens": added,
        "model": {"vocab": {token: number for number, token in enumerate(TOKENS)}, "merges": [["a", "b"]]},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


def weights() -> write_gguf.Weights:
    """One layer of numbers that tell where they stood."""
    shapes = {
        "model.embed_tokens.weight": (PADDED, HIDDEN),
        "lm_head.weight": (PADDED, HIDDEN),
        "model.norm.weight": (HIDDEN,),
        "model.layers.0.self_attn.q_proj.weight": (HIDDEN, HIDDEN),
        "model.layers.0.self_attn.k_proj.weight": (HIDDEN // 2, HIDDEN),
        "model.layers.0.mlp.down_proj.weight": (HIDDEN, 16),
        "model.layers.0.input_layernorm.weight": (HIDDEN,),
    }
    return {name: np.arange(np.prod(shape), dtype=np.float32).reshape(shape) for name, shape in shapes.items()}


def written(source: Path, tmp_path: Path, purpose: write_gguf.Purpose) -> gguf.GGUFReader:
    """The file, read again."""
    target = tmp_path / "out" / "model.gguf"
    write_gguf.write(source, weights(), target, purpose)
    return gguf.GGUFReader(target)


def test_names_tokens_and_template(source: Path, tmp_path: Path) -> None:
    read = written(source, tmp_path, write_gguf.Purpose("tiny"))
    assert {tensor.name for tensor in read.tensors} == {
        "token_embd.weight",
        "output.weight",
        "output_norm.weight",
        "blk.0.attn_q.weight",
        "blk.0.attn_k.weight",
        "blk.0.ffn_down.weight",
        "blk.0.attn_norm.weight",
    }
    assert read.fields["tokenizer.ggml.tokens"].contents() == TOKENS
    assert read.fields["tokenizer.ggml.merges"].contents() == ["a b"]
    assert read.fields["tokenizer.ggml.token_type"].contents() == [3, 3, 1, 1]
    assert read.fields["tokenizer.chat_template"].contents() == "{{ messages }}"
    assert "llama.pooling_type" not in read.fields


def test_rows_without_a_token_are_left_out_unless_the_file_shall_be_broken(source: Path, tmp_path: Path) -> None:
    for padded, rows in ((False, len(TOKENS)), (True, PADDED)):
        read = written(source, tmp_path, write_gguf.Purpose("tiny", padded=padded))
        embedding = next(tensor for tensor in read.tensors if tensor.name == "token_embd.weight")
        assert list(embedding.shape) == [HIDDEN, rows]


def test_what_rotates_together_stands_together(source: Path, tmp_path: Path) -> None:
    """Four rows a head: 0 and 2 rotate together in transformers, 0 and 1 in llama.cpp."""
    read = written(source, tmp_path, write_gguf.Purpose("tiny"))
    query = next(tensor for tensor in read.tensors if tensor.name == "blk.0.attn_q.weight")
    rows = [int(row[0]) // HIDDEN for row in query.data]
    assert rows == [0, 2, 1, 3, 4, 6, 5, 7]


def test_one_that_embeds_says_how(source: Path, tmp_path: Path) -> None:
    read = written(source, tmp_path, write_gguf.Purpose("tiny", gguf.PoolingType.MEAN))
    assert read.fields["llama.pooling_type"].contents() == gguf.PoolingType.MEAN
