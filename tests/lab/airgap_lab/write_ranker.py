# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes a reranker as one GGUF file: BERT with a head that gives a pair of texts one score, as published ones are. Random weights.

Its tokenizer is that of a folder which transformers wrote. Runs beside write_models.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np

from airgap_lab import write_gguf

# Heads of 64.
HIDDEN, HEADS, LAYERS = 128, 2, 2
CONTEXT = 512
# Normal values of this width: with transformers' own 0.02 all pairs of texts would have nearly the same score.
WIDTH = 0.2
# Of a layer: what comes out, what goes in.
MATRICES = {
    "attn_q": (HIDDEN, HIDDEN),
    "attn_k": (HIDDEN, HIDDEN),
    "attn_v": (HIDDEN, HIDDEN),
    "attn_output": (HIDDEN, HIDDEN),
    "ffn_up": (2 * HIDDEN, HIDDEN),
    "ffn_down": (HIDDEN, 2 * HIDDEN),
}
# llama.cpp adds these to vectors of full precision, and cannot add what has less.
ADDED = ("token_types", "position_embd")
EMBEDDINGS = ("token_embd", *ADDED)
NORMS = ("attn_output_norm", "layer_output_norm")


def _shapes(tokens: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every matrix and norm, by the name that llama.cpp looks for; each but the embeddings has a bias."""
    yield "token_embd", (tokens, HIDDEN)
    yield "token_types", (2, HIDDEN)
    yield "position_embd", (CONTEXT, HIDDEN)
    yield "token_embd_norm", (HIDDEN,)
    for layer in range(LAYERS):
        for name, shape in MATRICES.items():
            yield f"blk.{layer}.{name}", shape
        for name in NORMS:
            yield f"blk.{layer}.{name}", (HIDDEN,)
    yield "cls", (HIDDEN, HIDDEN)
    yield "cls.output", (1, HIDDEN)


def write(source: Path, target: Path) -> None:
    """With the tokenizer of source."""
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    target.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(target, "bert")
    writer.add_name(target.parent.name)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(MATRICES["ffn_up"][0])
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.RANK)
    tokens = write_gguf.tokenizer(writer, source)
    writer.add_vocab_size(tokens)
    writer.add_token_type_count(2)
    # A pair is: begin, query, end, separator, document, end.
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_sep_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(True)
    chance = np.random.default_rng(0)
    for name, shape in _shapes(tokens):
        norm = len(shape) == 1
        values = np.ones(shape) if norm else chance.normal(0, WIDTH, shape)
        writer.add_tensor(f"{name}.weight", values.astype(np.float32 if norm or name in ADDED else np.float16))
        if name not in EMBEDDINGS:
            writer.add_tensor(f"{name}.bias", np.zeros(shape[:1], np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
