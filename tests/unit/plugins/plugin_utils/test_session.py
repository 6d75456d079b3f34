# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions by a real shell."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from ansible_collections.airgap.inference.plugins.plugin_utils import _session

TOKEN = "airgap-0123456789abcdef"


@pytest.fixture(autouse=True)
def fixture_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(_session, "LOOK", 2)


def run(script: str, stdin: bytes = b"") -> _session.Ended | _session.Works | None:
    """As Ansible does, which may add a command of its own."""
    done = subprocess.run(["/bin/sh", "-c", script + " && sleep 0"], input=stdin, capture_output=True, check=False)
    assert done.stderr == b""
    return _session.read(TOKEN, done.stdout.decode())


def start(command: str, stdin: bytes = b"", owner: int = 0) -> _session.Ended | _session.Works | None:
    return run(_session.start(command, TOKEN, owner, bool(stdin)), stdin)


def finish(works: _session.Ended | _session.Works | None) -> _session.Ended:
    assert isinstance(works, _session.Works)
    for _look in range(20):
        found = run(_session.look(works.directory, TOKEN))
        if isinstance(found, _session.Ended):
            run(_session.forget(works.directory))
            return found
    raise AssertionError("it does not end")


def test_a_short_command_ends_at_once_and_leaves_nothing(tmp_path: Path) -> None:
    assert start("echo 'it''s'; echo bad >&2; exit 3") == _session.Ended(3, "its\n", "bad\n")
    assert not list(tmp_path.iterdir())


def test_input_arrives_and_does_not_lie_there(tmp_path: Path) -> None:
    works = start(f"cat; sleep 3; ls {tmp_path}/airgap-*", stdin=b"secret \x00 payload")
    assert "secret" not in "".join(path.read_text() for path in tmp_path.glob("*/in"))
    ended = finish(works)
    assert ended.stdout.startswith("secret \x00 payload")
    assert "in" not in ended.stdout.split("\n")


def test_a_long_command_is_looked_at(tmp_path: Path) -> None:
    works = start('echo "{}" >"$AIRGAP_PROGRESS"; sleep 4; echo done')
    assert isinstance(works, _session.Works)
    assert (works.alive, works.progress.strip()) == (True, "{}")
    assert (tmp_path / os.path.basename(works.directory)).stat().st_mode & 0o777 == 0o700
    assert finish(works) == _session.Ended(0, "done\n", "")
    assert not list(tmp_path.iterdir())


def test_a_killed_session_is_not_alive() -> None:
    works = start("kill -9 -$(cut -d' ' -f5 /proc/$$/stat); sleep 60")
    assert isinstance(works, _session.Works)
    assert not works.alive


def test_where_no_directory_can_be_made_it_runs_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/nonexistent")
    script = _session.start("cat; exit 4", TOKEN, 0, True)
    done = subprocess.run(["/bin/sh", "-c", script], input=b"payload", capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (4, b"payload")


def test_it_ends_with_its_owner(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as owner:
        works = start(f"trap 'echo cleaned >{tmp_path}/mark; exit' TERM; while :; do sleep 0.1; done", owner=owner.pid)
        assert isinstance(works, _session.Works)
        time.sleep(2.5)
        assert not (tmp_path / "mark").exists()
        owner.kill()
    for _attempt in range(60):
        if (tmp_path / "mark").exists():
            break
        time.sleep(0.1)
    assert (tmp_path / "mark").read_text() == "cleaned\n"


def test_it_ends_when_nobody_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_session, "_SESSION", _session._SESSION.replace(f"-lt {_session.PATIENCE} ]", "-lt 4 ]"))
    works = start("sleep 100")
    assert isinstance(works, _session.Works)
    for _look in range(3):
        # As long as somebody does, it goes on.
        works = run(_session.look(works.directory, TOKEN))
        assert isinstance(works, _session.Works)
        assert works.alive
    pid = int((Path(works.directory) / "pid").read_text())
    for _attempt in range(100):
        # Gone, or a zombie, which has no command line.
        command = Path(f"/proc/{pid}/cmdline")
        if not command.exists() or not command.read_bytes():
            return
        time.sleep(0.1)
    raise AssertionError("it goes on for nobody")


def test_a_torn_answer_is_none() -> None:
    whole = f"banner\n\n{TOKEN} ended 0\r\n{{}}\r\n\r\n{TOKEN} errors\r\n"
    assert _session.read(TOKEN, whole) == _session.Ended(0, "{}\r\n", "")
    assert _session.read(TOKEN, whole[:-10]) is None
    assert _session.read(TOKEN, "Connection reset") is None
