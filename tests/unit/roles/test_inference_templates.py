# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role inference writes: a sealed Compose project, its directories, its unit, and what asks its engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.airgap.inference.tests.unit.roles.rendering import REPOSITORY

DIGEST = "sha256:" + "ab" * 32
VLLM = "docker.io/vllm/vllm-openai:v0.32.0"
NGINX = "docker.io/library/nginx:1.30"
IMAGES = {
    VLLM: {"reference": f"docker.io/vllm/vllm-openai@{DIGEST}"},
    "example/tcp:v1": {"reference": f"docker.io/example/tcp@{DIGEST}"},
    NGINX: {"reference": f"docker.io/library/nginx@{DIGEST}"},
}
MODELS = {name: {"revision": "0123456789abcdef"} for name in ("tiny", "draft", "lora", "other")}
INSTANCES: list[dict[str, Any]] = [
    {
        "name": "chat",
        "engine": "vllm",
        "image": VLLM,
        "model": "tiny",
        "gpus": 2,
        "options": {"max_model_len": 2048, "enforce_eager": True},
        "environment": {"AWKWARD": "$HOME: 'x' #\"y\""},
        "draft_model": "draft",
        "adapters": [{"name": "legal", "model": "lora"}],
    },
    {
        "name": "standby",
        "engine": "vllm",
        "image": VLLM,
        "model": "tiny",
        "gpus": 1,
        "options": {"shutdown_timeout": 120},
        "memory": "8gb",
    },
    {"name": "old", "engine": "old", "image": "example/tcp:v1", "model": "other", "gpus": 0, "cpus": 1.5},
]
# An engine of the site's own, which listens on a port and takes no options.
OLD: dict[str, Any] = {
    "name": "old",
    "tested": "rendered",
    "listens": "tcp",
    "port": 8123,
    "container": {
        "model_directory": "/model",
        "socket_directory": "/run/engine",
        "cache_directory": "/cache",
        "shm_size": "64mb",
        "tmpfs": ["/tmp:mode=1777,size=64m"],
    },
    "command": ["/serve"],
    "options": {},
    "environment": {},
    "forbidden_environment": [],
    "health": "/health",
    "metrics": "",
    "tasks": {
        "generate": {
            "options": {},
            "api": [{"path": "/v1/completions", "methods": ["POST"]}],
            "probe": {"path": "/v1/completions", "body": {"model": "{model}", "prompt": "Hello"}, "expects": "text"},
        }
    },
}
# Where the plan's own tasks are not run, a task says the same.
PLAN = """{{ inference_instances | airgap.inference.instance_plan(
  engines=__inference_engines, images=inference_images, models=inference_models, registry=inference_registry) }}"""


def evaluated(wanted: dict[str, str], variables: dict[str, Any], into: Path) -> dict[str, Any]:
    """Expressions in the role's own variables, as a play has them."""
    role = REPOSITORY / "roles/inference"
    content = "{{ {" + ", ".join(f"'{name}': {expression}" for name, expression in wanted.items()) + "} | to_json }}"
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars_files": [str(role / "defaults/main.yml"), str(role / "vars/main.yml")],
        "tasks": [{"ansible.builtin.copy": {"dest": str(into / "found.json"), "mode": "0644", "content": content}}],
    }
    (into / "play.yml").write_text(json.dumps([play]))
    (into / "variables.json").write_text(json.dumps({"role_path": str(role), **variables}))
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "ansible-playbook"),
            *("-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"),
            *("-e", f"@{into / 'variables.json'}", str(into / "play.yml")),
        ],
        env={**os.environ, "ANSIBLE_LOCALHOST_WARNING": "0", "ANSIBLE_HOME": str(into / "ansible")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads((into / "found.json").read_text())
    return found


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All files that the role writes, by path, and what it would refuse."""
    into = tmp_path_factory.mktemp("inference")
    (into / "engines").mkdir()
    (into / "engines/old.yml").write_text(yaml.safe_dump({"__inference_engine": OLD}))
    found = evaluated(
        {
            "files": "__inference_files",
            "refusals": "__inference_refusals",
            "engines": "__inference_engines",
            "splits": "__inference_splits",
        },
        {
            "__inference_plan": PLAN,
            "inference_instances": INSTANCES,
            "inference_images": IMAGES,
            "inference_models": MODELS,
            "inference_registry": "depot:5000",
            "inference_engine_directories": [str(into / "engines")],
        },
        into,
    )
    assert found["refusals"] == []
    return {**found, "files": {entry["path"]: entry["content"] for entry in found["files"]}}


@pytest.fixture(scope="module")
def files(written: dict[str, Any]) -> dict[str, str]:
    texts: dict[str, str] = written["files"]
    return texts


@pytest.fixture(scope="module")
def projects(files: dict[str, str]) -> dict[str, dict[str, Any]]:
    return {
        item["name"]: yaml.safe_load(files[f"/etc/airgap/instances/{item['name']}/compose.yml"])["services"]
        for item in INSTANCES
    }


def test_every_container_is_sealed(projects: dict[str, dict[str, Any]]) -> None:
    for services in projects.values():
        for service in services.values():
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]
            assert service["security_opt"] == ["no-new-privileges:true"]
            assert service["ipc"] == "private"
            assert service["ulimits"]["core"] == 0
            assert service["ulimits"]["nofile"] >= 16384
            assert service["pids_limit"] > 0
            assert not {"privileged", "cap_add", "ports", "devices", "pid", "networks"} & set(service)
        assert services["engine"]["network_mode"] == "none"
        assert services["engine"]["user"] == "2000:2000"


def test_the_image_is_the_depots_by_digest(projects: dict[str, dict[str, Any]]) -> None:
    assert projects["chat"]["engine"]["image"] == f"depot:5000/docker.io/vllm/vllm-openai@{DIGEST}"
    assert projects["old"]["relay"]["image"] == f"depot:5000/docker.io/library/nginx@{DIGEST}"
    assert {service["pull_policy"] for services in projects.values() for service in services.values()} == {"never"}


def mounts(service: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    return {entry["target"]: (entry["source"], entry["read_only"]) for entry in service["volumes"]}


def test_only_models_the_socket_and_the_cache_are_mounted(projects: dict[str, dict[str, Any]]) -> None:
    assert mounts(projects["chat"]["engine"]) == {
        "/model": ("/srv/models/tiny/0123456789abcdef", True),
        "/draft": ("/srv/models/draft/0123456789abcdef", True),
        "/adapters/legal": ("/srv/models/lora/0123456789abcdef", True),
        "/run/engine": ("/run/airgap-inference/chat", False),
        "/cache": ("/var/cache/airgap-inference/chat", False),
    }


def test_each_gpu_belongs_to_one_instance(projects: dict[str, dict[str, Any]]) -> None:
    given = [
        projects[name]["engine"]["deploy"]["resources"]["reservations"]["devices"][0] for name in ("chat", "standby")
    ]
    assert [device["device_ids"] for device in given] == [
        ["nvidia.com/gpu=0", "nvidia.com/gpu=1"],
        ["nvidia.com/gpu=2"],
    ]
    assert all(device["driver"] == "cdi" and device["capabilities"] == ["gpu"] for device in given)
    assert "deploy" not in projects["old"]["engine"]


def test_the_command_survives_compose_and_the_shell(projects: dict[str, dict[str, Any]]) -> None:
    service = projects["chat"]["engine"]
    assert [part.replace("$$", "$") for part in service["entrypoint"]] == [
        "/bin/sh",
        "-c",
        'rm -f "$0" && umask 0007 && exec "$@"',
        "/run/engine/engine.sock",
    ]
    assert service["command"][:7] == [
        *("vllm", "serve", "/model", "--served-model-name", "tiny", "--uds", "/run/engine/engine.sock"),
    ]
    assert service["environment"]["AWKWARD"] == "$$HOME: 'x' #\"y\""


def test_an_engine_on_a_port_has_a_relay_in_its_own_network(
    files: dict[str, str], projects: dict[str, dict[str, Any]]
) -> None:
    engine, relay = projects["old"]["engine"], projects["old"]["relay"]
    # The engine itself does not even see the socket.
    assert set(mounts(engine)) == {"/model", "/cache"}
    assert (engine["entrypoint"], engine["command"], engine["environment"]) == (["/serve"], [], {})
    assert relay["network_mode"] == "service:engine"
    # Who may enter the socket's directory: its owner, and the gateway's group.
    assert relay["user"] == "2000:2101"
    assert mounts(relay) == {
        "/etc/airgap/relay.conf": ("/etc/airgap/instances/old/relay.conf", True),
        "/run/engine": ("/run/airgap-inference/old", False),
    }
    configuration = files["/etc/airgap/instances/old/relay.conf"]
    assert "listen unix:/run/engine/engine.sock" in configuration
    assert "proxy_pass 127.0.0.1:8123;" in configuration
    assert "relay" not in projects["chat"]


@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx")
def test_nginx_takes_the_relays_configuration(files: dict[str, str], tmp_path: Path) -> None:
    text = files["/etc/airgap/instances/old/relay.conf"]
    text = text.replace("/run/engine/", f"{tmp_path}/").replace("/tmp/nginx.pid", f"{tmp_path}/nginx.pid")
    (tmp_path / "relay.conf").write_text(text)
    done = subprocess.run(
        ["nginx", "-t", "-e", "stderr", "-c", str(tmp_path / "relay.conf")], capture_output=True, text=True, check=False
    )
    if "unknown directive" in done.stderr and '"stream"' in done.stderr:
        pytest.skip("this nginx has no module stream")
    assert done.returncode == 0, done.stderr


def test_limits_of_memory_and_processors_are_optional(projects: dict[str, dict[str, Any]]) -> None:
    assert not {"mem_limit", "cpus"} & set(projects["chat"]["engine"])
    assert projects["standby"]["engine"]["mem_limit"] == "8gb"
    assert projects["old"]["engine"]["cpus"] == 1.5


def test_a_stop_waits_longer_than_the_engine_drains(files: dict[str, str], projects: dict[str, dict[str, Any]]) -> None:
    assert [projects[name]["engine"]["stop_grace_period"] for name in ("chat", "standby")] == ["75s", "135s"]
    for name, seconds in (("chat", 105), ("standby", 165)):
        times = files[f"/etc/systemd/system/airgap-inference@{name}.service.d/times.conf"]
        assert f"TimeoutStopSec={seconds}\n" in times
        assert "TimeoutStartSec=1020\n" in times


def test_the_sockets_directory_is_for_the_gateways_group(files: dict[str, str]) -> None:
    assert "d /run/airgap-inference/chat 2770 2000 2101 -\n" in files["/etc/tmpfiles.d/airgap-inference.conf"]


def test_the_engine_is_asked_for_what_it_is_for(files: dict[str, str]) -> None:
    probe = json.loads(files["/etc/airgap/instances/old/probe.json"])
    assert probe == {
        "socket": "/run/airgap-inference/old/engine.sock",
        "path": "/v1/completions",
        "body": {"model": "other", "prompt": "Hello"},
        "expects": "text",
        "timeout": 900,
        "relay": "airgap-old-relay",
        "health": "/health",
    }
    assert "relay" not in json.loads(files["/etc/airgap/instances/chat/probe.json"])


def test_the_program_that_asks_needs_python_alone(files: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "await_answer.py").write_text(files["/usr/local/lib/airgap-inference/await_answer.py"])
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(tmp_path / "await_answer.py")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (2, f"Usage: {tmp_path}/await_answer.py <probe.json>\n")


def test_the_unit_is_put_together(files: dict[str, str]) -> None:
    unit = files["/etc/systemd/system/airgap-inference@.service"]
    for line in ("Type=exec", "Restart=always", "Requires=docker.service", "WantedBy=multi-user.target"):
        assert f"{line}\n" in unit
    assert "After=docker.service nvidia-persistenced.service nvidia-fabricmanager.service" in unit
    assert (
        "ExecStartPost=/usr/bin/python3 -I /usr/local/lib/airgap-inference/await_answer.py /etc/airgap/instances/%i/probe.json\n"
        in unit
    )


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_takes_the_unit(files: dict[str, str], tmp_path: Path) -> None:
    unit = tmp_path / "airgap-inference@.service"
    # What is not on this machine is no fault of the unit.
    unit.write_text(
        files["/etc/systemd/system/airgap-inference@.service"]
        .replace("/usr/bin/docker", "/bin/true")
        .replace("file:/etc", "man:x")
    )
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "airgap-inference@chat.service")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"},
    )
    # Keys of newer versions, and a Docker that is not here.
    said = [
        line
        for line in done.stderr.splitlines()
        if "airgap-inference@" in line
        and not any(word in line for word in ("RestartSteps", "RestartMaxDelaySec", "docker.service"))
    ]
    assert said == []


def test_flags_and_a_sites_own_engines_are_found(written: dict[str, Any]) -> None:
    engines = {engine["name"]: engine for engine in written["engines"]}
    assert engines["old"]["port"] == 8123
    for path in sorted((REPOSITORY / "roles/inference/vars/flags").glob("*.yml")):
        data = yaml.safe_load(path.read_text())
        assert engines[path.stem]["flags"] == {"version": data["version"], "names": data["flags"]}


def test_the_depot_is_asked_of_models_that_the_role_has_divided(written: dict[str, Any]) -> None:
    # The store or repository of another engine need not have a configuration that tells.
    assert [(item["name"], item["size"]) for item in written["splits"]] == [("tiny", 2), ("tiny", 1)]


def test_a_sites_engine_with_a_name_of_the_roles_is_refused(tmp_path: Path) -> None:
    (tmp_path / "engines").mkdir()
    (tmp_path / "engines/mine.yml").write_text(yaml.safe_dump({"__inference_engine": {**OLD, "name": "vllm"}}))
    # A directory that is named twice is one.
    directories = [str(tmp_path / "engines")] * 2
    variables = {"inference_instances": INSTANCES[:1], "inference_images": IMAGES, "inference_models": MODELS}
    found = evaluated(
        {"refusals": "__inference_refusals"}, {**variables, "inference_engine_directories": directories}, tmp_path
    )
    assert len(found["refusals"]) == 1
    assert found["refusals"][0].startswith("engine vllm: two files of engines' data have this name; give the one in")


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "roles/inference/vars/engines").glob("*.yml")), ids=lambda path: str(path.stem)
)
def test_an_engine_states_everything(path: Path) -> None:
    engine = yaml.safe_load(path.read_text())["__inference_engine"]
    assert engine["name"] == path.stem
    assert engine["tested"] in ("live", "parsed", "rendered")
    assert {"command", "container", "options", "environment", "forbidden_environment", "health", "tasks"} <= set(engine)
    assert {"model_directory", "socket_directory", "cache_directory", "shm_size", "tmpfs"} <= set(engine["container"])
    assert not set(engine["environment"]) & set(engine["forbidden_environment"])
    assert all(isinstance(value, str) for value in engine["environment"].values())
    assert (engine.get("listens", "unix") == "tcp") == ("port" in engine)
    assert set(engine["tasks"]) <= {"generate", "embed", "rerank"}
    for task in engine["tasks"].values():
        assert all(entry["path"].startswith("/") and entry["methods"] for entry in task["api"])
        assert task["probe"]["path"].startswith("/")
        assert task["probe"]["expects"] in ("text", "embedding", "ranking")
