# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Seals a bundle: what does not belong goes, and the manifest of all that stays is signed.

A file that was hashed while it was written into the bundle, and has not changed since, is not read again.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils import (
    _carry,
    _delta,
    _digest,
    _manifest,
    _package_formats,
    _progress,
    _signature,
)
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

BOOTSTRAP = "bootstrap"
BILL = "sbom.cdx.json"
# What staging writes. Anything else in the directory is somebody's, and is not touched.
_OURS = ("controller", "images", "models", "packages")
_FILES = (BOOTSTRAP, BILL, _manifest.MANIFEST, _manifest.SIGNATURE)


class Plan(NamedTuple):
    """What the bundle holds, and which of its files nothing describes any more."""

    sizes: dict[str, int]
    stale: list[str]


class Sealed(NamedTuple):
    """A bundle after sealing."""

    changed: bool
    created: str
    files: int
    size: int
    travels: int
    volumes: int
    removed: list[str]


class Way(NamedTuple):
    """How the bundle is sealed and carried."""

    key: str
    record: _digest.Record
    verify: bool = False
    base: str | None = None
    carry: _carry.Carry | None = None


def plan(root: str, artifacts: dict[str, Any]) -> Plan:
    """Look at the directory; what is not of a bundle is an error and stays."""
    tree = _digest.scan(root) if os.path.isdir(root) else _digest.Tree({}, {})
    foreign = sorted(
        path for path in [*tree.files, *tree.strange] if path not in _FILES and path.split("/")[0] not in _OURS
    )
    if foreign:
        shown = ", ".join(_manifest.printable(path) for path in foreign[:10]) + (" …" if len(foreign) > 10 else "")
        raise AirgapError(
            f"{root} holds files that are not of a bundle: {shown}. Move them away, or give the bundle a directory of its own."
        )
    stale = sorted(path for path in [*tree.files, *tree.strange] if not belongs(path, artifacts))
    sizes = {
        path: size
        for path, size in tree.files.items()
        if path not in stale and path not in (_manifest.MANIFEST, _manifest.SIGNATURE)
    }
    for path in sizes:
        fault = _manifest.path_fault(path)
        if fault:
            raise AirgapError(f"{root}/{_manifest.printable(path)} {fault}; such a file cannot be carried.")
    links = [path for path in tree.strange if path not in stale]
    if links:
        raise AirgapError(
            f"{root}/{_manifest.printable(links[0])} is {tree.strange[links[0]]}; a bundle holds regular files only. Remove it."
        )
    return Plan(sizes, stale)


def belongs(path: str, artifacts: dict[str, Any]) -> bool:
    """Whether the description of this bundle has a place for a file."""
    name = os.path.basename(path)
    if name.startswith(".") and name.endswith(".part"):
        return False
    if path in _FILES or path.startswith("controller/"):
        return True
    if path.startswith("images/"):
        return bool(artifacts["images"])
    directories = [item["directory"] for kind in ("packages", "models") for item in artifacts[kind]]
    lists = [f"{item['directory']}.sha256" for item in artifacts["models"]]
    return path in lists or any(path.startswith(f"{directory}/") for directory in directories)


def known_digests(root: str, artifacts: dict[str, Any]) -> dict[str, str]:
    """What the parts of a bundle say about their own files: staging is checked by what it carries."""
    known: dict[str, str] = {}
    blobs = os.path.join(root, "images/blobs/sha256")
    for digest in os.listdir(blobs) if os.path.isdir(blobs) else []:
        known[f"images/blobs/sha256/{digest}"] = digest
    for model in artifacts["models"]:
        listing = f"{model['directory']}.sha256"
        known[listing] = model["digest"]
        with open(os.path.join(root, listing), encoding="utf-8") as handle:
            known.update({f"{model['directory']}/{line[66:]}": line[:64] for line in handle.read().splitlines()})
    for item in artifacts["packages"]:
        known.update(_package_formats.digests(root, item))
    return known


def would_change(root: str, wanted: _manifest.Manifest, plan_: Plan, way: Way) -> bool:
    """Whether sealing would change anything, as far as can be told without reading the files."""
    old = _old(root)
    if old is None or plan_.stale or old.artifacts != wanted.artifacts or old.site != wanted.site:
        return True
    if {file.path: file.size for file in old.files} != plan_.sizes:
        return True
    again = _against_base(old._replace(files=[file._replace(base=False) for file in old.files], base=None), way.base)
    return again != old._replace(volumes=[]) or bool(old.volumes) != bool(way.carry and way.carry.split)


def seal(root: str, wanted: _manifest.Manifest, plan_: Plan, way: Way) -> Sealed:
    """Bring the directory to its description and sign it. A seal that still holds is not renewed."""
    if way.carry:
        _carry.require_own(way.carry)
    _digest.remove_files(root, plan_.stale)
    digests = _digests(root, plan_.sizes, way)
    files = [_manifest.File(path, plan_.sizes[path], digest) for path, digest in sorted(digests.items())]
    _compare(root, files, known_digests(root, wanted.artifacts))
    old = _old(root)
    manifest = _against_base(wanted._replace(files=files), way.base)
    if way.carry and way.carry.split:
        manifest = manifest._replace(volumes=_carry.volumes(root, manifest, way.carry, way.record))
    signature = os.path.join(root, _manifest.SIGNATURE)
    if old is not None and old._replace(created=manifest.created) == manifest:
        manifest = manifest._replace(created=old.created)
    data = _manifest.render(manifest)
    # What import would refuse is never signed.
    _manifest.parse(data)
    key = way.key
    current = old is not None and manifest == old and _signature.signer(data, signature) == _signature.fingerprint(key)
    if not current:
        signed = _signature.sign(data, key)
        _digest.write_if_changed(os.path.join(root, _manifest.MANIFEST), data)
        _digest.write_if_changed(signature, signed)
    carried = way.carry is not None and _carry.fill(root, manifest, way.carry, way.record)
    way.record.save()
    return Sealed(
        bool(plan_.stale) or not current or carried,
        manifest.created,
        len(files),
        sum(plan_.sizes.values()),
        _carry.travels(manifest),
        len(manifest.volumes),
        plan_.stale,
    )


def _digests(root: str, sizes: dict[str, int], way: Way) -> dict[str, str]:
    """The digest of each file; those that are on record are read only when that is asked for."""
    found = {} if way.verify else {path: way.record.known(os.path.join(root, path)) for path in sizes}
    known = {path: digest for path, digest in found.items() if digest}
    unread = {path: size for path, size in sizes.items() if path not in known}
    with _progress.Progress("hashing the bundle", sum(unread.values())) as progress:
        for path, result in _digest.sha256_files(root, unread, on_read=progress.add).items():
            if isinstance(result, OSError):
                raise AirgapError(f"{root}/{path} cannot be read: {result.strerror or result}.")
            way.record.note(os.path.join(root, path), result)
            known[path] = result
    return known


def _against_base(manifest: _manifest.Manifest, base: str | None) -> _manifest.Manifest:
    if not base:
        return manifest
    found, before = _delta.read_base(base)
    if before.site != manifest.site:
        raise AirgapError(
            f"bundle_base is {base}, a bundle of the site '{before.site}'; this one is for '{manifest.site}'. Name a manifest of this site."
        )
    return manifest._replace(files=_delta.mark(manifest.files, before), base=found)


def _compare(root: str, files: list[_manifest.File], known: dict[str, str]) -> None:
    found = {file.path: file.sha256 for file in files}
    wrong = sorted(path for path, digest in known.items() if found.get(path) != digest)
    if wrong:
        shown = ", ".join(wrong[:10]) + (" …" if len(wrong) > 10 else "")
        raise AirgapError(
            f"These files in {root} were damaged after they were fetched: {shown}. Remove them and stage again; check the disk."
        )


def _old(root: str) -> _manifest.Manifest | None:
    try:
        with open(os.path.join(root, _manifest.MANIFEST), "rb") as handle:
            return _manifest.parse(handle.read())
    except (OSError, AirgapError):
        return None
