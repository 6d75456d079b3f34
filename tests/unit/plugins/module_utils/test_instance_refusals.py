# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances are refused with every reason, each with what it is about and the remedy."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _instance_refusals
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.instances import (
    CHAT,
    ENGINE,
    FILE_ENGINE,
    IMAGE,
    IMAGES,
    LEGAL,
    MODELS,
)


def refusals(*instances: dict[str, Any], expected: Any = None) -> list[str]:
    return _instance_refusals.refusals(instances, [ENGINE, FILE_ENGINE], IMAGES, MODELS, expected)


def test_a_good_instance_is_not_refused() -> None:
    everything = {
        **CHAT,
        "gpus": 2,
        "replicas": 3,
        "task": "generate",
        "draft_model": "small",
        "adapters": [LEGAL],
        "preset": "throughput",
        "cpus": 0.5,
        "options": {"max_model_len": 4096, "speculative_config": {"num_speculative_tokens": 2}},
        "environment": {"X": "1"},
    }
    assert refusals(everything) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "Chat"}, ["instance Chat", "lower-case"]),
        ({"name": ""}, ["instance number 1"]),
        ({"replicas": 0}, ["replicas is 0", "1 to 64"]),
        ({"replicas": 65}, ["replicas is 65"]),
        ({"replicas": "two"}, ["replicas is 'two'"]),
        ({"name": "a" * 31, "replicas": 2}, ["a-2, is longer than 32"]),
        ({"engine": "vlm"}, ["'vlm'", "llama-cpp, vllm"]),
        ({"task": "rerank"}, ["task is 'rerank'", "vllm can do embed, generate"]),
        ({"preset": "speed"}, ["preset is 'speed'", "latency, throughput"]),
        ({"preset": "latency", "gpus": 1}, ["has for blackwell", "gpu_host_expected"]),
        ({"preset": "latency"}, ["has for blackwell", "computes on cpu"]),
        ({"image": "other:v1.0"}, ["'other:v1.0'", IMAGE, "Stage"]),
        ({"model": "huge"}, ["'huge'", "tiny", "Stage"]),
        ({"gpus": -1}, ["gpus is -1"]),
        ({"cpus": 0}, ["cpus is 0"]),
        ({"cpus": "all"}, ["cpus is 'all'"]),
        ({"rehearsal": "start"}, ["rehearsal is 'start'", "auto, generate, load, none"]),
        ({"gpus": 2, "options": {"tensor-parallel-size": 4}}, ["gpus is 2", "use 4"]),
        ({"gpus": 2, "options": {"tensor_parallel_size": "two"}}, ["not a number"]),
        ({"options": {"uds": "/x"}}, ["options.uds", "not an instance's to state"]),
        ({"options": {"served-model-name": "x"}}, ["options.served-model-name"]),
        (
            {"draft_model": "small", "options": {"speculative_config": '{"method": "eagle"}'}},
            ["options.speculative_config", "write it as a mapping"],
        ),
        ({"environment": {"HF_TOKEN": "secret"}}, ["HF_TOKEN", "Remove it"]),
        ({"environment": {"X": True}}, ["environment.X", "quoted"]),
    ],
)
def test_a_refusal_says_what_and_how(changes: dict[str, Any], words: list[str]) -> None:
    said = refusals({**CHAT, **changes})
    assert len(said) == 1
    assert all(word in said[0] for word in words), said
    assert "secret" not in said[0]


def test_a_preset_for_the_hosts_own_generation_is_taken() -> None:
    assert refusals({**CHAT, "gpus": 1, "preset": "latency"}, expected={"name": "B200"}) == []


def test_every_reason_is_given() -> None:
    assert len(refusals({**CHAT, "engine": "x", "image": "y", "model": "z"})) == 3


def test_what_instances_mean_together_is_told_with_the_later_one() -> None:
    assert refusals(CHAT, CHAT) == ["instance chat: the name chat stands twice; give each instance of a host its own."]


def test_faults_of_the_engines_come_first_and_alone() -> None:
    found = _instance_refusals.refusals([{**CHAT, "model": "huge"}], [ENGINE, ENGINE], IMAGES, MODELS)
    assert [reason.partition(";")[0] for reason in found] == ["engine vllm: two files of engines' data have this name"]
