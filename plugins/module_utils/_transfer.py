# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes from a drive into a file, hashed on the way: each is read once, and hashing goes on while others are moved."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Callable, Iterator, NamedTuple

# Small enough for a core's own cache: the hash reads what was just read from the drive.
CHUNK = 512 * 1024
_BUFFERS = 3
# So often written bytes are sent to the disk, and bytes that lie so far back are dropped from memory: the end then has
# little left to wait for, and the memory of the machine is not filled with what nobody reads soon.
_WINDOW = 8 * 1024 * 1024
_LAG = 64 * 1024 * 1024


class Piece(NamedTuple):
    """A file on the drive that is a file of the bundle, or a stretch of one."""

    source: str
    size: int


class Unreadable(Exception):
    """The drive did not give what it promised; the text says why, the source says where."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(reason)
        self.source = source


def transfer(
    pieces: list[Piece], target: int | None, start: int, done: int, advance: Callable[[int], None] = lambda count: None
) -> str:
    """Copy pieces, one behind the other, to the offset ``start`` of an open file; return the SHA-256 of all of them.

    The first ``done`` bytes are in the file already and are hashed from there. Without a target bytes are only hashed.
    """
    position = 0
    with _Hash() as digest:
        if target is not None:
            while position < done:
                view = digest.buffer()
                count = os.preadv(target, [view[: min(CHUNK, done - position)]], start + position)
                if not count:
                    raise OSError(f"the part of an earlier run has {position} bytes instead of {done}")
                digest.update(view, count)
                position += count
                advance(count)
        before = 0
        for piece in pieces:
            skip = max(0, min(position - before, piece.size))
            before += piece.size
            for view, count in _read(piece, skip, digest):
                digest.update(view, count)
                if target is not None:
                    _write(target, view[:count], start + position)
                    _flush(target, start, position, count)
                position += count
                advance(count)
        return digest.result()


def _read(piece: Piece, skip: int, digest: _Hash) -> Iterator[tuple[memoryview, int]]:
    if skip == piece.size:
        return
    source = _open(piece.source)
    try:
        dropped = position = skip
        while position < piece.size:
            view = digest.buffer()
            try:
                count = os.preadv(source, [view[: min(CHUNK, piece.size - position)]], position)
            except OSError as error:
                raise Unreadable(piece.source, f"cannot be read: {error.strerror or error}") from error
            if not count:
                raise Unreadable(piece.source, f"ends after {position} of {piece.size} bytes")
            position += count
            yield view, count
            if position - dropped >= _WINDOW:
                os.posix_fadvise(source, dropped, position - dropped, os.POSIX_FADV_DONTNEED)
                dropped = position
    finally:
        os.close(source)


def _open(path: str) -> int:
    """A regular file only: a pipe or a device under its name would hang, a link would lead elsewhere."""
    try:
        source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Unreadable(path, f"cannot be read: {error.strerror or error}") from error
    if not stat.S_ISREG(os.fstat(source).st_mode):
        os.close(source)
        raise Unreadable(path, "is not a regular file")
    return source


def _write(target: int, view: memoryview, offset: int) -> None:
    written = 0
    while written < len(view):
        written += os.pwrite(target, view[written:], offset + written)


def _flush(target: int, start: int, position: int, count: int) -> None:
    """Advice that the kernel may ignore: begin to write now, and forget what was written a while ago."""
    if (position + count) // _WINDOW != position // _WINDOW:
        first = max(0, position - _LAG)
        os.posix_fadvise(target, start + first, position + count - first, os.POSIX_FADV_DONTNEED)


class _Hash:
    """SHA-256 in a thread of its own, over a few buffers that go round."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._buffers: deque[tuple[memoryview, Future[None] | None]] = deque(
            (memoryview(bytearray(CHUNK)), None) for _number in range(_BUFFERS)
        )

    def __enter__(self) -> _Hash:
        return self

    def __exit__(self, *_error: object) -> None:
        self._pool.shutdown(wait=True)

    def buffer(self) -> memoryview:
        """A buffer whose bytes were hashed."""
        view, pending = self._buffers.popleft()
        if pending:
            pending.result()
        return view

    def update(self, view: memoryview, count: int) -> None:
        """Hash the first bytes of a buffer; it comes round again when that is done."""
        self._buffers.append((view, self._pool.submit(self._digest.update, view[:count])))

    def result(self) -> str:
        self._pool.shutdown(wait=True)
        return self._digest.hexdigest()
