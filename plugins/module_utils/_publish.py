# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts the trees of a received bundle where hosts read them.

What hosts see is whole at every moment: a tree is built beside its place, from links to what was received, and comes
into it by one rename. No byte is copied or read again: depot_receive compared each with the seal.
"""

from __future__ import annotations

import errno
import glob
import os
import shutil
from typing import Any, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils import _digest, _incoming, _manifest
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

BILL = "sbom.cdx.json"
MANIFESTS = "manifests"
# Files of bundles that neither hosts nor the registry need, by their digests: a smaller bundle may leave them out.
KEPT = "manifests/kept"
# The storage of the registry; its layout is Distribution's own, documented and the same since its first version.
REGISTRY = "registry"
# Where a link cannot be made: another file system, or one without links.
_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP)


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


def wanted(manifest: _manifest.Manifest, depot: str) -> dict[str, _manifest.File]:
    """The files that a depot publishes; the controller's are used from the drive, by bootstrap."""
    listed = {file.path: file for file in manifest.files}
    result = {path: file for path, file in listed.items() if path.startswith("images/") or path == BILL}
    for kind in ("packages", "models"):
        for item in trees(manifest, kind, "", depot):
            result.update({f"{item.name}/{file.path}": listed[f"{item.name}/{file.path}"] for file in item.files})
    for path in sums(manifest):
        if path not in listed:
            raise AirgapError(
                f"{_manifest.MANIFEST} lists no {path}, the checksums of a model. Stage the bundle again."
            )
        result[path] = listed[path]
    return result


def sums(manifest: _manifest.Manifest) -> list[str]:
    """The lists of checksums that stand beside the models."""
    return list(dict.fromkeys(f"{model['directory']}.sha256" for model in manifest.artifacts["models"]))


def published(manifest: _manifest.Manifest, depot: str) -> set[str]:
    """The files of this bundle that are in their places already."""
    result = set()
    for kind, done in (("packages", is_current), ("models", is_published)):
        for item in trees(manifest, kind, "", depot):
            if done(item):
                result |= {f"{item.name}/{file.path}" for file in item.files}
    listed = {file.path: file for file in manifest.files}
    for path in [*sums(manifest), BILL]:
        if path in listed and same(os.path.join(depot, path), listed[path].sha256):
            result.add(path)
    return result


def same(path: str, sha256: str) -> bool:
    """Has a small file this content?"""
    return _incoming.size_of(path) is not None and _digest.sha256_file(path) == sha256


def blob(depot: str, sha256: str) -> str:
    """Where the registry keeps a blob."""
    return os.path.join(depot, REGISTRY, "docker/registry/v2/blobs/sha256", sha256[:2], sha256, "data")


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
    """Build the tree beside its place, anew: links cost nothing."""
    shutil.rmtree(item.partial, ignore_errors=True)
    for file in item.files:
        link(os.path.join(item.source, file.path), os.path.join(item.partial, file.path), file.sha256)


def link(source: str, target: str, sha256: str) -> None:
    """Give what was received a second name, or copy it where the depot's file systems cannot."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    part = os.path.join(os.path.dirname(target), ".new")
    if os.path.lexists(part):
        os.unlink(part)
    if try_link(source, part):
        os.replace(part, target)
        return
    found, _size = _digest.copy_with_sha256(source, target)
    if found != sha256:
        os.unlink(target)
        raise AirgapError(
            f"{source} changed after it was received (SHA-256 {found} instead of {sha256}): the disk is damaged. "
            "Remove the file and run the import again."
        )


def try_link(source: str, target: str) -> bool:
    """A second name for a file, unless the file systems cannot."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return False
    return True


def keep(manifest: _manifest.Manifest, bundle: str, depot: str) -> list[str]:
    """What the registry did not take of the images' layout: a later bundle may build on it and leave it out."""
    kept = []
    for file in manifest.files:
        target = os.path.join(depot, KEPT, file.sha256)
        place = os.path.join(bundle, file.path)
        if not file.path.startswith("images/") or _incoming.size_of(place) != file.size:
            continue
        if _incoming.size_of(target) != file.size and _incoming.size_of(blob(depot, file.sha256)) != file.size:
            link(place, target, file.sha256)
            kept.append(os.path.join(KEPT, file.sha256))
    return kept


def imported(depot: str, sha256: str) -> str:
    """Where the manifest of a bundle is kept once all of it was published."""
    return os.path.join(depot, MANIFESTS, f"{sha256}.json")


def manifests(depot: str) -> dict[str, _manifest.Manifest]:
    """Every manifest that was imported here, by its SHA-256; the newest first."""
    paths = glob.glob(os.path.join(glob.escape(os.path.join(depot, MANIFESTS)), "*.json"))
    found = {}
    for path in sorted(paths, key=os.path.getmtime, reverse=True):
        with open(path, "rb") as handle:
            found[os.path.basename(path)[:-5]] = _manifest.parse(handle.read())
    return found


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
