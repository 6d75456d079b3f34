# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images out of tarballs that vendors hand over: oci-archive (digests are kept) and docker-archive (it has none).

Nothing of an archive is unpacked by the names that it gives. Of an OCI archive, blobs are read by digest out of the
tar and hashed on their way into the layout; a link or a ".." in it leads nowhere. A docker-archive is converted by
skopeo, which reads it without unpacking it.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import os
import shutil
import tarfile
import zlib
from typing import Any, BinaryIO, Callable, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils import _json, _oci
from ansible_collections.airgap.inference.plugins.module_utils._command import run
from ansible_collections.airgap.inference.plugins.module_utils._digest import (
    CHUNK,
    partial_name,
    sha256_bytes,
    sha256_file,
    write_if_changed,
)
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._image_registry import said

MEMBERS = 100_000

_PACKED: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
_ZSTD = b"\x28\xb5\x2f\xfd"
# Where `docker save` with containerd's store writes the name; the other annotation then holds the tag alone.
_CONTAINERD_NAME = "io.containerd.image.name"
# What Python's own readers raise on bytes that were made to break them.
_BROKEN = (
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    OverflowError,
    RecursionError,
    ValueError,
)


class Archive(NamedTuple):
    """An image of the inventory that comes from a file."""

    name: _oci.Name
    path: str
    reference: str | None

    @property
    def key(self) -> str:
        return self.reference or self.name.full


class Image(NamedTuple):
    """An image found in an archive. Without a manifest it has no digest yet: it is of a docker-archive."""

    manifest: _oci.Blob | None
    parts: list[_oci.Blob]
    position: int = 0


class Reader:
    """A tar archive, its members found by name; a compressed one is unpacked into the scratch directory first."""

    def __init__(self, path: str, scratch: str) -> None:
        self.path = path
        self.scratch = scratch
        self.plain = self._unpack(scratch)
        self._file = _json.open_regular(self.plain)
        self._members: dict[str, tarfile.TarInfo] = {}
        try:
            self._list()
        except AirgapError:
            self.close()
            raise
        except _BROKEN as error:
            self.close()
            raise AirgapError(f"{path} is not a tar archive, or is damaged: {error}.") from error

    def _list(self) -> None:
        # tarfile calls read, seek and tell alone; its types ask for a whole file.
        with tarfile.open(fileobj=_Bounded(self._file), mode="r:") as tar:  # type: ignore[call-overload]
            for number, member in enumerate(tar):
                # Links, sparse files and devices have no place in an image; what is not found is told.
                if member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse():
                    self._members[member.name[2:] if member.name.startswith("./") else member.name] = member
                if number > MEMBERS:
                    raise AirgapError(f"{self.path} has more than {MEMBERS} files; no archive of an image has.")

    def close(self) -> None:
        self._file.close()
        if self.plain != self.path:
            os.unlink(self.plain)

    def has(self, name: str, size: int | None = None) -> bool:
        return name in self._members and size in (None, self._members[name].size)

    def document(self, name: str) -> bytes:
        """A small member as a whole."""
        member = self._members.get(name)
        if not member:
            raise AirgapError(f"{self.path} has no file {name[:200]!a} in it.")
        if member.size > _oci.DOCUMENT_LIMIT:
            raise AirgapError(f"{name[:200]!a} in {self.path} has {member.size} bytes; it cannot be what it should be.")
        self._file.seek(member.offset_data)
        return self._file.read(member.size)

    def blob(self, digest: str) -> bytes:
        """A document by its digest, which must have been checked to be one."""
        data = self.document(_oci.Blob("", digest, 0).path)
        if f"sha256:{sha256_bytes(data)}" != digest:
            raise AirgapError(f"{digest} in {self.path} is damaged: fetch the archive again.")
        return data

    def copy(self, blob: _oci.Blob, target: str) -> None:
        """Write a blob, hashed on the way; it appears whole and right, or not at all."""
        member = self._members[blob.path]
        os.makedirs(os.path.dirname(target), exist_ok=True)
        digest, left = hashlib.sha256(), member.size
        self._file.seek(member.offset_data)
        with open(partial_name(target), "wb") as writer:
            while left:
                data = self._file.read(min(CHUNK, left))
                if not data:
                    break
                digest.update(data)
                writer.write(data)
                left -= len(data)
        if left or f"sha256:{digest.hexdigest()}" != blob.digest:
            os.unlink(partial_name(target))
            raise AirgapError(f"{blob.digest} in {self.path} is damaged: fetch the archive again.")
        os.replace(partial_name(target), target)

    def _unpack(self, scratch: str) -> str:
        with _json.open_regular(self.path) as file:
            start = file.read(8)
        if start.startswith(_ZSTD):
            raise AirgapError(
                f"{self.path} is compressed with zstd, which is not read here. Unpack it first: zstd -d {self.path}"
            )
        unpack = next((function for magic, function in _PACKED.items() if start.startswith(magic)), None)
        if not unpack:
            return self.path
        os.makedirs(scratch, exist_ok=True)
        plain = os.path.join(scratch, sha256_bytes(self.path.encode("utf-8", "surrogateescape")) + ".tar")
        try:
            # skopeo 1.9 cannot read a docker-archive that is compressed with gzip.
            with unpack(self.path) as reader, open(plain, "wb") as writer:
                shutil.copyfileobj(reader, writer, CHUNK)
        except _BROKEN as error:
            if os.path.exists(plain):
                os.unlink(plain)
            raise AirgapError(f"{self.path} could not be unpacked into {scratch}: {error}.") from error
        return plain


class _Bounded:
    """A file for tarfile that is never read by the gigabyte, whatever length a header claims for itself."""

    def __init__(self, file: BinaryIO) -> None:
        self.seek, self.tell = file.seek, file.tell
        self._read = file.read

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _oci.DOCUMENT_LIMIT:
            raise tarfile.ReadError(f"a header claims {size} bytes")
        return self._read(size)


class Known:
    """The digests that archives had when they were read, as long as they are the same files."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._entries: dict[str, Any] = {}
        try:
            if path:
                self._entries = _json.read_object(path, _oci.DOCUMENT_LIMIT)
        except AirgapError:
            # Not there yet, or broken: the archives are read again.
            pass

    def digest(self, archive: Archive, architecture: str) -> str | None:
        """The digest of the archive's image. A file with another date is read once, to see whether it is another."""
        entry: Any = self._entries.get(archive.path)
        try:
            stamp = _stamp(archive.path)
            if entry["stamp"] != stamp:
                if entry["stamp"][0] != stamp[0] or sha256_file(os.path.realpath(archive.path)) != entry["sha256"]:
                    return None
                entry["stamp"] = stamp
            return _oci.parse_blob(
                {"digest": entry["images"].get(f"{archive.key} {architecture}"), "size": 0}, ""
            ).digest
        except (AirgapError, AttributeError, IndexError, KeyError, OSError, TypeError):
            return None

    def note(self, archive: Archive, architecture: str, digest: str) -> None:
        entry = self._entries.get(archive.path)
        stamp = _stamp(archive.path)
        if not isinstance(entry, dict) or entry.get("stamp") != stamp:
            entry = {"stamp": stamp, "sha256": sha256_file(os.path.realpath(archive.path)), "images": {}}
            self._entries[archive.path] = entry
        entry["images"][f"{archive.key} {architecture}"] = digest

    def save(self) -> None:
        if self._path and self._entries:
            write_if_changed(self._path, json.dumps(self._entries, sort_keys=True).encode(), mode=0o600)


def find(reader: Reader, archive: Archive, architecture: str) -> Image:
    """The image that an archive holds under the name that is wanted, for one architecture."""
    docker = reader.has("manifest.json")
    if reader.has("oci-layout") and reader.has("index.json"):
        image = _find_oci(reader, archive, architecture)
        # docker save of Docker 25 and later writes both forms. From its classic store come unpacked layers under a
        # digest that no registry knows; compressed, half of that has to be carried.
        if not docker or not all(part.media_type.endswith(".tar") for part in image.parts[1:]):
            return image
    if docker:
        return _find_docker(reader, archive, architecture)
    raise AirgapError(
        f"{archive.path} is neither an oci-archive (it has no index.json) nor a docker-archive (it has no manifest.json)."
    )


def copy(reader: Reader, archive: Archive, image: Image, layout: str) -> str:
    """Bring the image into the layout; return its digest."""
    if image.manifest is None:
        return _convert(reader, archive, image, layout)
    for blob in [*image.parts, image.manifest]:
        if _oci.lacking(layout, [blob]):
            reader.copy(blob, os.path.join(layout, blob.path))
    _oci.add(layout, archive.name.full, image.manifest)
    return image.manifest.digest


def _find_oci(reader: Reader, archive: Archive, architecture: str) -> Image:
    where = f"index.json in {reader.path}"
    choices = []
    for entry in _oci.parse_index(reader.document("index.json"), where):
        annotations: Any = entry.get("annotations") if isinstance(entry.get("annotations"), dict) else {}
        labels = [annotations.get(key) for key in (_CONTAINERD_NAME, _oci.REFERENCE)]
        choices.append(([label for label in labels if isinstance(label, str)], entry))
    entries = [choices[number][1] for number in _pick(archive, [labels for labels, _entry in choices])]
    if len(entries) > 1 and not all(entry.get("platform") for entry in entries):
        raise AirgapError(
            f"{archive.path} has {len(entries)} images of the name {archive.key}; nothing tells them apart."
        )
    # One name may stand for an image of each architecture.
    listing = json.dumps({"manifests": entries}).encode() if len(entries) > 1 else b""
    digest = (
        _oci.choose_instance(listing, architecture, _called(archive))
        if listing
        else _oci.parse_blob(entries[0], where).digest
    )
    for _depth in range(4):
        raw = reader.blob(digest)
        chosen = _oci.choose_instance(raw, architecture, _called(archive))
        if chosen == digest:
            break
        digest = chosen
    parts = _oci.parse_parts(raw, f"{digest} in {reader.path}")
    missing = [part.digest for part in parts if not reader.has(part.path, part.size)]
    if missing:
        raise AirgapError(f"{_called(archive)} is not whole; there is no {', '.join(missing[:5])}.")
    _check_architecture(archive, reader.blob(parts[0].digest), architecture)
    kind = _json.parse_object(raw, digest).get("mediaType")
    # An OCI manifest need not say that it is one.
    manifest = _oci.Blob(kind if kind == _oci.DOCKER_MANIFEST else _oci.OCI_MANIFEST, digest, len(raw))
    return Image(manifest, parts)


def _find_docker(reader: Reader, archive: Archive, architecture: str) -> Image:
    where = f"manifest.json in {reader.path}"
    images = _json.parse_object(b'{"images":' + reader.document("manifest.json") + b"}", where)["images"]
    if not isinstance(images, list) or not all(isinstance(image, dict) for image in images):
        raise AirgapError(f"{where} lists no images.")
    tags = [image.get("RepoTags") if isinstance(image.get("RepoTags"), list) else [] for image in images]
    position = _pick(archive, [[tag for tag in these or [] if isinstance(tag, str)] for these in tags])[0]
    _check_architecture(archive, reader.document(str(images[position].get("Config"))), architecture)
    return Image(None, [], position)


def _pick(archive: Archive, choices: list[list[str]]) -> list[int]:
    """Which of the archive's images is meant, by the names that each has. Several only when all have the same one."""
    full = archive.name.full
    wanted = _shortened(archive.key)
    found = [number for number, labels in enumerate(choices) if wanted in map(_shortened, labels)]
    if not found and not archive.reference and all(labels == choices[0] for labels in choices):
        found = list(range(len(choices)))
    if found and all(choices[number] == choices[found[0]] for number in found):
        return found
    names = ", ".join(dict.fromkeys((labels or ["one without a name"])[0][:200] for labels in choices[:50])) or "none"
    if archive.reference:
        raise AirgapError(f"{archive.path} has no image {archive.reference!a}; it has: {names}.")
    raise AirgapError(
        f"{archive.path} has {len(choices)} images ({names}). Say with archive_reference which of them is {full}."
    )


def _convert(reader: Reader, archive: Archive, image: Image, layout: str) -> str:
    """Let skopeo make an OCI image of it: it reads the tar by the members' names and follows no link out of it."""
    os.makedirs(reader.scratch, exist_ok=True)
    # A path ends at a colon for skopeo, so the archive gets a name without one.
    link = os.path.join(reader.scratch, "archive")
    if os.path.lexists(link):
        os.unlink(link)
    os.symlink(os.path.abspath(reader.plain), link)
    command = ["skopeo", "copy", "--quiet", "--dest-compress-format", "gzip"]
    try:
        os.makedirs(layout, exist_ok=True)
        result = run(
            [*command, f"docker-archive:archive:@{image.position}", f"oci:{layout}:{archive.name.full}"],
            cwd=reader.scratch,
        )
    finally:
        os.unlink(link)
    if result.rc != 0:
        raise AirgapError(f"{_called(archive)} could not be read: {said(result)}")
    return _oci.held(layout)[archive.name.full]


def _check_architecture(archive: Archive, config: bytes, architecture: str) -> None:
    found = _oci.parse_architecture(config, f"The configuration of {_called(archive)}")
    if found != architecture:
        raise AirgapError(
            f"{_called(archive)} is made for {found[:40] or 'no architecture'!a}; the site needs {architecture}."
        )


def _called(archive: Archive) -> str:
    return f"{archive.name.full} of {archive.path}"


def _shortened(name: str) -> str:
    """As Docker shows the names of its own registry."""
    for start in ("docker.io/library/", "docker.io/"):
        if name.startswith(start):
            return name[len(start) :]
    return name


def _stamp(path: str) -> list[int]:
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns]
