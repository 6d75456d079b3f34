# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Container images in one OCI image layout: layers are shared, digests stay what the registry gave.

skopeo copies; this decides what to copy, and keeps the layout free of what nothing names.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils._command import last_words, run
from ansible_collections.airgap.inference.plugins.module_utils._digest import scan, sha256_bytes, write_if_changed
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

REFERENCE = "org.opencontainers.image.ref.name"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

_NAME = re.compile(
    r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?P<port>:[0-9]+)?"
    r"(?P<path>(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)+)"
    r"(?:(?P<tag>:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})|@(?P<digest>sha256:[0-9a-f]{64}))\Z"
)


class Name(NamedTuple):
    """An image's full name, taken apart."""

    full: str
    source: str
    repository: str
    digest: str | None


class Registry(NamedTuple):
    """How registries are reached."""

    registries_conf: str | None
    authfile: str | None


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


def choose_instance(raw: bytes, architecture: str, name: str) -> str:
    """The digest of the one image that a manifest, or a list of them, means for an architecture."""
    document = _load(raw, f"the manifest of {name}")
    if not isinstance(document.get("manifests"), list):
        if document.get("schemaVersion") != 2:
            raise AirgapError(
                f"{name} has a manifest of an old format (schema 1) that keeps no digest; ask its publisher for a current one."
            )
        return f"sha256:{sha256_bytes(raw)}"
    platforms = []
    for item in document["manifests"]:
        platform = item.get("platform") or {}
        if platform.get("os", "linux") == "linux" and platform.get("architecture", architecture) == architecture:
            return str(item["digest"])
        platforms.append(f"{platform.get('os')}/{platform.get('architecture')}")
    raise AirgapError(f"{name} has no image for linux/{architecture}; it has {', '.join(dict.fromkeys(platforms))}.")


def resolve(name: Name, architecture: str, registry: Registry) -> str:
    """Ask the registry, by its manifest only, which digest a name means now."""
    result = run(
        ["skopeo", *_options(registry), "inspect", "--raw", *_auth(registry), f"docker://{name.source}{_version(name)}"]
    )
    if result.rc != 0:
        raise AirgapError(f"The image {name.full} cannot be had: {_reason(last_words(result, 3))}")
    return choose_instance(result.stdout, architecture, name.full)


def copy(layout: str, name: Name, digest: str, registry: Registry) -> None:
    """Copy one image into the layout. Layers that are there already are not fetched again."""
    os.makedirs(layout, exist_ok=True)
    source = f"docker://{name.source}@{digest}"
    command = [
        "skopeo",
        *_options(registry),
        "copy",
        "--quiet",
        "--preserve-digests",
        "--retry-times",
        "3",
        *_auth(registry),
    ]
    result = run([*command, source, f"oci:{layout}:{name.full}"])
    if result.rc != 0:
        raise AirgapError(f"The image {name.full} ({digest}) could not be copied: {_reason(last_words(result, 3))}")
    _wrap(layout, name.full)


def held(layout: str) -> dict[str, str]:
    """The images that the layout holds in full: their names and digests."""
    images = {}
    for entry in _index(layout)["manifests"]:
        name = (entry.get("annotations") or {}).get(REFERENCE)
        digest = _image_digest(layout, entry)
        if name and digest and all(_has(layout, item) for item in _parts(layout, digest)):
            images[name] = digest
    return images


def size(layout: str, digest: str) -> int:
    """The bytes of an image's configuration and layers."""
    return sum(item["size"] for item in _parts(layout, digest))


def architecture(layout: str, digest: str) -> str:
    """The architecture that an image was made for, as its configuration says."""
    config = _load(_read(layout, digest), digest)["config"]["digest"]
    return str(_load(_read(layout, config), config).get("architecture", ""))


def prune(layout: str, names: set[str]) -> list[str]:
    """Keep these images and what they need; return the files that went."""
    if not os.path.isdir(layout):
        return []
    index = _index(layout)
    kept = [entry for entry in index["manifests"] if (entry.get("annotations") or {}).get(REFERENCE) in names]
    if kept != index["manifests"]:
        _write_index(layout, {**index, "manifests": kept})
    needed = {"index.json", "oci-layout"}
    for entry in kept:
        digest = _image_digest(layout, entry)
        needed.add(_blob(entry["digest"]))
        if digest:
            needed.add(_blob(digest))
            needed.update(_blob(item["digest"]) for item in _parts(layout, digest))
    tree = scan(layout)
    gone = sorted(path for path in [*tree.files, *tree.strange] if path not in needed)
    for path in gone:
        os.unlink(os.path.join(layout, path))
    return gone


def _wrap(layout: str, name: str) -> None:
    """Make a Docker-format image readable for skopeo, without touching the image.

    skopeo writes such an image into an OCI layout with its digest kept, but looks only at entries of OCI types when
    it reads one. An OCI index of one entry between the two is what it follows.
    """
    index = _index(layout)
    for entry in index["manifests"]:
        if (entry.get("annotations") or {}).get(REFERENCE) == name and entry["mediaType"] == DOCKER_MANIFEST:
            inner = {key: entry[key] for key in ("mediaType", "digest", "size")}
            data = json.dumps(
                {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [inner]}, sort_keys=True
            ).encode()
            digest = f"sha256:{sha256_bytes(data)}"
            write_if_changed(os.path.join(layout, _blob(digest)), data)
            entry.update(mediaType=OCI_INDEX, digest=digest, size=len(data))
    _write_index(layout, index)


def _image_digest(layout: str, entry: dict[str, Any]) -> str | None:
    """The image that an entry of the layout's index leads to, or None when it is not there."""
    try:
        if entry["mediaType"] != OCI_INDEX:
            return str(entry["digest"]) if _has(layout, entry) else None
        inner = _load(_read(layout, entry["digest"]), entry["digest"])["manifests"][0]
        return str(inner["digest"]) if _has(layout, inner) else None
    except FileNotFoundError:
        return None


def _parts(layout: str, digest: str) -> list[dict[str, Any]]:
    manifest = _load(_read(layout, digest), digest)
    # A layer may stand twice in an image; it is one file.
    return list({item["digest"]: item for item in [manifest["config"], *manifest["layers"]]}.values())


def _index(layout: str) -> dict[str, Any]:
    try:
        with open(os.path.join(layout, "index.json"), "rb") as handle:
            return _load(handle.read(), f"{layout}/index.json")
    except FileNotFoundError:
        return {"schemaVersion": 2, "manifests": []}


def _write_index(layout: str, index: dict[str, Any]) -> None:
    write_if_changed(os.path.join(layout, "index.json"), json.dumps(index, sort_keys=True).encode())


def _load(data: bytes, what: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError as error:
        raise AirgapError(f"{what} is not JSON: {error}.") from error
    if not isinstance(document, dict):
        raise AirgapError(f"{what} is not a JSON object.")
    return document


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/', 1)}"


def _read(layout: str, digest: str) -> bytes:
    with open(os.path.join(layout, _blob(digest)), "rb") as handle:
        return handle.read()


def _has(layout: str, item: dict[str, Any]) -> bool:
    try:
        return bool(os.lstat(os.path.join(layout, _blob(item["digest"]))).st_size == item["size"])
    except FileNotFoundError:
        return False


def _version(name: Name) -> str:
    return f"@{name.digest}" if name.digest else name.full[name.full.rindex(":") :]


def _options(registry: Registry) -> list[str]:
    return ["--registries-conf", registry.registries_conf] if registry.registries_conf else []


def _auth(registry: Registry) -> list[str]:
    return ["--authfile", registry.authfile] if registry.authfile else []


def _reason(text: str) -> str:
    """skopeo logs in logfmt; the message is what a person reads."""
    match = re.search(r'msg="((?:[^"\\]|\\.)*)"', text)
    return match[1].replace('\\"', '"') if match else text
