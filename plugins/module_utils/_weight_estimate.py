# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tensors of a model whose weights are not there yet, as its configuration describes them: on the connected side, before a download.

The names are those that _weight_shards tells apart. Norms and biases are left out; together they are less than a thousandth.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping

from ansible_collections.airgap.inference.plugins.module_utils._weight_shards import Tensor

# The feed-forward layers of these have no gate.
_UNGATED = (
    "gpt2", "gpt_neox", "gptj", "gpt_bigcode", "starcoder2", "bloom", "falcon", "RefinedWeb", "RefinedWebModel", "mpt", "opt", "phi",
    "nemotron",
)  # fmt: skip
# Their embeddings are their heads where the configuration does not say: transformers 5.19, models/*/configuration_*.py.
_TIED = (
    "gemma", "gemma2", "gemma3_text", "gemma4_text", "cohere", "cohere2", "gpt2", "gpt_bigcode", "opt", "bloom", "falcon", "mpt",
    "starcoder2",
)  # fmt: skip
# Their attention's output has a gate where the configuration does not say.
_GATED = ("qwen3_next", "qwen3_5")
# Every layer of these has a feed-forward part, whatever its attention.
_RECURRENT = ("gated_delta", "mamba2", "short_convolution")
_APART = ("nemotron_h",)
# Bytes of a scale; that of every other method has two.
_SCALE = {"fp8": 4, "mxfp4": 1, "gpt_oss_mxfp4": 1, "modelopt_fp4": 1}
_EXPERTS_ONLY = ("mxfp4", "gpt_oss_mxfp4", "experts_int8")

_Add = Callable[[str, int], None]


def tensors(model: Mapping[str, Any], config: Mapping[str, Any]) -> list[Tensor] | None:
    """The tensors of a decoder of the usual build; None where the configuration leaves open how its layers are built."""
    hidden, vocabulary, attention = model.get("hidden_size"), model.get("vocabulary_size"), model.get("attention")
    vision = model.get("vision") or {}
    if not hidden or not vocabulary or not attention or not model.get("layers"):
        return None
    states = [part.get("state") for part in attention if part["kind"] in ("recurrent", "linear")]
    if any(not state or state["type"] not in _RECURRENT or model.get("model_type") in _APART for state in states):
        return None
    if vision and not (vision.get("hidden_size") and vision.get("layers")):
        return None
    found: list[Tensor] = []
    stored, width = _stored(model)

    def plain(name: str, elements: int) -> None:
        found.append(Tensor(name, "BF16", elements, elements * 2))

    def quantised(name: str, elements: int) -> None:
        found.append(Tensor(name, stored, elements, int(elements * width)))

    method = (model.get("quantization") or {}).get("method")
    plain("model.embed_tokens.weight", vocabulary * hidden)
    tied = model.get("tied_embeddings")
    if not (model.get("model_type") in _TIED if tied is None else tied):
        plain("lm_head.weight", vocabulary * hidden)
    index = 0
    for part in attention:
        for _layer in range(int(part["layers"])):
            prefix = f"model.layers.{index}."
            if not _attention(prefix, part, hidden, config, plain if method in _EXPERTS_ONLY else quantised):
                return None
            if not _feed_forward(prefix, index, model, config, quantised):
                return None
            index += 1
    for number in range(int(vision.get("layers") or 0)):
        plain(f"vision_tower.layers.{number}.weight", 12 * int(vision["hidden_size"]) ** 2)
    return found


def _stored(model: Mapping[str, Any]) -> tuple[str, float]:
    """The type of the large weights, and the bytes that an element takes with its part of the scales."""
    quantization = model.get("quantization") or {}
    bits = quantization.get("bits")
    if not bits:
        return "BF16", 2
    block, group = quantization.get("block_size"), quantization.get("group_size")
    covered = block[0] * block[1] if block else group if group and group > 0 else 0
    scale = _SCALE.get(str(quantization.get("method")), 2) / covered if covered else 0
    return ("F8_E4M3" if bits == 8 else "U8"), bits / 8 + scale


def _attention(prefix: str, part: Mapping[str, Any], hidden: int, config: Mapping[str, Any], add: _Add) -> bool:
    prefix += "self_attn."
    if part.get("state"):
        return _recurrent(prefix, part["state"], hidden, add)
    heads = int(part["heads"] or 0)
    if part["kind"] == "latent":
        stated = [config.get(key) for key in ("kv_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim")]
        sizes = [size for size in stated if isinstance(size, int) and size > 0]
        if len(sizes) < len(stated):
            return False
        latent, rope, nope, value = sizes
        query = config.get("q_lora_rank")
        if isinstance(query, int) and query > 0:
            add(f"{prefix}q_a_proj.weight", hidden * query)
            add(f"{prefix}q_b_proj.weight", query * heads * (nope + rope))
        else:
            add(f"{prefix}q_proj.weight", hidden * heads * (nope + rope))
        add(f"{prefix}kv_a_proj_with_mqa.weight", hidden * (latent + rope))
        add(f"{prefix}kv_b_proj.weight", latent * heads * (nope + value))
        add(f"{prefix}o_proj.weight", heads * value * hidden)
        return True
    head, kv_heads = part.get("head_size"), part.get("kv_heads")
    if not head or not kv_heads:
        return False
    value = part.get("v_head_size") or head
    # The gate of the output has the queries' size.
    gate = 2 if config.get("attn_output_gate", str(config.get("model_type")).startswith(_GATED)) is True else 1
    add(f"{prefix}q_proj.weight", gate * hidden * heads * head)
    add(f"{prefix}k_proj.weight", hidden * kv_heads * head)
    add(f"{prefix}v_proj.weight", hidden * kv_heads * value)
    add(f"{prefix}o_proj.weight", heads * value * hidden)
    return True


def _recurrent(prefix: str, state: Mapping[str, Any], hidden: int, add: _Add) -> bool:
    """Projections into a layer with a state and out of it; what stays inside is small."""
    try:
        if state["type"] == "gated_delta":
            keys = state["key_heads"] * state["key_head_size"]
            inner = state["value_heads"] * state["value_head_size"]
            inward = 2 * keys + 2 * inner + 2 * state["value_heads"]
        elif state["type"] == "mamba2":
            inner = state["width"]
            inward = 2 * inner + 2 * state["groups"] * state["state_size"] + state["heads"]
        else:
            inner = state["width"]
            inward = 3 * inner
    except (KeyError, TypeError):
        # A value that the configuration does not state.
        return False
    add(f"{prefix}in_proj.weight", hidden * inward)
    add(f"{prefix}out_proj.weight", inner * hidden)
    return True


def _feed_forward(prefix: str, index: int, model: Mapping[str, Any], config: Mapping[str, Any], add: _Add) -> bool:
    hidden, size = int(model["hidden_size"]), model.get("intermediate_size")
    matrices = 2 if model.get("model_type") in _UNGATED else 3
    experts = model.get("experts") or 0
    # Which layers are the dense ones changes nothing of the sum.
    if experts and index >= (model.get("dense_layers") or 0):
        width = model.get("moe_intermediate_size") or size
        if not width:
            return False
        add(f"{prefix}mlp.experts.weight", experts * matrices * hidden * width)
        stated = config.get("shared_expert_intermediate_size")
        shared = stated if isinstance(stated, int) else (model.get("experts_shared") or 0) * width
        if shared:
            add(f"{prefix}mlp.shared_experts.weight", matrices * hidden * shared)
        return True
    if not size and model.get("model_type") in _UNGATED:
        size = 4 * hidden
    if size:
        add(f"{prefix}mlp.weight", matrices * hidden * size)
    return bool(size)
