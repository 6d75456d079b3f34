# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a model is, read from its directory, and how it can be split over GPUs."""

from __future__ import annotations

import os
from typing import Any, Iterable

from ansible_collections.airgap.inference.plugins.module_utils import (
    _gguf_header,
    _model_architectures,
    _model_attention,
    _model_context,
    _model_defaults,
    _model_gguf,
    _model_layers,
    _model_papers,
    _model_parameters,
    _model_quantization,
    _model_split,
    _safetensors,
)
from ansible_collections.airgap.inference.plugins.module_utils import _model_values as values
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._json import read_object

CONFIG = "config.json"
MAX_CONFIG = 4 * 1024 * 1024
LARGEST_SIZE = _model_split.LARGEST_SIZE
VOCABULARY_PADDING = _model_split.VOCABULARY_PADDING

tensor_parallel_refusal = _model_split.refusal
alternatives = _model_split.alternatives
proposal = _model_split.proposal

_TEXT_CONFIGS = ("text_config", "llm_config", "language_config", "thinker_config")
_INTERMEDIATE = ("intermediate_size", "ffn_hidden_size", "n_inner", "ffn_dim")
_EXPERTS = ("num_experts", "moe_num_experts", "n_routed_experts", "num_local_experts", "num_moe_experts")
_PER_TOKEN = ("num_experts_per_tok", "num_experts_per_token", "top_k_experts", "moe_topk", "moe_top_k", "moe_k")
_SHARED = ("n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts")
_VOCABULARY = ("vocab_size", "padded_vocab_size")
# Their experts have the width that dense layers have elsewhere.
_WIDE_EXPERTS = (
    "mixtral",
    "olmoe",
    "phimoe",
    "gpt_oss",
    "jamba",
    "minimax_m2",
    "granitemoe",
    "granitemoehybrid",
    "llama4_text",
    "llama4",
)

_LAYERS_UNKNOWN = "what its layers keep for a token: the configuration states it in no form that is known here"


def read(directory: str, complete: bool = True) -> dict[str, Any]:
    """Describe the model in a directory; one that holds only a config.json has everything but its weights.

    Weights that the index names and that are missing are an error unless the model need not be complete.
    """
    if not os.path.isdir(directory):
        raise AirgapError(f"{directory} is not a directory on this host, so it holds no model")
    path = os.path.join(directory, CONFIG)
    parts = _gguf_header.files(directory)
    if parts and (not os.path.lexists(path) or not _safetensors.present(directory)):
        return _read_gguf(directory, parts, complete)
    if not os.path.lexists(path):
        raise AirgapError(
            f"{directory} holds no {CONFIG}: it is not a model directory, or the model was not fetched completely"
        )
    config = read_object(path, MAX_CONFIG)
    model = describe(_model_papers.with_quantization(directory, config), path)
    weights = _safetensors.read(directory, complete)
    model["weights"] = _weights(weights, model["quantization"]) if weights.files else None
    model["format"] = "safetensors" if model["weights"] else None
    if model["dtype"] is None:
        model["dtype"] = _stored_dtype(weights.bytes_by_dtype)
        model["engine_dtype"] = _engine_dtype(model["dtype"])
    model.update(_model_papers.describe(directory))
    return model


def tensors(directory: str) -> dict[str, _safetensors.Tensor]:
    """Every tensor of the model's weights, for those who need to know which of them is divided."""
    parts = _gguf_header.files(directory)
    if parts and not _safetensors.present(directory):
        return _gguf_header.read(directory, parts, False)[1].tensors
    return _safetensors.read(directory, False).tensors


def _read_gguf(directory: str, parts: list[str], complete: bool) -> dict[str, Any]:
    metadata, weights = _gguf_header.read(directory, parts, complete)
    path = os.path.join(directory, parts[0])
    model = describe(_model_gguf.config(metadata, weights, path), path, complete=False)
    model.update(_model_papers.describe(directory))
    model.update({key: value for key, value in _model_gguf.describe(metadata).items() if value is not None})
    model["weights"] = {**_safetensors.summary(weights), "parameters": weights.elements}
    model.update(format="gguf", known_architecture=None)
    model["unknown"] = [
        f"whether the engine loads GGUF: {_model_quantization.ENGINE} does not, llama.cpp and its like do"
    ]
    if model["attention"] is None:
        model["unknown"].append(_LAYERS_UNKNOWN)
    return model


def describe(config: dict[str, Any], path: str, complete: bool = True) -> dict[str, Any]:
    """What the configuration says, completed as its class does; every known spelling of a value is read, and none is guessed."""
    stated = _text_config(config, path)
    text = _model_defaults.complete(stated) if complete else stated
    architecture = _architecture(config, path)
    heads = _model_attention.heads(text, path)
    if heads is None:
        raise AirgapError(
            f"{path} states no number of attention heads ({', '.join(_model_attention.HEADS)}): architecture "
            f"{architecture or 'without a name'} has none, or leaves the number to the engine's own defaults"
        )
    layers = _model_attention.layers(text, path)
    experts = _experts(text, path)
    vision = _vision(config, path)
    context = _model_context.read(text, path)
    found = _model_quantization.find(config, text, path)
    # What an encoder keeps for its decoder goes by rules of its own.
    attention = None if config.get("is_encoder_decoder") is True else _model_attention.groups(text, layers, path)
    model: dict[str, Any] = {
        "architecture": architecture,
        "known_architecture": _model_architectures.known(architecture),
        "model_type": values.text(text, "model_type"),
        "attention_heads": heads,
        "kv_heads": _model_attention.kv_heads(text, heads, path) if heads else 0,
        "latent_attention": _model_layers.is_latent(text, path),
        "head_size": _model_attention.head_size(text, heads, path),
        "v_head_size": values.number(text, ("v_head_dim",), path),
        "hidden_size": values.number(text, _model_attention.HIDDEN, path),
        "intermediate_size": values.number(_uniform(text, _INTERMEDIATE), _INTERMEDIATE, path),
        "experts": experts,
        "experts_shared": _count(text, _SHARED, path) or 0,
        "experts_per_token": _count(text, _PER_TOKEN, path) or 0,
        "moe_intermediate_size": _expert_width(text, path) if experts else None,
        "shared_intermediate_size": _shared_width(text, experts, path),
        "dense_layers": _dense_layers(text, layers, path) if experts else layers,
        "layers": layers,
        "attention": attention,
        "vision": vision,
        "vision_heads": vision["heads"] if vision else None,
        "context_length": context.stated,
        "context_length_scaled": context.default,
        "context_length_max": context.largest,
        "rope_scaling": context.scaling,
        "sliding_window": _model_layers.window(text, path),
        "vocabulary_size": values.number(text, _VOCABULARY, path),
        "tied_embeddings": _tied(config, text),
        "dtype": _dtype(config, text),
        "quantization": _model_quantization.describe(found, path),
        "remote_code": _remote_code(config),
    }
    model["kv_cache_dtype_hint"] = _model_quantization.cache_dtype(model["quantization"])
    model["engine_dtype"] = _engine_dtype(model["dtype"])
    model["kv_cache_bytes_per_token"] = _cached(attention)
    model["unknown"] = _unknown(model)
    model["tensor_parallel_sizes"] = _model_split.sizes(model)
    return model


def _weights(found: _safetensors.Weights, quantization: dict[str, Any] | None) -> dict[str, Any]:
    return {**_safetensors.summary(found), "parameters": _model_parameters.count(found.tensors, quantization)}


def _engine_dtype(dtype: str | None) -> str:
    """In which type vLLM computes by itself: config/model.py, _resolve_auto_dtype, makes bfloat16 of float32 and of nothing."""
    return "float16" if dtype in ("float16", "half") else "bfloat16"


def _stored_dtype(by_dtype: dict[str, int]) -> str | None:
    """The type of the weights where the configuration has none: model_arch_config_convertor.py, get_torch_dtype"""
    stored = [
        name for header, name in (("F32", "float32"), ("BF16", "bfloat16"), ("F16", "float16")) if header in by_dtype
    ]
    return "float32" if len(stored) > 1 else stored[0] if stored else None


def _cached(attention: list[dict[str, Any]] | None) -> int | None:
    """Both types in which vLLM computes have two bytes."""
    return None if attention is None else 2 * sum(_model_attention.cached_elements(group) for group in attention)


def _unknown(model: dict[str, Any]) -> list[str]:
    """What the answers leave open, in words for a person."""
    unknown = []
    if _model_architectures.gone(model["architecture"]):
        unknown.append(
            f"the architecture {model['architecture']}: {_model_architectures.SOURCE} has it no more, older ones had"
        )
    elif model["known_architecture"] is False:
        unknown.append(f"the architecture {model['architecture']} is not among those of {_model_architectures.SOURCE}")
    if model["known_architecture"] is None:
        unknown.append("the configuration names no architecture")
    if model["attention"] is None:
        unknown.append(_LAYERS_UNKNOWN)
    quantization = model["quantization"]
    if quantization and not quantization["engine_support"]:
        unknown.append(
            f"how it is quantised: {quantization['method'] or 'no method'} is none that {_model_quantization.ENGINE} loads"
        )
    return unknown


def _text_config(config: dict[str, Any], path: str) -> dict[str, Any]:
    """The part that describes the language model: the top level, or nested in a multimodal model's configuration."""
    part = config
    while True:
        key = next((key for key in _TEXT_CONFIGS if part.get(key) is not None), None)
        if key is None:
            if not isinstance(part.get("model_type", ""), str):
                raise AirgapError(f"{path}: model_type is {values.shown(part['model_type'])}; a name is needed")
            return part
        part = values.table(part, key, path) or {}


def _architecture(config: dict[str, Any], path: str) -> str | None:
    names = values.names(config, "architectures", path)
    return names[0][:200] if names else None


def _vision(config: dict[str, Any], path: str) -> dict[str, Any] | None:
    for parent in (config, config.get("thinker_config")):
        vision = parent.get("vision_config") if isinstance(parent, dict) else None
        if isinstance(vision, dict):
            where = f"{path}: vision_config"
            kind = values.text(vision, "model_type") or ""
            return {
                "heads": values.number(vision, ("num_attention_heads", "num_heads"), where),
                "hidden_size": values.number(vision, ("hidden_size", "embed_dim", "width"), where),
                "layers": _count(vision, ("num_hidden_layers", "depth", "layers"), where),
                "replicated": kind.startswith("intern"),
            }
    return None


def _dtype(config: dict[str, Any], text: dict[str, Any]) -> str | None:
    for part in (config, text):
        for key in ("dtype", "torch_dtype"):
            value = part.get(key)
            if isinstance(value, str):
                return value.replace("torch.", "", 1)[:50]
    return None


def _tied(config: dict[str, Any], text: dict[str, Any]) -> bool | None:
    for part in (config, text):
        if isinstance(part.get("tie_word_embeddings"), bool):
            return bool(part["tie_word_embeddings"])
    return None


def _remote_code(config: dict[str, Any]) -> list[str]:
    """Classes of the model's own that its files ask the engine to run."""
    found = config.get("auto_map")
    if not isinstance(found, dict):
        return []
    listed = [value for item in found.values() for value in (item if isinstance(item, list) else [item])]
    return sorted({value[:200] for value in listed[:100] if isinstance(value, str)})


def _experts(text: dict[str, Any], path: str) -> int:
    counts = [text[key] if isinstance(text[key], list) else [text[key]] for key in _EXPERTS if text.get(key)]
    nested = text.get("ffn_config")
    if not counts and isinstance(nested, dict):
        return values.number(nested, ("moe_num_experts",), f"{path}: ffn_config") or 0
    if not counts:
        return 0
    return max((values.number({"experts": count}, ("experts",), path) or 0 for count in counts[0]), default=0)


def _expert_width(text: dict[str, Any], path: str) -> int | None:
    nested = text.get("ffn_config")
    if isinstance(nested, dict):
        return values.number(nested, ("ffn_hidden_size",), f"{path}: ffn_config")
    stated = _count(text, ("moe_intermediate_size", "expert_ffn_hidden_size", "moe_ffn_hidden_size"), path)
    if stated is None and text.get("model_type") in _WIDE_EXPERTS:
        return _count(text, ("intermediate_size",), path)
    return stated


def _shared_width(text: dict[str, Any], experts: int, path: str) -> int | None:
    """The width of the experts that every token takes, which are one layer like a dense one."""
    if not experts:
        return None
    stated = _count(text, ("shared_expert_intermediate_size", "shared_intermediate_size", "share_expert_dim"), path)
    shared, width = _count(text, _SHARED, path), _expert_width(text, path)
    return stated or (shared * width if shared and width else None)


def _dense_layers(text: dict[str, Any], layers: int | None, path: str) -> int | None:
    """How many layers of a model with experts have none: DeepSeek's first ones, Qwen's listed ones, every second of Llama 4."""
    flags = text.get("moe_layer_freq")
    if isinstance(flags, list):
        return sum(1 for flag in (values.numbers(text, "moe_layer_freq", path) or [])[: layers or 0] if flag == 0)
    kinds = text.get("mlp_layer_types")
    if isinstance(kinds, list):
        return sum(1 for kind in (values.names(text, "mlp_layer_types", path) or [])[: layers or 0] if kind == "dense")
    first = values.number(text, ("first_k_dense_replace", "num_dense_layers"), path)
    if first:
        return first
    listed = values.numbers(text, "mlp_only_layers", path)
    step = values.number(text, ("decoder_sparse_step", "interleave_moe_layer_step"), path) or 1
    return len(listed or []) + (layers - layers // step if layers and step > 1 else 0)


def _count(part: dict[str, Any], keys: Iterable[str], path: str) -> int | None:
    """A number, or the largest of those that are listed layer by layer."""
    for key in keys:
        value = part.get(key)
        if isinstance(value, list):
            listed = [values.number({key: item}, (key,), path) or 0 for item in value[: values.LARGEST_LAYERS]]
            return max(listed, default=0) or None
        found = values.number(part, (key,), path)
        if found:
            return found
    return None


def _uniform(text: dict[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Without the values that are listed layer by layer: no single number stands for those."""
    return {key: text[key] for key in keys if key in text and not isinstance(text[key], list)}
