# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an inventory alone shows to be wrong is told before any host is contacted, all of it, and once for hosts that share it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _preflight_inventory, _preflight_problem
from ansible_collections.airgap.inference.plugins.module_utils._preflight_problem import Problem
from hypothesis import given, settings
from hypothesis import strategies as st

ENGINE: dict[str, Any] = {
    "name": "vllm",
    "minimum_version": "0.32.0",
    "command": ["vllm", "serve", "{model_directory}"],
    "container": {"model_directory": "/model", "socket_directory": "/run/engine", "draft_directory": "/draft"},
    "options": {},
    "flags": {"version": "0.32.0", "names": ["max-model-len", "tensor-parallel-size"]},
    "presets": {"latency": [{"gpus": "hopper", "options": {"max_model_len": "short"}}]},
    "reserved_options": ["uds"],
    "gpu_option": "tensor_parallel_size",
    "environment": {},
    "forbidden_environment": ["HF_TOKEN"],
    "health": "/health",
    "tasks": {"generate": {"api": [], "probe": {"path": "/v1/completions", "body": {}, "expects": "text"}}},
}
CHAT: dict[str, Any] = {
    "name": "chat",
    "engine": "vllm",
    "image": "docker.io/vllm/vllm-openai:v0.32.0",
    "model": "small",
    "gpus": 2,
}
CLIENT = {"name": "radiology", "key_sha256": "ab" * 32, "rate": "10r/s"}


def host(name: str = "gpu1", **changes: Any) -> dict[str, Any]:
    return {
        "host": name,
        "variable": "airgap_instances",
        "instances": [CHAT],
        "expected": {"count": 8, "name": "H100"},
        "mig": [],
        "clients": [CLIENT],
        "clients_variable": "airgap_clients",
        **changes,
    }


def problems(*hosts: dict[str, Any], **changes: Any) -> list[Problem]:
    site = {
        "depots": ["bastion"],
        "engines": [ENGINE],
        "models": [{"name": "small"}],
        "hosts": list(hosts) or [host()],
        **changes,
    }
    return _preflight_inventory.problems(site)


def told(found: list[Problem]) -> str:
    return " ".join("\n".join(_preflight_problem.paragraphs(found)).split())


def test_a_good_site_has_no_problem() -> None:
    assert problems(host("gpu1"), host("gpu2", mig=[{"gpus": [7], "instances": ["1g.10gb"]}])) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"instances": [{**CHAT, "engine": "vlm"}]}, ["instance chat", "airgap_instances[0]", "engine is 'vlm'"]),
        ({"instances": [{**CHAT, "name": ""}]}, ["airgap_instances[0]", "lower-case"]),
        ({"instances": [CHAT, CHAT]}, ["airgap_instances[1]", "stands twice"]),
        (
            {"instances": [{**CHAT, "model": "huge"}]},
            ["model 'huge' is not in airgap_models, which has small", "Add it there"],
        ),
        (
            {"instances": [{**CHAT, "draft_model": "huge"}]},
            ["draft_model 'huge' is not in airgap_models", "Add it there"],
        ),
        (
            {"instances": [{**CHAT, "adapters": [{"name": "x"}]}]},
            ["takes none here", "adapters[0].model None is not in"],
        ),
        ({"instances": [{**CHAT, "options": {"max_modellen": 1}}]}, ["no option of vllm 0.32.0", "max_model_len"]),
        ({"instances": [{**CHAT, "replicas": 0}]}, ["replicas is 0"]),
        (
            {"instances": [{**CHAT, "replicas": 2}, {**CHAT, "name": "chat-2"}]},
            ["airgap_instances[1]", "chat-2 is the name"],
        ),
        ({"instances": [{**CHAT, "task": "embed"}]}, ["task is 'embed', and vllm can do generate"]),
        ({"instances": [{**CHAT, "preset": "latency"}]}, ["options.max_model_len is 'short'"]),
        ({"instances": [{**CHAT, "preset": "latency"}], "expected": {"name": "L40S"}}, ["has for hopper", "on ada"]),
        ({"instances": [{**CHAT, "options": {"uds": None}}]}, ["options.uds is not an instance"]),
        ({"instances": [{**CHAT, "options": {"max_model_len": "long"}}]}, ["options.max_model_len is 'long'"]),
        ({"instances": [{**CHAT, "options": "fast"}]}, ["cannot be read"]),
        ({"instances": [{**CHAT, "environment": {"HF_TOKEN": "secret"}}]}, ["HF_TOKEN", "Remove it"]),
        ({"instances": {"chat": CHAT}}, ["airgap_instances is no list of instances"]),
        (
            {"instances": [{**CHAT, "gpus": 6}, {**CHAT, "name": "other", "gpus": 4}]},
            ["need 10 GPUs", "chat 6, other 4", "count is 8"],
        ),
        (
            {"instances": [{**CHAT, "gpus": 3, "replicas": 3}]},
            ["need 9 GPUs", "chat-1 3, chat-2 3, chat-3 3", "airgap_instances[0].gpus is 3, replicas is 3"],
        ),
        (
            {"instances": [{**CHAT, "replicas": 2}], "mig": [{"gpus": [3], "instances": ["3g.40gb"]}]},
            ["instance chat-2", "GPU 3 is promised", "airgap_instances[0].gpus is 2"],
        ),
        (
            {"mig": [{"gpus": [1, 5], "instances": ["3g.40gb"]}]},
            ["GPU 1 is promised", "gpu_host_mig[0].gpus is [1, 5]"],
        ),
        ({"mig": [{"gpus": "all", "instances": ["3g.40gb"]}]}, ["GPU 0, 1 is promised"]),
        ({"clients": [{**CLIENT, "key_sha256": "0" * 64}]}, ["airgap_clients[0]", "zeros"]),
        ({"clients": [{**CLIENT, "key_sha256": "abc"}]}, ["64 lower-case hexadecimal"]),
        ({"clients": [CLIENT, {**CLIENT, "name": "other"}]}, ["airgap_clients[1]", "another client's as well"]),
        ({"clients": [CLIENT, {**CLIENT, "key_sha256": "cd" * 32}]}, ["name 'radiology' stands twice"]),
        ({"clients": [{"name": "app", "claims": "radiology"}]}, ["claims is 'radiology'"]),
        ({"clients": [{**CLIENT, "name": "a b"}]}, ["name is 'a b'"]),
        ({"clients": [{**CLIENT, "rate": "fast"}]}, ["rate is 'fast'"]),
        ({"clients": "none"}, ["airgap_clients is no list of clients"]),
        ({"expected": "H100"}, ["gpu_host_expected is 'H100'", "a dictionary"]),
        ({"mig": {"gpus": "all"}}, ["gpu_host_mig is", "a list"]),
    ],
)
def test_each_fault_is_told_with_its_place(changes: dict[str, Any], words: list[str]) -> None:
    found = problems(host(**changes))
    assert len(found) == 1
    assert found[0].hosts == ("gpu1",)
    for word in words:
        assert word in told(found)


def test_replicas_drafts_and_clients_with_tokens_are_no_faults() -> None:
    instance = {**CHAT, "replicas": 4, "draft_model": "draft"}
    client = {"name": "app", "claims": {"azp": "radiology-app"}}
    assert problems(host(instances=[instance], clients=[client]), models=[{"name": "small"}, {"name": "draft"}]) == []
    assert problems(host(instances=[instance]), models=[]) == []


def test_two_files_for_one_engine() -> None:
    assert "two files of engines' data" in told(problems(engines=[ENGINE, ENGINE]))


def test_all_faults_at_once_and_no_key_in_them() -> None:
    broken = host(
        instances=[{**CHAT, "engine": "vlm"}, {**CHAT, "name": "other", "model": "huge"}],
        clients=[{**CLIENT, "key_sha256": "feed"}],
    )
    found = problems(broken, depots=["a", "b"], models=[{"name": "small"}, {"name": "small"}])
    assert len(found) == 5
    assert "feed" not in told(found)
    assert "group airgap_depot has a, b" in told(found)
    assert "airgap_models has small twice" in told(found)


def test_hosts_with_the_same_fault_share_a_paragraph() -> None:
    hosts = [host(f"gpu{number}", instances=[{**CHAT, "gpus": 16}]) for number in range(9)]
    found = problems(*hosts)
    assert len(found) == 1
    assert len(found[0].hosts) == 9
    assert "gpu0, gpu1, gpu2, gpu3, gpu4 and 4 more hosts" in told(found)


def test_without_a_list_of_models_the_depot_is_asked_later() -> None:
    assert problems(host(instances=[{**CHAT, "model": "huge"}]), models=[]) == []
    assert problems(depots=[], needs_depot=False) == []


def test_lines_fit_and_need_no_escape() -> None:
    text = 'a "quoted" word ' * 40 + "x" * 30
    lines = _preflight_problem.paragraphs([Problem(("gpu1",), "chat", "stops", [text], ["somewhere"], [text])])
    assert max(len(line) for line in lines) <= _preflight_problem.WIDTH
    assert not [line for line in lines if '"' in line or "\\" in line]


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 99) | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["name", "engine", "gpus", "options", "environment", "image", "count", "instances", "rate", "adapters"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


NEWER = ("replicas", "task", "draft_model", "adapters", "model_file", "preset", "cpus")


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["instances", "expected", "mig", "clients"]), JUNK, min_size=1))
def test_any_description_is_told_of_or_good(changes: dict[str, Any]) -> None:
    for problem in problems(host(**changes)):
        assert problem.what


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*sorted(CHAT), "options", "environment", "shm_size", "memory", "rehearsal", *NEWER]),
        JUNK,
        min_size=1,
    )
)
def test_any_instance_is_told_of_or_good(changes: dict[str, Any]) -> None:
    for problem in problems(host(instances=[{**CHAT, **changes}])):
        assert problem.what
