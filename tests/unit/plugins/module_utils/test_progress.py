# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a long step is, as the module writes it."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from threading import Thread
from typing import Any, Callable, Iterator

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _progress
from ansible_collections.airgap.inference.plugins.module_utils._progress import Progress


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(name="clock")
def fixture_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(_progress.time, "monotonic", clock)
    return clock


@pytest.fixture(autouse=True)
def fixture_signals(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(_progress.VARIABLE, raising=False)
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


def wait_for(path: Path, test: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The state, as soon as it is as wanted."""
    for _attempt in range(100):
        if path.exists():
            state: dict[str, Any] = json.loads(path.read_text())
            if test(state):
                return state
        time.sleep(0.05)
    raise AssertionError(path.read_text() if path.exists() else "nothing was written")


def test_rate_is_of_the_last_half_minute(clock: Clock) -> None:
    progress = Progress("step", 1000)
    for _second in range(60):
        progress.state()
        progress.add(1)
        clock.now += 1
    assert progress.state()["rate"] == pytest.approx(1)
    for _second in range(40):
        progress.state()
        progress.add(10)
        clock.now += 1
    state = progress.state()
    assert (state["done"], state["total"], state["rate"]) == (460, 1000, pytest.approx(10))


def test_what_was_there_at_first_was_not_done_now(clock: Clock) -> None:
    progress = Progress("step", 1000)
    progress.add(500)
    progress.state()
    clock.now += 10
    progress.add(100)
    assert progress.state()["rate"] == pytest.approx(10)


def test_standing_still_is_told(clock: Clock) -> None:
    progress = Progress("step", 1000)
    progress.add(5)
    progress.state()
    clock.now += 45
    assert progress.state()["idle"] == pytest.approx(45)
    progress.add(5)
    assert progress.state()["idle"] == 0


def test_bytes_that_go_are_no_negative_rate(clock: Clock) -> None:
    sizes = [100, 0]
    progress = Progress("step", 1000, measure=lambda: sizes.pop(0))
    for _sample in range(2):
        progress._sample(progress._measure or (lambda: 0))
        state = progress.state()
        clock.now += 1
    assert (state["done"], state["rate"]) == (0, 0)


def test_every_thread_counts() -> None:
    progress = Progress("step")
    threads = [Thread(target=lambda: [progress.add(1) for _number in range(10000)]) for _thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert progress.state()["done"] == 40000


def test_the_file_of_the_environment_is_written_and_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "progress"
    monkeypatch.setenv(_progress.VARIABLE, str(path))
    with Progress("models", 10) as progress:
        progress.add(3)
        progress.at("models/tiny")
        state = wait_for(path, lambda state: state["done"] == 3)
        assert (state["label"], state["total"], state["at"]) == ("models", 10, "models/tiny")
        assert path.stat().st_mode & 0o777 == 0o600
        progress.expect(30)
        assert wait_for(path, lambda state: state["total"] == 30)["done"] == 3
    assert not list(tmp_path.iterdir())


def test_nobody_looks_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    handler = signal.getsignal(signal.SIGTERM)
    with Progress("step", 10) as progress:
        progress.add(1)
        time.sleep(0.7)
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGTERM) is handler


def test_the_inner_step_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "progress"
    with Progress("outer", path=str(path)):
        with Progress("inner", path=str(path)):
            wait_for(path, lambda state: state["label"] == "inner")
            time.sleep(1.1)
            assert json.loads(path.read_text())["label"] == "inner"
        wait_for(path, lambda state: state["label"] == "outer")


def test_a_program_is_measured(tmp_path: Path) -> None:
    path, work = tmp_path / "progress", tmp_path / "work"
    work.mkdir()
    with Progress("download", 9, measure=lambda: _progress.directory_size(str(work)), path=str(path)):
        (work / "part").write_bytes(b"1234")
        wait_for(path, lambda state: state["done"] == 4)


def test_a_measure_that_fails_is_no_failure(tmp_path: Path) -> None:
    def measure() -> int:
        raise RuntimeError("no such luck")

    with Progress("step", measure=measure, path=str(tmp_path / "progress")):
        wait_for(tmp_path / "progress", lambda state: state["done"] == 0)


def test_a_place_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    with Progress("step", path=str(tmp_path / "missing" / "progress")) as progress:
        time.sleep(0.7)
        progress.add(1)


def test_sizes_and_growth(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(b"123")
    (tmp_path / "link").symlink_to("a/file")
    grown = _progress.growth(str(tmp_path / "a"))
    (tmp_path / "a" / "more").write_bytes(b"12345")
    assert grown() == 5
    assert _progress.directory_size(str(tmp_path / "a")) == 8
    assert _progress.file_size(str(tmp_path / "a" / "file")) == 3
    assert _progress.file_size(str(tmp_path / "none")) == _progress.directory_size(str(tmp_path / "none")) == 0


def test_the_end_of_a_session_leaves_as_by_an_exception(tmp_path: Path) -> None:
    with pytest.raises(SystemExit), Progress("step", path=str(tmp_path / "progress")):
        signal.raise_signal(signal.SIGTERM)
