# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The heads of a model, and its layers in groups that are alike: what the engine keeps for a token, and for a sequence."""

from __future__ import annotations

from typing import Any

from ansible_collections.airgap.inference.plugins.module_utils import _model_layers as kinds
from ansible_collections.airgap.inference.plugins.module_utils import _model_values as values
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
KV_HEADS = ("n_head_kv", "num_kv_heads", "num_key_value_heads", "num_attention_groups")
HIDDEN = ("hidden_size", "n_embd", "d_model")
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_FALCON = ("falcon", "RefinedWeb", "RefinedWebModel")
_CACHED = (kinds.FULL, kinds.SLIDING, kinds.CHUNKED, kinds.LATENT)


def heads(text: dict[str, Any], path: str) -> int | None:
    """Attention heads; 0 for a model without attention, whose key of that name counts something else."""
    return 0 if text.get("model_type") in kinds.ATTENTION_FREE else values.number(text, HEADS, path)


def layers(text: dict[str, Any], path: str) -> int | None:
    """The number of layers, which some hybrids state only by naming each of them."""
    listed = text.get("layers_block_type") or text.get("hybrid_override_pattern")
    count = values.number(text, _LAYERS, path) or (len(listed) if isinstance(listed, (list, str)) else None)
    if count and count > values.LARGEST_LAYERS:
        raise AirgapError(f"{path}: {count} layers, which no model can have")
    return count or None


def kv_heads(text: dict[str, Any], attention_heads: int, path: str) -> int:
    """Key-value heads, under all the names that they have."""
    falcon = text.get("model_type") in _FALCON
    if not (falcon and text.get("new_decoder_architecture")) and text.get("multi_query", falcon) is True:
        return 1
    if text.get("multi_query_attention") is True:
        return values.number(text, ("multi_query_group_num",), path) or 1
    attention = text.get("attn_config")
    nested = values.number(attention, ("kv_n_heads",), f"{path}: attn_config") if isinstance(attention, dict) else None
    blocks = _attention_of_blocks(text, values.LARGEST_LAYERS, attention_heads, None, path)
    if blocks:
        return int(blocks[0]["kv_heads"])
    return values.number(text, KV_HEADS, path) or nested or attention_heads


def head_size(text: dict[str, Any], attention_heads: int, path: str) -> int | None:
    """The size of a head; with latent attention, of what is kept for a token."""
    rotary = values.number(text, ("qk_rope_head_dim",), path) or 0
    if kinds.is_latent(text, path):
        return (values.number(text, ("kv_lora_rank",), path) or 0) + rotary
    plain = values.number(text, ("qk_nope_head_dim",), path)
    if plain and values.number(text, ("kv_lora_rank",), path):
        return plain + rotary  # vllm/model_executor/models/minicpm3.py: keys and values at full size
    hidden = values.number(text, HIDDEN, path)
    stated = values.number(text, ("head_dim", "hidden_size_per_head", "kv_channels", "attention_head_dim"), path)
    return stated or (hidden // attention_heads if hidden and attention_heads else None)


def groups(text: dict[str, Any], count: int | None, path: str) -> list[dict[str, Any]] | None:
    """The layers, counted by what they are; None where the configuration does not say, or says it in an unknown way."""
    if not count:
        return None
    all_heads = heads(text, path) or 0
    size = head_size(text, all_heads, path)
    each = _attention_of_blocks(text, count, all_heads, size, path) or _attention(text, count, path)
    if each is None:
        return None
    counted: list[dict[str, Any]] = []
    for layer in each:
        alike = next((group for group in counted if all(group[key] == value for key, value in layer.items())), None)
        if alike is None:
            counted.append({**layer, "layers": 1})
        else:
            alike["layers"] += 1
    return counted


def cached_elements(group: dict[str, Any]) -> int:
    """How many numbers a group keeps for one token, undivided; nothing for layers that keep a state of fixed size."""
    if not group["cached"] or group["kind"] not in _CACHED:
        return 0
    elements: int = group["layers"] * group["kv_heads"] * (group["head_size"] + group["v_head_size"])
    return elements


def _attention(text: dict[str, Any], count: int, path: str) -> list[dict[str, Any]] | None:
    found = kinds.kinds(text, count, path)
    if found is None:
        return None
    # The last layers of Gemma 3n and 4 read what earlier ones keep: vllm/model_executor/models/gemma4.py, num_kv_shared_layers
    if text.get("model_type") in kinds.ENCODERS:
        own = 0
    else:
        own = count - (values.number(text, ("num_kv_shared_layers",), path) or 0)
    shapes = {kind: shape for kind in set(found) for shape in [_shapes(text, kind, path)]}
    sparse = _sparse_layers(text, path)
    each = []
    for index, kind in enumerate(found):
        for shape in shapes[kind]:
            own_key = {"indexer_head_size": sparse[index]} if index in sparse and kind == kinds.FULL else {}
            each.append({**shape, "cached": index < own, **own_key})
    return each


def _shapes(text: dict[str, Any], kind: str, path: str) -> list[dict[str, Any]]:
    """What a layer of this kind consists of."""
    if kind == "none":
        return []
    if kind == "both":
        return _shapes(text, kinds.FULL, path) + _shapes(text, kinds.RECURRENT, path)
    if kind in (kinds.LINEAR, kinds.RECURRENT):
        return [_shape(kind, None, None, None, None, None, _state(text, kind, path))]
    count = heads(text, path) or 0
    size = head_size(text, count, path)
    if not count or not size:
        return []
    if kind == kinds.LATENT:
        return [_shape(kind, None, count, 1, size, 0, None, _indexer(text, path))]
    window = None
    if kind == kinds.SLIDING:
        window = kinds.window(text, path)
        kind = kind if window else kinds.FULL
    elif kind == kinds.CHUNKED:
        window = values.number(text, ("attention_chunk_size",), path)
    shape = _shape(kind, window, count, kv_heads(text, count, path), size, size, None)
    return [{**shape, **_other(text, kind, path)}]


def _shape(
    kind: str, window: int | None, count: int | None, kv: int | None, size: int | None, v_size: int | None,
    state: dict[str, Any] | None, indexer: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    return {
        "kind": kind,
        "window": window,
        "heads": count,
        "kv_heads": kv,
        "head_size": size,
        "v_head_size": v_size,
        "indexer_head_size": indexer,
        "state": state,
        "cached": True,
    }


def _other(text: dict[str, Any], kind: str, path: str) -> dict[str, Any]:
    """Where layers of one kind have heads of their own: MiMo V2, Gemma 4 and Step 3.5, each in vllm/model_executor/models."""
    other: dict[str, int | None] = {}
    if text.get("hybrid_layer_pattern") is not None or text.get("model_type") in ("mimo_v2", "mimo_v2_flash"):
        prefix = "swa_" if kind == kinds.SLIDING else ""
        other = {
            "heads": values.number(text, (f"{prefix}num_attention_heads",), path),
            "kv_heads": values.number(text, (f"{prefix}num_key_value_heads",), path),
            "head_size": values.number(text, (f"{prefix}head_dim",), path),
            "v_head_size": values.number(text, (f"{prefix}v_head_dim", f"{prefix}head_dim"), path),
        }
    elif text.get("model_type") in ("gemma4", "gemma4_text", "gemma4_unified_text") and kind == kinds.FULL:
        size = values.number(text, ("global_head_dim",), path) or 512
        same = text.get("attention_k_eq_v") is not False
        other = {
            "head_size": size,
            "v_head_size": size,
            "kv_heads": values.number(text, ("num_global_key_value_heads",), path) if same else None,
        }
    elif isinstance(text.get("attention_other_setting"), dict) and kind == kinds.SLIDING:
        setting = text["attention_other_setting"]
        if setting.get("attention_type") == "sliding_attention":
            own_size = values.number(setting, ("head_dim",), path)
            other = {
                "heads": values.number(setting, ("num_attention_heads",), path),
                "kv_heads": values.number(setting, ("num_attention_groups",), path),
                "head_size": own_size,
                "v_head_size": own_size,
            }
    return {key: value for key, value in other.items() if value}


def _indexer(text: dict[str, Any], path: str) -> int | None:
    """DeepSeek sparse attention keeps a second, smaller key: vllm/model_executor/models/deepseek_v2.py, index_topk"""
    return values.number(text, ("index_head_dim",), path) if text.get("index_topk") else None


def _sparse_layers(text: dict[str, Any], path: str) -> dict[int, int]:
    """The same of MiniMax M3, for the layers that it names: vllm/models/minimax_m3/common/indexer.py"""
    setting = values.table(text, "sparse_attention_config", path) or {}
    size = values.number(setting, ("sparse_index_dim",), f"{path}: sparse_attention_config")
    flags = values.numbers(setting, "sparse_attention_freq", f"{path}: sparse_attention_config") or []
    return {layer: size for layer, flag in enumerate(flags) if flag} if size else {}


def _state(text: dict[str, Any], kind: str, path: str) -> dict[str, Any] | None:
    """What a layer keeps for a sequence, however long it is: get_mamba_state_shape_from_config of each model in vLLM 0.32."""

    def read(*keys: str) -> int | None:
        return values.number(text, keys, path)

    hidden = read(*HIDDEN) or 0
    delta = values.table(text, "linear_attn_config", path)
    if kind == kinds.LINEAR and read("linear_num_value_heads"):
        return {
            "type": "gated_delta",
            "key_heads": read("linear_num_key_heads"),
            "value_heads": read("linear_num_value_heads"),
            "key_head_size": read("linear_key_head_dim"),
            "value_head_size": read("linear_value_head_dim"),
            "convolution": read("linear_conv_kernel_dim"),
        }
    if kind == kinds.LINEAR and delta:
        where = f"{path}: linear_attn_config"
        return {
            "type": "kda",
            "heads": values.number(delta, ("num_heads",), where),
            "head_size": values.number(delta, ("head_dim",), where),
            "convolution": values.number(delta, ("short_conv_kernel_size",), where),
        }
    if kind == kinds.LINEAR:
        count = heads(text, path) or 0
        return {"type": "lightning", "heads": count, "head_size": head_size(text, count, path)}
    if read("conv_L_cache"):
        return {"type": "short_convolution", "width": read("conv_dim") or hidden, "convolution": read("conv_L_cache")}
    second = read("mamba_n_heads", "n_mamba_heads", "mamba_num_heads")
    if text.get("model_type") == "mamba2":
        second = read("num_heads")
    expand = values.factor(text, "mamba_expand", path) or values.factor(text, "expand", path) or 2
    if second:
        size = read("mamba_d_head", "mamba_headdim", "mamba_head_dim") or read("head_dim")
        width = read("mamba_d_ssm") or int(expand * hidden)
        return {
            "type": "mamba2",
            "width": second * (size or 0) if text.get("model_type") == "nemotron_h" else width,
            "heads": second,
            "head_size": size,
            "groups": read("mamba_n_groups", "mamba_ngroups", "n_groups") or 1,
            "state_size": read("mamba_d_state", "ssm_state_size", "state_size"),
            "convolution": read("mamba_d_conv", "conv_kernel"),
        }
    state_size = read("mamba_d_state", "state_size")
    if not state_size:
        return None
    jamba = text.get("model_type") == "jamba"
    return {
        "type": "mamba1",
        "width": int(expand * hidden) if jamba else read("intermediate_size") or int(expand * hidden),
        "state_size": state_size,
        "convolution": read("mamba_d_conv", "conv_kernel"),
    }


def _attention_of_blocks(
    text: dict[str, Any], limit: int, count: int, size: int | None, path: str
) -> list[dict[str, Any]] | None:
    """Nemotron of Llama: a setting for each block, and some without attention (vllm/model_executor/models/nemotron_nas.py)"""
    blocks = text.get("block_configs")
    if not isinstance(blocks, list) or not blocks or not isinstance(blocks[0], dict) or "attention" not in blocks[0]:
        return None
    each = []
    for block in blocks[:limit]:
        attention = block.get("attention") if isinstance(block, dict) else None
        if not isinstance(attention, dict) or attention.get("no_op") is True:
            continue
        if attention.get("replace_with_linear") is True:
            continue
        share = values.number(attention, ("n_heads_in_group",), f"{path}: block_configs")
        if share and share > count:
            raise AirgapError(f"{path}: block_configs: n_heads_in_group is {share} of {count} heads")
        each.append(_shape(kinds.FULL, None, count, count // share if share else count, size, size, None))
    return each
