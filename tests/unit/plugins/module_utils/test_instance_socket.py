# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who can open an engine's socket, and what it answers there."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Iterator

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _instance_socket
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.openai_server import Behaviour, serve

UID, GID = os.getuid(), os.getgid()


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    tmp_path.chmod(0o2770)
    os.chown(tmp_path, UID, GID)
    path = tmp_path / "engine.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        path.chmod(0o770)
        yield path


def test_a_closed_socket_has_no_fault(path: Path) -> None:
    seen, faults = _instance_socket.look(str(path), UID, GID)
    assert faults == []
    assert seen["directory"] == {"uid": UID, "gid": GID, "mode": "2770"}
    assert seen["socket"]["mode"] == "0770"


def test_the_directory_decides_for_a_socket_that_is_open_to_all(path: Path) -> None:
    path.chmod(0o666)
    assert _instance_socket.look(str(path), UID, GID)[1] == []
    path.parent.chmod(0o755)
    assert "others than the engine and the gateway can enter it" in _instance_socket.look(str(path), UID, GID)[1][0]


def test_owners_matter(path: Path) -> None:
    faults = _instance_socket.look(str(path), UID, GID + 1)[1]
    assert faults == [
        f"{entry} belongs to the group {GID}, not to {GID + 1}, the gateway's" for entry in (path.parent, path)
    ]


def test_a_socket_that_is_not_there(tmp_path: Path) -> None:
    assert _instance_socket.look(str(tmp_path / "none.sock"), UID, GID)[1] == [
        f"{tmp_path}/none.sock: No such file or directory"
    ]


def test_a_link_in_its_place_is_not_followed(path: Path) -> None:
    link = path.parent / "link.sock"
    link.symlink_to(path)
    faults = _instance_socket.look(str(link), UID, GID)[1]
    assert faults == [f"{link} is a symbolic link, which leads to {path}"]


def test_a_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "engine.sock").write_text("")
    assert any("is no socket" in fault for fault in _instance_socket.look(str(tmp_path / "engine.sock"), UID, GID)[1])


def test_the_engine_is_asked(tmp_path: Path) -> None:
    probe = {"socket": str(tmp_path / "engine.sock"), "path": "/v1/completions", "body": {"stream": False}, "expects": "text", "timeout": 5}  # fmt: skip
    (tmp_path / "probe.json").write_text(json.dumps(probe))
    behaviour = Behaviour()
    with serve(behaviour, unix=probe["socket"]):
        assert _instance_socket.answer(str(tmp_path / "probe.json")) == ("/v1/completions at its socket: text", "")
        behaviour.answer = {"choices": []}
        answer, failure = _instance_socket.answer(str(tmp_path / "probe.json"))
    assert answer == ""
    assert failure.startswith("asked at its socket, it answers /v1/completions with 200, but it generated nothing")


def test_a_host_without_a_probe(tmp_path: Path) -> None:
    assert "cannot be used: [Errno 2]" in _instance_socket.answer(str(tmp_path / "probe.json"))[1]
