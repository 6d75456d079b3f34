# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a layer with a recurrent state keeps for a request, on one rank.

Read in vLLM 0.32: vllm/model_executor/layers/mamba/mamba_utils.py, MambaStateShapeCalculator for the shapes and
MambaStateDtypeCalculator for the types: a convolution's window in the model's type, the state itself in that of the configuration's
mamba_ssm_cache_dtype (NemotronHForCausalLMConfig) or mamba_ssm_dtype (Qwen 3.5), both in vllm/model_executor/models/config.py.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping

_ELEMENT = {"float32": 4, "float16": 2, "bfloat16": 2}
# These compute their state in 32 bits where nothing else is stated.
_WIDE = ("kda",)
_WIDE_MODELS = ("nemotron_h",)


def size(
    state: Mapping[str, Any],
    ranks: int,
    element: int,
    state_dtype: str | None = None,
    model_type: str | None = None,
) -> int:
    """Bytes of one layer's state; 0 where it is of no known shape. `element`: bytes of a number of the model's dtype."""
    shape = _SHAPES.get(str(state.get("type")))
    try:
        window, kept = shape(state, ranks) if shape else (0, 0)
    except (KeyError, TypeError):
        # A value that the configuration does not state.
        return 0
    wide = state.get("type") in _WIDE or model_type in _WIDE_MODELS
    return window * element + kept * _ELEMENT.get(state_dtype or "", 4 if wide else element)


def _gated_delta(state: Mapping[str, Any], ranks: int) -> tuple[int, int]:
    keys, key = state["key_heads"], state["key_head_size"]
    values, value = state["value_heads"], state["value_head_size"]
    width = 2 * key * keys + value * values
    return width // ranks * (state["convolution"] - 1), values // ranks * value * key


def _kda(state: Mapping[str, Any], ranks: int) -> tuple[int, int]:
    heads, head = state["heads"], state["head_size"]
    return 3 * heads * head // ranks * (state["convolution"] - 1), heads // ranks * head * head


def _mamba2(state: Mapping[str, Any], ranks: int) -> tuple[int, int]:
    # Groups that cannot be divided are repeated until each rank has those of its heads.
    groups = ranks if state["groups"] % ranks else state["groups"]
    width = state["width"] + 2 * groups * state["state_size"]
    kept = state["heads"] // ranks * state["head_size"] * state["state_size"]
    return width // ranks * (state["convolution"] - 1), kept


def _mamba1(state: Mapping[str, Any], ranks: int) -> tuple[int, int]:
    width = state["width"] // ranks
    return width * (state["convolution"] - 1), width * state["state_size"]


def _short_convolution(state: Mapping[str, Any], ranks: int) -> tuple[int, int]:
    return state["width"] // ranks * (state["convolution"] - 1), 0


def _lightning(state: Mapping[str, Any], ranks: int) -> tuple[int, int]:
    return 0, state["heads"] // ranks * state["head_size"] ** 2


_SHAPES: dict[str, Callable[[Mapping[str, Any], int], tuple[int, int]]] = {
    "gated_delta": _gated_delta,
    "kda": _kda,
    "mamba2": _mamba2,
    "mamba1": _mamba1,
    "short_convolution": _short_convolution,
    "lightning": _lightning,
}
