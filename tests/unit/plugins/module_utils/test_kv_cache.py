# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures marked "log" are those of start-up logs of vLLM that others published; the rest follow from its source by hand."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _kv_cache
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._kv_cache import FULL, LATENT, SLIDING, STATE, Layers
from hypothesis import given
from hypothesis import strategies as st

GIB = 2**30
GATED_DELTA = {
    "type": "gated_delta",
    "key_heads": 16,
    "value_heads": 32,
    "key_head_size": 128,
    "value_head_size": 128,
    "convolution": 4,
}


def group(kind: str, layers: int, **values: Any) -> dict[str, Any]:
    base = {"window": None, "heads": 32, "kv_heads": 8, "head_size": 128, "v_head_size": 128, "state": None}
    return {"kind": kind, "layers": layers, **base, "cached": True, **values}


def model(*groups: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {"architecture": "TestForCausalLM", "model_type": "test", "attention": list(groups), **values}


def plan(
    described: dict[str, Any], block: int = 16, ranks: int = 1, in_flight: int = 0, states: int = 2, **more: Any
) -> _kv_cache.Plan:
    layers = _kv_cache.layers_of(described, ranks, 2, block, 2, **more)
    return _kv_cache.plan(layers, in_flight, states=states)


def test_full_attention() -> None:
    # Qwen2.5-7B on one GPU, vLLM 0.22.0 (log): 26.32 GiB, 492,912 tokens, 120.34x for 4,096 tokens.
    seven = plan(model(group(FULL, 28, heads=28, kv_heads=4)))
    assert seven.bytes_per_token == 57344
    assert seven.bytes_per_block == 57344 * 16
    blocks = 492912 // 16
    assert seven.tokens(blocks * seven.bytes_per_block + 100, 4096) == 492912
    assert round(seven.concurrency(blocks * seven.bytes_per_block, 4096), 2) == 120.34
    assert abs(blocks * seven.bytes_per_block / GIB - 26.32) < 0.01


def test_recurrent_layers_and_their_padded_pages() -> None:
    # Qwen3.5-4B, vLLM 0.22.0 (log): attention block of 528 tokens, 11.11 GiB, 141,107 tokens, 137.80x for 1,024; no prefix caching.
    described = model(
        group(FULL, 8, heads=16, kv_heads=4, head_size=256, v_head_size=256), group("linear", 24, state=GATED_DELTA)
    )
    four = plan(described, state_dtype="float32", states=1)
    assert [found.block for found in four.groups] == [528] * 4
    assert four.tokens(int(11.11 * GIB), 1024) == 141107
    assert round(four.concurrency(int(11.11 * GIB), 1024), 2) == 137.80
    # What a token takes does not grow by states.
    assert four.bytes_per_token == 8 * 4 * 256 * 2 * 2


def test_recurrent_layers_over_two_gpus() -> None:
    # Qwen3-Next-80B-A3B over 2 GPUs, vLLM 0.10.2 (log): block of 544 tokens, the state's page padded by 1.49 %.
    described = model(
        group(FULL, 12, heads=16, kv_heads=2, head_size=256, v_head_size=256), group("linear", 36, state=GATED_DELTA)
    )
    layers = _kv_cache.layers_of(described, 2, 2, 16, 2)
    assert {part.block for part in layers} == {544}
    assert round(100 * (layers[-1].page / 548864 - 1), 2) == 1.49


def test_key_value_heads_are_repeated_where_they_are_fewer_than_ranks() -> None:
    eight = model(group(FULL, 32))
    assert [plan(eight, ranks=ranks).bytes_per_token for ranks in (1, 2, 8, 16)] == [131072, 65536, 16384, 16384]


def test_latent_attention_is_the_same_on_each_rank() -> None:
    # DeepSeek-V3: 61 layers of 512 + 64 numbers.
    deep = model(group(LATENT, 61, heads=128, kv_heads=1, head_size=576, v_head_size=0))
    assert [plan(deep, ranks=ranks).bytes_per_token for ranks in (1, 8)] == [61 * 576 * 2] * 2


def test_values_of_another_size_than_keys() -> None:
    described = model(group(FULL, 2, kv_heads=4, head_size=192, v_head_size=128))
    assert plan(described).bytes_per_token == 2 * 4 * (192 + 128) * 2


def test_sliding_layers_keep_their_window_and_what_is_in_flight() -> None:
    # Gemma 3 27B: 52 sliding layers of 1,024 tokens and 10 full ones: 10 in each of 7 groups, the last of 2 only.
    described = model(group(SLIDING, 52, window=1024, kv_heads=16), group(FULL, 10, kv_heads=16))
    found = plan(described, in_flight=2 * 8192)
    assert len(found.groups) == 7
    page = 16 * 16 * 128 * 2 * 2
    assert found.bytes_per_block == 10 * page
    window = -(-(1023 + 16384) // 16) + 1
    assert found.blocks_per_request(131072) == 131072 // 16 + 6 * window
    # A request shorter than the window takes no more than itself, and a block for where it begins.
    assert found.blocks_per_request(512) == 32 + 6 * 33


def test_sliding_layers_alone_form_one_group() -> None:
    # Mistral 7B v0.1
    found = plan(model(group(SLIDING, 32, window=4096)), in_flight=4096)
    assert len(found.groups) == 1
    assert found.blocks_per_request(32768) == -(-(4095 + 4096) // 16) + 1


def test_a_window_that_is_not_stated_is_none() -> None:
    assert plan(model(group(SLIDING, 2))).groups[0].kind == FULL


def test_almost_equal_numbers_of_layers_are_padded() -> None:
    # 12 sliding and 13 full layers: 13 in a group, not two groups of 12.
    found = plan(model(group(SLIDING, 12, window=128), group(FULL, 13)))
    assert len(found.groups) == 2
    assert found.bytes_per_block == 13 * 8 * 16 * 128 * 2 * 2


def test_chunked_layers_count_as_full() -> None:
    # Llama 4: vLLM switches its hybrid manager off for them.
    found = plan(model(group("chunked", 36, window=8192), group(FULL, 12)))
    assert len(found.groups) == 1
    assert found.blocks_per_request(131072) == 8192


def test_pages_of_different_sizes_become_one() -> None:
    # Gemma 4: full layers with larger heads; the sliding ones get more tokens in a block.
    described = model(
        group(SLIDING, 10, window=1024, kv_heads=8, head_size=256, v_head_size=256),
        group(FULL, 10, kv_heads=8, head_size=512, v_head_size=512),
    )
    found = plan(described)
    assert sorted(entry.block for entry in found.groups) == [16, 32]
    assert len({entry.page for entry in found.groups}) == 1


def test_layers_that_read_what_others_keep_take_nothing() -> None:
    described = model(group(FULL, 20), group(FULL, 10, cached=False))
    assert plan(described).bytes_per_token == plan(model(group(FULL, 20))).bytes_per_token


def test_pipeline_stages_have_the_layers_of_the_fullest() -> None:
    layers = _kv_cache.layers_of(model(group(FULL, 61)), 1, 2, 16, 2)
    assert _kv_cache.plan(layers, 0, pipeline=4).bytes_per_token == 16 * 8 * 128 * 2 * 2


def test_the_block_that_is_never_handed_out() -> None:
    found = plan(model(group(FULL, 1)))
    needed = found.needed(4096)
    assert needed == found.bytes_per_block * 257
    assert found.longest(needed, 10**6) == 4096
    assert found.longest(needed - 1, 10**6) == 4080
    assert found.longest(0, 10**6) == 0
    assert found.longest(2 * found.bytes_per_block, 8) == 8


def test_a_model_without_attention_has_its_states_only() -> None:
    state = {
        "type": "mamba2",
        "width": 4096,
        "heads": 64,
        "head_size": 64,
        "groups": 1,
        "state_size": 128,
        "convolution": 4,
    }
    found = plan(model(group("recurrent", 48, state=state)), states=1)
    assert found.bytes_per_token == 0
    assert found.bytes_per_block == 48 * ((4096 + 256) * 3 * 2 + 64 * 64 * 128 * 2)
    assert found.concurrency(10 * found.bytes_per_block, 4096) == 10


@pytest.mark.parametrize(
    ("described", "said"),
    [
        ({"attention": None}, "in no known form"),
        (model(group("recurrent", 4, state=None)), "4 recurrent layers of architecture TestForCausalLM"),
        (model(group("recurrent", 4, state={"type": "mamba2", "groups": 1})), "is not known here"),
        (model(group("strange", 4)), "kind 'strange'"),
        (model(group(FULL, 4, kv_heads=None)), "kv_heads of its full"),
    ],
    ids=["unknown", "no-state", "half-a-state", "strange", "no-heads"],
)  # fmt: skip
def test_what_is_not_known_is_said(described: dict[str, Any], said: str) -> None:
    with pytest.raises(AirgapError, match=said):
        plan(described)


@pytest.mark.parametrize(
    ("latent", "sparse", "cpu", "capability", "block"),
    [
        (False, False, False, (9, 0), 16),
        (False, False, True, None, 128),
        (True, False, True, None, 16),
        (True, False, False, (10, 0), 32),
        (True, False, False, (9, 0), 16),
        (True, False, False, None, 16),
        (True, True, False, (9, 0), 64),
    ],
)
def test_blocks_where_none_are_stated(
    latent: bool, sparse: bool, cpu: bool, capability: tuple[int, int] | None, block: int
) -> None:
    assert _kv_cache.default_block(latent, sparse, cpu, capability) == block


@pytest.mark.parametrize(("element", "row"), [(2, 576 * 2), (1, 656)])
def test_sparse_attention_keeps_its_index_beside(element: int, row: int) -> None:
    # DeepSeek-V3.2: 128 numbers of a byte and a scale for each token and layer.
    described = model(group(LATENT, 61, heads=128, kv_heads=1, head_size=576, v_head_size=0, indexer_head_size=128))
    found = _kv_cache.plan(_kv_cache.layers_of(described, 8, element, 64, 2), 0)
    assert len(found.groups) == 1
    assert found.bytes_per_token == 61 * (row + 132)


layer = st.builds(
    Layers,
    st.sampled_from([FULL, SLIDING, STATE]),
    st.integers(1, 100),
    st.just(16),
    st.integers(1, 64).map(lambda pages: pages * 4096),
    st.sampled_from([128, 1024]),
)


@given(st.lists(layer, min_size=1, max_size=4), st.integers(0, 2**40), st.integers(1, 10**6), st.integers(0, 20000))
def test_more_memory_holds_no_less_and_longer_requests_no_more(
    parts: list[Layers], memory: int, length: int, in_flight: int
) -> None:
    found = _kv_cache.plan(parts, in_flight)
    assert found.concurrency(memory, length) <= found.concurrency(memory + 2**20, length)
    assert found.concurrency(memory, length) >= found.concurrency(memory, length + 1000)
    longest = found.longest(memory, 10**6)
    if longest:
        assert found.needed(longest) <= memory
    if longest < 10**6:
        assert found.needed(longest + 1) > memory
