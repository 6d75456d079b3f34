# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances become command lines, environments and GPUs, or are refused with every reason."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _instance
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from hypothesis import given
from hypothesis import strategies as st

ENGINE: dict[str, Any] = {
    "name": "vllm",
    "minimum_version": "0.32.0",
    "command": ["vllm", "serve", "{model_directory}", "--served-model-name", "{model}", "--uds", "{socket}"],
    "container": {"model_directory": "/model", "socket_directory": "/run/engine"},
    "options": {"shutdown_timeout": 60},
    "reserved_options": ["uds", "served_model_name"],
    "negated_options": True,
    "gpu_option": "tensor_parallel_size",
    "drain_option": "shutdown_timeout",
    "environment": {"HF_HUB_OFFLINE": "1"},
    "forbidden_environment": ["HF_TOKEN"],
    "health": "/health",
    "api": [{"path": "/v1/models", "methods": ["GET"]}],
}
IMAGE = "docker.io/vllm/vllm-openai:v0.32.0"
IMAGES = {IMAGE: {"reference": "docker.io/vllm/vllm-openai@sha256:ab"}}
MODELS = {"tiny": {"revision": "r1"}}
CHAT: dict[str, Any] = {"name": "chat", "engine": "vllm", "image": IMAGE, "model": "tiny"}


def refusals(**changes: Any) -> list[str]:
    return _instance.refusals([{**CHAT, **changes}], [ENGINE], IMAGES, MODELS)


def test_a_good_instance_is_not_refused() -> None:
    assert refusals(gpus=2, options={"max_model_len": 4096}, environment={"X": "1"}) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "Chat"}, ["instance Chat", "lower-case"]),
        ({"name": ""}, ["instance number 1"]),
        ({"engine": "vlm"}, ["'vlm'", "vllm"]),
        ({"image": "docker.io/vllm/vllm-openai:v0.31.0"}, ["v0.31.0", "0.32.0 or newer"]),
        ({"image": "other:v1.0"}, ["'other:v1.0'", IMAGE, "Stage"]),
        ({"model": "huge"}, ["'huge'", "tiny", "Stage"]),
        ({"gpus": -1}, ["gpus is -1"]),
        ({"rehearsal": "start"}, ["rehearsal is 'start'", "auto, generate, load, none"]),
        ({"gpus": 2, "options": {"tensor-parallel-size": 4}}, ["gpus is 2", "use 4"]),
        ({"gpus": 2, "options": {"tensor_parallel_size": "two"}}, ["not a number"]),
        ({"options": {"uds": "/x"}}, ["options.uds", "itself"]),
        ({"options": {"served-model-name": "x"}}, ["options.served-model-name"]),
        ({"environment": {"HF_TOKEN": "secret"}}, ["HF_TOKEN", "Remove it"]),
        ({"environment": {"X": True}}, ["environment.X", "quoted"]),
    ],
)
def test_a_refusal_says_what_and_how(changes: dict[str, Any], words: list[str]) -> None:
    said = "\n".join(refusals(**changes))
    assert all(word in said for word in words), said
    assert "secret" not in said


def test_every_reason_is_given() -> None:
    assert len(refusals(engine="x", image="y", model="z")) == 3


def test_two_instances_of_one_name_are_refused() -> None:
    assert "twice" in _instance.refusals([CHAT, CHAT], [ENGINE], IMAGES, MODELS)[0]


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
    assert _instance.option_arguments("max_len", value) == arguments


def test_false_is_nothing_where_switches_cannot_be_negated() -> None:
    assert _instance.option_arguments("verbose", False, negated=False) == []


def test_gpus_become_the_tensor_parallel_size_unless_stated() -> None:
    assert _instance.command({**CHAT, "gpus": 2}, ENGINE)[-2:] == ["--tensor-parallel-size", "2"]
    stated = _instance.command({**CHAT, "gpus": 2, "options": {"pipeline_parallel_size": 2}}, ENGINE)
    assert "--tensor-parallel-size" not in stated
    assert "--tensor-parallel-size" not in _instance.command({**CHAT, "gpus": 1}, ENGINE)


def test_an_instance_replaces_the_engines_defaults() -> None:
    own = {**CHAT, "options": {"shutdown-timeout": 5}, "environment": {"HF_HUB_OFFLINE": "0"}}
    assert _instance.drain(own, ENGINE) == 5
    assert _instance.command(own, ENGINE).count("--shutdown-timeout") == 1
    assert _instance.environment(own, ENGINE) == {"HF_HUB_OFFLINE": "0"}


def test_an_image_by_digest_needs_no_bundle() -> None:
    assert _instance.image_reference("a/b@sha256:cd", {}, "depot:5000") == "depot:5000/a/b@sha256:cd"


def test_a_fault_in_an_engines_data_is_named() -> None:
    with pytest.raises(AirgapError, match=r"\{modell\}"):
        _instance.command(CHAT, {**ENGINE, "command": ["vllm", "{modell}"]})


@given(st.lists(st.integers(min_value=0, max_value=8), max_size=8))
def test_no_gpu_is_given_twice_and_none_is_left_out(counts: list[int]) -> None:
    assigned = _instance.assign_gpus([{"gpus": count} for count in counts])
    assert [len(indices) for indices in assigned] == counts
    assert [index for indices in assigned for index in indices] == list(range(sum(counts)))


def test_a_rehearsal_that_loads_takes_the_same_options() -> None:
    load = {
        "command": ["vllm", "launch", "render", "{model_directory}", "--uds", "{socket}"],
        "environment": {"VLLM_TARGET_DEVICE": "cpu"},
        "path": "/render",
        "body": {"model": "{model}", "messages": [{"role": "user", "content": "{model_directory}?"}]},
    }
    engine = {**ENGINE, "rehearsal": {"cpu_images": ["*/vllm-openai-cpu"], "load": load}}
    instance = {**CHAT, "gpus": 2, "options": {"max_model_len": 512}}
    planned = _instance.plan([instance], [engine], IMAGES, MODELS)[0]["rehearsal"]
    assert planned["level"] == "auto"
    assert planned["load"]["command"][:6] == ["vllm", "launch", "render", "/model", "--uds", "/run/engine/engine.sock"]
    assert planned["load"]["command"][6:] == _instance.command(instance, engine)[7:]
    assert planned["load"]["body"] == {"model": "tiny", "messages": [{"role": "user", "content": "/model?"}]}


def test_an_engine_without_a_way_to_load_has_none() -> None:
    planned = _instance.plan([{**CHAT, "rehearsal": "none"}], [ENGINE], IMAGES, MODELS)[0]["rehearsal"]
    assert planned == {"level": "none", "cpu_images": [], "load": None}
