# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes a model of the Llama architecture as one GGUF file for llama.cpp. Runs beside write_models.py.

llama.cpp's own converter knows published tokenizers only, by a hash; this one writes what it would.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import gguf
import numpy as np
from numpy.typing import NDArray

Weights = dict[str, NDArray[np.float32]]

# Names of transformers and of GGUF: https://github.com/ggml-org/llama.cpp/blob/master/gguf-py/gguf/tensor_mapping.py
WHOLE = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
BY_TOKEN = (WHOLE["model.embed_tokens.weight"], WHOLE["lm_head.weight"])
OF_A_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


class Purpose(NamedTuple):
    """What a file is for: to talk, or with pooling to make one vector of a text."""

    name: str
    pooling: gguf.PoolingType | None = None
    #: Rows for tokens that there are not: llama.cpp refuses such a file when it loads it.
    padded: bool = False


def _tensor_name(name: str) -> str:
    if name in WHOLE:
        return WHOLE[name]
    _model, _layers, number, rest = name.split(".", 3)
    return f"blk.{number}.{OF_A_LAYER[rest.removesuffix('.weight')]}.weight"


def _turned(weights: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """The halves of a head that rotate together are neighbours in GGUF."""
    rows, columns = weights.shape
    return weights.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _tensors(weights: Weights, heads: int, kv_heads: int) -> Weights:
    turned = {"self_attn.q_proj.weight": heads, "self_attn.k_proj.weight": kv_heads}
    tensors = {}
    for name, values in weights.items():
        rotating = next((count for end, count in turned.items() if name.endswith(end)), None)
        tensors[_tensor_name(name)] = values if rotating is None else _turned(values, rotating)
    return tensors


def tokenizer(writer: gguf.GGUFWriter, folder: Path) -> int:
    """Returns how many tokens there are."""
    described = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    special = {token["content"] for token in described["added_tokens"] if token["special"]}
    numbers = described["model"]["vocab"] | {token["content"]: token["id"] for token in described["added_tokens"]}
    tokens = sorted(numbers, key=lambda token: int(numbers[token]))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in tokens])
    merges = described["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_chat_template((folder / "chat_template.jinja").read_text(encoding="utf-8"))
    return len(tokens)


def write(source: Path, weights: Weights, target: Path, purpose: Purpose) -> None:
    """From a folder that transformers wrote, and its weights."""
    config: dict[str, Any] = json.loads((source / "config.json").read_text(encoding="utf-8"))
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    target.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(target, "llama")
    writer.add_name(purpose.name)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    if purpose.pooling is not None:
        writer.add_pooling_type(purpose.pooling)
    tokens = tokenizer(writer, source)
    writer.add_vocab_size(tokens)
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    # The chat template begins with it already.
    writer.add_add_bos_token(purpose.pooling is not None)
    for name, values in _tensors(weights, heads, kv_heads).items():
        # A vocabulary is padded for GPUs; llama.cpp wants the tokens that there are. Norms keep their precision.
        kept = values[:tokens] if name in BY_TOKEN and not purpose.padded else values
        writer.add_tensor(name, kept.astype(np.float32 if values.ndim == 1 else np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
