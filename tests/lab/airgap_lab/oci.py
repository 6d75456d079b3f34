# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes an OCI image of one gzip layer out of a root's tar archive."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from airgap_lab import cache
from airgap_lab.console import run

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"


def layout(archive: Path, settings: dict[str, Any], folder: Path, log: Path) -> str:
    """Turn the archive (which is used up) into an image layout; return the image's digest."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    unpacked = sha256(archive)
    run(["pigz", "--no-name", "-4", str(archive)], log)
    packed = archive.with_name(archive.name + ".gz")
    layer = {"mediaType": LAYER, "digest": sha256(packed), "size": packed.stat().st_size}
    packed.rename(blobs / str(layer["digest"]).partition(":")[2])
    config = _blob(
        blobs,
        {
            "architecture": "amd64",
            "os": "linux",
            "config": settings,
            "rootfs": {"type": "layers", "diff_ids": [unpacked]},
        },
    )
    manifest = _blob(
        blobs,
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, **config},
            "layers": [layer],
        },
    )
    cache.write(folder / "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}))
    index = {"schemaVersion": 2, "manifests": [{"mediaType": MANIFEST, **manifest}]}
    cache.write(folder / "index.json", json.dumps(index))
    return str(manifest["digest"])


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(4 << 20):
            digest.update(chunk)
    return "sha256:" + digest.hexdigest()


def _blob(blobs: Path, content: dict[str, Any]) -> dict[str, Any]:
    data = json.dumps(content, sort_keys=True).encode()
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return {"digest": "sha256:" + digest, "size": len(data)}
