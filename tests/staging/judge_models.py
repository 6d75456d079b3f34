# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small models of many architectures with random weights, written by transformers itself; run inside the engine's image.

Usage: judge_models.py DIRECTORY TOKENIZER
"""

import shutil
import sys
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

# Heads of 64: the CPU engine's kernels know them.
BASE = {
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "vocab_size": 512,
    "max_position_embeddings": 16384,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
MODELS = {
    "llama": {"model_type": "llama"},
    "llama-10-5": {"model_type": "llama", "num_attention_heads": 10, "num_key_value_heads": 5, "hidden_size": 640},
    "llama-one-key": {"model_type": "llama", "num_key_value_heads": 1},
    "llama-9-3": {"model_type": "llama", "num_attention_heads": 9, "num_key_value_heads": 3, "hidden_size": 576},
    "llama-tied": {"model_type": "llama", "tie_word_embeddings": True},
    "qwen2": {"model_type": "qwen2", "num_key_value_heads": 2},
    "qwen3": {"model_type": "qwen3", "num_hidden_layers": 5},
    "mistral-sliding": {"model_type": "mistral", "sliding_window": 512},
    "phi3": {"model_type": "phi3"},
    "granite": {"model_type": "granite"},
    "olmo2": {"model_type": "olmo2"},
    "gemma2": {"model_type": "gemma2", "sliding_window": 256, "num_hidden_layers": 6, "query_pre_attn_scalar": 64},
    "gemma3": {"model_type": "gemma3_text", "sliding_window": 256, "num_hidden_layers": 7, "query_pre_attn_scalar": 64},
    "starcoder2": {"model_type": "starcoder2", "sliding_window": None},
    "mixtral": {"model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3-moe": {
        "model_type": "qwen3_moe",
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 256,
    },
    "deepseek-v2": {
        "model_type": "deepseek_v2",
        "num_key_value_heads": 8,
        "kv_lora_rank": 512,
        "q_lora_rank": None,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 256,
        "first_k_dense_replace": 1,
    },
    "gpt2": {"model_type": "gpt2", "n_embd": 512, "n_head": 8, "n_layer": 4, "n_positions": 2048},
    "gpt-neox": {"model_type": "gpt_neox"},
    "falcon": {"model_type": "falcon", "multi_query": True, "new_decoder_architecture": False, "parallel_attn": True},
    "opt": {"model_type": "opt", "ffn_dim": 1024, "word_embed_proj_dim": 512, "max_position_embeddings": 2048},
}
# Without what the configuration of these does not have: the engine would read it all the same.
WITHOUT = {
    "gpt2": tuple(key for key in BASE if not key.endswith(("_id", "vocab_size"))),
    "gpt_neox": ("num_key_value_heads", "head_dim"),
    "falcon": ("num_key_value_heads", "head_dim", "intermediate_size"),
    "opt": ("num_key_value_heads", "head_dim", "intermediate_size"),
    "starcoder2": ("head_dim",),
    "deepseek_v2": ("head_dim",),
    "phi3": ("head_dim",),
}


def write(folder: Path, values: dict) -> None:
    absent = WITHOUT.get(values["model_type"], ())
    settings = {**{key: value for key, value in BASE.items() if key not in absent}, **values}
    config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)


def main() -> None:
    target, tokenizer = Path(sys.argv[1]), Path(sys.argv[2])
    for name, values in MODELS.items():
        folder = target / name
        write(folder, values)
        for file in tokenizer.glob("tokenizer*"):
            shutil.copyfile(file, folder / file.name)
        print(name, flush=True)


main()
