# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Published models: the values of their configurations, and what has to be read from them.

fixtures/models/published.json holds, for each, the address of its configuration, where the values were read, those that this collection
reads, and what is expected. Heads, key-value heads, head sizes, layers, kinds of layers, experts and context lengths were held against vLLM
0.32's own vllm/transformers_utils/model_arch_config_convertor.py with the configuration classes of transformers 5.19.0, in November 2026, for
all that have such a class; the bytes follow from them by the sum below.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _model

PUBLISHED: list[dict[str, Any]] = json.loads(
    (pathlib.Path(__file__).parent / "fixtures" / "models" / "published.json").read_text(encoding="utf-8")
)
# What others have written down, apart from any computation here: bytes of the cache for a token of two-byte numbers.
KNOWN_BYTES = {
    "meta-llama/Meta-Llama-3.1-8B": 131_072,
    "meta-llama/Meta-Llama-3.1-70B": 327_680,
    "meta-llama/Meta-Llama-3.1-405B": 516_096,
    "deepseek-ai/DeepSeek-V3": 70_272,
}


@pytest.mark.parametrize("published", PUBLISHED, ids=[published["model"] for published in PUBLISHED])
def test_a_published_model(published: dict[str, Any]) -> None:
    model = _model.describe(published["config"], published["model"])
    expected = dict(published["expected"])
    kinds = expected.pop("kinds")
    assert {key: model[key] for key in expected} == expected
    assert [
        [group["kind"], group["layers"], group["kv_heads"], group["head_size"]] for group in model["attention"]
    ] == kinds
    assert all(group["state"] for group in model["attention"] if group["kind"] in ("linear", "recurrent"))


@pytest.mark.parametrize("published", PUBLISHED, ids=[published["model"] for published in PUBLISHED])
def test_the_bytes_are_the_sum_of_the_layers(published: dict[str, Any]) -> None:
    config, expected = published["config"], published["expected"]
    config = config.get("text_config", config)
    total = 0
    for kind, layers, kv_heads, head_size in expected["kinds"]:
        if kind == "latent":
            total += layers * (config["kv_lora_rank"] + config["qk_rope_head_dim"])
        elif kind in ("full", "sliding", "chunked"):
            total += layers * kv_heads * (head_size + config.get("v_head_dim", head_size))
    assert expected["kv_cache_bytes_per_token"] == 2 * total


def test_the_table_is_whole() -> None:
    assert len(PUBLISHED) >= 30
    assert len({published["config"]["architectures"][0] for published in PUBLISHED}) >= 30
    assert all(published["source"].startswith("https://") and published["read_in"] for published in PUBLISHED)
    assert {
        published["model"]: published["expected"]["kv_cache_bytes_per_token"]
        for published in PUBLISHED
        if published["model"] in KNOWN_BYTES
    } == KNOWN_BYTES
