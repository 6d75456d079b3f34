# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts the trees of a sealed bundle where hosts read them.

What hosts see is whole at every moment: a tree is built beside its place and comes into it by one rename.
Each file is hashed while it is copied, so what is published is what was sealed, even when the drive changes
between the check and the copy. A killed run leaves its part behind, and the next one goes on from there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from typing import Any, BinaryIO, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils import _digest, _manifest, _signature
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


class Tree(NamedTuple):
    """One directory of the bundle and where it goes; the paths of its files are relative to it."""

    name: str
    source: str
    target: str
    files: list[_manifest.File]

    @property
    def identity(self) -> str:
        """Short, and the same only for the same files."""
        lines = "".join(f"{file.sha256} {file.size} {file.path}\n" for file in self.files)
        return _digest.sha256_bytes(lines.encode("utf-8"))[:16]

    @property
    def partial(self) -> str:
        """Where the tree is built. The dot hides it from the model source."""
        parent, name = os.path.split(self.target)
        return os.path.join(parent, f".{name}.{self.identity}.partial")


def sealed_manifest(bundle: str, allowed_signers: str) -> _manifest.Manifest:
    """The manifest of a bundle, its signature verified: each module trusts the seal, not who called it."""
    try:
        with open(os.path.join(bundle, _manifest.MANIFEST), "rb") as handle:
            data = handle.read()
    except OSError as error:
        raise AirgapError(
            f"There is no bundle at {bundle}: {_manifest.MANIFEST} cannot be read ({error.strerror or error}). Is the drive mounted there?"
        ) from error
    _signature.verify(data, os.path.join(bundle, _manifest.SIGNATURE), allowed_signers)
    return _manifest.parse(data)


def trees(manifest: _manifest.Manifest, kind: str, bundle: str, depot: str) -> list[Tree]:
    """The trees of a kind, packages or models. Architectures of one release share a directory."""
    directories: dict[str, None] = {}
    for artifact in manifest.artifacts[kind]:
        directory = artifact["directory"]
        if not directory.startswith(f"{kind}/"):
            raise AirgapError(f"{_manifest.MANIFEST}: the directory {directory} of an artifact is not below {kind}/.")
        directories[directory] = None
    return [tree(manifest, directory, bundle, depot) for directory in directories]


def tree(manifest: _manifest.Manifest, directory: str, bundle: str, depot: str) -> Tree:
    """What the manifest says about one directory."""
    start = f"{directory}/"
    files = [file._replace(path=file.path[len(start) :]) for file in manifest.files if file.path.startswith(start)]
    if not files:
        raise AirgapError(
            f"{_manifest.MANIFEST} has an artifact in {directory}, but no file there. Stage the bundle again."
        )
    return Tree(directory, os.path.join(bundle, directory), os.path.join(depot, directory), files)


def is_published(item: Tree) -> bool:
    """Does the place hold exactly these files, by their sizes? Their bytes were checked when they came."""
    return bool(_sizes(item.target) == {file.path: file.size for file in item.files})


def is_current(item: Tree) -> bool:
    """For a tree behind a link: does the link lead to this very content?"""
    return os.path.islink(item.target) and os.readlink(item.target) == link_text(item) and is_published(item)


def link_text(item: Tree) -> str:
    """What the link of a switched tree says."""
    return f".{os.path.basename(item.target)}.{item.identity}"


def require_space(items: list[Tree], depot: str) -> None:
    """Stop before the disk is full: what is still to copy must fit."""
    missing = sum(file.size for item in items for file in item.files)
    missing -= sum(sum((_sizes(item.partial) or {}).values()) for item in items)
    place = depot
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    status = os.statvfs(place)
    free = status.f_bavail * status.f_frsize
    if missing > free:
        raise AirgapError(
            f"{depot} has {_gb(free)} free, but {_gb(missing)} are to be published "
            f"({', '.join(item.name for item in items)}). Make room there, or mount a larger file system."
        )


def publish(item: Tree) -> None:
    """Bring a tree into its place; an older one there gives way at the last moment."""
    fill(item)
    old = os.path.join(os.path.dirname(item.target), f".{os.path.basename(item.target)}.old")
    shutil.rmtree(old, ignore_errors=True)
    if os.path.lexists(item.target):
        os.rename(item.target, old)
    os.rename(item.partial, item.target)
    _sync_directory(os.path.dirname(item.target))
    shutil.rmtree(old, ignore_errors=True)


def switch(item: Tree) -> None:
    """Bring a tree into its place by one rename of a link, so that no host ever finds the place empty."""
    parent, name = os.path.split(item.target)
    if os.path.isdir(item.target) and not os.path.islink(item.target):
        raise AirgapError(
            f"{item.target} is a directory, where a link of the depot belongs. Move it away and run this again."
        )
    final = os.path.join(parent, link_text(item))
    fill(item)
    shutil.rmtree(final, ignore_errors=True)
    os.rename(item.partial, final)
    link = os.path.join(parent, f".{name}.link")
    if os.path.lexists(link):
        os.unlink(link)
    os.symlink(link_text(item), link)
    _sync_directory(parent)
    os.replace(link, item.target)
    for old in os.listdir(parent):
        if old.startswith(f".{name}.") and old != link_text(item):
            shutil.rmtree(os.path.join(parent, old), ignore_errors=True)


def fill(item: Tree) -> None:
    """Make the partial tree complete. Whatever an earlier run left there is used if it is right."""
    os.makedirs(item.partial, exist_ok=True)
    wanted = {file.path for file in item.files}
    wanted |= {_digest.partial_name(path) for path in wanted}
    _digest.remove_files(item.partial, [path for path in _sizes(item.partial) or {} if path not in wanted])
    for file in item.files:
        copy(os.path.join(item.source, file.path), os.path.join(item.partial, file.path), file)


def copy(source: str, target: str, file: _manifest.File) -> None:
    """Copy one file, from where an earlier run stopped, and require that it is what was sealed."""
    if os.path.exists(target) and _digest.sha256_file(target) == file.sha256:
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)
    part = _digest.partial_name(target)
    resumed = os.path.exists(part)
    try:
        found = _append(source, part)
        if found != file.sha256 and resumed:
            os.unlink(part)
            found = _append(source, part)
    except OSError as error:
        raise AirgapError(
            f"{source} could not be copied to {target}: {error.strerror or error}. What was copied is kept; run this again when the cause is gone."
        ) from error
    if found != file.sha256:
        os.unlink(part)
        raise AirgapError(
            f"{source} has the SHA-256 {found}, the manifest says {file.sha256}. It was not published. Carry the bundle again."
        )
    os.chmod(part, 0o644)
    os.replace(part, target)


def _append(source: str, part: str) -> str:
    digest = hashlib.sha256()
    with open(source, "rb") as reader, open(part, "a+b") as writer:
        writer.seek(0)
        _pump(writer, digest)
        reader.seek(writer.tell())
        for block in iter(lambda: reader.read(_digest.CHUNK), b""):
            digest.update(block)
            writer.write(block)
        writer.flush()
        # A rename may reach the disk before the bytes: without this a power cut could leave a whole name on a hole.
        os.fsync(writer.fileno())
    return digest.hexdigest()


def _pump(reader: BinaryIO, digest: Any) -> None:
    for block in iter(lambda: reader.read(_digest.CHUNK), b""):
        digest.update(block)


def _sizes(directory: str) -> Any:
    """The sizes of the files in a directory, or None when there is none, or anything strange in it."""
    try:
        found = _digest.scan(directory)
    except OSError:
        return None
    return None if found.strange else found.files


def _sync_directory(directory: str) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
