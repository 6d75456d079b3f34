# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An instance's options become those of a placement, as vLLM itself would read them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _preflight_instance
from hypothesis import given, settings
from hypothesis import strategies as st

ENGINE: dict[str, Any] = {
    "name": "vllm",
    "options": {"shutdown_timeout": 60},
    "container": {"shm_size": "8gb"},
    "rehearsal": {"cpu_images": ["*/vllm-openai-cpu"]},
}
CHAT: dict[str, Any] = {"name": "chat", "image": "docker.io/vllm/vllm-openai:v0.32.0", "model": "small", "gpus": 2}


def wish(**changes: Any) -> _preflight_instance.Wish:
    return _preflight_instance.wish({**CHAT, **changes}, ENGINE)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (32768, 32768),
        ("32768", 32768),
        ("32k", 32000),
        ("32K", 32768),
        ("25.6k", 25600),
        ("1M", 2**20),
        ("1.5K", None),
        ("many", None),
        (True, None),
        (0, None),
        (-5, None),
        (1.5, None),
        (None, None),
    ],
)
def test_numbers_as_vllm_reads_them(value: Any, number: int | None) -> None:
    assert _preflight_instance.count(value) == number


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("16gb", 2**34),
        ("16g", 2**34),
        ("64M", 2**26),
        ("512", 512),
        ("1.5gb", 3 * 2**29),
        (1024, 1024),
        ("much", None),
        ("", None),
    ],
)
def test_sizes_as_compose_reads_them(value: Any, size: int | None) -> None:
    assert _preflight_instance.size(value) == size


def test_options_become_parameters() -> None:
    options = {
        "max-model-len": "32K",
        "gpu_memory_utilization": 0.9,
        "kv_cache_dtype": "fp8",
        "enforce_eager": True,
        "kv_cache_memory_bytes": 2**30,
    }
    assert wish(options=options) == (
        {
            "max_model_len": 32768,
            "gpu_memory_utilization": 0.9,
            "kv_cache_dtype": "fp8",
            "enforce_eager": True,
            "kv_cache_bytes": 2**30,
            "tensor_parallel_size": 2,
            "device": "cuda",
        },
        [],
        [],
    )


def test_stated_parallel_sizes_are_taken_as_they_are() -> None:
    parameters = wish(gpus=8, options={"pipeline_parallel_size": 2, "tensor_parallel_size": 4}).parameters
    assert (parameters["tensor_parallel_size"], parameters["pipeline_parallel_size"]) == (4, 2)
    assert "tensor_parallel_size" not in wish(options={"data_parallel_size": 2}).parameters


@pytest.mark.parametrize("value", ["auto", "AUTO", -1, "-1"])
def test_the_longest_that_fits(value: Any) -> None:
    found = wish(options={"max_model_len": value})
    assert found.parameters["max_model_len"] == _preflight_instance.AS_FITS
    assert not found.faults


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"options": {"max_model_len": "long"}}, "options.max_model_len is 'long'"),
        ({"options": {"gpu_memory_utilization": 90}}, "options.gpu_memory_utilization is 90"),
        ({"options": {"enforce_eager": "yes"}}, "options.enforce_eager is 'yes'"),
        ({"shm_size": "lots"}, "shm_size is 'lots'"),
        ({"memory": "12 apples"}, "memory is '12 apples'"),
        ({"gpus": 0, "environment": {"VLLM_CPU_KVCACHE_SPACE": "half"}}, "VLLM_CPU_KVCACHE_SPACE is 'half'"),
    ],
    ids=["length", "share", "switch", "shared memory", "memory", "cpu cache"],
)
def test_what_cannot_be_read_is_a_fault(changes: dict[str, Any], words: str) -> None:
    assert [fault for fault in wish(**changes).faults if words in fault]


def test_what_vllm_knows_and_this_does_not_is_unknown_and_no_fault() -> None:
    found = wish(options={"kv_cache_dtype": "nvfp4"})
    assert not found.faults
    assert "nvfp4" in found.unknown[0]


def test_an_engine_on_the_cpu() -> None:
    image = "docker.io/vllm/vllm-openai-cpu:v0.32.0"
    found = wish(image=image, environment={"VLLM_CPU_KVCACHE_SPACE": "4"}).parameters
    assert (found["device"], found["kv_cache_bytes"]) == ("cpu", 4 * 2**30)
    assert wish(gpus=0).parameters["device"] == "cpu"
    assert wish(image=image + "@sha256:" + "a" * 64).parameters["device"] == "cpu"
    assert wish(image="registry.example.org:5000/vllm/vllm-openai-cpu").parameters["device"] == "cpu"
    assert wish().parameters["device"] == "cuda"


def test_what_the_container_gets() -> None:
    assert _preflight_instance.shared_memory_mib(CHAT, ENGINE) == 8192
    assert _preflight_instance.shared_memory_mib({**CHAT, "shm_size": "64mb"}, ENGINE) == 64
    assert _preflight_instance.memory_mib({**CHAT, "memory": "4gb"}, 64000) == 4096
    assert _preflight_instance.memory_mib(CHAT, 64000) == 64000
    assert _preflight_instance.memory_mib(CHAT, None) is None


def test_places_name_the_variable_and_what_stands_there() -> None:
    instance = {**CHAT, "options": {"max-model-len": 4096}}
    assert _preflight_instance.places("airgap_instances", 3, instance, ["memory", "driver"]) == [
        "airgap_instances[3].options.gpu_memory_utilization is not stated",
        "airgap_instances[3].options.max_model_len is 4096",
        "airgap_instances[3].image is 'docker.io/vllm/vllm-openai:v0.32.0'",
        "gpu_host_branch",
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3),
)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            ["max_model_len", "gpu_memory_utilization", "enforce_eager", "dtype", "tensor_parallel_size", "block_size"]
        ),
        JSON,
    )
)
def test_any_options_are_read_or_refused(options: dict[str, Any]) -> None:
    found = wish(options=options)
    for key, value in found.parameters.items():
        if key.endswith("_size") or key == "max_model_len":
            assert isinstance(value, int)


def test_a_task_and_a_preset_have_options_too() -> None:
    engine = {
        **ENGINE,
        "tasks": {"embed": {"options": {"max_model_len": 512}}},
        "presets": {"latency": [{"gpus": "hopper", "options": {"max_num_seqs": 8}}]},
    }
    instance = {**CHAT, "task": "embed", "preset": "latency"}
    found = _preflight_instance.wish(instance, engine, {"name": "H100"}).parameters
    assert (found["max_model_len"], found["max_num_seqs"]) == (512, 8)
    assert "max_num_seqs" not in _preflight_instance.wish(instance, engine).parameters
