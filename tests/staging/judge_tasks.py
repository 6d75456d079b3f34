# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small model that sees and one that ranks, with random weights, written by transformers itself; run inside the engine's image.

Usage: judge_tasks.py DIRECTORY TOKENIZER
"""

import sys
from pathlib import Path

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
    PreTrainedTokenizerFast,
)

# Heads of 64: the CPU engine's kernels know them.
HIDDEN = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2}
# Wider than by default, so that another text or picture is another answer.
WIDTH = 0.2
LENGTH = 512
IMAGE, PATCH, SCALE = 112, 14, 2
# vLLM's code for most other kinds wants torchvision.
TOKENS = ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"]


def write_vision(folder: Path, words: PreTrainedTokenizerFast) -> None:
    words.add_special_tokens({"additional_special_tokens": TOKENS})
    numbers = {f"{name}_token_id": getattr(words, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    config = Idefics3Config(
        image_token_id=words.convert_tokens_to_ids("<image>"),
        vision_config={"image_size": IMAGE, "patch_size": PATCH, "initializer_range": WIDTH, **HIDDEN},
        text_config={
            "model_type": "llama",
            "vocab_size": len(words),
            "max_position_embeddings": LENGTH,
            "initializer_range": WIDTH,
            **HIDDEN,
            **numbers,
        },
        scale_factor=SCALE,
        tie_word_embeddings=False,
        **numbers,
    )
    Idefics3ForConditionalGeneration(config).to(torch.bfloat16).save_pretrained(folder)
    edge = {"longest_edge": IMAGE}
    images = Idefics3ImageProcessor(size=edge, max_image_size=edge, do_image_splitting=False)
    Idefics3Processor(images, words, image_seq_len=(IMAGE // PATCH // SCALE) ** 2).save_pretrained(folder)


def write_ranker(folder: Path, words: PreTrainedTokenizerFast) -> None:
    config = BertConfig(
        vocab_size=len(words),
        max_position_embeddings=LENGTH,
        pad_token_id=words.pad_token_id,
        initializer_range=WIDTH,
        num_labels=1,
        **HIDDEN,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    words.save_pretrained(folder)


def main() -> None:
    target, tokenizer = Path(sys.argv[1]), sys.argv[2]
    torch.manual_seed(0)
    write_vision(target / "vision", PreTrainedTokenizerFast.from_pretrained(tokenizer))
    write_ranker(target / "ranker", PreTrainedTokenizerFast.from_pretrained(tokenizer))


main()
