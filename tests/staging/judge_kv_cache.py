# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""vLLM's own arithmetic for sets of layers, without a model; run inside the engine's image.

Reads a JSON list of cases on standard input and writes one of answers. A case: layers [[kind, number, heads, head size, window]], memory,
length, in_flight. An answer: tokens and concurrency as the engine would log them, or null where it would not start.
"""

import importlib
import json
import sys
from types import SimpleNamespace

import torch
from vllm.v1.core import kv_cache_utils
from vllm.v1.kv_cache_interface import FullAttentionSpec, MambaSpec, MLAAttentionSpec, SlidingWindowSpec
from vllm.v1.kv_cache_layout import KVCacheLayout

# Registers the kinds of layers.
importlib.import_module("vllm.v1.core.single_type_kv_cache_manager")

BLOCK = 16


def spec(kind: str, heads: int, size: int, window: int):
    common = {"block_size": BLOCK, "head_size": size, "dtype": torch.bfloat16}
    if kind == "latent":
        return MLAAttentionSpec(num_kv_heads=1, **common)
    if kind == "state":
        # Of the page that attention with such heads has, as the platform pads it.
        elements = BLOCK * heads * size * 2
        return MambaSpec(block_size=BLOCK, shapes=((elements,),), dtypes=(torch.bfloat16,), mamba_cache_mode="align")
    if kind == "sliding":
        return SlidingWindowSpec(num_kv_heads=heads, sliding_window=window, **common)
    return FullAttentionSpec(num_kv_heads=heads, **common)


def answer(case: dict):
    layers = {}
    for kind, number, heads, size, window in case["layers"]:
        for _layer in range(number):
            layers[f"layer.{len(layers)}"] = spec(kind, heads, size, window)
    config = SimpleNamespace(
        model_config=SimpleNamespace(max_model_len=case["length"], original_max_model_len=case["length"]),
        parallel_config=SimpleNamespace(decode_context_parallel_size=1, tensor_parallel_size=1),
        scheduler_config=SimpleNamespace(disable_hybrid_kv_cache_manager=False),
        attention_config=SimpleNamespace(hisparse_config=None),
        cache_config=SimpleNamespace(
            mamba_cache_mode="align",
            num_gpu_blocks_override=None,
            prefix_cache_retention_interval=None,
            get_resolved_kv_cache_layout=lambda: KVCacheLayout.LBHNC,
        ),
        speculative_config=None,
        num_prefill_lookahead_tokens=0,
        max_in_flight_tokens=case["in_flight"],
    )
    try:
        (found,) = kv_cache_utils.get_kv_cache_configs(config, [layers], [case["memory"]])
    except ValueError:
        return None
    return kv_cache_utils.get_kv_cache_capacity(config, found)


json.dump([answer(case) for case in json.load(sys.stdin)], sys.stdout)
