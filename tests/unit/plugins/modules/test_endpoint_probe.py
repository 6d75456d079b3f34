# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
from typing import Any, Iterator

import pytest
from ansible_collections.airgap.inference.plugins.modules import endpoint_probe
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.openai_server import Behaviour, serve
from ansible_collections.airgap.inference.tests.unit.plugins.modules.info_module import run_module

KEY = "correct-horse-battery"


@pytest.fixture
def behaviour() -> Behaviour:
    return Behaviour()


@pytest.fixture
def url(behaviour: Behaviour) -> Iterator[str]:
    with serve(behaviour) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("check", [False, True])
def test_a_generation_is_returned(url: str, capsys: pytest.CaptureFixture[str], check: bool) -> None:
    result = run_module(endpoint_probe, capsys, {"url": url, "max_tokens": 4}, check)
    assert result["models"] == ["tiny", "large"]
    assert result["generation"]["text"] == "Hello"
    assert 0 < result["ttft_ms"] <= result["total_ms"]


def test_a_unix_socket(tmp_path: pathlib.Path, behaviour: Behaviour, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "engine.sock")
    with serve(behaviour, unix=path):
        assert run_module(endpoint_probe, capsys, {"socket": path})["generation"]["tokens"] == 2


def test_the_key_in_a_file_is_used_and_never_shown(
    url: str, tmp_path: pathlib.Path, behaviour: Behaviour, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n", encoding="utf-8")
    behaviour.key = KEY
    behaviour.answer["choices"][0]["message"]["content"] = f"You sent {KEY}."
    arguments: dict[str, Any] = {"url": url, "api_key_file": str(tmp_path / "key"), "stream": False}
    result = run_module(endpoint_probe, capsys, arguments)
    assert result["generation"]["finish_reason"] == "stop"
    assert KEY not in str(result)
    behaviour.key = "another"
    result = run_module(endpoint_probe, capsys, arguments)
    assert "does not accept this API key" in result["msg"]
    assert KEY not in str(result)


@pytest.mark.parametrize(
    "arguments",
    [{}, {"url": "https://gpu1", "socket": "/x"}, {"url": "https://gpu1", "api_key": "a", "api_key_file": "b"}],
)
def test_contradictions_are_refused(arguments: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_module(endpoint_probe, capsys, arguments)["failed"]


def test_a_failure_is_a_message(capsys: pytest.CaptureFixture[str], behaviour: Behaviour, url: str) -> None:
    behaviour.status = 500
    message = run_module(endpoint_probe, capsys, {"url": url})["msg"]
    assert message.startswith(f"{url} answers /health and cannot generate: ")
