# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which kind of attention each layer of a model has, as vLLM 0.32 builds it from the configuration.

Configurations say it in a dozen ways, from a list of all layers to a single number; each function below reads one of them and names the
file of vLLM, or of transformers, whose configuration class vLLM reads, that does the same.
"""

from __future__ import annotations

from typing import Any, Callable

from ansible_collections.airgap.inference.plugins.module_utils import _model_values as values
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

FULL, SLIDING, CHUNKED, LATENT, LINEAR, RECURRENT = "full", "sliding", "chunked", "latent", "linear", "recurrent"
# Both in one layer: a recurrent part and full attention.
_BOTH = "both"
_NONE = "none"

_BY_NAME = {
    "full_attention": FULL, "attention": FULL, "global": FULL, "full": FULL, "*": FULL,
    # Sparse attention still keeps every token: vllm/config/model.py, _ATTENTION_LAYER_TYPES
    "indexed_attention": FULL, "deepseek_sparse_attention": FULL, "qwen_sparse_attention": FULL,
    "sliding_attention": SLIDING, "local": SLIDING,
    "chunked_attention": CHUNKED,
    # Sparse layers of MiniMax M3: all tokens, and a second key: vllm/models/minimax_m3
    "minimax_m3_sparse": FULL,
    "linear_attention": LINEAR,
    "mamba": RECURRENT, "mamba2": RECURRENT, "recurrent": RECURRENT, "conv": RECURRENT, "M": RECURRENT,
    "hybrid": _BOTH,
    "moe": _NONE, "mlp": _NONE, "E": _NONE, "-": _NONE,
}  # fmt: skip

# vllm/transformers_utils/model_arch_config_convertor.py, is_deepseek_mla
LATENT_TYPES = frozenset((
    "axk1", "deepseek_v2", "deepseek_v3", "deepseek_v32", "dots3_note", "deepseek_mtp", "glm5_next", "glm5_next_text", "glm_moe_dsa",
    "glm4_moe_lite", "glm4_moe_lite_mtp", "kimi_k2", "kimi_linear", "longcat_flash", "pangu_ultra_moe", "pangu_ultra_moe_mtp", "bailing_hybrid",
    "bailing_hybrid_mtp", "bailing_hybrid_v3_mtp", "hy_v4", "hy_v4_mtp",
))  # fmt: skip
# Mamba of the first and second kind, without any attention: vllm/model_executor/models/mamba.py and mamba2.py
ATTENTION_FREE = frozenset(("mamba", "mamba2", "falcon_mamba"))
# They read a whole text at once, and keep nothing of it: EncoderOnlyAttention in vllm/model_executor/models/bert.py, roberta.py, modernbert.py
ENCODERS = frozenset(("bert", "roberta", "xlm-roberta", "camembert", "modernbert", "nomic_bert", "new", "gte"))
# Their window is switched by use_sliding_window: transformers, configuration_qwen2.py and its like
_SWITCHED = (
    "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "qwen2_vl", "qwen2_5_vl", "qwen2_vl_text", "qwen2_5_vl_text", "qwen2_audio", "qwen2_5_omni_text",
)  # fmt: skip
# Caches of several shapes in one layer, which are not described by these kinds.
_BEYOND = ("compress_ratios",)


def kinds(text: dict[str, Any], layers: int, path: str) -> list[str] | None:
    """The kind of each layer; None where the configuration has a form that is not known here."""
    if any(text.get(key) for key in _BEYOND):
        return None
    for read in _FORMS:
        found = read(text, layers, path)
        if found is not None:
            return _latent(text, found)
    return _latent(text, [FULL] * layers)


def is_latent(text: dict[str, Any], path: str) -> bool:
    """Whether vLLM keeps the latent vector; a kv_lora_rank alone does not say so (MiniCPM3 has one and full attention)."""
    if not values.number(text, ("kv_lora_rank",), path):
        return False
    model_type = values.text(text, "model_type")
    return model_type is None or model_type in LATENT_TYPES


def window(text: dict[str, Any], path: str) -> int | None:
    """How many tokens a sliding layer keeps."""
    size = values.number(text, ("sliding_window", "sliding_window_size", "window_size", "attention_window_size"), path)
    if size and text.get("model_type") in ("cohere2", "cohere2_moe"):
        return size + 1  # vllm/model_executor/models/commandr.py: the token itself is counted apart
    return size


def _latent(text: dict[str, Any], found: list[str]) -> list[str]:
    return [LATENT if kind == FULL else kind for kind in found] if is_latent(text, "") else found


def _free(text: dict[str, Any], layers: int, _path: str) -> list[str] | None:
    return [RECURRENT] * layers if text.get("model_type") in ATTENTION_FREE else None


def _listed(text: dict[str, Any], layers: int, path: str) -> list[str] | None:
    """A name for each layer; transformers spells them so, and each family of hybrids has its own key besides."""
    for key in ("layer_types", "layers_block_type", "block_types", "_block_types"):
        listed = values.names(text, key, path)
        if listed:
            if len(listed) < layers:
                listed = listed * -(-layers // len(listed)) if key.endswith("block_types") else listed
            return _named(listed, layers, key, path)
    return None


def _pattern(text: dict[str, Any], layers: int, path: str) -> list[str] | None:
    """One letter for each layer: vllm/model_executor/models/nemotron_h.py"""
    pattern = text.get("hybrid_override_pattern")
    if not isinstance(pattern, str) or not pattern:
        return None
    return _named(list(pattern[: values.LARGEST_LAYERS]), layers, "hybrid_override_pattern", path)


def _named(listed: list[str], layers: int, key: str, path: str) -> list[str]:
    if len(listed) < layers:
        raise AirgapError(f"{path}: {key} names {len(listed)} layers of {layers}")
    unknown = sorted({name for name in listed[:layers] if name not in _BY_NAME})
    if unknown:
        raise AirgapError(
            f"{path}: {key} names a kind of layer that is not known here: {values.shown(unknown[0])}. "
            "Whether such a model fits cannot be told"
        )
    return [_BY_NAME[name] for name in listed[:layers]]


def _flags(text: dict[str, Any], layers: int, path: str) -> list[str] | None:
    """1 or 0 for each layer."""
    for key, one, zero in (("attn_type_list", FULL, LINEAR), ("hybrid_layer_pattern", SLIDING, FULL)):
        # vllm/config/model.py, get_num_layers_by_block_type; vllm/model_executor/models/mimo_v2.py
        flags = values.numbers(text, key, path)
        if flags:
            if len(flags) < layers:
                raise AirgapError(f"{path}: {key} speaks of {len(flags)} layers of {layers}")
            return [one if flag == 1 else zero for flag in flags[:layers]]
    return None


def _indices(text: dict[str, Any], layers: int, path: str) -> list[str] | None:
    """The layers with attention by their numbers: Bamba (from 0), Kimi Linear (from 1)."""
    chosen = values.numbers(text, "attn_layer_indices", path)
    if chosen:
        return [FULL if layer in set(chosen) else RECURRENT for layer in range(layers)]
    linear = values.table(text, "linear_attn_config", path) or {}
    chosen = values.numbers(linear, "full_attn_layers", f"{path}: linear_attn_config")
    if chosen:
        return [FULL if layer + 1 in set(chosen) else LINEAR for layer in range(layers)]
    return None


def _periods(text: dict[str, Any], layers: int, path: str) -> list[str] | None:
    """Each n-th layer has attention: transformers, configuration_jamba.py and configuration_qwen3_next.py"""
    period = values.number(text, ("attn_layer_period",), path)
    if period:
        offset = values.number(text, ("attn_layer_offset",), path) or 0
        return [FULL if layer % period == offset else RECURRENT for layer in range(layers)]
    interval = values.number(text, ("full_attention_interval",), path)
    if interval and values.number(text, ("linear_num_value_heads",), path):
        return [LINEAR if (layer + 1) % interval else FULL for layer in range(layers)]
    return None


def _side_by_side(text: dict[str, Any], layers: int, _path: str) -> list[str] | None:
    """vllm/model_executor/models/falcon_h1.py: both in every layer"""
    return [_BOTH] * layers if text.get("model_type") == "falcon_h1" else None


def _chunks(text: dict[str, Any], layers: int, path: str) -> list[str] | None:
    """vllm/model_executor/models/llama4.py: chunks, and every fourth layer without positions sees everything"""
    if text.get("model_type") not in ("llama4", "llama4_text"):
        return None
    chunked = CHUNKED if values.number(text, ("attention_chunk_size",), path) else FULL
    flags = values.numbers(text, "no_rope_layers", path)
    if flags and len(flags) < layers:
        raise AirgapError(f"{path}: no_rope_layers speaks of {len(flags)} layers of {layers}")
    every = values.number(text, ("no_rope_layer_interval",), path) or 4
    return [chunked if (flags[layer] if flags else (layer + 1) % every) else FULL for layer in range(layers)]


def _interleaved(text: dict[str, Any], layers: int, path: str) -> list[str] | None:
    """Every n-th layer sees everything: transformers, configuration_gemma2.py, _gemma3.py, _cohere2.py, _exaone4.py, _gpt_oss.py"""
    if not window(text, path):
        return None
    pattern = text.get("sliding_window_pattern", text.get("_sliding_window_pattern"))
    if isinstance(pattern, str) and pattern and not set(pattern) - {"L", "G"}:
        return [SLIDING if pattern[layer % len(pattern)] == "L" else FULL for layer in range(layers)]
    every = (
        None
        if isinstance(pattern, str)
        else values.number({"sliding_window_pattern": pattern}, ("sliding_window_pattern",), path)
    )
    every = every or _EVERY.get(text.get("model_type") or "")
    return [SLIDING if (layer + 1) % every else FULL for layer in range(layers)] if every else None


_EVERY = {
    "gemma2": 2, "gemma3": 6, "gemma3_text": 6, "gemma3n": 5, "gemma3n_text": 5, "gemma4": 6, "gemma4_text": 6, "cohere2": 4, "cohere2_moe": 4,
    "gpt_oss": 2, "olmo3": 4, "vaultgemma": 2,
}  # fmt: skip


def _switched(text: dict[str, Any], layers: int, path: str) -> list[str] | None:
    """transformers, configuration_qwen2.py: a window only where it is switched on, from a layer on"""
    if text.get("model_type") not in _SWITCHED:
        return None
    size = values.number(text, ("sliding_window",), path)
    if text.get("use_sliding_window") is not True or not size:
        return [FULL] * layers
    first = values.number(text, ("max_window_layers",), path) or 0
    return [SLIDING if layer >= first else FULL for layer in range(layers)]


def _everywhere(text: dict[str, Any], layers: int, path: str) -> list[str] | None:
    """vllm/engine/arg_utils.py: a window without a word on layers is the window of all"""
    if text.get("use_sliding_window") is False or not values.number(text, ("sliding_window",), path):
        return None
    return [SLIDING] * layers


_FORMS: tuple[Callable[[dict[str, Any], int, str], list[str] | None], ...] = (
    _free, _listed, _pattern, _flags, _indices, _periods, _side_by_side, _chunks, _switched, _interleaved, _everywhere,
)  # fmt: skip
