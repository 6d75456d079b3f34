# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the lab's models with transformers itself. Runs in an environment of its own: see models.py.

Real architecture, tokenizer and files; random weights, so the words mean nothing. The first of them is written
for llama.cpp as well, and has an adapter, written by peft.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import gguf
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from airgap_lab import write_gguf, write_ranker


class Shape(NamedTuple):
    hidden: int
    heads: int
    kv_heads: int
    vocabulary: int = 512


SHAPES = {
    # Head size 64: the CPU engine serves it.
    "tiny": Shape(512, 8, 4),
    # Head size 16: the CPU engine starts, says it is healthy, and dies at the first completion.
    "tiny-broken": Shape(128, 8, 4),
    # Two ranks: heads divide, key-value heads do not. Its vocabulary could be split over five.
    "heads-10-5": Shape(640, 10, 5, vocabulary=640),
}
# GGUF files of the first shape, each alone in a folder, as published ones are.
FILES = {
    "tiny-gguf": write_gguf.Purpose("tiny"),
    "tiny-embed": write_gguf.Purpose("tiny-embed", gguf.PoolingType.MEAN),
    # llama.cpp's own words when it loads this: tensor 'token_embd.weight' has wrong shape.
    "tiny-gguf-broken": write_gguf.Purpose("tiny-broken", padded=True),
}
RANKER = "tiny-rerank"
FILE_OF = "tiny"
ADAPTER = "tiny-adapter"
VOCABULARY = 512
CONTEXT = 4096
BEGIN, END, PAD = "<|begin|>", "<|end|>", "<|pad|>"
CORPUS = (
    "The bundle crosses the gap on a drive and every file keeps its name and its digest. "
    "The engine has no way out; the gateway is its only door. "
    "Hospitals, banks and public bodies ask the model and the model answers. "
) * 20
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def tokenizer() -> PreTrainedTokenizerFast:
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[BEGIN, END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bare.train_from_iterator([CORPUS], trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=bare, bos_token=BEGIN, eos_token=END, pad_token=PAD, model_max_length=CONTEXT
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def write(shape: Shape, folder: Path) -> LlamaForCausalLM:
    torch.manual_seed(0)
    words = tokenizer()
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=2 * shape.hidden,
        num_hidden_layers=2,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=CONTEXT,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.generation_config = GenerationConfig(
        bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id
    )
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return model


def write_files(model: LlamaForCausalLM, root: Path) -> None:
    weights = {name: tensor.float().numpy() for name, tensor in model.state_dict().items()}
    for name, purpose in FILES.items():
        write_gguf.write(root / FILE_OF, weights, root / name / f"{name}-f16.gguf", purpose)


def write_adapter(model: LlamaForCausalLM, folder: Path) -> None:
    """Random weights too: peft's own beginning, zeros, would change no answer."""
    torch.manual_seed(1)
    settings = LoraConfig(
        r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=False
    )
    get_peft_model(model, settings).save_pretrained(folder)


def main() -> None:
    root = Path(sys.argv[1])
    for name, shape in SHAPES.items():
        model = write(shape, root / name)
        if name == FILE_OF:
            write_files(model, root)
            write_ranker.write(root / name, root / RANKER / f"{RANKER}-f16.gguf")
            write_adapter(model, root / ADAPTER)


if __name__ == "__main__":
    main()
