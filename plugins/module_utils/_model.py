# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a model is, read from its directory, and how it can be split over GPUs."""

from __future__ import annotations

import os
from typing import Any, Iterable

from ansible_collections.airgap.inference.plugins.module_utils import _safetensors
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._json import read_object

CONFIG = "config.json"
MAX_CONFIG = 4 * 1024 * 1024
LARGEST_SIZE = 16

# vLLM pads the vocabulary to a multiple of this before it divides it among the ranks.
VOCABULARY_PADDING = 64

_TEXT_CONFIGS = ("text_config", "llm_config", "language_config", "thinker_config")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
_KV_HEADS = ("n_head_kv", "num_kv_heads", "num_key_value_heads", "num_attention_groups")
_HIDDEN = ("hidden_size", "n_embd", "d_model")
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_INTERMEDIATE = ("intermediate_size", "ffn_hidden_size", "n_inner", "ffn_dim")
_EXPERTS = ("num_experts", "moe_num_experts", "n_routed_experts", "num_local_experts")
_VOCABULARY = ("vocab_size", "padded_vocab_size")
_CONTEXT = (
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length", "max_sequence_length", "max_seq_length", "seq_len",
)  # fmt: skip
_TOKENIZERS = (
    "tokenizer.json", "tokenizer.model", "tokenizer.model.v3", "tekken.json", "tiktoken.model", "spiece.model", "vocab.json", "vocab.txt", "qwen.tiktoken",
)  # fmt: skip
_FALCON = ("falcon", "RefinedWeb", "RefinedWebModel")


def read(directory: str) -> dict[str, Any]:
    """Describe the model in a directory; one that holds only a config.json has everything but its weights."""
    if not os.path.isdir(directory):
        raise AirgapError(f"{directory} is not a directory on this host, so it holds no model")
    path = os.path.join(directory, CONFIG)
    if not os.path.lexists(path):
        raise AirgapError(
            f"{directory} holds no {CONFIG}: it is not a model directory, or the model was not fetched completely"
        )
    model = describe(read_object(path, MAX_CONFIG), path)
    weights = _safetensors.describe(directory)
    model["weights"] = weights if weights["files"] else None
    model["tokenizer"] = any(os.path.isfile(os.path.join(directory, name)) for name in _TOKENIZERS)
    return model


def describe(config: dict[str, Any], path: str) -> dict[str, Any]:
    """What the configuration says; every known spelling of a value is read, and none is guessed."""
    text = _text_config(config, path)
    architecture = _architecture(config, path)
    heads = _number(text, _HEADS, path)
    if not heads:
        raise AirgapError(
            f"{path} states no number of attention heads ({', '.join(_HEADS)}): architecture {architecture or 'without a name'} has "
            "none, or leaves the number to the engine's own defaults"
        )
    latent = _number(text, ("kv_lora_rank",), path) or 0
    hidden = _number(text, _HIDDEN, path)
    model: dict[str, Any] = {
        "architecture": architecture,
        "attention_heads": heads,
        "kv_heads": _kv_heads(text, heads, path),
        "latent_attention": latent > 0,
        "head_size": _head_size(text, heads, hidden, latent, path),
        "hidden_size": hidden,
        "intermediate_size": _number(_uniform(text, _INTERMEDIATE), _INTERMEDIATE, path),
        "experts": _experts(text, path),
        "layers": _number(text, _LAYERS, path),
        "vision_heads": _vision_heads(config, path),
        "context_length": _context_length(text, path),
        "vocabulary_size": _number(text, _VOCABULARY, path),
        "dtype": _dtype(config, text),
        "quantization": _quantization(config, text, path),
    }
    model["tensor_parallel_sizes"] = [size for size in range(1, LARGEST_SIZE + 1) if _obstacle(model, size) is None]
    return model


def tensor_parallel_refusal(model: dict[str, Any], size: int) -> str | None:
    """Why the model cannot be split over this many GPUs, with the sizes that can be had; None when it can."""
    if size < 1:
        return f"Tensor parallel size {size} makes no sense: it is a number of GPUs"
    obstacle = _obstacle(model, size)
    if obstacle is None:
        return None
    heads = f"{model['attention_heads']} attention heads"
    if not model["latent_attention"]:
        heads += f" and {model['kv_heads']} key-value heads"
    valid = ", ".join(str(valid) for valid in model["tensor_parallel_sizes"])
    return f"A model with {heads} cannot be loaded at tensor parallel size {size}: {obstacle}; valid sizes: {valid}"


def _obstacle(model: dict[str, Any], size: int) -> str | None:
    """The rules that vLLM asserts while it loads a model."""
    heads, kv_heads = model["attention_heads"], model["kv_heads"]
    if heads % size:
        return f"{heads} attention heads cannot be divided by {size}"
    if not model["latent_attention"] and kv_heads % size and size % kv_heads:
        return f"{kv_heads} key-value heads can neither be divided by {size} nor be repeated evenly on {size} GPUs"
    if model["vision_heads"] and model["vision_heads"] % size:
        return f"{model['vision_heads']} heads of the vision tower cannot be divided by {size}"
    vocabulary = model["vocabulary_size"]
    if vocabulary:
        padded = -(-vocabulary // VOCABULARY_PADDING) * VOCABULARY_PADDING
        if padded % size:
            return f"a vocabulary of {vocabulary} tokens (padded to {padded}) cannot be divided by {size}"
    # With experts this value often belongs to no layer at all, or is divided among experts.
    intermediate = None if model["experts"] else model["intermediate_size"]
    if intermediate and intermediate % size:
        return f"an intermediate size of {intermediate} cannot be divided by {size}"
    return None


def _text_config(config: dict[str, Any], path: str) -> dict[str, Any]:
    """The part that describes the language model: the top level, or nested in a multimodal model's configuration."""
    part = config
    while True:
        key = next((key for key in _TEXT_CONFIGS if part.get(key) is not None), None)
        if key is None:
            return part
        part = part[key]
        if not isinstance(part, dict):
            raise AirgapError(f"{path}: {key} is {_shown(part)}; an object is needed")


def _architecture(config: dict[str, Any], path: str) -> str | None:
    names = config.get("architectures")
    if names is None or names == []:
        return None
    if not isinstance(names, list) or not isinstance(names[0], str):
        raise AirgapError(f"{path}: architectures is {_shown(names)}; a list of names is needed")
    return names[0]


def _kv_heads(text: dict[str, Any], heads: int, path: str) -> int:
    falcon = text.get("model_type") in _FALCON
    if not (falcon and text.get("new_decoder_architecture")) and text.get("multi_query", falcon) is True:
        return 1
    if text.get("multi_query_attention") is True:
        return _number(text, ("multi_query_group_num",), path) or 1
    attention = text.get("attn_config")
    nested = _number(attention, ("kv_n_heads",), f"{path}: attn_config") if isinstance(attention, dict) else None
    return _number(text, _KV_HEADS, path) or nested or heads


def _head_size(text: dict[str, Any], heads: int, hidden: int | None, latent: int, path: str) -> int | None:
    if latent:
        return latent + (_number(text, ("qk_rope_head_dim",), path) or 0)
    stated = _number(text, ("head_dim", "hidden_size_per_head", "kv_channels", "attention_head_dim"), path)
    return stated or (hidden // heads if hidden else None)


def _vision_heads(config: dict[str, Any], path: str) -> int | None:
    for parent in (config, config.get("thinker_config")):
        vision = parent.get("vision_config") if isinstance(parent, dict) else None
        if isinstance(vision, dict):
            return _number(vision, ("num_attention_heads", "num_heads"), f"{path}: vision_config")
    return None


def _context_length(text: dict[str, Any], path: str) -> int | None:
    lengths = [_number(text, (key,), path) for key in _CONTEXT]
    return min((length for length in lengths if length), default=None)


def _dtype(config: dict[str, Any], text: dict[str, Any]) -> str | None:
    for part in (config, text):
        for key in ("dtype", "torch_dtype"):
            value = part.get(key)
            if isinstance(value, str):
                return value.replace("torch.", "", 1)
    return None


def _quantization(config: dict[str, Any], text: dict[str, Any], path: str) -> dict[str, Any] | None:
    for part in (config, text):
        for key in ("quantization_config", "compression_config"):
            found = part.get(key)
            if found is None:
                continue
            if not isinstance(found, dict):
                raise AirgapError(f"{path}: {key} is {_shown(found)}; an object is needed")
            method = found.get("quant_method")
            block = found.get("weight_block_size")
            return {
                "method": method.lower().replace("_", "-") if isinstance(method, str) else None,
                "bits": found.get("bits") if isinstance(found.get("bits"), int) else None,
                "group_size": found.get("group_size") if isinstance(found.get("group_size"), int) else None,
                "block_size": block if _is_block(block) else None,
            }
    return None


def _experts(text: dict[str, Any], path: str) -> int:
    counts = [text[key] if isinstance(text[key], list) else [text[key]] for key in _EXPERTS if text.get(key)]
    return (
        max((_number({"experts": count}, ("experts",), path) or 0 for count in counts[0]), default=0) if counts else 0
    )


def _uniform(text: dict[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Without the values that are listed layer by layer: no single number stands for those."""
    return {key: text[key] for key in keys if key in text and not isinstance(text[key], list)}


def _is_block(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(side, int) for side in value)


def _number(part: dict[str, Any], keys: Iterable[str], path: str) -> int | None:
    """The first of these values that is stated: a whole number that a model can have."""
    for key in keys:
        value = part.get(key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            raise AirgapError(f"{path}: {key} is {_shown(value)}; one whole number is needed")
        if not 0 <= value <= 2**40:
            raise AirgapError(f"{path}: {key} is {value}, which no model can have")
        if value:
            return value
    return None


def _shown(value: Any) -> str:
    return repr(value)[:100]
