# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings the bundle's images to what is listed: what to fetch is decided before anything is."""

from __future__ import annotations

import os
import shutil
from typing import Any, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils import (
    _image_archive,
    _image_engine,
    _image_registry,
    _oci,
)
from ansible_collections.airgap.inference.plugins.module_utils._digest import Record
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._manifest import printable
from ansible_collections.airgap.inference.plugins.module_utils._progress import Progress, directory_size

# NVIDIA Container Toolkit, "Specialized Configurations with Docker"; CUDA_VERSION is in NVIDIA's CUDA images.
_CUDA = {"version": "CUDA_VERSION", "require": "NVIDIA_REQUIRE_CUDA"}


class Image(NamedTuple):
    """An image that is wanted: where it comes from, and what it will be."""

    name: _oci.Name
    source: str
    # Without a digest it is of a docker-archive that was not read yet: the conversion gives one.
    digest: str | None
    parts: list[_oci.Blob]
    archive: _image_archive.Archive | None = None
    found: _image_archive.Image | None = None


class Collection:
    """The images of one layout, and where they may come from."""

    def __init__(
        self,
        layout: str,
        architecture: str,
        registry: _image_registry.Registry,
        scratch: str,
        known: _image_archive.Known,
    ) -> None:
        self.layout = layout
        self.architecture = architecture
        self.registry = registry
        self.scratch = scratch
        self.known = known
        self._readers: dict[str, _image_archive.Reader] = {}

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def plan(
        self, names: list[_oci.Name], archives: dict[str, _image_archive.Archive], held: dict[str, str]
    ) -> list[Image]:
        """What every name means now. Registries are asked for manifests only, archives for their lists."""
        return [
            self._of_archive(archives[name.full], held) if name.full in archives else self._of_registry(name, held)
            for name in names
        ]

    def fetch(self, images: list[Image]) -> dict[str, str]:
        """Bring these into the layout; return their digests."""
        digests = {}
        start = directory_size(self.layout)
        total = _oci.lacking(self.layout, [part for image in images for part in image.parts])
        with Progress("images", total, measure=lambda: directory_size(self.layout) - start) as progress:
            for image in images:
                progress.at(image.name.full)
                if image.digest is None:
                    # How large the layers become is not known before they are compressed.
                    progress.expect(0)
                digests[image.name.full] = self._copy(image)
        return digests

    def remember(self, images: list[Image]) -> None:
        """Archives whose images were there already need not be opened the next time either."""
        for image in images:
            if image.archive and image.digest:
                self.known.note(image.archive, self.architecture, image.digest)
        self.known.save()

    def _of_registry(self, name: _oci.Name, held: dict[str, str]) -> Image:
        source, there = f"docker://{name.source}{name.version}", held.get(name.full)
        if there and name.digest and _oci.architecture(self.layout, there) == self.architecture:
            digest = there
        else:
            digest = _image_registry.resolve(name, self.architecture, self.registry)
        if digest == there:
            return Image(name, source, digest, _oci.parts(self.layout, digest))
        found = _image_registry.architecture(name, digest, self.registry)
        if found != self.architecture:
            raise AirgapError(f"{name.full} is made for {found[:40] or 'none'!a}; the site needs {self.architecture}.")
        return Image(name, source, digest, _image_registry.parts(name, digest, self.registry))

    def _of_archive(self, archive: _image_archive.Archive, held: dict[str, str]) -> Image:
        name = archive.name
        source = f"oci-archive:{archive.path}" + (f":{archive.reference}" if archive.reference else "")
        digest = self.known.digest(archive, self.architecture)
        if digest and digest == held.get(name.full):
            return Image(name, source, digest, _oci.parts(self.layout, digest), archive)
        found = _image_archive.find(self._reader(archive.path), archive, self.architecture)
        digest = found.manifest.digest if found.manifest else None
        if name.digest and name.digest != digest:
            raise AirgapError(
                f"{archive.path} holds {digest or 'a docker-archive, which keeps no digest'}; {name.full} asks for "
                "another. Name the image by a tag."
            )
        return Image(name, source, digest, found.parts, archive, found)

    def _copy(self, image: Image) -> str:
        if not image.archive or not image.found:
            _image_registry.copy(self.layout, image.name, str(image.digest), self.registry)
            return str(image.digest)
        digest = _image_archive.copy(self._reader(image.archive.path), image.archive, image.found, self.layout)
        # At once: should the next image fail, this one need not be converted again.
        self.known.note(image.archive, self.architecture, digest)
        self.known.save()
        return digest

    def _reader(self, path: str) -> _image_archive.Reader:
        if path not in self._readers:
            self._readers[path] = _image_archive.Reader(path, self.scratch)
        return self._readers[path]


def archives(items: list[dict[str, Any]], images: list[str]) -> dict[str, _image_archive.Archive]:
    """The archives of the inventory, by their images' names."""
    found: dict[str, _image_archive.Archive] = {}
    for item in items:
        archive = _image_archive.Archive(_oci.parse_name(item["name"]), item["path"], item.get("archive_reference"))
        if item["name"] in found:
            raise AirgapError(f"The archives list {item['name']} twice.")
        if item["name"] not in images:
            raise AirgapError(
                f"The archives list {item['name']} ({item['path']}), but nothing runs that image. "
                f"There are: {', '.join(sorted(images)) or 'none'}."
            )
        found[item["name"]] = archive
    return found


def refuse(images: list[Image], architecture: str, engines: dict[str, str]) -> list[str]:
    """Refuse images that an engine beyond the gap cannot pull; return what is not known about others."""
    reasons = [_image_engine.refusal(image.name, image.parts, image.source, architecture, engines) for image in images]
    if any(reasons):
        raise AirgapError("\n".join(reason for reason in reasons if reason))
    remarks = [_image_engine.remark(image.name, image.parts, engines) for image in images]
    return [remark for remark in remarks if remark]


def check_certificates(directory: str | None) -> None:
    """skopeo says nothing about a directory that is not there, or that holds no certificate."""
    if directory and not (os.path.isdir(directory) and any(name.endswith(".crt") for name in os.listdir(directory))):
        raise AirgapError(f"{directory} is not a directory with a CA's certificate in it; name that one ca.crt.")


def check_layout(layout: str, record: Record, remembered: bool) -> None:
    """Go on from whatever an interrupted run left."""
    _oci.mend(layout)
    if remembered:
        _oci.verify(layout, record)


def check_result(layout: str, digests: dict[str, str], architecture: str) -> None:
    """Is everything there, and made for the targets? An image that is not of a list says so in its configuration only."""
    held = _oci.held(layout)
    lost = [name for name, digest in digests.items() if held.get(name) != digest]
    if lost:
        raise AirgapError(f"These images are not in {layout} although they were copied: {', '.join(lost)}.")
    wrong = [name for name, digest in digests.items() if _oci.architecture(layout, digest) != architecture]
    if wrong:
        raise AirgapError(f"These images are not made for {architecture}: {', '.join(wrong)}.")


def artifacts(layout: str, names: list[_oci.Name], digests: dict[str, str]) -> list[dict[str, object]]:
    """What the manifest says about the images that the layout holds."""
    held = _oci.held(layout)
    return [
        {
            "name": name.full,
            "repository": name.repository,
            "digest": held[name.full],
            "size": _oci.size(layout, held[name.full]),
            **_cuda(layout, held[name.full]),
        }
        for name in names
        if name.full in held and held[name.full] == digests.get(name.full)
    ]


def _cuda(layout: str, digest: str) -> dict[str, dict[str, str]]:
    """Which CUDA an image was built with, and which drivers it asks for: NVIDIA's images state both in their environment."""
    stated = _oci.environment(layout, digest)
    found = {key: printable(stated[name]) for key, name in _CUDA.items() if stated.get(name)}
    return {"cuda": found} if found else {}
