# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small images, made by hand: OCI layouts of any compression, and archives with any members."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import subprocess
import tarfile
from pathlib import Path
from typing import Any

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Layout:
    """An OCI image layout in the making."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: list[dict[str, Any]] = []
        (path / "blobs/sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def blob(self, data: bytes, media_type: str) -> dict[str, Any]:
        digest = sha256(data)
        (self.path / "blobs" / digest.replace(":", "/")).write_bytes(data)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def image(
        self, seed: str, *, packed: str = "gzip", architecture: str = "amd64", layers: int = 2, size: int = 2000
    ) -> dict[str, Any]:
        """An image's manifest as an index names it. Its layers hold bytes that do not compress, always the same ones."""
        items, diffs = [], []
        for number in range(layers):
            content = tar({f"file{number}": random.Random(f"{seed}{number}").randbytes(size)})
            diffs.append(sha256(content))
            items.append(self.blob(pack(content, packed), OCI_LAYER + (f"+{packed}" if packed else "")))
        settings: dict[str, Any] = {"architecture": architecture, "os": "linux", "config": {}}
        settings["rootfs"] = {"type": "layers", "diff_ids": diffs}
        config = self.blob(json.dumps(settings).encode(), "application/vnd.oci.image.config.v1+json")
        manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": items}
        return self.blob(json.dumps(manifest).encode(), OCI_MANIFEST)

    def listing(self, images: list[dict[str, Any]]) -> dict[str, Any]:
        """An index of images, each with its platform."""
        return self.blob(
            json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": images}).encode(), OCI_INDEX
        )

    def name(self, entry: dict[str, Any], name: str | None) -> None:
        annotations = {"annotations": {"org.opencontainers.image.ref.name": name}} if name else {}
        self.entries.append({**entry, **annotations})
        (self.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": self.entries}))

    def members(self) -> dict[str, bytes]:
        files = sorted(path for path in self.path.rglob("*") if path.is_file())
        return {str(path.relative_to(self.path)): path.read_bytes() for path in files}

    def archive(self, path: Path) -> Path:
        path.write_bytes(tar(self.members()))
        return path


def pack(data: bytes, packed: str) -> bytes:
    if packed == "zstd":
        return subprocess.run(["zstd", "-qc"], input=data, capture_output=True, check=True).stdout
    return gzip.compress(data, mtime=0) if packed else data


def tar(members: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    """A tar archive of these files, and of symbolic links before them."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, target in (links or {}).items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def docker_archive(path: Path, images: dict[str, str], *, architecture: str = "amd64") -> Path:
    """A docker-archive of one image for each name, as docker save writes it: layers by their contents, no digests."""
    members, listed = {}, []
    for name, text in images.items():
        layer = tar({"file": text.encode()})
        config = json.dumps(
            {
                "architecture": architecture,
                "os": "linux",
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": [sha256(layer)]},
            }
        ).encode()
        names = {"Config": f"{sha256(config)[7:]}.json", "Layers": [f"{sha256(layer)[7:]}.tar"]}
        members.update({names["Config"]: config, names["Layers"][0]: layer})
        listed.append({**names, "RepoTags": [name] if name else None})
    path.write_bytes(tar({**members, "manifest.json": json.dumps(listed).encode()}))
    return path
