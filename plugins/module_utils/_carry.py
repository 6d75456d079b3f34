# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts what travels of a bundle into the directories that are carried: one a volume, or one for a difference.

Files are linked where the directory is on the bundle's own file system, and copied, hashed meanwhile, where it is on
another. Parts are always copies. What is there already, by the record of digests, is not written again.
"""

from __future__ import annotations

import hashlib
import os
from typing import NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils import _digest, _manifest, _progress, _volumes
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

_SEAL = (_manifest.MANIFEST, _manifest.SIGNATURE)


class Carry(NamedTuple):
    """Where what travels is put, and how large volumes and files may be (bytes)."""

    directory: str
    volume_size: int | None
    file_size: int | None

    @property
    def split(self) -> bool:
        return bool(self.volume_size or self.file_size)


def volumes(root: str, manifest: _manifest.Manifest, carry: Carry, record: _digest.Record) -> list[_manifest.Volume]:
    """Lay the bundle out, write the parts, and say what each volume carries."""
    # The manifest lists the volumes too: each file once more, each part with its digest.
    reserved = int(len(_manifest.render(manifest)) * 1.5) + 256 * 1024
    layouts = _volumes.lay_out(
        manifest.travelling(), carry.volume_size, carry.file_size or _volumes.FAT32_FILE, reserved
    )
    total = sum(piece.size for layout in layouts for piece in layout.pieces)
    found = []
    with _progress.Progress("parts of large files", total) as progress:
        for layout in layouts:
            parts = []
            for piece in layout.pieces:
                progress.at(piece.file)
                target = os.path.join(carry.directory, layout.name, piece.file)
                digest = _known(target, piece.size, record)
                if digest is None:
                    digest = _copy_piece(os.path.join(root, piece.path), target, piece)
                    record.note(target, digest)
                progress.add(piece.size)
                parts.append(_manifest.Part(piece.path, piece.file, piece.offset, piece.size, digest))
            found.append(_manifest.Volume(layout.name, layout.files, parts))
    return found


def fill(root: str, manifest: _manifest.Manifest, carry: Carry, record: _digest.Record) -> bool:
    """Make the directories hold what travels, under the seal of the bundle, and nothing else."""
    digests = {file.path: file for file in manifest.files}
    changed = _remove_strangers(manifest, carry)
    places = _places(manifest, carry)
    total = sum(digests[path].size for paths in places.values() for path in paths)
    with _progress.Progress("what travels", total) as progress:
        for directory, paths in places.items():
            for path in paths:
                progress.at(path)
                changed = (
                    _place(os.path.join(root, path), os.path.join(directory, path), digests[path], record) or changed
                )
                progress.add(digests[path].size)
            # The manifest comes last: a directory that has it is whole.
            for name in reversed(_SEAL):
                with open(os.path.join(root, name), "rb") as handle:
                    changed = _digest.write_if_changed(os.path.join(directory, name), handle.read()) or changed
    return changed


def travels(manifest: _manifest.Manifest) -> int:
    """The bytes that the drives carry, without manifest and signature."""
    return sum(file.size for file in manifest.travelling())


def require_own(carry: Carry) -> None:
    """Refuse a directory that holds anything but what was carried before."""
    try:
        names = os.listdir(carry.directory)
    except FileNotFoundError:
        return
    except OSError as error:
        raise AirgapError(
            f"bundle_carry_directory is {carry.directory}, which cannot be read: {error.strerror}."
        ) from error
    known = ("bootstrap", "controller", "images", "models", "packages", "sbom.cdx.json", "lost+found", *_SEAL)
    foreign = sorted(name for name in names if name not in known and not name.startswith("volume-"))
    if foreign:
        raise AirgapError(
            f"bundle_carry_directory is {carry.directory}, which holds what is not of a bundle: "
            f"{', '.join(map(_manifest.printable, foreign[:10]))}. Give it a directory of its own."
        )


def _places(manifest: _manifest.Manifest, carry: Carry) -> dict[str, list[str]]:
    if not manifest.volumes:
        return {carry.directory: [file.path for file in manifest.travelling()]}
    return {os.path.join(carry.directory, volume.name): volume.files for volume in manifest.volumes}


def _remove_strangers(manifest: _manifest.Manifest, carry: Carry) -> bool:
    """What an earlier bundle left in these directories goes first: drives are rarely large enough for both."""
    if not os.path.isdir(carry.directory):
        return False
    wanted: set[str] = set()
    for directory, paths in _places(manifest, carry).items():
        wanted.update(os.path.join(directory, path) for path in [*paths, *_SEAL])
    for volume in manifest.volumes:
        wanted.update(os.path.join(carry.directory, volume.name, part.file) for part in volume.parts)
    tree = _digest.scan(carry.directory)
    gone = [
        path
        for path in [*tree.files, *tree.strange]
        if os.path.join(carry.directory, path) not in wanted and not path.startswith("lost+found/")
    ]
    _digest.remove_files(carry.directory, gone)
    return bool(gone)


def _place(source: str, target: str, file: _manifest.File, record: _digest.Record) -> bool:
    if _known(target, file.size, record) == file.sha256:
        return False
    os.makedirs(os.path.dirname(target), exist_ok=True)
    part = _digest.partial_name(target)
    try:
        if os.path.lexists(part):
            os.unlink(part)
        os.link(source, part)
        os.replace(part, target)
        # Two names of one file: rename leaves the first of them.
        if os.path.lexists(part):
            os.unlink(part)
    except OSError:
        # Another file system, or one without links.
        found, _size = _digest.copy_with_sha256(source, target)
        if found != file.sha256:
            os.unlink(target)
            raise AirgapError(
                f"{source} has the SHA-256 {found}, the manifest says {file.sha256}. It changed after it was sealed; stage again."
            ) from None
    record.note(target, file.sha256)
    return True


def _known(path: str, size: int, record: _digest.Record) -> str | None:
    try:
        return record.known(path) if os.lstat(path).st_size == size else None
    except OSError:
        return None


def _copy_piece(source: str, target: str, piece: _volumes.Piece) -> str:
    digest = hashlib.sha256()
    os.makedirs(os.path.dirname(target), exist_ok=True)
    partial = _digest.partial_name(target)
    left = piece.size
    with open(source, "rb") as reader, open(partial, "wb") as writer:
        reader.seek(piece.offset)
        while left:
            block = reader.read(min(_digest.CHUNK, left))
            if not block:
                raise AirgapError(f"{source} is shorter than it was when it was sealed; stage again.")
            digest.update(block)
            writer.write(block)
            left -= len(block)
    _digest.set_mode(partial, 0o644)
    os.replace(partial, target)
    return digest.hexdigest()
