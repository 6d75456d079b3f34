# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small sealed bundle, and real SSH keys to seal it with."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils import _manifest, _signature

ARTIFACTS: dict[str, Any] = {
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
    allowed.chmod(0o644)
    tmp_path.chmod(0o755)
    seal(root, key)
    return Bundle(root, key, allowed)


def seal(root: Path, key: Path, namespace: str = _signature.NAMESPACE) -> None:
    """Write the manifest of CONTENT and its signature."""
    data = _manifest.render(make_manifest(CONTENT))
    (root / _manifest.MANIFEST).write_bytes(data)
    (root / _manifest.SIGNATURE).write_bytes(_signature.sign(data, str(key), namespace))


MODEL = "models/tiny/0123456789abcdef"


def whole_content() -> dict[str, bytes]:
    """A bundle of every kind of thing: larger than a few buffers in one place, empty in another."""
    content = {
        "bootstrap": b"#!/bin/sh\n",
        "controller/wheels/x-1-py3-none-any.whl": b"wheel" * 100,
        "packages/debian-trixie/archive-key.asc": b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n",
        "packages/debian-trixie/pool/nginx_1_amd64.deb": b"deb" * 1000,
        "packages/debian-trixie/dists/airgap/Release": b"",
        f"{MODEL}/config.json": b"{ }",
        f"{MODEL}/model-1.safetensors": bytes(range(256)) * 12000,
        f"{MODEL}/model-2.safetensors": b"0123456789" * 100000,
        "sbom.cdx.json": b'{"bomFormat": "CycloneDX"}',
        "images/oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "images/index.json": b'{"schemaVersion": 2, "manifests": []}',
    }
    for data in (b"layer" * 1000, b"config", b"wrapper"):
        content[f"images/blobs/sha256/{hashlib.sha256(data).hexdigest()}"] = data
    return with_sums(content)


def with_sums(content: dict[str, bytes]) -> dict[str, bytes]:
    """With the list of checksums beside each model."""
    content = {path: data for path, data in content.items() if not path.endswith(".sha256")}
    for directory in models_of(content):
        files = sorted(path for path in content if path.startswith(f"{directory}/"))
        lines = [f"{hashlib.sha256(content[path]).hexdigest()}  {path[len(directory) + 1 :]}\n" for path in files]
        content[f"{directory}.sha256"] = "".join(lines).encode()
    return content


def models_of(content: dict[str, bytes]) -> list[str]:
    """The directories of the models."""
    return sorted(
        {"/".join(path.split("/")[:3]) for path in content if path.startswith("models/") and path.count("/") > 2}
    )


def describe(content: dict[str, bytes], created: str = "2026-11-21T00:00:00Z") -> _manifest.Manifest:
    """The manifest of a whole bundle."""
    models = [
        {
            **ARTIFACTS["models"][0],
            "name": directory.split("/")[1],
            "revision": directory.split("/")[2],
            "directory": directory,
            "digest": hashlib.sha256(content[f"{directory}.sha256"]).hexdigest(),
        }
        for directory in models_of(content)
    ]
    manifest = make_manifest(content)
    return manifest._replace(created=created, artifacts={**ARTIFACTS, "images": [], "models": models})


def build_on(manifest: _manifest.Manifest, base: _manifest.Manifest) -> _manifest.Manifest:
    """The same bundle, without what another one brought."""
    brought = {file.sha256 for file in base.files}
    files = [file._replace(base=file.sha256 in brought) for file in manifest.files]
    return manifest._replace(
        files=files, base=_manifest.Base(hashlib.sha256(_manifest.render(base)).hexdigest(), base.created)
    )


def in_volumes(manifest: _manifest.Manifest, content: dict[str, bytes], count: int, part: int) -> _manifest.Manifest:
    """The same bundle on several drives: files go round, and files larger than a part go round in parts."""
    volumes = [_manifest.Volume(f"volume-{number}", [], []) for number in range(1, count + 1)]
    turn = 0
    for file in manifest.travelling():
        if file.size <= part:
            volumes[turn % count].files.append(file.path)
            turn += 1
            continue
        for number, offset in enumerate(range(0, file.size, part), start=1):
            data = content[file.path][offset : offset + part]
            name = f"{file.path}.part-{number:04d}"
            piece = _manifest.Part(file.path, name, offset, len(data), hashlib.sha256(data).hexdigest())
            volumes[turn % count].parts.append(piece)
            turn += 1
    return manifest._replace(volumes=volumes)


def write(root: Path, key: Path, manifest: _manifest.Manifest, content: dict[str, bytes], *volumes: str) -> None:
    """Write what travels, or some of its volumes, and the sealed manifest."""
    files = {file.path: content[file.path] for file in manifest.travelling()}
    if manifest.volumes:
        files = {}
        for volume in manifest.volumes:
            if volume.name in volumes:
                files.update({path: content[path] for path in volume.files})
                files.update({part.file: content[part.path][part.offset :][: part.size] for part in volume.parts})
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    root.mkdir(parents=True, exist_ok=True)
    data = _manifest.render(manifest)
    (root / _manifest.MANIFEST).write_bytes(data)
    (root / _manifest.SIGNATURE).write_bytes(_signature.sign(data, str(key)))
