# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Over how many GPUs a model can be split, and what stands in the way.

vLLM's check of the configuration asks only for the attention heads; everything else below stops it while it loads. Each rule names the place
in vLLM 0.32 that asserts it.
"""

from __future__ import annotations

import math
from functools import reduce
from typing import Any, Iterator

LARGEST_SIZE = 16
# vLLM pads the vocabulary to a multiple of this before it divides it among the ranks: layers/vocab_parallel_embedding.py
VOCABULARY_PADDING = 64
# The finest grid to which the scales of FP8 experts are refined: layers/fused_moe/oracle/fp8.py, refine_fp8_moe_block_shape
_FINEST_BLOCK = 32
# The smallest group to which AWQ and GPTQ experts are cut: layers/quantization/moe_wna16.py
_SMALLEST_GROUP = 32
_AWQ_AND_GPTQ = ("awq", "auto_awq", "awq_marlin", "gptq", "auto_gptq", "gptq_marlin", "moe_wna16")
_GROUPED = (*_AWQ_AND_GPTQ, "compressed-tensors")


def sizes(model: dict[str, Any]) -> list[int]:
    """The sizes at which the model loads."""
    return [size for size in range(1, LARGEST_SIZE + 1) if not obstacles(model, size)]


def refusal(model: dict[str, Any], size: int) -> str | None:
    """Why the model cannot be split over this many GPUs, with the sizes that can be had; None when it can."""
    if size < 1:
        return f"Tensor parallel size {size} makes no sense: it is a number of GPUs"
    found = obstacles(model, size)
    if not found:
        return None
    heads = f"{model['attention_heads']} attention heads"
    if not model["latent_attention"]:
        heads += f" and {model['kv_heads']} key-value heads"
    valid = ", ".join(str(valid) for valid in model["tensor_parallel_sizes"]) or "none"
    return f"A model with {heads} cannot be loaded at tensor parallel size {size}: {'; '.join(found)}; valid sizes: {valid}"


def alternatives(model: dict[str, Any], gpus: int) -> list[dict[str, int]]:
    """The other ways to put this many GPUs to use, those first that keep most of a layer's work divided.

    Pipeline stages need not be equal: vllm/distributed/utils.py, get_pp_indices, gives each of them at least one layer. Replicas each hold the
    whole model that their GPUs divide.
    """
    if gpus < 1:
        return []
    found = []
    for size in sorted((size for size in model["tensor_parallel_sizes"] if gpus % size == 0), reverse=True):
        rest = gpus // size
        if rest == 1:
            found.append({"tensor_parallel_size": size, "pipeline_parallel_size": 1, "data_parallel_size": 1})
            continue
        if (model["layers"] or 0) >= rest:
            found.append({"tensor_parallel_size": size, "pipeline_parallel_size": rest, "data_parallel_size": 1})
        found.append({"tensor_parallel_size": size, "pipeline_parallel_size": 1, "data_parallel_size": rest})
    return found


def proposal(model: dict[str, Any], gpus: int) -> str:
    """The same for a person, with the options of vLLM; empty where nothing fits."""
    ways = []
    for way in alternatives(model, gpus)[:3]:
        stated = [f"{key} {value}" for key, value in way.items() if value > 1 or key == "tensor_parallel_size"]
        ways.append(" with ".join([stated[0], " and ".join(stated[1:])] if stated[1:] else stated))
    return f"Ways to use {gpus} GPUs: {'; or '.join(ways)}" if ways else ""


def obstacles(model: dict[str, Any], size: int) -> list[str]:
    """Everything that this size cannot divide."""
    return [*_heads(model, size), *_states(model, size), *_sizes(model, size), *_quantised(model, size)]


def _heads(model: dict[str, Any], size: int) -> Iterator[str]:
    heads, kv_heads = model["attention_heads"], model["kv_heads"]
    # config/model.py, verify_with_parallel_config
    if heads % size:
        yield f"{heads} attention heads cannot be divided by {size}"
    # models/llama.py and every model like it; those with latent attention keep one vector for all heads
    if not model["latent_attention"] and _uneven(kv_heads, size):
        yield f"{kv_heads} key-value heads can neither be divided by {size} nor be repeated evenly on {size} GPUs"
    for group in model["attention"] or []:
        if (
            group["kind"] == "latent"
            or group["heads"] is None
            or (group["heads"], group["kv_heads"]) == (heads, kv_heads)
        ):
            continue
        which = f"of its {group['layers']} {group['kind']} layers"
        if group["heads"] != heads and group["heads"] % size:
            yield f"{group['heads']} attention heads {which} cannot be divided by {size}"
        if group["kv_heads"] != kv_heads and _uneven(group["kv_heads"], size):
            yield f"{group['kv_heads']} key-value heads {which} can neither be divided by {size} nor be repeated evenly"
    vision = model["vision"]
    # models/siglip.py, clip.py, pixtral.py, qwen2_vl.py; models/intern_vit.py keeps an uneven tower whole on each GPU
    if vision and vision["heads"] and vision["heads"] % size and not vision["replicated"]:
        yield f"{vision['heads']} heads of the vision tower cannot be divided by {size}"


def _uneven(kv_heads: int, size: int) -> bool:
    return bool(kv_heads) and bool(kv_heads % size) and bool(size % kv_heads)


def _states(model: dict[str, Any], size: int) -> Iterator[str]:
    """Layers that keep a state: layers/mamba/mamba_mixer2.py, mamba_utils.py, linear_attn.py"""
    for group in model["attention"] or []:
        state = group["state"]
        if not state:
            continue
        for key, name in _DIVIDED[state["type"]]:
            if state.get(key) and state[key] % size:
                yield f"{state[key]} {name} cannot be divided by {size}"
        if state["type"] == "mamba2" and state["groups"] != 1 and state["groups"] % size:
            yield f"{state['groups']} groups of its recurrent layers are neither one nor can they be divided by {size}"


_DIVIDED: dict[str, tuple[tuple[str, str], ...]] = {
    "gated_delta": (("key_heads", "key heads of its linear layers"), ("value_heads", "value heads of its linear layers")),
    "kda": (("heads", "heads of its linear layers"),),
    "lightning": (("heads", "heads of its linear layers"),),
    "short_convolution": (("width", "channels of its convolution layers"),),
    "mamba1": (("width", "channels of its recurrent layers"),),
    "mamba2": (("heads", "heads of its recurrent layers"),),
}  # fmt: skip


def _sizes(model: dict[str, Any], size: int) -> Iterator[str]:
    vocabulary = model["vocabulary_size"]
    if vocabulary:
        padded = -(-vocabulary // VOCABULARY_PADDING) * VOCABULARY_PADDING
        if padded % size:
            yield f"a vocabulary of {vocabulary} tokens (padded to {padded}) cannot be divided by {size}"
    # With experts in all layers this value belongs to none.
    intermediate = model["intermediate_size"] if _has_dense(model) else None
    if intermediate and intermediate % size:
        yield f"an intermediate size of {intermediate} cannot be divided by {size}"
    # layers/fused_moe/config.py, FusedMoEConfig.__post_init__
    expert = model["moe_intermediate_size"]
    if expert and expert % size:
        yield f"an intermediate size of {expert} of its experts cannot be divided by {size}"


def _quantised(model: dict[str, Any], size: int) -> Iterator[str]:
    quantization = model["quantization"]
    if not quantization or any(map(bool, _heads(model, size))) or any(map(bool, _sizes(model, size))):
        return
    if quantization["block_size"]:
        yield from _blocks(model, quantization, size)
    elif quantization["method"] in _GROUPED and (quantization["group_size"] or 0) > 0:
        yield from _groups(model, quantization, size)


def _blocks(model: dict[str, Any], quantization: dict[str, Any], size: int) -> Iterator[str]:
    """layers/quantization/utils/fp8_utils.py, validate_fp8_block_shape and validate_fp8_block_shape_moe

    Merged columns of the method fp8 may end inside a block: layers/linear.py, _maybe_allow_fp8_block_shape_mismatch.
    """
    rows, columns = quantization["block_size"]
    shards = _shards(model, size)
    merged = (("query", "queries"), ("key", "keys and values"), ("down", "feed-forward part"))
    for part, name in () if quantization["method"] == "fp8" else merged:
        width = shards.get(part)
        if width and width % rows and not _left_out(model, _NAMES[part]):
            yield f"{width} columns of its {name} on each of {size} GPUs are no multiple of the quantisation's block of {rows}"
    for part, name in _ROWS:
        width = shards.get(part)
        if size > 1 and width and width % columns and not _left_out(model, _NAMES[part]):
            yield f"{width} rows of its {name} on each of {size} GPUs are no multiple of the quantisation's block of {columns}"
    expert = shards.get("expert")
    if not expert or _left_out(model, _NAMES["expert"]):
        return
    if expert % rows or (size > 1 and expert % columns):
        # Only the method fp8 refines the scales; compressed-tensors asks for whole blocks.
        finest = reduce(math.gcd, (rows, columns, expert, model["hidden_size"] or 0))
        if quantization["method"] != "fp8" or finest < _FINEST_BLOCK:
            yield f"{expert} columns of each expert on each of {size} GPUs are no multiple of the quantisation's block of {rows}"


def _groups(model: dict[str, Any], quantization: dict[str, Any], size: int) -> Iterator[str]:
    """kernels/linear/mixed_precision/marlin.py, distributed/utils.py (verify_group_size_divides_partition), quantization/moe_wna16.py"""
    group = quantization["group_size"]
    shards = _shards(model, size)
    for part, name in _ROWS:
        width = shards.get(part)
        if width and width * size > group and width % group and not _left_out(model, _NAMES[part]):
            yield f"{width} rows of its {name} on each of {size} GPUs are no multiple of the quantisation's group of {group}"
    expert = shards.get("expert")
    if not expert or _left_out(model, _NAMES["expert"]):
        return
    if quantization["method"] in _AWQ_AND_GPTQ:
        while group >= _SMALLEST_GROUP and (expert % group or (model["hidden_size"] or 0) % group):
            group //= 2
        if group >= _SMALLEST_GROUP:
            return
    if expert % group or group < _SMALLEST_GROUP:
        yield f"{expert} rows of each expert on each of {size} GPUs are no multiple of the quantisation's group of {quantization['group_size']}"


def _shards(model: dict[str, Any], size: int) -> dict[str, int]:
    """The widths of the parts of a layer on one GPU."""
    shards: dict[str, int] = {}
    head, kv_heads = model["head_size"], model["kv_heads"]
    if head and not model["latent_attention"]:
        shards["query"] = model["attention_heads"] // size * head
        shards["key"] = max(1, kv_heads // size) * head
        shards["output"] = shards["query"]
    elif model["latent_attention"] and model["v_head_size"]:
        shards["output"] = model["attention_heads"] // size * model["v_head_size"]
    if _has_dense(model) and model["intermediate_size"]:
        shards["down"] = model["intermediate_size"] // size
    if model["shared_intermediate_size"]:
        shards["shared"] = model["shared_intermediate_size"] // size
    if model["moe_intermediate_size"]:
        shards["expert"] = model["moe_intermediate_size"] // size
    return shards


_NAMES = {
    "query": ("self_attn", "attention", "qkv_proj", "q_proj"),
    "key": ("self_attn", "attention", "qkv_proj", "k_proj", "v_proj"),
    "output": ("self_attn", "attention", "o_proj"),
    "down": ("mlp", "down_proj"),
    "shared": ("mlp", "shared_experts", "shared_expert"),
    "expert": ("experts", "block_sparse_moe"),
}


_ROWS = (("output", "attention's output"), ("down", "feed-forward part"), ("shared", "shared experts"))


def _has_dense(model: dict[str, Any]) -> bool:
    return not model["experts"] or bool(model["dense_layers"])


def _left_out(model: dict[str, Any], names: tuple[str, ...]) -> bool:
    """Whether such a part was left unquantised in every layer, so that no block or group binds it."""
    modules = model["quantization"]["modules_to_not_convert"]
    for name in names:
        named = [module for module in modules if name in _parts(module)]
        numbered = [module for module in named if any(part.isdigit() for part in module.split("."))]
        if len(named) > len(numbered) or (model["layers"] and len(numbered) >= model["layers"]):
            return True
    return False


def _parts(module: str) -> list[str]:
    """The parts of a module's name, also where it is a pattern."""
    return module.replace("re:", "").replace("*", ".").replace("\\", ".").split(".")
