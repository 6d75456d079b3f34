# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small sealed bundle, and real SSH keys to seal it with."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils import _manifest, _signature

ARTIFACTS = {
    "packages": [
        {
            "distribution": "Debian",
            "release": "trixie",
            "architecture": "amd64",
            "directory": "packages/debian-trixie",
            "suite": "airgap",
            "component": "main",
            "key": "packages/debian-trixie/archive-key.asc",
            "packages": [{"name": "nginx", "version": "1.26.3-3", "architecture": "amd64"}],
        }
    ],
    "images": [
        {
            "name": "docker.io/library/nginx:1.30",
            "repository": "docker.io/library/nginx",
            "digest": "sha256:" + "a" * 64,
            "size": 12,
        }
    ],
    "models": [
        {
            "name": "tiny",
            "revision": "0123456789abcdef",
            "digest": "b" * 64,
            "source": "/srv/tiny",
            "directory": "models/tiny/0123456789abcdef",
            "size": 3,
            "files": 1,
        }
    ],
    "controller": {"python": ["3.13"], "requirements": [], "collections": []},
}
CONTENT = {"bootstrap": b"#!/bin/sh\n", "images/index.json": b"{}", "models/tiny/0123456789abcdef/config.json": b"{ }"}


class Bundle(NamedTuple):
    """Where the bundle is, and who may seal it."""

    root: Path
    key: Path
    allowed_signers: Path


def new_key(path: Path) -> str:
    """Make a key and return its public half."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)], check=True)
    return path.with_name(path.name + ".pub").read_text().strip()


def make_manifest(content: dict[str, bytes]) -> _manifest.Manifest:
    """The manifest of files given as bytes."""
    files = [_manifest.File(path, len(data), hashlib.sha256(data).hexdigest()) for path, data in content.items()]
    return _manifest.Manifest("lab", "2026-11-21T00:00:00Z", "airgap.inference 0.1.0", files, ARTIFACTS)


def make_bundle(tmp_path: Path) -> Bundle:
    """Write and seal a bundle."""
    root = tmp_path / "bundle"
    for path, data in CONTENT.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    key = tmp_path / "key"
    allowed = tmp_path / "allowed_signers"
    allowed.write_text(f"release@example.org {new_key(key)}\n")
    seal(root, key)
    return Bundle(root, key, allowed)


def seal(root: Path, key: Path, namespace: str = _signature.NAMESPACE) -> None:
    """Write the manifest of CONTENT and its signature."""
    data = _manifest.render(make_manifest(CONTENT))
    (root / _manifest.MANIFEST).write_bytes(data)
    (root / _manifest.SIGNATURE).write_bytes(_signature.sign(data, str(key), namespace))
