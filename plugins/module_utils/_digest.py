# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SHA-256 of files: many at a time, and while copying, so that no byte is read twice.

hashlib releases the interpreter's lock, so threads use every core.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any, Callable, Iterable, NamedTuple

CHUNK = 1024 * 1024


class Tree(NamedTuple):
    """What lies under a directory: the size of each regular file, and what has no place there."""

    files: dict[str, int]
    strange: dict[str, str]


def default_workers() -> int:
    """As many threads as this process may use cores."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def sha256_bytes(data: bytes) -> str:
    """The SHA-256 of bytes at hand, in hex."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: str, on_read: Callable[[int], object] | None = None) -> str:
    """The SHA-256 of one regular file, in hex. A link in the last place is not followed.

    on_read is told how many bytes were read, piece by piece; as with the functions below.
    """
    digest = hashlib.sha256()
    buffer = bytearray(CHUNK)
    view = memoryview(buffer)
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb", buffering=0) as handle:
        while True:
            read = handle.readinto(buffer)
            if not read:
                return digest.hexdigest()
            digest.update(view[:read])
            if on_read:
                on_read(read)


def sha256_files(
    root: str, sizes: dict[str, int], workers: int | None = None, on_read: Callable[[int], object] | None = None
) -> dict[str, str | OSError]:
    """The SHA-256 of each file below root; a file that cannot be read has its error instead.

    The largest come first, so that no core waits at the end for one big file.
    """

    def one(path: str) -> tuple[str, str | OSError]:
        try:
            return path, sha256_file(os.path.join(root, path), on_read)
        except OSError as error:
            return path, error

    order = sorted(sizes, key=lambda path: sizes[path], reverse=True)
    with ThreadPoolExecutor(max_workers=max(1, workers or default_workers())) as pool:
        return dict(pool.map(one, order))


def copy_with_sha256(source: str, target: str, on_read: Callable[[int], object] | None = None) -> tuple[str, int]:
    """Copy a file's bytes and return their SHA-256 and number. The target appears whole or not at all."""
    digest = hashlib.sha256()
    buffer = bytearray(CHUNK)
    view = memoryview(buffer)
    size = 0
    os.makedirs(os.path.dirname(target), exist_ok=True)
    part = partial_name(target)
    with open(source, "rb", buffering=0) as reader, open(part, "wb", buffering=0) as writer:
        while True:
            read = reader.readinto(buffer)
            if not read:
                break
            digest.update(view[:read])
            written = 0
            while written < read:
                written += writer.write(view[written:read]) or 0
            size += read
            if on_read:
                on_read(read)
    set_mode(part, 0o644)
    os.replace(part, target)
    return digest.hexdigest(), size


class Record:
    """The digests of files that were hashed while they were written, so that they need no second reading.

    A file is known as long as its size and its time of change (nanoseconds) are those of when it was hashed.
    Without a path nothing is remembered.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._lock = Lock()
        self._entries: dict[str, list[Any]] = {}
        try:
            with open(path or os.devnull, encoding="utf-8") as handle:
                self._entries = dict(json.load(handle))
        except (OSError, ValueError, TypeError):
            # A record that cannot be read costs time only.
            pass

    def known(self, path: str) -> str | None:
        """The SHA-256 of a file, or None when it must be read."""
        entry = self._entries.get(os.path.abspath(path))
        return str(entry[2]) if entry and entry[:2] == _stamp(path) else None

    def note(self, path: str, sha256: str) -> None:
        """Remember a file that was hashed and is now in its place."""
        stamp = _stamp(path)
        if stamp:
            with self._lock:
                self._entries[os.path.abspath(path)] = [*stamp, sha256]

    def save(self) -> None:
        """Write the record; files that are gone or have changed are left out."""
        if self._path:
            kept = {path: entry for path, entry in self._entries.items() if entry[:2] == _stamp(path)}
            write_if_changed(self._path, json.dumps(kept, sort_keys=True).encode(), mode=0o600)


def _stamp(path: str) -> list[int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns] if stat.S_ISREG(status.st_mode) else None


def partial_name(target: str) -> str:
    """The name that a file has until it is whole."""
    return os.path.join(os.path.dirname(target), f".{os.path.basename(target)}.part")


def write_if_changed(path: str, data: bytes, mode: int = 0o644) -> bool:
    """Write a small file in one step, unless it already says the same."""
    try:
        with open(path, "rb") as handle:
            if handle.read() == data:
                return False
    except FileNotFoundError:
        pass
    os.makedirs(os.path.dirname(path), exist_ok=True)
    part = partial_name(path)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode), "wb") as handle:
        handle.write(data)
    set_mode(part, mode)
    os.replace(part, path)
    return True


def set_mode(path: str, mode: int) -> None:
    """Set the mode where the file system has modes; a drive with FAT refuses what it cannot store."""
    with contextlib.suppress(PermissionError):
        os.chmod(path, mode)


def scan(root: str) -> Tree:
    """Everything below root, without following any link. An unreadable directory is an OSError."""
    files: dict[str, int] = {}
    strange: dict[str, str] = {}
    pending: list[str] = [""]
    while pending:
        directory = pending.pop()
        with os.scandir(os.path.join(root, directory)) as entries:
            for entry in entries:
                path = f"{directory}/{entry.name}" if directory else entry.name
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    pending.append(path)
                elif stat.S_ISREG(status.st_mode):
                    files[path] = status.st_size
                else:
                    strange[path] = _kind(status.st_mode)
    return Tree(files, strange)


def remove_files(root: str, paths: Iterable[str], on_remove: Callable[[str], None] | None = None) -> None:
    """Remove files below root, and the directories that this leaves empty."""
    for path in paths:
        os.unlink(os.path.join(root, path))
        if on_remove:
            on_remove(path)
        parent = os.path.dirname(path)
        while parent:
            try:
                os.rmdir(os.path.join(root, parent))
            except OSError:
                break
            parent = os.path.dirname(parent)


def _kind(mode: int) -> str:
    kinds = (
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a character device"),
        (stat.S_ISBLK, "a block device"),
    )
    return next((name for test, name in kinds if test(mode)), "not a regular file")
