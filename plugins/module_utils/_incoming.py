# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a depot gathers what drives bring, until it is complete and can be published.

incoming/lock                one import at a time
incoming/current             which import began last; an older one that still runs must not publish over it
incoming/<manifest>/bundle   laid out as a bundle; what has its name here is what was sealed
incoming/<manifest>/work     files that are not whole yet
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import stat
import time
from typing import Iterator, TextIO

from ansible_collections.airgap.inference.plugins.module_utils import _digest, _manifest
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._progress import Progress

# A step whose playbook was interrupted is ended by its host within this time; the next import waits for that.
PATIENCE = 100.0

_NAME = "incoming"
_BOOT = "/proc/sys/kernel/random/boot_id"


class Incoming:
    """The area of one manifest."""

    def __init__(self, depot: str, sha256: str) -> None:
        self.name = sha256[:16]
        self.root = os.path.join(depot, _NAME, self.name)
        self.bundle = os.path.join(self.root, "bundle")
        self.work = os.path.join(self.root, "work")
        self._depot = depot
        self._unsettled = os.path.join(self.root, "unsettled")

    def begin(self, data: bytes, signature: bytes) -> None:
        """Make the area; from now on this import is the depot's newest."""
        for directory in (self.root, self.bundle, self.work):
            os.makedirs(directory, exist_ok=True)
        os.chmod(self.root, 0o700)
        _digest.write_if_changed(os.path.join(self.bundle, _manifest.MANIFEST), data)
        _digest.write_if_changed(os.path.join(self.bundle, _manifest.SIGNATURE), signature)
        _digest.write_if_changed(os.path.join(self._depot, _NAME, "current"), self.name.encode())

    def path(self, path: str) -> str:
        """The place of a file of the bundle."""
        return os.path.join(self.bundle, path)

    def part(self, path: str) -> str:
        """A file that is being copied from its beginning; a path's digest is a name that never collides or is too long."""
        return os.path.join(self.work, f"{_digest.sha256_bytes(path.encode('utf-8'))[:32]}.part")

    def split(self, path: str) -> str:
        """A file that comes in parts from several drives, in any order."""
        return os.path.join(self.work, f"{_digest.sha256_bytes(path.encode('utf-8'))[:32]}.split")

    def marker(self, path: str, offset: int, done: bool) -> str:
        """Says how far a part of a split file is: it has as many bytes (all of them holes) as were written."""
        return f"{self.split(path)}.{offset}.{'done' if done else 'part'}"

    def place(self, work: str, path: str) -> None:
        """Give a file its name: it was found to be what was sealed."""
        target = self.path(path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.chmod(work, 0o644)
        os.replace(work, target)

    def has(self, file: _manifest.File) -> bool:
        """Is this file here, whole?"""
        return size_of(self.path(file.path), follow=True) == file.size

    def unsettle(self) -> None:
        """From now on bytes may be in memory only."""
        with open(self._unsettled, "w", encoding="ascii") as handle:
            handle.write(_boot())
            handle.flush()
            os.fsync(handle.fileno())

    def settle(self) -> None:
        """Wait until everything is on the disk: once for all files, not once a file."""
        handle = os.open(self.root, os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).syncfs(handle):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), self.root)
        finally:
            os.close(handle)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._unsettled)

    def doubtful(self) -> bool:
        """Did the machine stop before everything was on the disk? A process that was killed loses nothing."""
        try:
            with open(self._unsettled, encoding="ascii", errors="replace") as handle:
                return handle.read() != _boot()
        except FileNotFoundError:
            return False

    def doubt(self, manifest: _manifest.Manifest) -> None:
        """Take the names away again: what is here is then read, and kept if it is right."""
        for file in manifest.files:
            place = self.path(file.path)
            if os.path.islink(place):
                continue
            if size_of(place) == file.size:
                os.replace(place, self.part(file.path))
            elif os.path.lexists(place):
                os.unlink(place)
        for volume in manifest.volumes:
            for part in volume.parts:
                if os.path.exists(self.marker(part.path, part.offset, True)):
                    os.replace(self.marker(part.path, part.offset, True), self.marker(part.path, part.offset, False))


def size_of(path: str, follow: bool = False) -> int | None:
    """The size of a regular file, or None where there is none."""
    try:
        status = os.stat(path, follow_symlinks=follow)
    except (OSError, ValueError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def require_current(bundle: str, depot: str) -> None:
    """Only what was received, by the newest import, is published."""
    root, name = os.path.split(os.path.dirname(os.path.abspath(bundle)))
    if root != os.path.abspath(os.path.join(depot, _NAME)):
        raise AirgapError(
            f"{bundle} was not received at this depot. Run airgap.inference.depot_receive first and give its result 'bundle'."
        )
    with contextlib.suppress(FileNotFoundError), open(os.path.join(root, "current"), encoding="ascii") as handle:
        if handle.read() == name:
            return
    raise AirgapError(
        f"Another import has begun at {depot} since this one received its bundle, so this one publishes nothing more. "
        "Let the other one end, then run this one again if its bundle is the one that hosts shall have."
    )


def unfinished(depot: str, but: str) -> list[str]:
    """What imports that never ended have left, other than this one."""
    area = os.path.join(depot, _NAME)
    try:
        return sorted(entry.path for entry in os.scandir(area) if entry.is_dir() and entry.name != but)
    except FileNotFoundError:
        return []


@contextlib.contextmanager
def lock(depot: str, patience: float = PATIENCE) -> Iterator[None]:
    """One import at a time. The kernel lets go of the lock when its process ends, however it ends."""
    area = os.path.join(depot, _NAME)
    os.makedirs(area, exist_ok=True)
    os.chmod(area, 0o700)
    path = os.path.join(area, "lock")
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "r+") as handle:
        if not _locked(handle):
            _wait(handle, depot, patience)
        handle.seek(0)
        handle.truncate()
        handle.write(str(os.getpid()))
        handle.flush()
        yield


def _locked(handle: TextIO) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait(handle: TextIO, depot: str, patience: float) -> None:
    owner = handle.read(20).strip() or "unknown"
    until = time.monotonic() + patience
    with Progress(f"waiting for another import (process {owner})"):
        while not _locked(handle):
            if time.monotonic() >= until:
                raise AirgapError(
                    f"Another import is at work at {depot} (process {owner}). Let it end, then run this again; "
                    "what it has taken is not taken twice."
                )
            time.sleep(0.5)


def _boot() -> str:
    try:
        with open(_BOOT, encoding="ascii") as handle:
            return handle.read().strip()
    except OSError:
        return "unknown"
