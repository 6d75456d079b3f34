# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A site becomes questions: one for each instance on each host, and each different one once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _preflight_case

IMAGE = "docker.io/vllm/vllm-openai:v0.32.0"
ENGINE: dict[str, Any] = {
    "name": "vllm",
    "options": {},
    "container": {"shm_size": "8gb"},
    "rehearsal": {"cpu_images": ["*/vllm-openai-cpu"]},
}
CHAT: dict[str, Any] = {"name": "chat", "engine": "vllm", "image": IMAGE, "model": "small", "gpus": 1}
OTHER = {**CHAT, "name": "other", "gpus": 2}


def gpu(index: int, **changes: Any) -> dict[str, Any]:
    return {
        "index": index,
        "name": "NVIDIA H100 80GB HBM3",
        "uuid": f"GPU-{index}",
        "memory_mib": 81559,
        "memory_used_mib": 4 + index,
        "compute_capability": "9.0",
        **changes,
    }


def host(name: str = "gpu1", gpus: int = 4, **changes: Any) -> dict[str, Any]:
    return {
        "host": name,
        "variable": "airgap_instances",
        "instances": [CHAT, OTHER],
        "expected": {},
        "seen": {
            "facts": {"ansible_facts": {"ansible_memtotal_mb": 1000}},
            "found": {"gpus": []},
            "gpus": {
                "gpus": [gpu(index) for index in range(gpus)],
                "driver_version": "580.95.05",
                "cuda_version": "13.0",
            },
            "held": [],
        },
        **changes,
    }


def plan(*hosts: dict[str, Any], **changes: Any) -> dict[str, Any]:
    bundle = {
        "images": {IMAGE: {"digest": "sha256:aa", "size": 1, "cuda": {"version": "13.0.2", "require": "cuda>=13.0"}}},
        "models": {"small": {"revision": "r1", "size": 1}},
    }
    site = {
        "engines": [ENGINE],
        "hosts": list(hosts) or [host()],
        "bundle": bundle,
        "model_paths": {"small": {"path": "/srv/airgap/models/small/r1"}},
        **changes,
    }
    found = _preflight_case.plan(site)
    # It travels between tasks.
    assert json.loads(json.dumps(found)) == found
    return found


def rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for described in found["hosts"] for row in described["rows"]]


def test_the_question_of_an_instance() -> None:
    found = plan()
    case = found["cases"][0]
    assert (case["path"], case["tensor_parallel_size"], case["device"]) == ("/srv/airgap/models/small/r1", 1, "cuda")
    assert case["image"] == {"cuda_version": "13.0.2", "require_cuda": "cuda>=13.0"}
    assert case["host"] == {"shm_mib": 8192, "driver_version": "580.95.05", "cuda_version": "13.0"}
    assert [entry.get("promised_to") for entry in case["gpus"]] == [None, "other", "other", None]
    assert [entry.get("promised_to") for entry in found["cases"][1]["gpus"]] == ["chat", None, None, None]
    assert [row["gpus"] for row in rows(found)] == [[0], [1, 2]]


def test_each_replica_is_a_row_and_has_gpus_of_its_own() -> None:
    running = host(instances=[{**CHAT, "replicas": 2}, OTHER])
    running["seen"]["held"] = ["airgap-inference@chat-2.service loaded active running x"]
    found = plan(running)
    assert [(row["instance"], row["gpus"], row["position"]) for row in rows(found)] == [
        ("chat-1", [0], 0),
        ("chat-2", [1], 0),
        ("other", [2, 3], 1),
    ]
    assert [entry.get("promised_to") for entry in found["cases"][1]["gpus"]] == ["chat-1", None, "other", "other"]
    assert [entry["memory_used_mib"] for entry in found["cases"][0]["gpus"]] == [64, 0, 64, 64]


def test_a_draft_is_a_model_that_takes_memory_too() -> None:
    drafting = {**CHAT, "draft_model": "draft"}
    bundle = {"images": {IMAGE: {}}, "models": {"small": {"revision": "r1"}, "draft": {"revision": "r2"}}}
    found = plan(host(instances=[drafting]), bundle=bundle)
    assert "draft_model takes memory as well" in rows(found)[0]["unknown"][0]
    assert len(found["cases"]) == 1
    lacking = rows(plan(host(instances=[drafting])))[0]["refused"]
    assert lacking == ["the model draft is not in the bundle, which has small. Stage a bundle with it"]


def test_like_hosts_ask_once() -> None:
    found = plan(host("gpu1"), host("gpu2"), host("gpu3"))
    assert len(found["cases"]) == 2
    assert [row["case"] for row in rows(found)] == [0, 1] * 3
    assert not [entry for case in found["cases"] for entry in case["gpus"] if "uuid" in entry]
    found = plan(host("gpu1"), host("gpu2", gpus=3))
    assert len(found["cases"]) == 4


def test_a_running_instance_gives_its_memory_back_and_others_do_not() -> None:
    full = host()
    full["seen"]["gpus"]["gpus"] = [gpu(index, memory_used_mib=70000) for index in range(4)]
    full["seen"]["held"] = ["airgap-inference@chat.service loaded active running x"]
    used = [entry["memory_used_mib"] for entry in plan(full)["cases"][0]["gpus"]]
    assert used == [0, 70016, 70016, 70016]


def test_a_divided_gpu_is_no_whole_one() -> None:
    divided = host()
    divided["seen"]["gpus"]["gpus"][0]["mig_mode"] = "enabled"
    divided["seen"]["gpus"]["gpus"][3]["mig_mode"] = "enabled"
    found = plan(divided)
    assert rows(found)[0]["case"] is None
    assert "GPU 0 is divided by MIG" in rows(found)[0]["refused"][0]
    assert [entry.get("promised_to") for entry in found["cases"][0]["gpus"]] == ["chat", None, None, "MIG"]


def test_a_driver_that_is_replaced_is_not_judged() -> None:
    assert plan(host(packages_state="latest"))["cases"][0]["host"] == {"shm_mib": 8192}


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        (
            {"bundle": {"images": {}, "models": {"small": {}}}},
            "refused",
            f"the image {IMAGE} is not in the bundle, which has none",
        ),
        (
            {"bundle": {"images": {IMAGE: {}}, "models": {"big": {}}}},
            "refused",
            "the model small is not in the bundle, which has big",
        ),
        ({"model_paths": {}}, "unknown", "the model small cannot be looked at: it is not there"),
        ({"model_paths": {"small": {"path": None, "why": "the hub is away"}}}, "unknown", "the hub is away"),
        ({"engines": [{**ENGINE, "name": "sglang"}]}, "unknown", "the engine is sglang"),
    ],
    ids=["image", "model", "no path", "no answer", "engine"],
)
def test_what_cannot_be_asked(changes: dict[str, Any], key: str, words: str) -> None:
    instance = {**CHAT, "engine": "sglang"} if "engines" in changes else CHAT
    found = plan(host(instances=[instance]), **changes)
    assert found["cases"] == []
    assert words in rows(found)[0][key][0]


def test_gpus_that_are_not_there_or_not_known() -> None:
    none = host(expected={"count": 2})
    none["seen"]["gpus"] = {"msg": "no driver"}
    assert "shows no NVIDIA GPU" in rows(plan(none))[0]["refused"][0]
    staged = {key: value for key, value in host().items() if key != "seen"}
    assert "gpu_host_expected.count" in rows(plan(staged))[0]["unknown"][0]
    found = plan({**staged, "expected": {"count": 4, "name": "H200"}})
    assert found["cases"][0]["gpus"][0]["memory_mib"] == 143771
    assert found["problems"] == []


def test_a_name_for_gpus_of_several_sizes_is_asked_for_the_least_and_the_most() -> None:
    staged = {key: value for key, value in host(instances=[CHAT]).items() if key != "seen"}
    found = plan({**staged, "expected": {"count": 1, "name": "A100"}})
    row = rows(found)[0]
    assert [found["cases"][row[key]]["gpus"][0]["memory_mib"] for key in ("case", "case_at_most")] == [40960, 81920]
    found = plan({**staged, "expected": {"count": 1, "name": "A100", "memory_mib": 81920}})
    assert rows(found)[0]["case_at_most"] is None


def test_a_host_that_was_not_reached_is_a_row_and_a_problem() -> None:
    found = plan(host(seen={"facts": {"unreachable": True, "msg": "Connection refused"}}))
    assert found["hosts"][0]["not_reached"] == "Connection refused"
    assert found["cases"] == []
    assert found["problems"][0]["verdict"] == "not reached"


def test_an_engine_on_the_cpu_has_no_gpus() -> None:
    instance = {
        **CHAT,
        "image": "docker.io/vllm/vllm-openai-cpu:v0.32.0",
        "environment": {"VLLM_CPU_KVCACHE_SPACE": "1"},
    }
    case = plan(host(instances=[instance]), bundle={})["cases"][0]
    assert (case["gpus"], case["device"], case["kv_cache_bytes"], case["host"]["memory_mib"]) == (
        [],
        "cpu",
        2**30,
        1000,
    )


def test_flags_that_could_not_be_checked_are_told_and_those_that_the_image_told_are_used() -> None:
    described = host(instances=[{**CHAT, "replicas": 2, "options": {"max_modellen": 1}}])
    found = plan(described)
    assert found["hosts"][0]["notes"] == ["chat: flags not checked (no list of its image's is known)"]
    assert rows(found)[0]["refused"] == []
    images = {IMAGE: {"digest": "sha256:aa", "size": 1, "flags": {"vllm": ["--max-model-len"]}}}
    found = plan(described, bundle={"images": images, "models": {"small": {"revision": "r1", "size": 1}}})
    assert found["hosts"][0]["notes"] == []
    (reason,) = rows(found)[0]["refused"]
    assert reason.startswith(f"options.max_modellen is no option of vllm in {IMAGE}. Did you mean max_model_len?")
