# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Container images in one OCI image layout: layers are shared, digests stay what the publisher gave.

This reads what is there, and keeps the layout whole and free of what nothing names. What an index, a manifest or a
configuration says was written by others: a digest is checked before it becomes a path.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils import _json
from ansible_collections.airgap.inference.plugins.module_utils._digest import (
    Record,
    scan,
    sha256_bytes,
    sha256_files,
    write_if_changed,
)
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._progress import Progress

REFERENCE = "org.opencontainers.image.ref.name"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
# Says of one image of a list that its layers are zstd, where the list has another one with gzip.
ZSTD_VARIANT = "io.github.containers.compression.zstd"
# Registries take manifests of up to 4 MiB; configurations hold the whole history of an image.
DOCUMENT_LIMIT = 16 * 1024 * 1024

_NAME = re.compile(
    r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?P<port>:[0-9]+)?"
    r"(?P<path>(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)+)"
    r"(?:(?P<tag>:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})|@(?P<digest>sha256:[0-9a-f]{64}))\Z"
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")


class Name(NamedTuple):
    """An image's full name, taken apart."""

    full: str
    source: str
    repository: str
    digest: str | None

    @property
    def version(self) -> str:
        """The tag or the digest, with the sign before it."""
        return f"@{self.digest}" if self.digest else self.full[self.full.rindex(":") :]


class Blob(NamedTuple):
    """A file of an image, as the index or the manifest describes it."""

    media_type: str
    digest: str
    size: int

    @property
    def path(self) -> str:
        return f"blobs/{self.digest.replace(':', '/', 1)}"


def parse_name(name: str) -> Name:
    """Read a full name; a short one would mean another image elsewhere, so it is refused."""
    match = _NAME.match(name)
    if not match or not ("." in match["host"] or match["port"] or match["host"] == "localhost"):
        raise AirgapError(
            f"The image name '{name}' is not complete. Write registry, repository and either a tag or a digest, "
            "for example docker.io/library/nginx:1.30."
        )
    # A repository with a port could not stand in the depot's registry, so the port stays behind.
    return Name(
        name, f"{match['host']}{match['port'] or ''}{match['path']}", f"{match['host']}{match['path']}", match["digest"]
    )


def parse_blob(item: Any, where: str) -> Blob:
    """A descriptor out of an index or a manifest, or an error: nothing else may become a path."""
    item = item if isinstance(item, dict) else {}
    digest, size = item.get("digest"), item.get("size")
    if not isinstance(digest, str) or not _DIGEST.match(digest):
        raise AirgapError(f"{where} names {str(digest)[:100]!a} as a digest; it must be sha256: and 64 hex digits.")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 62:
        raise AirgapError(f"{where} names {str(size)[:100]!a} as the size of {digest}.")
    media_type = item.get("mediaType")
    return Blob(media_type if isinstance(media_type, str) else "", digest, size)


def parse_index(raw: bytes, where: str) -> list[dict[str, Any]]:
    """The entries of an index; their descriptors are still to be parsed."""
    entries = _json.parse_object(raw, where).get("manifests")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise AirgapError(f"{where} lists no images.")
    return entries


def parse_parts(raw: bytes, where: str) -> list[Blob]:
    """The configuration of an image, and its layers."""
    document = _json.parse_object(raw, where)
    layers = document.get("layers")
    if not isinstance(layers, list):
        raise AirgapError(f"{where} names no layers; it is not the manifest of an image.")
    parts = [parse_blob(item, where) for item in [document.get("config"), *layers]]
    # A layer may stand twice in an image; it is one file.
    return list({part.digest: part for part in parts}.values())


def parse_architecture(raw: bytes, where: str) -> str:
    """The architecture that an image was made for, as its configuration says."""
    return str(_json.parse_object(raw, where).get("architecture") or "")


def choose_instance(raw: bytes, architecture: str, name: str) -> str:
    """The digest of the one image that a manifest, or a list of them, means for an architecture."""
    document = _json.parse_object(raw, f"The manifest of {name}")
    if "manifests" not in document:
        if document.get("schemaVersion") != 2:
            raise AirgapError(
                f"{name} has a manifest of an old format (schema 1) that keeps no digest; ask its publisher for a current one."
            )
        return f"sha256:{sha256_bytes(raw)}"
    platforms, fitting = [], []
    for entry in parse_index(raw, f"The list of {name}"):
        platform = _object(entry.get("platform"))
        if platform.get("os", "linux") == "linux" and platform.get("architecture", architecture) == architecture:
            fitting.append(entry)
        platforms.append(f"{platform.get('os')}/{platform.get('architecture')}")
    if not fitting:
        had = ", ".join(dict.fromkeys(platforms)) or "none"
        raise AirgapError(f"{name} has no image for linux/{architecture}; it has {had[:1000]}.")
    # Every engine reads gzip.
    fitting.sort(key=lambda entry: ZSTD_VARIANT in _object(entry.get("annotations")))
    return parse_blob(fitting[0], f"The list of {name}").digest


def held(layout: str) -> dict[str, str]:
    """The images that the layout holds in full: their names and digests."""
    images = {}
    for name, entry in _named(layout):
        try:
            digest = _image_digest(layout, entry)
            if all(_has(layout, part) for part in parts(layout, digest)):
                images[name] = digest
        except (FileNotFoundError, AirgapError):
            # What lacks a part, or cannot be read, is fetched again.
            continue
    return images


def parts(layout: str, digest: str) -> list[Blob]:
    """The configuration and the layers of an image in the layout."""
    return parse_parts(_read(layout, digest), digest)


def size(layout: str, digest: str) -> int:
    """The bytes of an image's configuration and layers."""
    return sum(part.size for part in parts(layout, digest))


def lacking(layout: str, wanted: list[Blob]) -> int:
    """How many bytes of these the layout does not hold yet."""
    return sum({part.digest: part.size for part in wanted if not _has(layout, part)}.values())


def architecture(layout: str, digest: str) -> str:
    """The architecture of an image in the layout."""
    config = parts(layout, digest)[0].digest
    return parse_architecture(_read(layout, config), config)


def environment(layout: str, digest: str) -> dict[str, str]:
    """The environment that an image of the layout states."""
    config = parts(layout, digest)[0].digest
    pairs = _object(_json.parse_object(_read(layout, config), config).get("config")).get("Env")
    return dict(pair.partition("=")[::2] for pair in pairs if isinstance(pair, str)) if isinstance(pairs, list) else {}


def mend(layout: str) -> None:
    """Put right what an interrupted run may have left, so that the next one goes on from there."""
    if not os.path.isdir(layout):
        return
    tree = scan(layout)
    # Halves of layers (skopeo's, and this collection's own), and what has no place in a layout, a link for example:
    # it must be gone before anything is written.
    for path in [*tree.strange, *(path for path in tree.files if _unfinished(path))]:
        os.unlink(os.path.join(layout, path))
    try:
        entries = [(entry, parse_blob(entry, "index.json")) for entry in _index(layout)]
    except AirgapError:
        # Cut off while it was written. The images are named anew, and their layers are still there.
        os.unlink(os.path.join(layout, "index.json"))
        return
    wrapped = [_wrapped(layout, entry) if blob.media_type == DOCKER_MANIFEST else entry for entry, blob in entries]
    if wrapped != [entry for entry, _blob in entries]:
        _write_index(layout, wrapped)


def verify(layout: str, record: Record) -> list[str]:
    """Read the blobs that the record does not know, and remove those that are not what their names say.

    skopeo takes a blob that is there for what its name says: after a power failure it may be anything.
    """
    known = {path: record.known(os.path.join(layout, path)) for path in _blobs(layout)}
    unknown = {path: os.path.getsize(os.path.join(layout, path)) for path, sha256 in known.items() if not sha256}
    wrong = []
    with Progress("images that are there already", sum(unknown.values())) as progress:
        read = sha256_files(layout, unknown, on_read=progress.add)
    for path, sha256 in {**known, **read}.items():
        if sha256 == os.path.basename(path):
            record.note(os.path.join(layout, path), str(sha256))
        elif isinstance(sha256, str):
            os.unlink(os.path.join(layout, path))
            wrong.append(path)
    return sorted(wrong)


def note(layout: str, record: Record) -> None:
    """Remember the blobs that have just come: who wrote them has hashed them, and the digest is the name."""
    for path in _blobs(layout):
        if not record.known(os.path.join(layout, path)):
            record.note(os.path.join(layout, path), os.path.basename(path))


def add(layout: str, name: str, blob: Blob) -> None:
    """Name an image whose blobs are in the layout."""
    entry = {"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size, "annotations": {REFERENCE: name}}
    if blob.media_type == DOCKER_MANIFEST:
        entry = _wrapped(layout, entry)
    others = [other for other in _index(layout) if _object(other.get("annotations")).get(REFERENCE) != name]
    write_if_changed(os.path.join(layout, "oci-layout"), b'{"imageLayoutVersion":"1.0.0"}')
    _write_index(layout, [*others, entry])


def prune(layout: str, names: set[str]) -> list[str]:
    """Keep these images and what they need; return the files that went."""
    if not os.path.isdir(layout):
        return []
    needed, kept = {"index.json", "oci-layout"}, []
    for entry in _index(layout):
        name = _object(entry.get("annotations")).get(REFERENCE)
        if not isinstance(name, str) or name not in names:
            continue
        kept.append(entry)
        blob = parse_blob(entry, f"The entry of {name} in {layout}/index.json")
        image = _image_digest(layout, blob)
        needed.update([blob.path, Blob("", image, 0).path, *(part.path for part in parts(layout, image))])
    if kept != _index(layout):
        _write_index(layout, kept)
    tree = scan(layout)
    gone = sorted(path for path in [*tree.files, *tree.strange] if path not in needed)
    for path in gone:
        os.unlink(os.path.join(layout, path))
    return gone


def _wrapped(layout: str, entry: dict[str, Any]) -> dict[str, Any]:
    """Make a Docker-format image readable for skopeo, without touching the image.

    skopeo writes such an image into an OCI layout with its digest kept, but looks only at entries of OCI types when
    it reads one. An OCI index of one entry between the two is what it follows.
    """
    inner = {key: entry[key] for key in ("mediaType", "digest", "size")}
    data = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [inner]}, sort_keys=True).encode()
    blob = Blob(OCI_INDEX, f"sha256:{sha256_bytes(data)}", len(data))
    write_if_changed(os.path.join(layout, blob.path), data)
    return {**entry, "mediaType": blob.media_type, "digest": blob.digest, "size": blob.size}


def _image_digest(layout: str, entry: Blob) -> str:
    """The image that an entry of the layout's index leads to."""
    if entry.media_type != OCI_INDEX:
        return entry.digest
    inner = parse_index(_read(layout, entry.digest), entry.digest)
    return parse_blob(inner[0] if inner else None, entry.digest).digest


def _named(layout: str) -> list[tuple[str, Blob]]:
    named = []
    try:
        for entry in _index(layout):
            name = _object(entry.get("annotations")).get(REFERENCE)
            if isinstance(name, str):
                named.append((name, parse_blob(entry, name)))
    except AirgapError:
        return []
    return named


def _index(layout: str) -> list[dict[str, Any]]:
    path = os.path.join(layout, "index.json")
    if not os.path.lexists(path):
        return []
    with _json.open_regular(path) as file:
        return parse_index(file.read(DOCUMENT_LIMIT), path)


def _write_index(layout: str, entries: list[dict[str, Any]]) -> None:
    document = {"schemaVersion": 2, "manifests": entries}
    write_if_changed(os.path.join(layout, "index.json"), json.dumps(document, sort_keys=True).encode())


def _blobs(layout: str) -> list[str]:
    """The files whose names are digests."""
    if not os.path.isdir(layout):
        return []
    return [path for path in scan(layout).files if re.match(r"blobs/sha256/[0-9a-f]{64}\Z", path)]


def _unfinished(path: str) -> bool:
    return path.startswith("oci-put-blob") or path.endswith(".part")


def _read(layout: str, digest: str) -> bytes:
    """A document of the layout by its digest, which must be checked."""
    path = os.path.join(layout, Blob("", digest, 0).path)
    if not os.path.lexists(path):
        raise FileNotFoundError(path)
    with _json.open_regular(path) as file:
        return file.read(DOCUMENT_LIMIT)


def _has(layout: str, part: Blob) -> bool:
    try:
        return os.lstat(os.path.join(layout, part.path)).st_size == part.size
    except (FileNotFoundError, NotADirectoryError):
        return False


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
