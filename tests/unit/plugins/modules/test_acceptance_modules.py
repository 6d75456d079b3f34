# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules that verify uses: what they take, that they change nothing, and that no key is shown."""

from __future__ import annotations

import hashlib
import pathlib
from typing import Any, Iterator

import pytest
from ansible_collections.airgap.inference.plugins.modules import (
    container_seal_info,
    gateway_audit_info,
    gateway_probe,
    host_listeners_info,
    instance_socket_info,
    tls_probe,
)
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.gateway_server import Site, serve
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.openai_server import (
    make_authority,
    make_certificate,
)
from ansible_collections.airgap.inference.tests.unit.plugins.modules.info_module import run_module

KEY = "correct-horse-battery"
INSTANCES = [
    {"name": "chat", "models": ["tiny"], "task": "generate", "probe": None},
    {"name": "find", "models": ["find"], "task": "embed", "probe": None},
    {"name": "rank", "models": ["rank"], "task": "rerank", "probe": None},
]


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    directory = tmp_path_factory.mktemp("tls")
    make_authority(directory)
    make_certificate(directory, "gateway", "DNS:localhost")
    (directory / "client.key").write_text(f"{KEY}\n", encoding="utf-8")
    return directory


@pytest.fixture
def site() -> Site:
    site = Site()
    site.allowed = {KEY: None}
    return site


@pytest.fixture
def arguments(site: Site, tls: pathlib.Path) -> Iterator[dict[str, Any]]:
    with serve(site, (str(tls / "gateway.pem"), str(tls / "gateway.key"))) as port:
        yield {
            "gateways": [{"host": "gpu1", "url": f"https://localhost:{port}", "instances": INSTANCES}],
            "clients": [{"key_file": str(tls / "client.key")}],
            "site_clients": [{"name": "radiology", "key_sha256": hashlib.sha256(KEY.encode()).hexdigest()}],
            "ca_path": str(tls / "ca.pem"),
            "timeout": 20,
        }


@pytest.mark.parametrize("check", [False, True])
def test_checks_and_requests_are_returned(
    arguments: dict[str, Any], capsys: pytest.CaptureFixture[str], check: bool
) -> None:
    result = run_module(gateway_probe, capsys, arguments, check)
    assert result["changed"] is False
    assert [entry for entry in result["checks"] if not entry["ok"]] == []
    assert {entry["host"] for entry in result["checks"]} == {"gpu1"}
    assert {entry["client"] for entry in result["checks"]} == {"", "radiology"}
    assert all(request["id"] for request in result["requests"])
    assert result["seconds"] >= 1


def test_clients_without_a_key_to_ask_with_are_told(
    arguments: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert [
        check for check in run_module(gateway_probe, capsys, arguments)["checks"] if "nobody" in check["detail"]
    ] == []
    arguments["site_clients"] += [{"name": "trial", "key_sha256": "0" * 64}, {"name": "sso", "claims": {"azp": "x"}}]
    (check,) = [
        check for check in run_module(gateway_probe, capsys, arguments)["checks"] if "nobody" in check["detail"]
    ]
    assert check["ok"]
    assert not check["made"]
    assert check["detail"].startswith("nobody asked as trial, sso: acceptance_clients has no file")


def test_a_key_is_never_shown(arguments: dict[str, Any], site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.answers["/v1/embeddings"] = {"error": {"message": f"who is {KEY}?"}}
    result = run_module(gateway_probe, capsys, arguments)
    assert [entry["subject"] for entry in result["checks"] if not entry["ok"]] == ["find"]
    assert KEY not in str(result)


def test_a_prompt_is_the_marker_alone(arguments: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    first = run_module(gateway_probe, capsys, arguments)["marker"]
    assert first.startswith("airgap-acceptance-")
    assert first != run_module(gateway_probe, capsys, arguments)["marker"]


def test_a_key_file_that_is_missing_is_told(arguments: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    arguments["clients"] = [{"key_file": "/nowhere/client.key"}]
    result = run_module(gateway_probe, capsys, arguments)
    assert result["failed"]
    assert "/nowhere/client.key cannot be read" in result["msg"]


def test_listeners(capsys: pytest.CaptureFixture[str]) -> None:
    result = run_module(host_listeners_info, capsys, {"expected": [{"address": "0.0.0.0/0"}, {"address": "::/0"}]})
    assert result["unexpected"] == []
    assert run_module(host_listeners_info, capsys, {"expected": [{"protocol": "tcp"}]})["failed"]


def test_containers_that_are_not_there(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    arguments = {"containers": ["airgap-chat"], "relays": {"airgap-find-relay": "airgap-find"}}
    containers = run_module(container_seal_info, capsys, arguments)["containers"]
    assert [(entry["name"], entry["sealed"]) for entry in containers] == [
        ("airgap-chat", False),
        ("airgap-find-relay", False),
    ]


def test_instances_that_are_not_there(capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path) -> None:
    places = {"socket_directory": str(tmp_path), "config_directory": str(tmp_path)}
    entry = run_module(instance_socket_info, capsys, {"instances": ["chat"], "uid": 1, "gid": 1, **places})[
        "instances"
    ][0]
    assert "No such file" in entry["faults"][0]
    assert "cannot be used" in entry["failure"]


def test_an_audit_log_that_cannot_be_read_is_a_check(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    request = {"id": "a", "client": "radiology", "path": "/v1/models", "status": 200}
    checks = run_module(gateway_audit_info, capsys, {"requests": [request]})["checks"]
    assert [(entry["ok"], "journalctl" in entry["detail"]) for entry in checks] == [(False, True)]


def test_tls_without_an_address(capsys: pytest.CaptureFixture[str]) -> None:
    result = run_module(tls_probe, capsys, {"gateways": [{"host": "gpu1"}], "ca": "-----"})
    assert result.get("failed") or result["checks"][0]["made"] is False
