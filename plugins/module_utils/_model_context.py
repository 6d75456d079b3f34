# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a model can read: the context length stated, its rotary scaling, and what vLLM makes of both.

The rules are those of vLLM 0.32: vllm/config/model.py, _get_and_verify_max_len, and
vllm/transformers_utils/model_arch_config_convertor.py, derive_max_model_len_and_key.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils import _model_values as values

_KEYS = (
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length", "max_target_positions", "max_sequence_length",
    "max_seq_length", "seq_len",
)  # fmt: skip
# With these, the length stated is already the scaled one.
_ALREADY_SCALED = ("su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling")
# What vLLM takes where nothing is stated.
UNSTATED = 2048


class Context(NamedTuple):
    """The length stated, what vLLM takes as max_model_len by itself, the largest that it accepts, and the scaling."""

    stated: int | None
    default: int
    largest: int
    scaling: dict[str, Any] | None


def read(text: dict[str, Any], path: str) -> Context:
    lengths = [values.number(text, (key,), path) for key in _KEYS]
    stated = min((length for length in lengths if length), default=None)
    derived = values.number(text, ("model_max_length",), path) or stated or UNSTATED
    parts = _rope(text, path)
    scale = 1.0
    for part in parts:
        if _type(part) not in _ALREADY_SCALED:
            scale = values.factor(part, "factor", path) or scale
    if "gemma3" in (values.text(text, "model_type") or ""):
        scale = 1.0
    largest = min(int(derived * scale), values.LARGEST_NUMBER)
    original = values.number(text, ("original_max_position_embeddings",), path)
    longrope = any(_type(part) in ("longrope", "su") for part in parts)
    # vLLM keeps short prompts good: with LongRoPE it takes the original length unless max_model_len says more.
    default = original if longrope and original else largest
    return Context(stated, default, largest, _scaling(parts, original, path))


def _scaling(parts: list[dict[str, Any]], original: int | None, path: str) -> dict[str, Any] | None:
    for part in parts:
        kind = _type(part)
        if kind != "default":
            return {
                "type": kind,
                "factor": values.factor(part, "factor", path),
                "original_context_length": values.number(part, ("original_max_position_embeddings",), path) or original,
            }
    return None


def _rope(text: dict[str, Any], path: str) -> list[dict[str, Any]]:
    """The rotary settings: one, or one for each kind of layer."""
    found = values.table(text, "rope_parameters", path) or values.table(text, "rope_scaling", path)
    if not found:
        return []
    nested = [part for part in found.values() if isinstance(part, dict)]
    return nested or [found]


def _type(part: dict[str, Any]) -> str:
    kind = values.text(part, "rope_type") or values.text(part, "type") or "default"
    # The sections of a multimodal position are no scaling.
    return "default" if kind == "mrope" else kind
