# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies beside a model's configuration: tokenizer, generation settings, licence and the older file of a quantisation."""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.airgap.inference.plugins.module_utils import _model_values as values
from ansible_collections.airgap.inference.plugins.module_utils._json import open_regular, read_object
from ansible_collections.airgap.inference.plugins.module_utils._model_files import licence

GENERATION = "generation_config.json"
MODELOPT = "hf_quant_config.json"
_MAX_FILE = 4 * 1024 * 1024
_MAX_CARD = 1024 * 1024
_TOKENIZERS = (
    ("tokenizer.json", "tokenizers"),
    ("tekken.json", "mistral"),
    ("tokenizer.model.v3", "mistral"),
    ("tokenizer.model", "sentencepiece"),
    ("spiece.model", "sentencepiece"),
    ("tiktoken.model", "tiktoken"),
    ("qwen.tiktoken", "tiktoken"),
    ("vocab.json", "bpe"),
    ("vocab.txt", "wordpiece"),
)


def describe(directory: str) -> dict[str, Any]:
    """The keys of a model that its other files state."""
    kind = next((kind for name, kind in _TOKENIZERS if os.path.isfile(os.path.join(directory, name))), None)
    return {
        "tokenizer": kind is not None,
        "tokenizer_kind": kind,
        "generation": _generation(directory),
        "licence": _licence(directory),
    }


def with_quantization(directory: str, config: dict[str, Any]) -> dict[str, Any]:
    """ModelOpt used to keep its settings in a file of their own; vllm/transformers_utils/config.py reads it so, too."""
    path = os.path.join(directory, MODELOPT)
    if config.get("quantization_config") is not None or not os.path.lexists(path):
        return config
    found = read_object(path, _MAX_FILE)
    return {**config, "quantization_config": {"quant_method": "modelopt", **found}}


def _generation(directory: str) -> dict[str, Any] | None:
    path = os.path.join(directory, GENERATION)
    if not os.path.lexists(path):
        return None
    found = read_object(path, _MAX_FILE)
    end = found.get("eos_token_id")
    return {
        "max_length": values.number(found, ("max_length",), path),
        "max_new_tokens": values.number(found, ("max_new_tokens",), path),
        "eos_token_ids": values.numbers(
            {"eos_token_id": end if isinstance(end, list) or end is None else [end]}, "eos_token_id", path
        )
        or [],
    }


def _licence(directory: str) -> str | None:
    def content(name: str) -> bytes:
        with open_regular(os.path.join(directory, name)) as file:
            return file.read(_MAX_CARD)

    return (
        licence((name for name in os.listdir(directory) if os.path.isfile(os.path.join(directory, name))), content)
        or None
    )
