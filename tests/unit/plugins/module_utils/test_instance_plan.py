# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan leaves nothing open: images by digest, models by revision, command lines, routes."""

from __future__ import annotations

from typing import Any

from ansible_collections.airgap.inference.plugins.module_utils import _instance_plan
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.instances import (
    CHAT,
    ENGINE,
    FILE,
    FILE_ENGINE,
    IMAGES,
    LEGAL,
    MODELS,
)


def plan(*instances: dict[str, Any], **changes: Any) -> list[dict[str, Any]]:
    return _instance_plan.plan(instances, [{**ENGINE, **changes}, FILE_ENGINE], IMAGES, MODELS, "depot:5000")


def test_replicas_differ_in_name_and_gpus_alone() -> None:
    first, second, other = plan({**CHAT, "replicas": 2, "gpus": 2}, {**CHAT, "name": "other", "gpus": 1})
    assert [(item["name"], item["base"], item["gpus"]) for item in (first, second, other)] == [
        ("chat-1", "chat", [0, 1]),
        ("chat-2", "chat", [2, 3]),
        ("other", "other", [4]),
    ]
    assert first["command"] == second["command"]
    assert first["upstream"] == {**second["upstream"], "name": "chat-1"}


def test_all_that_must_be_on_the_host_and_where_it_stands() -> None:
    planned = plan({**CHAT, "draft_model": "small", "adapters": [LEGAL, {"name": "medical", "model": "legal-lora"}]})[0]
    assert planned["models"] == [
        {"name": "tiny", "revision": "r1"},
        {"name": "small", "revision": "r2"},
        {"name": "legal-lora", "revision": "r3"},
    ]
    assert [(item["model"], item["revision"], item["target"]) for item in planned["mounts"]] == [
        ("tiny", "r1", "/model"),
        ("small", "r2", "/draft"),
        ("legal-lora", "r3", "/adapters/legal"),
        ("legal-lora", "r3", "/adapters/medical"),
    ]
    assert planned["serves"] == planned["upstream"]["models"] == ["tiny", "legal", "medical"]


def test_the_task_says_what_is_asked_and_what_clients_may_ask() -> None:
    planned = plan({**CHAT, "task": "embed"})[0]
    assert planned["task"] == "embed"
    assert planned["probe"] == {
        "path": "/v1/embeddings",
        "body": {"model": "tiny", "input": "Hello"},
        "expects": "embedding",
    }
    # The model in a path is the client's to name.
    assert planned["upstream"]["api"][1] == {"path": "/v2/models/{model}/infer", "methods": ["POST"]}
    assert planned["command"][-4:] == ["--runner", "pooling", "--shutdown-timeout", "60"]
    assert plan(CHAT)[0]["task"] == "generate"


def test_an_engine_that_takes_a_file_and_listens_on_a_port() -> None:
    planned = plan({**FILE, "cpus": 4, "memory": "8gb"})[0]
    assert planned["command"] == ["llama-server", "--model", "/model/file-q4.gguf", "--port", "8080"]
    assert planned["environment"] == {"LLAMA_ALIAS": "file"}
    assert (planned["listens"], planned["port"], planned["model_file"]) == ("tcp", 8080, "file-q4.gguf")
    assert (planned["cpus"], planned["memory"], planned["metrics"], planned["drain"]) == (4, "8gb", "", 0)


def test_the_image_is_the_depots_by_digest() -> None:
    assert plan(CHAT)[0]["image"] == "depot:5000/docker.io/vllm/vllm-openai@sha256:ab"
    assert _instance_plan.image_reference("a/b@sha256:cd", {}, "depot:5000") == "depot:5000/a/b@sha256:cd"
    assert _instance_plan.image_reference("a/b@sha256:cd", {}) == "a/b@sha256:cd"


def test_an_environment_may_be_empty_and_is_the_persons_in_the_end() -> None:
    assert plan(CHAT, environment={})[0]["environment"] == {}
    assert plan(CHAT, environment=None)[0]["environment"] == {}
    own = plan({**CHAT, "environment": {"HF_HUB_OFFLINE": 0, "X": "{model}"}})[0]["environment"]
    assert own == {"HF_HUB_OFFLINE": "0", "X": "{model}"}


def test_a_preset_for_the_hosts_generation() -> None:
    instance = {**CHAT, "gpus": 1, "preset": "throughput"}
    planned = _instance_plan.plan([instance], [ENGINE], IMAGES, MODELS, expected={"name": "H200"})[0]["command"]
    assert planned[planned.index("--max-num-seqs") + 1] == "1024"


def test_a_model_that_the_container_reads_elsewhere_is_on_the_host_all_the_same() -> None:
    container = {"socket_directory": "/run/engine"}
    planned = plan(CHAT, container=container, command=None, supports_user=False)[0]
    assert planned["mounts"] == []
    assert planned["models"] == [{"name": "tiny", "revision": "r1"}]
    assert planned["command"] == ["--shutdown-timeout", "60"]
    assert planned["supports_user"] is False


def test_a_rehearsal_that_loads_takes_the_same_options() -> None:
    load = {
        "command": ["vllm", "launch", "render", "{model_directory}", "--uds", "{socket}"],
        "environment": {"VLLM_TARGET_DEVICE": "cpu"},
        "path": "/render",
        "body": {"model": "{model}", "messages": [{"role": "user", "content": "{model_directory}?"}]},
    }
    instance = {**CHAT, "gpus": 2, "options": {"max_model_len": 512}}
    planned = plan(instance, rehearsal={"cpu_images": ["*/vllm-openai-cpu"], "load": load})[0]
    rehearsal = planned["rehearsal"]
    assert rehearsal["level"] == "auto"
    assert rehearsal["load"]["command"][:6] == [
        "vllm",
        "launch",
        "render",
        "/model",
        "--uds",
        "/run/engine/engine.sock",
    ]
    assert rehearsal["load"]["command"][6:] == planned["command"][7:]
    assert rehearsal["load"]["body"] == {"model": "tiny", "messages": [{"role": "user", "content": "/model?"}]}


def test_an_engine_without_a_way_to_load_has_none() -> None:
    planned = plan({**CHAT, "rehearsal": "none"})[0]["rehearsal"]
    assert planned == {"level": "none", "cpu_images": [], "load": None, "help": None}


def test_what_makes_an_engine_tell_its_flags_is_planned_with_those_that_it_must_tell() -> None:
    told = {"command": ["vllm", "serve", "--help=all"], "environment": {"COLUMNS": 200}}
    planned = plan(CHAT, rehearsal={"help": told})[0]["rehearsal"]["help"]
    assert planned == {
        "command": ["vllm", "serve", "--help=all"],
        "environment": {"COLUMNS": "200"},
        "shows": ["--served-model-name", "--uds"],
    }
