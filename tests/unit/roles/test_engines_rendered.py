# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engines that are shown as far as they are rendered: what a host would start says what their vendors' documentation says.

The sources stand in each engine's data file and in docs/engines.md.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Mapping, NamedTuple

import pytest
import yaml
from ansible_collections.airgap.inference.plugins.module_utils import _instance
from ansible_collections.airgap.inference.tests.unit.roles.rendering import REPOSITORY, render

ENGINES = [
    yaml.safe_load(path.read_text())["__inference_engine"]
    for path in sorted((REPOSITORY / "roles/inference/vars/engines").glob("*.yml"))
]
DATA = {engine["name"]: engine for engine in ENGINES}
MODEL = "acme-8b"
MODELS = {MODEL: {"revision": "0123456789abcdef"}}
RELAY = f"docker.io/library/nginx@sha256:{'ef' * 32}"
CHAT = ["/v1/chat/completions", "/v1/completions"]
PROMPT = {"model": MODEL, "prompt": "Hello", "max_tokens": 1}
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
NIM = ["nim-serve"]
TRITON = ["python3", "/opt/tritonserver/python/openai/openai_frontend/main.py", "--model-repository", "/model"]
TRITON += ["--model-control-mode", "explicit", "--load-model", MODEL, "--host", "127.0.0.1", "--openai-port", "9000"]


class Shown(NamedTuple):
    """An instance, and what must be rendered of it."""

    image: str
    port: int
    argv: list[str]
    environment: dict[str, str]
    mounted: str
    api: list[str]
    health: str
    metrics: str = ""
    stated: Mapping[str, Any] = MappingProxyType({})


SHOWN = {
    "nim": Shown(
        image="nvcr.io/nim/meta/llama-3.1-8b-instruct:2.0.12",
        port=8000,
        argv=[*NIM, "--no-enable-prefix-caching", "--max-model-len", "8192"],
        environment={
            **OFFLINE,
            "NIM_MODEL_PATH": "/model",
            "NIM_CACHE_PATH": "/opt/nim/.cache",
            "NIM_SERVED_MODEL_NAME": MODEL,
            "NIM_SERVER_PORT": "8000",
        },
        mounted="/model",
        api=[*CHAT, "/v1/responses", "/v1/messages"],
        health="/v1/health/ready",
        metrics="/v1/metrics",
        stated={"options": {"max_model_len": 8192, "enable_prefix_caching": False}},
    ),
    "nim-cache": Shown(
        image="nvcr.io/nim/meta/llama-3.1-8b-instruct:2.0.12",
        port=8000,
        argv=NIM,
        environment={**OFFLINE, "NIM_CACHE_PATH": "/opt/nim/.cache", "NIM_MODEL_PROFILE": "07cd4f2b", "HOME": "/cache"},
        mounted="/opt/nim/.cache",
        api=[*CHAT, "/v1/responses", "/v1/messages"],
        health="/v1/health/ready",
        metrics="/v1/metrics",
        stated={"environment": {"NIM_MODEL_PROFILE": "07cd4f2b"}},
    ),
    "nim-model-free": Shown(
        image="nvcr.io/nim/nvidia/model-free-nim:2.0.13",
        port=8000,
        argv=[*NIM, "--tensor-parallel-size", "2"],
        environment={**OFFLINE, "NIM_MODEL_PATH": "/model", "NIM_SERVED_MODEL_NAME": MODEL},
        mounted="/model",
        api=[*CHAT, "/v1/responses", "/v1/messages"],
        health="/v1/health/ready",
        metrics="/v1/metrics",
    ),
    "tensorrt-llm": Shown(
        image="nvcr.io/nvidia/tensorrt-llm/release:1.3.0",
        port=8000,
        argv=[
            *("trtllm-serve", "serve", "/model", "--host", "127.0.0.1", "--port", "8000"),
            *("--free_gpu_memory_fraction", "0.8", "--served_model_name", MODEL, "--tp_size", "2"),
        ],
        environment={**OFFLINE, "TRTLLM_NO_USAGE_STATS": "1", "TELEMETRY_DISABLED": "1"},
        mounted="/model",
        api=[*CHAT, "/v1/responses"],
        health="/health",
        stated={"options": {"free-gpu-memory-fraction": 0.8}},
    ),
    "triton": Shown(
        image="nvcr.io/nvidia/tritonserver:26.07-vllm-python-py3",
        port=9000,
        argv=[*TRITON, "--default-max-tokens", "1024", "--tokenizer", "/model/weights"],
        environment={**OFFLINE, "VLLM_NO_USAGE_STATS": "1"},
        mounted="/model",
        api=CHAT,
        health="/health/ready",
        metrics="/metrics",
    ),
    "localai": Shown(
        image="registry.acme.test/localai-llama-cpp:v4.9.0",
        port=8080,
        argv=["/local-ai", "run", "--threads", "16"],
        environment={
            **OFFLINE,
            "LOCALAI_ADDRESS": "127.0.0.1:8080",
            "LOCALAI_MODELS_PATH": "/models",
            "LOCALAI_LOAD_TO_MEMORY": MODEL,
            "LOCALAI_BACKENDS_SYSTEM_PATH": "/var/lib/local-ai/backends",
            "LOCALAI_BACKENDS_PATH": "/data/backends",
            "LOCALAI_GALLERIES": "[]",
            "LOCALAI_BACKEND_GALLERIES": "[]",
            "LOCALAI_AUTOLOAD_GALLERIES": "false",
            "LOCALAI_AUTOLOAD_BACKEND_GALLERIES": "false",
        },
        mounted="/models",
        api=[*CHAT, "/v1/responses"],
        health="/healthz",
        metrics="/metrics",
        stated={"options": {"threads": 16}},
    ),
    "ollama": Shown(
        image="docker.io/ollama/ollama:0.33.0",
        port=11434,
        argv=["ollama", "serve"],
        environment={
            "OLLAMA_HOST": "127.0.0.1:11434",
            "OLLAMA_MODELS": "/model",
            "OLLAMA_NO_CLOUD": "1",
            "OLLAMA_NOPRUNE": "1",
            "OLLAMA_KEEP_ALIVE": "-1",
            "OLLAMA_NUM_PARALLEL": "4",
        },
        mounted="/model",
        api=[*CHAT, "/v1/responses", "/v1/messages"],
        health="/api/version",
        stated={"environment": {"OLLAMA_NUM_PARALLEL": "4"}},
    ),
}
IMAGES = {
    shown.image: {"reference": f"{shown.image.rpartition(':')[0]}@sha256:{'ab' * 32}"} for shown in SHOWN.values()
}
# What stands in each vendor's documentation for a key, a download or a way out.
FORBIDDEN = {
    "nim": ["NGC_API_KEY", "HF_TOKEN", "NIM_REPOSITORY_OVERRIDE", "NIM_PASSTHROUGH_ARGS"],
    "nim-cache": ["NGC_API_KEY", "HF_TOKEN"],
    "nim-model-free": ["NGC_API_KEY", "HF_TOKEN", "MODELSCOPE_API_TOKEN", "AWS_SECRET_ACCESS_KEY"],
    "tensorrt-llm": ["HF_TOKEN", "TRTLLM_USAGE_FORCE_ENABLED"],
    "triton": ["HF_TOKEN", "AZURE_STORAGE_KEY"],
    "localai": ["HF_TOKEN", "LOCALAI_P2P_TOKEN", "TOKEN", "LOCALAI_EXTERNAL_BACKENDS", "LOCALAI_API_KEY"],
    "ollama": ["OLLAMA_API_KEY", "OLLAMA_REMOTES", "OLLAMA_DEBUG_LOG_REQUESTS"],
}
TASKS = {
    "nim": {"generate"},
    "nim-cache": {"generate"},
    "nim-model-free": {"generate", "embed"},
    "tensorrt-llm": {"generate"},
    "triton": {"generate", "embed"},
    "localai": {"generate", "embed", "rerank"},
    "ollama": {"generate", "embed"},
}
each = pytest.mark.parametrize("name", list(SHOWN))


def instance(name: str, **stated: Any) -> dict[str, Any]:
    """An instance of an engine with two GPUs."""
    described = {"name": "chat", "engine": name, "image": SHOWN[name].image, "model": MODEL, "gpus": 2}
    return {**described, **SHOWN[name].stated, **stated}


def planned(name: str, **stated: Any) -> dict[str, Any]:
    described = [instance(name, **stated)]
    assert _instance.refusals(described, ENGINES, IMAGES, MODELS) == []
    return _instance.plan(described, ENGINES, IMAGES, MODELS, "depot:5000")[0]


@each
def test_it_starts_as_its_documentation_says(name: str) -> None:
    item, shown = planned(name), SHOWN[name]
    assert item["command"] == shown.argv
    assert shown.environment.items() <= item["environment"].items()
    assert not set(DATA[name]["forbidden_environment"]) & set(item["environment"])


@each
def test_it_listens_on_a_port_of_a_network_of_its_own(name: str) -> None:
    item = planned(name)
    assert (item["listens"], item["port"]) == ("tcp", SHOWN[name].port)


@each
def test_clients_and_the_monitoring_get_what_it_has(name: str) -> None:
    item, shown = planned(name), SHOWN[name]
    assert [entry["path"] for entry in item["upstream"]["api"]] == shown.api
    assert all(entry["methods"] == ["POST"] for entry in item["upstream"]["api"])
    assert (item["health"], item["metrics"]) == (shown.health, shown.metrics)
    assert item["probe"] == {"path": "/v1/completions", "body": PROMPT, "expects": "text"}


@each
def test_what_leads_elsewhere_is_refused_with_the_instances_name(name: str) -> None:
    for variable in FORBIDDEN[name]:
        described = [instance(name, environment={variable: "x"})]
        told = _instance.refusals(described, ENGINES, IMAGES, MODELS)
        assert [reason for reason in told if reason.startswith(f"instance chat: environment sets {variable},")]


@each
def test_what_the_role_sets_itself_is_refused(name: str) -> None:
    for option in DATA[name]["reserved_options"]:
        told = _instance.refusals([instance(name, options={option: "x"})], ENGINES, IMAGES, MODELS)
        assert [reason for reason in told if reason.startswith(f"instance chat: options.{option} is not an instance's")]


@each
def test_tasks_are_those_that_it_has(name: str) -> None:
    assert set(DATA[name]["tasks"]) == TASKS[name]
    for task, path in (("embed", "/v1/embeddings"), ("rerank", "/v1/rerank")):
        if task in TASKS[name]:
            item = planned(name, task=task)
            assert path in [entry["path"] for entry in item["upstream"]["api"]]
            assert item["probe"]["path"] == path
        else:
            told = _instance.refusals([instance(name, task=task)], ENGINES, IMAGES, MODELS)
            assert [reason for reason in told if reason.startswith(f"instance chat: task is {task!r}")]


@each
def test_its_container_is_sealed(name: str, tmp_path: Any) -> None:
    item, argv = planned(name), SHOWN[name].argv
    variables = {
        "__inference_plan": [item],
        "__inference_item": item,
        "inference_images": {RELAY: {"reference": RELAY}},
    }
    text = render("inference", ["compose.yml"], {**variables, "inference_relay_image": RELAY}, tmp_path)
    service = yaml.safe_load(text["compose.yml"])["services"]["engine"]
    assert service["network_mode"] == "none"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["user"] == "2000:2000"
    assert "ports" not in service
    assert service["image"] == f"depot:5000/{IMAGES[SHOWN[name].image]['reference']}"
    # NVIDIA documents what follows the image in docker run, and the image's own program takes it.
    assert ("entrypoint" in service) == (not name.startswith("nim"))
    assert [*service.get("entrypoint", []), *service["command"]] == argv
    assert SHOWN[name].environment.items() <= service["environment"].items()
    mounts = {entry["target"]: entry for entry in service["volumes"]}
    assert mounts[SHOWN[name].mounted]["source"] == f"/srv/models/{MODEL}/0123456789abcdef"
    assert mounts[SHOWN[name].mounted]["read_only"] is True
    assert mounts[DATA[name]["container"]["cache_directory"]]["source"] == "/var/cache/airgap-inference/chat"
    # Nothing is hidden by a mount on top of it, and whatever is written outlives the container or is scratch.
    assert len(mounts) == len(service["volumes"])
    assert not {entry.partition(":")[0] for entry in service["tmpfs"]} & set(mounts)


def test_the_page_says_of_each_engine_how_far_it_was_shown() -> None:
    lines = (REPOSITORY / "docs/engines.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    said = {row[0].strip("`"): (row[2], row[3].rpartition(" ")[2], row[4]) for row in rows}
    assert said == {
        engine["name"]: (engine["tested"], str(engine.get("port", "socket")), ", ".join(engine["tasks"]))
        for engine in ENGINES
    }


def test_an_older_tensorrt_llm_is_not_told_its_models_name() -> None:
    assert "--served_model_name" not in planned("tensorrt-llm", options={"served_model_name": None})["command"]


def test_parallel_sizes_are_read_in_the_engines_spelling() -> None:
    told = _instance.refusals([instance("tensorrt-llm", options={"tp_size": 4})], ENGINES, IMAGES, MODELS)
    assert [reason for reason in told if "gpus is 2, but the parallel sizes in options use 4" in reason]
    item = planned("nim-model-free", options={"tp_size": 2})
    assert item["command"] == [*NIM, "--tp-size", "2"]


def test_embeddings_of_triton_need_no_tokenizer() -> None:
    assert "--tokenizer" not in planned("triton", task="embed")["command"]


def test_a_nim_of_the_first_generation_is_refused() -> None:
    image = "nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8.6"
    images = {image: {"reference": f"nvcr.io/nim/meta/llama-3.1-8b-instruct@sha256:{'cd' * 32}"}}
    told = _instance.refusals([instance("nim", image=image)], ENGINES, images, MODELS)
    assert len(told) == 1
    assert "2.0.0" in told[0]
