# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a bundle is laid out over several drives, and over files that a file system can hold."""

from __future__ import annotations

import re
from typing import Iterable, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._manifest import File

# The largest file of FAT32.
FAT32_FILE = 2**32 - 1
# Files fill whole clusters. exFAT's are usually 128 KiB; those of FAT32, ext4 and XFS are smaller.
CLUSTER = 128 * 1024
# A shorter stretch at the end of a volume is not worth a part.
_LEAST_PART = 1024 * 1024

_UNITS = {
    "": 1,
    **{f"{unit}B": 1000**power for power, unit in enumerate("KMGT", start=1)},
    **{f"{unit}IB": 1024**power for power, unit in enumerate("KMGT", start=1)},
}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]I?B)?\Z", re.I)
# What FAT, exFAT and NTFS refuse in a name.
_NOT_PORTABLE = re.compile(r'[<>:"|?*]|[. ](?:/|\Z)')


class Piece(NamedTuple):
    """A stretch of a file that travels as a file of its own."""

    path: str
    file: str
    offset: int
    size: int


class Layout(NamedTuple):
    """What one volume carries."""

    name: str
    files: list[str]
    pieces: list[Piece]


def parse_size(text: str, variable: str) -> int:
    """Bytes. Drives are sold in powers of ten (64GB); powers of two are written 64GiB."""
    match = _SIZE.match(text.strip())
    size = int(float(match[1]) * _UNITS[(match[2] or "").upper()]) if match else 0
    if not size:
        raise AirgapError(
            f"{variable} is '{text}'; write a number of bytes, or for example 64GB (as drives are sold) or 60GiB."
        )
    return size


def portable_fault(paths: Iterable[str]) -> str | None:
    """Why a drive's usual file systems could not hold these names, or None."""
    seen: dict[str, str] = {}
    for path in paths:
        if _NOT_PORTABLE.search(path):
            return f"{path} has a character that FAT, exFAT and NTFS do not allow in names"
        other = seen.setdefault(path.lower(), path)
        if other != path:
            return f"{path} and {other} differ in case only, which FAT, exFAT and NTFS cannot tell apart"
    return None


def lay_out(files: list[File], volume_size: int | None, file_size: int, reserved: int) -> list[Layout]:
    """Fill volume after volume in the order of need: controller, packages, images, models.

    Every volume keeps ``reserved`` bytes for the manifest and its signature. Without a volume size there is one.
    """
    fault = portable_fault(file.path for file in files)
    if fault:
        raise AirgapError(
            f"The bundle cannot be laid out on drives: {fault}. Rename it at its source, or leave it out."
        )
    room = volume_size - reserved - CLUSTER if volume_size else 2**63
    first = sum(_clusters(file.size) for file in files if _rank(file) == 0)
    if room < max(_LEAST_PART, first):
        raise AirgapError(
            f"bundle_volume_size is {volume_size} bytes; the manifest takes {reserved} of every volume, and the controller, "
            f"which stays on the first, takes {first}. Give at least {reserved + first + 16 * _LEAST_PART}."
        )
    if file_size < _LEAST_PART:
        raise AirgapError(f"bundle_file_size is {file_size} bytes; give at least {_LEAST_PART}.")
    filler = _Filler(room, file_size)
    for file in sorted(files, key=lambda file: (_rank(file), file.path)):
        filler.add(file)
    return filler.volumes


class _Filler:
    """Volumes, the last of which is being filled."""

    def __init__(self, room: int, file_size: int) -> None:
        self.volumes: list[Layout] = []
        self._room = room
        self._file_size = file_size
        self._left = 0

    def add(self, file: File) -> None:
        if file.size <= self._file_size and _clusters(file.size) <= self._room:
            if _clusters(file.size) > self._left and not self._worth_splitting(file):
                self._next()
            if _clusters(file.size) <= self._left:
                self.volumes[-1].files.append(file.path)
                self._left -= _clusters(file.size)
                return
        self._split(file)

    def _worth_splitting(self, file: File) -> bool:
        """A file that would leave much of a volume empty is split over two."""
        return bool(self.volumes) and self._left >= 16 * CLUSTER and file.size > self._left

    def _split(self, file: File) -> None:
        offset, number = 0, 0
        while offset < file.size:
            if self._left < min(_LEAST_PART, _clusters(file.size - offset)):
                self._next()
            size = min(file.size - offset, self._file_size, self._left // CLUSTER * CLUSTER)
            number += 1
            self.volumes[-1].pieces.append(Piece(file.path, f"{file.path}.part-{number:04d}", offset, size))
            self._left -= _clusters(size)
            offset += size

    def _next(self) -> None:
        self.volumes.append(Layout(f"volume-{len(self.volumes) + 1}", [], []))
        self._left = self._room


def _rank(file: File) -> int:
    kinds = ("packages/", "images/", "models/")
    return next((number for number, kind in enumerate(kinds, start=1) if file.path.startswith(kind)), 0)


def _clusters(size: int) -> int:
    return max(1, -(-size // CLUSTER)) * CLUSTER
