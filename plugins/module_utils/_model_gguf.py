# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metadata of a GGUF file in the words of a config.json, so that both are read by the same rules.

Keys: github.com/ggml-org/ggml, docs/gguf.md, and gguf-py, constants.py (Keys).
"""

from __future__ import annotations

from typing import Any

from ansible_collections.airgap.inference.plugins.module_utils import _model_values as values
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._gguf_header import Length
from ansible_collections.airgap.inference.plugins.module_utils._safetensors import Weights

_NUMBERS = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "context_length": "max_position_embeddings",
    "attention.key_length": "head_dim",
    "attention.sliding_window": "sliding_window",
    "attention.kv_lora_rank": "kv_lora_rank",
    "rope.dimension_count": "qk_rope_head_dim",
    "expert_count": "num_experts",
    "expert_used_count": "num_experts_per_tok",
    "expert_shared_count": "n_shared_experts",
    "expert_feed_forward_length": "moe_intermediate_size",
    "leading_dense_block_count": "first_k_dense_replace",
    "vocab_size": "vocab_size",
    "attention.value_length_mla": "v_head_dim",
    "attention.shared_kv_layers": "num_kv_shared_layers",
    "full_attention_interval": "full_attention_interval",
}
# Where the rules go by the name of a family, its name in a config.json.
_FAMILIES = {
    "deepseek2": "deepseek_v3", "gemma2": "gemma2", "gemma3": "gemma3_text", "gemma3n": "gemma3n_text", "cohere2": "cohere2", "gpt-oss": "gpt_oss",
    "llama4": "llama4_text", "mamba": "mamba", "mamba2": "mamba2", "qwen2": "qwen2", "qwen3": "qwen3", "qwen2moe": "qwen2_moe", "qwen3moe": "qwen3_moe",
}  # fmt: skip


def config(metadata: dict[str, Any], weights: Weights, path: str) -> dict[str, Any]:
    """What a config.json of this model would state."""
    family = metadata.get("general.architecture")
    if not isinstance(family, str) or not family:
        raise AirgapError(f"{path} names no general.architecture: it holds no language model, or is damaged")
    stated: dict[str, Any] = {"model_type": _FAMILIES.get(family, family)[:200]}
    for key, name in _NUMBERS.items():
        value = metadata.get(f"{family}.{key}")
        if value is not None and not (
            key == "rope.dimension_count" and f"{family}.attention.kv_lora_rank" not in metadata
        ):
            stated[name] = value
    stated["num_attention_heads"] = _largest(metadata.get(f"{family}.attention.head_count"))
    stated["num_key_value_heads"] = _largest(metadata.get(f"{family}.attention.head_count_kv"))
    stated["intermediate_size"] = _largest(metadata.get(f"{family}.feed_forward_length"))
    stated.update(_tokens(metadata, stated), **_rope(metadata, family), **_layers(metadata, family))
    stated["tie_word_embeddings"] = "output.weight" not in weights.tensors
    stated["quantization_config"] = (
        {"quant_method": "gguf"} if set(weights.bytes_by_dtype) - {"F32", "F16", "BF16"} else None
    )
    stated["dtype"] = "float16" if "F16" in weights.bytes_by_dtype else "bfloat16"
    return {key: value for key, value in stated.items() if value is not None}


def describe(metadata: dict[str, Any]) -> dict[str, Any]:
    """The keys of a model that stand beside its configuration."""
    tokenizer = values.text(metadata, "tokenizer.ggml.model")
    end = metadata.get("tokenizer.ggml.eos_token_id")
    return {
        "architecture": values.text(metadata, "general.architecture"),
        "tokenizer": tokenizer is not None,
        "tokenizer_kind": "gguf" if tokenizer else None,
        "generation": None
        if not values.whole(end)
        else {"max_length": None, "max_new_tokens": None, "eos_token_ids": [end]},
        "licence": values.text(metadata, "general.license"),
        "remote_code": [],
    }


def _largest(value: Any) -> Any:
    """A number, or the largest where each layer has its own; 0 stands for a layer without."""
    return max(value, default=None) if isinstance(value, list) and all(map(values.whole, value)) else value


def _tokens(metadata: dict[str, Any], stated: dict[str, Any]) -> dict[str, Any]:
    tokens = metadata.get("tokenizer.ggml.tokens")
    if "vocab_size" in stated or tokens is None:
        return {}
    return {
        "vocab_size": int(tokens) if isinstance(tokens, Length) else len(tokens) if isinstance(tokens, list) else None
    }


def _rope(metadata: dict[str, Any], family: str) -> dict[str, Any]:
    kind = values.text(metadata, f"{family}.rope.scaling.type")
    if kind is None or kind == "none":
        return {}
    return {
        "rope_scaling": {
            "rope_type": kind,
            "factor": metadata.get(f"{family}.rope.scaling.factor"),
            "original_max_position_embeddings": metadata.get(f"{family}.rope.scaling.original_context_length"),
        }
    }


def _layers(metadata: dict[str, Any], family: str) -> dict[str, Any]:
    """Layers without key-value heads are recurrent, where the family has recurrent ones at all; others may be said to slide."""
    counts = metadata.get(f"{family}.attention.head_count_kv")
    if isinstance(counts, list) and 0 in counts and f"{family}.ssm.state_size" in metadata:
        return {"layers_block_type": ["attention" if count else "mamba" for count in counts]}
    slides = metadata.get(f"{family}.attention.sliding_window_pattern")
    if isinstance(slides, list) and all(isinstance(flag, bool) for flag in slides):
        return {"layer_types": ["sliding_attention" if flag else "full_attention" for flag in slides]}
    if family not in ("mamba", "mamba2"):
        return {}
    width, count = metadata.get(f"{family}.ssm.inner_size"), metadata.get(f"{family}.ssm.time_step_rank")
    state = {
        "intermediate_size": width,
        "state_size": metadata.get(f"{family}.ssm.state_size"),
        "conv_kernel": metadata.get(f"{family}.ssm.conv_kernel"),
    }
    if family == "mamba2" and isinstance(width, int) and isinstance(count, int) and count > 0:
        state.update(num_heads=count, head_dim=width // count, n_groups=metadata.get(f"{family}.ssm.group_count"))
    return state
