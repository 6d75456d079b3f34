# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a long step is: a small file that the action plugin of the same module reads and shows.

The action plugin names the file in the environment; without it nothing is written. A step that cannot tell how far it is
still does its work, so nothing here ever raises.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Callable

VARIABLE = "AIRGAP_PROGRESS"
_INTERVAL = 0.5
_WINDOW = 30.0


class Progress:
    """Bytes done of all. Counted by add(), or measured once a second while a program works.

    All methods may be called from any thread. Where one Progress is used inside another, the inner one is shown.
    """

    _open: list[Progress] = []  # noqa: RUF012 - shared on purpose: there is one file, and the newest step writes it

    def __init__(
        self, label: str, total: int = 0, *, measure: Callable[[], int] | None = None, path: str | None = None
    ) -> None:
        """The label says what is done, as in "images from the registry"; a total of 0 means that it is not known."""
        self._path = path or file_of_environment()
        self._label = label
        self._total = total
        self._measure = measure
        self._done = 0
        self._at = ""
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._started = self._changed = time.monotonic()
        self._samples: collections.deque[tuple[float, int]] = collections.deque()

    def __enter__(self) -> Progress:
        if self._path:
            clean_up_when_ended()
            self._started = self._changed = time.monotonic()
            self._open.append(self)
            threading.Thread(target=self._run, args=(self._path,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._path:
            self._ended.set()
            self._open.remove(self)
            if not self._open:
                remove(self._path)

    def add(self, count: int) -> None:
        """So many bytes more are done."""
        with self._lock:
            self._done += count

    def at(self, what: str) -> None:
        """This is at work now: a file, an image."""
        with self._lock:
            self._at = what

    def expect(self, total: int) -> None:
        """The total has become known, or has changed."""
        with self._lock:
            self._total = total

    def state(self) -> dict[str, object]:
        """What the file says."""
        now = time.monotonic()
        with self._lock:
            done, total, at = self._done, self._total, self._at
        if not self._samples or self._samples[-1][1] != done:
            self._changed = now
        self._samples.append((now, done))
        # One sample beyond the window stays, so that the rate is always of the whole window.
        while len(self._samples) > 2 and now - self._samples[1][0] > _WINDOW:
            self._samples.popleft()
        since, before = self._samples[0]
        rate = (done - before) / (now - since) if now > since else 0.0
        return {
            "label": self._label,
            "done": done,
            "total": total,
            "at": at,
            "rate": max(0.0, rate),
            "seconds": now - self._started,
            "idle": now - self._changed,
        }

    def _run(self, path: str) -> None:
        measured = 0.0
        while not self._ended.wait(_INTERVAL):
            if self._measure and time.monotonic() >= measured:
                began = time.monotonic()
                self._sample(self._measure)
                # A directory of very many files is walked less often: looking must not slow the work down.
                measured = began + max(1.0, 10 * (time.monotonic() - began))
            state = self.state()
            if self._open and self._open[-1] is self:
                write(path, state)
                if self._ended.is_set():
                    remove(path)

    def _sample(self, measure: Callable[[], int]) -> None:
        try:
            done = measure()
        except Exception:  # noqa: BLE001 - files come and go while they are counted; the next look will do
            return
        with self._lock:
            self._done = done


def file_of_environment() -> str | None:
    """The file that the action plugin wants, or None where nobody looks."""
    path = os.environ.get(VARIABLE, "")
    return os.path.expanduser(path) if path else None


def directory_size(path: str) -> int:
    """The bytes of all files below a directory; for a measure. What vanishes meanwhile does not count."""
    size = 0
    for directory, _directories, names in os.walk(path):
        for name in names:
            size += file_size(os.path.join(directory, name))
    return size


def growth(path: str) -> Callable[[], int]:
    """A measure of what comes below a directory from now on."""
    before = directory_size(path)
    return lambda: max(0, directory_size(path) - before)


def file_size(path: str) -> int:
    """The bytes of a file, 0 where there is none (yet); for a measure."""
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


def write(path: str, state: dict[str, object]) -> None:
    """In one step, so that nobody reads half of it."""
    part = path + ".part"
    try:
        # What is at work may be nobody else's business.
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as handle:
            json.dump(state, handle)
        os.replace(part, path)
    except OSError:
        # A full disk is a reason to fail for the work itself, which will say so; the numbers can be missed.
        pass


def remove(path: str) -> None:
    """Nothing is at work any more."""
    for name in (path, path + ".part"):
        # It was not written yet: the step was short.
        with contextlib.suppress(OSError):
            os.unlink(name)


def clean_up_when_ended() -> None:
    """Leave as by an exception when the session is ended, because the playbook was interrupted.

    So what the step must put away (mounts, containers) is put away.
    """
    # Only the main thread may say so; elsewhere the signal ends the process at once.
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
