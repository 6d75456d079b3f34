# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings images of a sealed bundle into the depot's registry, digests kept.

skopeo does the copying. Whether there is anything to copy is asked of the registry itself, in one request an image.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
from typing import Any, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils import _command, _json
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._progress import Progress, growth

ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    )
)

# An image's manifest has no more bytes; registries refuse larger ones.
_MANIFEST_LIMIT = 4 * 1024 * 1024

# What the distribution specification allows; anything else would be read differently by URL, registry and skopeo.
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")


class Image(NamedTuple):
    """An image as it lies in the bundle and as the registry shall have it."""

    name: str
    repository: str
    digest: str
    tag: str | None
    size: int = 0

    @property
    def reference(self) -> str:
        """By this the registry is asked, and by this it is written: the tag for people, else the digest."""
        return self.tag or self.digest


def image(artifact: dict[str, Any]) -> Image:
    """An image of the manifest, its parts fit for a URL."""
    name, repository, digest = artifact["name"], artifact["repository"], artifact["digest"]
    if not _REPOSITORY.match(repository):
        raise AirgapError(
            f"The manifest names the repository {repository!a} for the image {name!a}; "
            "a repository has lower-case letters, digits, and . _ - / between them."
        )
    last = name.split("@")[0].rsplit("/", 1)[-1]
    tag = last.partition(":")[2] or None
    if tag is not None and not _TAG.match(tag):
        raise AirgapError(f"The image {name!a} of the manifest has the tag {tag!a}, which no registry takes.")
    return Image(name, repository, digest, tag, artifact.get("size", 0))


def digest_in_registry(registry: str, repository: str, reference: str, timeout: float = 30.0) -> str | None:
    """The digest that the registry has for a tag or digest, or None when it has none."""
    connection = http.client.HTTPConnection(registry, timeout=timeout)
    try:
        connection.request("HEAD", f"/v2/{repository}/manifests/{reference}", headers={"Accept": ACCEPT})
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException) as error:
        raise AirgapError(
            f"The registry at {registry} does not answer: {error}. See: systemctl status docker-registry"
        ) from error
    finally:
        connection.close()
    if response.status == 404:
        return None
    if response.status != 200:
        raise AirgapError(
            f"The registry at {registry} answers {response.status} {response.reason} when asked for "
            f"{repository} {reference}. See: journalctl --unit docker-registry"
        )
    return response.getheader("Docker-Content-Digest")


def listens(registry: str) -> bool:
    """Does anything answer there? Asked in check mode, where the registry may not be installed yet."""
    host, _colon, port = registry.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return False
    return True


def missing(registry: str, images: list[Image]) -> list[Image]:
    """The images that the registry lacks, or has under another digest."""
    return [
        image for image in images if digest_in_registry(registry, image.repository, image.reference) != image.digest
    ]


def bring(bundle: str, registry: str, images: list[Image], storage: str | None) -> None:
    """Copy images, and show how far that is: by the growth of the registry's storage where it lies on this machine."""
    measure = growth(storage) if storage else None
    with Progress("images for the registry", sum(image.size for image in images), measure=measure) as progress:
        for image in images:
            progress.at(image.name)
            if storage:
                seed(bundle, storage, image)
            push(bundle, registry, image)
            if not storage:
                progress.add(image.size)


def seed(bundle: str, storage: str, image: Image) -> None:
    """Give the registry's storage the image's layers by links, so that skopeo finds them there and sends nothing.

    The layout is Distribution's (blobs/…/data, repositories/…/_layers/…/link), the same since its first version.
    Should it ever differ, skopeo sends the layers as usual. What links cannot reach is left to skopeo as well.
    """
    blobs = os.path.join(bundle, "images/blobs/sha256")
    try:
        document = _json.read_object(os.path.join(blobs, image.digest[7:]), _MANIFEST_LIMIT)
    except AirgapError:
        return
    for digest in _layers(document):
        with contextlib.suppress(OSError):
            _seed_layer(os.path.realpath(os.path.join(blobs, digest[7:])), storage, image.repository, digest)


def _seed_layer(source: str, storage: str, repository: str, digest: str) -> None:
    root = os.path.join(storage, "docker/registry/v2")
    owner = os.stat(storage)
    data = os.path.join(root, "blobs/sha256", digest[7:9], digest[7:], "data")
    if not os.path.exists(data):
        _directories(os.path.dirname(data), storage, owner)
        os.link(source, data)
        os.chown(data, owner.st_uid, owner.st_gid)
    link = os.path.join(root, "repositories", repository, "_layers/sha256", digest[7:], "link")
    if not os.path.exists(link):
        _directories(os.path.dirname(link), storage, owner)
        with open(f"{link}.new", "w", encoding="ascii") as handle:
            handle.write(digest)
        os.chown(f"{link}.new", owner.st_uid, owner.st_gid)
        os.replace(f"{link}.new", link)


def _layers(document: dict[str, Any]) -> list[str]:
    items = document.get("layers")
    found = [
        item.get("digest")
        for item in [document.get("config"), *(items if isinstance(items, list) else [])]
        if isinstance(item, dict)
    ]
    return [digest for digest in found if isinstance(digest, str) and re.match(r"sha256:[0-9a-f]{64}\Z", digest)]


def _directories(path: str, top: str, owner: os.stat_result) -> None:
    """Make directories below the storage, each the registry's own."""
    if path != top and not os.path.isdir(path):
        _directories(os.path.dirname(path), top, owner)
        os.mkdir(path, 0o755)
        os.chown(path, owner.st_uid, owner.st_gid)


def push(bundle: str, registry: str, image: Image) -> None:
    """Copy one image; layers that the registry has are not sent again, so a killed run goes on where it was."""
    separator = ":" if image.tag else "@"
    # The seal vouches for the image, so skopeo needs no policy file; the working directory keeps a colon in the
    # bundle's path from being read as the end of it.
    argv = ["skopeo", "--insecure-policy", "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false"]
    argv += [f"oci:images:{image.name}", f"docker://{registry}/{image.repository}{separator}{image.reference}"]
    _command.require(argv, f"{image.name} did not come into the registry", cwd=bundle)
    found = digest_in_registry(registry, image.repository, image.reference)
    if found != image.digest:
        raise AirgapError(
            f"{image.name} has the digest {found} in the registry at {registry}, the manifest says {image.digest}. "
            "Carry the bundle again."
        )
