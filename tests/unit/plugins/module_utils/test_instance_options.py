# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options come from the engine, the task, a preset, the draft, the adapters and the person, who has the last word."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _instance_options
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.instances import (
    CHAT,
    ENGINE,
    FILE_ENGINE,
    LEGAL,
)


@pytest.mark.parametrize(
    ("value", "arguments"),
    [
        (4096, ["--max-len", "4096"]),
        (0.9, ["--max-len", "0.9"]),
        (True, ["--max-len"]),
        (False, ["--no-max-len"]),
        (None, []),
        ([], []),
        (["a", "b"], ["--max-len", "a", "b"]),
        ({"b": 1, "a": [True]}, ["--max-len", '{"a":[true],"b":1}']),
    ],
)
def test_options_are_spelled_as_the_engine_spells_them(value: Any, arguments: list[str]) -> None:
    assert _instance_options.option_arguments("max_len", value) == arguments


def test_other_engines_spell_otherwise() -> None:
    assert _instance_options.option_arguments("verbose", False, negated=False) == []
    assert _instance_options.option_arguments("tp_size", 2, style="underscores") == ["--tp_size", "2"]


def test_a_list_may_be_one_text_with_commas() -> None:
    engine = {**FILE_ENGINE, "list_style": "comma"}
    assert _instance_options.arguments({**CHAT, "options": {"tensor_split": [3, 1]}}, engine) == [
        "--tensor-split",
        "3,1",
    ]
    assert _instance_options.arguments({**CHAT, "options": {"tensor_split": []}}, engine) == []


def test_gpus_become_the_tensor_parallel_size_unless_stated() -> None:
    assert _instance_options.arguments({**CHAT, "gpus": 2}, ENGINE)[-2:] == ["--tensor-parallel-size", "2"]
    stated = _instance_options.arguments({**CHAT, "gpus": 2, "options": {"pipeline_parallel_size": 2}}, ENGINE)
    assert "--tensor-parallel-size" not in stated
    assert "--tensor-parallel-size" not in _instance_options.arguments({**CHAT, "gpus": 1}, ENGINE)


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({}, (4, 4)),
        ({"tensor-parallel-size": 2, "pipeline_parallel_size": 2}, (2, 4)),
        ({"tp_size": "2", "dp": 2}, (2, 4)),
        # SGLang divides the same GPUs once more.
        ({"tp_size": 4, "dp_size": 4, "enable_dp_attention": True}, (4, 4)),
        ({"data_parallel_size": 4}, (1, 4)),
    ],
)
def test_sizes_by_all_their_names(options: dict[str, Any], sizes: tuple[int, int]) -> None:
    assert _instance_options.sizes({**CHAT, "gpus": 4, "options": options}, ENGINE) == sizes


def test_an_engine_without_an_option_for_gpus_divides_as_it_likes() -> None:
    assert _instance_options.sizes({**CHAT, "gpus": 4}, FILE_ENGINE) == (1, 4)
    assert _instance_options.options({**CHAT, "gpus": 4}, FILE_ENGINE) == {}


def test_the_later_replaces_the_earlier() -> None:
    own = {**CHAT, "task": "embed", "preset": "throughput", "options": {"shutdown-timeout": 5, "max-num-seqs": 8}}
    assert _instance_options.options(own, ENGINE) == {
        "shutdown_timeout": 5,
        "runner": "pooling",
        "performance_mode": "throughput",
        "max_num_seqs": 8,
    }
    assert _instance_options.drain(own, ENGINE) == 5


def test_a_draft_is_merged_with_what_the_person_says_of_it() -> None:
    own = {
        **CHAT,
        "draft_model": "small",
        "options": {"speculative-config": {"num_speculative_tokens": 3, "method": "eagle3"}},
    }
    assert _instance_options.options(own, ENGINE)["speculative_config"] == {
        "model": "/draft",
        "num_speculative_tokens": 3,
        "method": "eagle3",
    }
    assert "speculative_config" not in _instance_options.options(CHAT, ENGINE)


def test_adapters_are_a_list_by_name() -> None:
    own = {**CHAT, "adapters": [LEGAL, {"name": "medical", "model": "m"}]}
    assert _instance_options.arguments(own, ENGINE)[:4] == [
        *("--enable-lora", "--lora-modules", "legal=/adapters/legal", "medical=/adapters/medical"),
    ]


def test_mappings_of_the_engine_itself_are_replaced_as_a_whole() -> None:
    engine = {**ENGINE, "options": {"config": {"a": 1}}}
    assert _instance_options.options({**CHAT, "options": {"config": {"b": 2}}}, engine) == {"config": {"b": 2}}


def test_what_a_person_writes_stays_as_it_is() -> None:
    assert _instance_options.options({**CHAT, "options": {"title": "{model}"}}, ENGINE)["title"] == "{model}"


def test_how_long_a_stop_may_take() -> None:
    assert _instance_options.drain(CHAT, ENGINE) == 60
    assert _instance_options.drain({**CHAT, "options": {"shutdown_timeout": None}}, ENGINE) == 0
    assert _instance_options.drain(CHAT, FILE_ENGINE) == 0
    assert _instance_options.drain(CHAT, {**FILE_ENGINE, "drain_seconds": 30}) == 30
