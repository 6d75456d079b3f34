# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a configuration leaves out, and the engine takes from the configuration's class all the same.

A configuration inside another one is often written without the values that its class has by itself: Gemma 3 4B states no number of heads, the
language model of LLaVA 1.5 neither heads nor layers. Source: the configuration classes of transformers 5.19.0
(src/transformers/models/*/configuration_*.py), the newest that vLLM 0.32 allows, read in November 2026. 0: the class states none.
"""

from __future__ import annotations

from typing import Any

_KEYS = (
    "num_attention_heads", "num_key_value_heads", "head_dim", "hidden_size", "num_hidden_layers", "intermediate_size", "vocab_size",
    "max_position_embeddings", "sliding_window", "original_max_position_embeddings",
)  # fmt: skip
# Other names of the same value, under which a configuration may state it.
_OTHER_NAMES = {
    "num_attention_heads": ("n_head", "n_heads", "num_heads"),
    "num_key_value_heads": (
        "n_head_kv",
        "num_kv_heads",
        "num_attention_groups",
        "multi_query_group_num",
        "attn_config",
        "multi_query",
    ),
    "head_dim": ("hidden_size_per_head", "kv_channels", "attention_head_dim"),
    "hidden_size": ("n_embd", "d_model"),
    "num_hidden_layers": ("n_layer", "n_layers", "num_layers"),
    "intermediate_size": ("ffn_hidden_size", "n_inner", "ffn_dim"),
    "vocab_size": ("padded_vocab_size",),
    "max_position_embeddings": (
        "n_positions",
        "max_seq_len",
        "seq_length",
        "max_sequence_length",
        "max_seq_length",
        "seq_len",
    ),
}


def complete(text: dict[str, Any]) -> dict[str, Any]:
    """The configuration with the values of its class where it has none of its own; a null is its own."""
    model_type = text.get("model_type")
    row = _BY_TYPE.get(model_type) if isinstance(model_type, str) else None
    if row is None:
        return text
    missing = {
        key: value
        for key, value in zip(_KEYS, row)
        if value and not any(name in text for name in (key, *_OTHER_NAMES.get(key, ())))
    }
    return {**missing, **text}


_BY_TYPE: dict[str, tuple[int, ...]] = {
    "afmoe": (16, 0, 128, 2048, 32, 6144, 200192, 16384, 1024, 0),
    "apertus": (32, 0, 0, 4096, 32, 14336, 131072, 65536, 0, 0),
    "arcee": (32, 0, 0, 2560, 32, 18432, 32000, 4096, 0, 0),
    "aria_text": (32, 0, 0, 4096, 32, 4096, 32000, 2048, 0, 0),
    "axk1": (64, 64, 0, 7168, 61, 18432, 163840, 32768, 0, 0),
    "bloom": (8, 0, 0, 64, 2, 0, 250880, 0, 0, 0),
    "cohere": (64, 0, 0, 8192, 40, 22528, 256000, 8192, 0, 0),
    "cohere2": (64, 0, 0, 8192, 40, 22528, 256000, 8192, 4096, 0),
    "cohere2_moe": (64, 0, 128, 8192, 40, 22528, 256000, 8192, 4096, 0),
    "cohere_compass_text": (64, 0, 0, 8192, 40, 22528, 256000, 8192, 4096, 0),
    "cosmos3_edge_text": (16, 8, 128, 2048, 28, 9216, 131072, 131072, 0, 0),
    "cwm": (48, 8, 128, 6144, 64, 21504, 128256, 131072, 8192, 0),
    "deepseek_v2": (32, 0, 0, 4096, 32, 11008, 102400, 2048, 0, 0),
    "deepseek_v3": (128, 128, 0, 7168, 61, 18432, 129280, 4096, 0, 0),
    "deepseek_v32": (128, 128, 64, 7168, 61, 18432, 129280, 163840, 0, 0),
    "diffusion_gemma_text": (8, 4, 256, 2304, 30, 9216, 262144, 131072, 512, 0),
    "emu3_text_model": (32, 8, 0, 4096, 32, 14336, 184622, 9216, 0, 0),
    "ernie4_5": (16, 2, 128, 1024, 18, 3072, 103424, 131072, 0, 0),
    "ernie4_5_moe": (20, 4, 0, 2560, 28, 12288, 103424, 131072, 0, 0),
    "ernie4_5_vl_moe_text": (20, 4, 0, 2560, 28, 12288, 103424, 131072, 0, 0),
    "exaone4": (32, 32, 0, 4096, 32, 16384, 102400, 2048, 4096, 0),
    "exaone_moe": (32, 32, 0, 4096, 32, 16384, 102400, 2048, 4096, 0),
    "falcon_h1": (32, 8, 0, 4096, 32, 14336, 128000, 8192, 0, 0),
    "flex_olmo": (32, 0, 0, 4096, 32, 11008, 100352, 4096, 0, 0),
    "gemma": (16, 16, 256, 3072, 28, 24576, 256000, 8192, 0, 0),
    "gemma2": (8, 4, 256, 2304, 26, 9216, 256000, 8192, 4096, 0),
    "gemma3_text": (8, 4, 256, 2304, 26, 9216, 262208, 131072, 4096, 0),
    "gemma3n_text": (8, 2, 256, 2048, 35, 16384, 262400, 32768, 512, 0),
    "gemma4_text": (8, 4, 256, 2304, 30, 9216, 262144, 131072, 512, 0),
    "gemma4_unified_text": (8, 4, 256, 2304, 30, 9216, 262144, 262144, 1024, 0),
    "glm": (32, 2, 128, 4096, 40, 13696, 151552, 131072, 0, 0),
    "glm4": (32, 2, 128, 4096, 40, 13696, 151552, 131072, 0, 0),
    "glm4_moe": (96, 8, 0, 4096, 46, 10944, 151552, 131072, 0, 0),
    "glm4_moe_lite": (20, 20, 64, 2048, 47, 10240, 154880, 202752, 0, 0),
    "glm4v_moe_text": (96, 8, 0, 4096, 46, 10944, 151424, 65536, 0, 0),
    "glm4v_text": (32, 2, 0, 4096, 40, 13696, 151552, 32768, 0, 0),
    "glm5_next_text": (64, 64, 0, 4096, 45, 12288, 154880, 1048576, 0, 0),
    "glm_moe_dsa": (64, 64, 64, 6144, 78, 12288, 154880, 202752, 0, 0),
    "glm_ocr_text": (16, 8, 0, 1024, 16, 4096, 59392, 131072, 0, 0),
    "gpt2": (12, 0, 0, 768, 12, 0, 50257, 1024, 0, 0),
    "gpt_bigcode": (12, 0, 0, 768, 12, 0, 50257, 1024, 0, 0),
    "gpt_neox": (64, 0, 0, 6144, 44, 24576, 50432, 2048, 0, 0),
    "gpt_oss": (64, 8, 64, 2880, 36, 2880, 201088, 131072, 128, 0),
    "gptj": (16, 0, 0, 4096, 28, 0, 50400, 2048, 0, 0),
    "granite": (32, 0, 0, 4096, 32, 11008, 32000, 2048, 0, 0),
    "granite_swa": (20, 4, 0, 2560, 24, 8192, 100352, 8192, 128, 0),
    "granitemoe": (32, 0, 0, 4096, 32, 11008, 32000, 2048, 0, 0),
    "granitemoe_swa": (32, 0, 0, 4096, 32, 11008, 32000, 2048, 128, 0),
    "granitemoehybrid": (32, 0, 0, 4096, 32, 11008, 32000, 2048, 0, 0),
    "granitemoeshared": (32, 0, 0, 4096, 32, 11008, 32000, 2048, 0, 0),
    "hrm_text": (12, 0, 128, 1536, 16, 4096, 151808, 2048, 0, 0),
    "hunyuan_v1_dense": (32, 0, 0, 4096, 32, 11008, 290943, 2048, 0, 0),
    "hunyuan_v1_moe": (32, 0, 0, 4096, 32, 11008, 290943, 2048, 0, 0),
    "hunyuan_vl_text": (32, 0, 0, 4096, 32, 11008, 290943, 2048, 0, 0),
    "hy_v3": (64, 8, 128, 4096, 80, 13312, 120832, 131072, 0, 0),
    "hy_v4": (32, 32, 256, 2816, 34, 6912, 120832, 262144, 0, 0),
    "hyperclovax": (32, 0, 0, 4096, 32, 11008, 32000, 2048, 0, 0),
    "jais2": (26, 0, 0, 3328, 32, 26624, 150272, 8192, 0, 0),
    "jamba": (32, 8, 0, 4096, 32, 14336, 65536, 262144, 0, 0),
    "kimi_linear": (32, 32, 0, 2304, 27, 9216, 163840, 1048576, 0, 0),
    "laguna": (48, 8, 128, 2048, 40, 8192, 100352, 131072, 512, 0),
    "lfm2": (32, 8, 0, 2560, 32, 12288, 65536, 128000, 0, 0),
    "lfm2_moe": (32, 8, 0, 2048, 32, 7168, 65536, 128000, 0, 0),
    "llama": (32, 0, 0, 4096, 32, 11008, 32000, 2048, 0, 0),
    "llama4_text": (40, 8, 128, 5120, 48, 8192, 202048, 131072, 0, 0),
    "longcat_flash": (64, 0, 64, 6144, 0, 12288, 131072, 131072, 0, 0),
    "mellum": (32, 4, 128, 2304, 28, 7168, 98304, 131072, 1024, 0),
    "mimo_v2_flash": (64, 4, 192, 4096, 48, 16384, 152576, 131072, 128, 0),
    "minicpm3": (40, 40, 0, 2560, 62, 6400, 73448, 32768, 0, 0),
    "minimax_m2": (48, 8, 128, 3072, 62, 1536, 200064, 196608, 0, 0),
    "ministral3": (32, 8, 128, 4096, 34, 14336, 131072, 262144, 0, 0),
    "mistral": (32, 8, 0, 4096, 32, 14336, 32000, 131072, 4096, 0),
    "mixtral": (32, 8, 0, 4096, 32, 14336, 32000, 131072, 0, 0),
    "muse_glimmer_text": (32, 2, 128, 6656, 52, 19968, 202048, 131072, 2048, 0),
    "nemotron": (48, 0, 0, 6144, 32, 24576, 256000, 4096, 0, 0),
    "nemotron_h": (32, 8, 128, 4096, 0, 21504, 131072, 4096, 0, 0),
    "olmo": (32, 0, 0, 4096, 32, 11008, 50304, 2048, 0, 0),
    "olmo2": (32, 0, 0, 4096, 32, 11008, 50304, 2048, 0, 0),
    "olmo3": (32, 0, 0, 4096, 32, 11008, 50304, 2048, 4096, 0),
    "olmo_hybrid": (30, 0, 0, 3840, 32, 11008, 100352, 65536, 0, 0),
    "olmoe": (16, 0, 0, 2048, 16, 2048, 50304, 4096, 0, 0),
    "opt": (12, 0, 0, 768, 12, 0, 50272, 2048, 0, 0),
    "paddleocr_vl_text": (16, 2, 128, 1024, 18, 3072, 103424, 131072, 0, 0),
    "phi": (32, 0, 0, 2048, 24, 8192, 51200, 2048, 0, 0),
    "phi3": (32, 0, 0, 3072, 32, 8192, 32064, 4096, 0, 4096),
    "qwen2": (32, 32, 0, 4096, 32, 22016, 151936, 32768, 4096, 0),
    "qwen2_5_vl_text": (64, 8, 0, 8192, 80, 29568, 152064, 32768, 4096, 0),
    "qwen2_moe": (16, 16, 0, 2048, 24, 5632, 151936, 32768, 4096, 0),
    "qwen2_vl_text": (64, 8, 0, 8192, 80, 29568, 152064, 32768, 4096, 0),
    "qwen3": (32, 32, 128, 4096, 32, 22016, 151936, 32768, 4096, 0),
    "qwen3_5_moe_text": (16, 2, 256, 2048, 40, 0, 248320, 32768, 0, 0),
    "qwen3_5_text": (16, 4, 256, 4096, 32, 12288, 248320, 32768, 0, 0),
    "qwen3_moe": (32, 4, 0, 2048, 24, 6144, 151936, 32768, 4096, 0),
    "qwen3_next": (16, 2, 256, 2048, 48, 5632, 151936, 32768, 0, 0),
    "qwen3_vl_moe_text": (16, 16, 0, 2048, 24, 5632, 151936, 128000, 0, 0),
    "qwen3_vl_text": (32, 32, 128, 4096, 32, 22016, 151936, 128000, 0, 0),
    "qwen4_exp_text": (16, 2, 256, 2048, 40, 0, 248320, 32768, 0, 0),
    "seed_oss": (80, 8, 128, 4096, 64, 27648, 155136, 524288, 0, 0),
    "smollm3": (16, 4, 0, 2048, 36, 11008, 128256, 32768, 0, 0),
    "stablelm": (32, 32, 0, 2560, 32, 6912, 50304, 4096, 0, 0),
    "starcoder2": (24, 2, 0, 3072, 30, 12288, 49152, 4096, 0, 0),
    "step3p5": (64, 8, 128, 4096, 45, 11264, 128815, 128000, 0, 0),
    "vaultgemma": (8, 4, 256, 2304, 26, 9216, 256000, 8192, 4096, 0),
    "zamba2": (32, 0, 0, 2560, 54, 0, 32000, 4096, 0, 0),
}
