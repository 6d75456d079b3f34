# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role inference writes: a sealed Compose project, its directories, its unit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.airgap.inference.plugins.module_utils import _instance
from ansible_collections.airgap.inference.tests.unit.roles.rendering import REPOSITORY, render

ENGINES = [
    yaml.safe_load(path.read_text())["__inference_engine"]
    for path in sorted((REPOSITORY / "roles/inference/vars/engines").glob("*.yml"))
]
DIGEST = "sha256:" + "ab" * 32
IMAGES = {"docker.io/vllm/vllm-openai:v0.32.0": {"reference": f"docker.io/vllm/vllm-openai@{DIGEST}"}}
MODELS = {"tiny": {"revision": "0123456789abcdef"}}
INSTANCES: list[dict[str, Any]] = [
    {
        "name": "chat",
        "engine": "vllm",
        "image": "docker.io/vllm/vllm-openai:v0.32.0",
        "model": "tiny",
        "gpus": 2,
        "options": {"max_model_len": 2048, "enforce_eager": True},
        "environment": {"AWKWARD": "$HOME: 'x' #\"y\""},
    },
    {
        "name": "standby",
        "engine": "vllm",
        "image": "docker.io/vllm/vllm-openai:v0.32.0",
        "model": "tiny",
        "gpus": 1,
        "options": {"shutdown_timeout": 120},
        "memory": "8gb",
    },
]


@pytest.fixture(scope="module")
def plan() -> list[dict[str, Any]]:
    assert _instance.refusals(INSTANCES, ENGINES, IMAGES, MODELS) == []
    return _instance.plan(INSTANCES, ENGINES, IMAGES, MODELS, "depot:5000")


@pytest.fixture(scope="module")
def rendered(plan: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    names = ["compose.yml", "airgap-inference@.service", "tmpfiles.conf", "sysusers.conf"]
    into = tmp_path_factory.mktemp("inference")
    return [
        render("inference", names, {"__inference_plan": plan, "__inference_item": item}, into / item["name"])
        for item in plan
    ]


@pytest.fixture(scope="module")
def services(rendered: list[dict[str, str]]) -> list[dict[str, Any]]:
    return [yaml.safe_load(texts["compose.yml"])["services"]["engine"] for texts in rendered]


def test_the_engine_is_sealed(services: list[dict[str, Any]]) -> None:
    for service in services:
        assert service["network_mode"] == "none"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["user"] == "2000:2000"
        assert "privileged" not in service
        assert "cap_add" not in service
        assert "ports" not in service


def test_the_image_is_the_depots_by_digest(services: list[dict[str, Any]]) -> None:
    assert services[0]["image"] == f"depot:5000/docker.io/vllm/vllm-openai@{DIGEST}"
    assert services[0]["pull_policy"] == "never"


def test_only_the_model_the_socket_and_the_cache_are_mounted(services: list[dict[str, Any]]) -> None:
    mounts = {entry["target"]: (entry["source"], entry.get("read_only", False)) for entry in services[0]["volumes"]}
    assert mounts == {
        "/model": ("/srv/models/tiny/0123456789abcdef", True),
        "/run/engine": ("/run/airgap-inference/chat", False),
        "/cache": ("/var/cache/airgap-inference/chat", False),
    }


def test_each_gpu_belongs_to_one_instance(services: list[dict[str, Any]]) -> None:
    given = [service["deploy"]["resources"]["reservations"]["devices"][0] for service in services]
    assert [device["device_ids"] for device in given] == [
        ["nvidia.com/gpu=0", "nvidia.com/gpu=1"],
        ["nvidia.com/gpu=2"],
    ]
    assert all(device["driver"] == "cdi" and device["capabilities"] == ["gpu"] for device in given)


def test_the_command_survives_compose_and_the_shell(services: list[dict[str, Any]]) -> None:
    assert [part.replace("$$", "$") for part in services[0]["entrypoint"]] == [
        "/bin/sh",
        "-c",
        'rm -f "$0" && umask 0007 && exec "$@"',
        "/run/engine/engine.sock",
    ]
    assert services[0]["command"][:8] == [
        *("vllm", "serve", "/model", "--served-model-name", "tiny", "--uds", "/run/engine/engine.sock"),
        "--disable-fastapi-docs",
    ]
    assert services[0]["environment"]["AWKWARD"] == "$$HOME: 'x' #\"y\""


def test_a_stop_waits_longer_than_the_engine_drains(
    rendered: list[dict[str, str]], services: list[dict[str, Any]]
) -> None:
    assert [service["stop_grace_period"] for service in services] == ["75s", "135s"]
    assert "TimeoutStopSec=165\n" in rendered[0]["airgap-inference@.service"]


def test_the_sockets_directory_is_for_the_gateways_group(rendered: list[dict[str, str]]) -> None:
    assert "d /run/airgap-inference/chat 2770 2000 2101 -\n" in rendered[0]["tmpfiles.conf"]


def test_a_limit_on_memory_is_optional(services: list[dict[str, Any]]) -> None:
    assert "mem_limit" not in services[0]
    assert services[1]["mem_limit"] == "8gb"


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: str(engine["name"]))
def test_an_engine_states_everything(engine: dict[str, Any]) -> None:
    assert engine["tested"] in ("live", "parsed", "rendered")
    assert {"command", "container", "options", "environment", "forbidden_environment", "health", "api"} <= set(engine)
    assert not set(engine["environment"]) & set(engine["forbidden_environment"])
    assert all(isinstance(value, str) for value in engine["environment"].values())
    assert all(entry["path"].startswith("/") and entry["methods"] for entry in engine["api"])


def test_the_unit_is_put_together(rendered: list[dict[str, str]], tmp_path: Path) -> None:
    unit = rendered[0]["airgap-inference@.service"]
    for line in ("Type=exec", "Restart=always", "Requires=docker.service", "WantedBy=multi-user.target"):
        assert f"{line}\n" in unit
    assert "After=docker.service nvidia-persistenced.service nvidia-fabricmanager.service\n" in unit
