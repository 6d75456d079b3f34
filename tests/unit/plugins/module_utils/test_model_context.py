# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _model
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def describe(**config: Any) -> dict[str, Any]:
    return _model.describe({"num_attention_heads": 8, **config}, "config.json")


@pytest.mark.parametrize(
    ("config", "stated", "default", "largest"),
    [
        # Nothing stated: what vLLM takes then
        ({}, None, 2048, 2048),
        ({"max_position_embeddings": 8192}, 8192, 8192, 8192),
        ({"n_positions": 1024, "seq_length": 512}, 512, 512, 512),
        # Command R states both; vLLM takes model_max_length
        ({"max_position_embeddings": 8192, "model_max_length": 131072}, 8192, 131072, 131072),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 4.0}}, 4096, 16384, 16384),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "dynamic", "factor": 2}}, 4096, 8192, 8192),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": None}}, 4096, 4096, 4096),
        # With these the length stated is the scaled one
        ({"max_position_embeddings": 131072, "rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 131072, 131072, 131072),
        ({"max_position_embeddings": 163840, "rope_scaling": {"type": "yarn", "factor": 40}}, 163840, 163840, 163840),
        ({"max_position_embeddings": 8192, "rope_parameters": {"rope_type": "linear", "factor": 2.0}}, 8192, 16384, 16384),
        ({"max_position_embeddings": 8192, "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}}, 8192, 8192, 8192),
        (
            {"max_position_embeddings": 8192, "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8.0}, "sliding_attention": {}}},
            8192, 65536, 65536,
        ),
        # Gemma 3 states the scaled length, whatever its factor
        (
            {"model_type": "gemma3_text", "max_position_embeddings": 131072, "rope_scaling": {"rope_type": "linear", "factor": 8.0}},
            131072, 131072, 131072,
        ),
        # LongRoPE: short by default, long when asked for
        (
            {
                "model_type": "phi3", "max_position_embeddings": 131072, "original_max_position_embeddings": 4096,
                "rope_scaling": {"type": "su", "long_factor": [1.0], "short_factor": [1.0]},
            },
            131072, 4096, 131072,
        ),
    ],
    ids=str,
)  # fmt: skip
def test_lengths(config: dict[str, Any], stated: int | None, default: int, largest: int) -> None:
    model = describe(**config)
    assert (model["context_length"], model["context_length_scaled"], model["context_length_max"]) == (
        stated,
        default,
        largest,
    )


def test_the_scaling() -> None:
    scaling = {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}
    assert describe(rope_scaling=scaling)["rope_scaling"] == {
        "type": "llama3",
        "factor": 8.0,
        "original_context_length": 8192,
    }
    assert describe(rope_scaling={"type": "mrope"})["rope_scaling"] is None
    assert describe(rope_parameters={"rope_type": "default", "rope_theta": 1e6})["rope_scaling"] is None
    assert describe(rope_scaling=None)["rope_scaling"] is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"rope_scaling": "linear"}, "rope_scaling is 'linear'; an object is needed"),
        ({"rope_scaling": {"type": "linear", "factor": "four"}}, "factor is 'four'; a number above 0"),
        ({"rope_scaling": {"type": "linear", "factor": -1}}, "factor is -1; a number above 0"),
        ({"rope_scaling": {"type": "linear", "factor": True}}, "factor is True; a number above 0"),
        ({"max_position_embeddings": 1.5}, "max_position_embeddings is 1.5; one whole number"),
    ],
    ids=str,
)
def test_a_broken_value_is_named(config: dict[str, Any], message: str) -> None:
    with pytest.raises(AirgapError, match=rf"config\.json: {message}"):
        describe(**config)
