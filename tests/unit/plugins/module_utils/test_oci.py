# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images keep their names and digests, whatever format their manifest has; what nothing names goes."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _oci
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from hypothesis import given
from hypothesis import strategies as st

DIGEST = "sha256:" + "a" * 64
needs_skopeo = pytest.mark.skipif(not shutil.which("skopeo"), reason="skopeo is not installed")


@pytest.mark.parametrize(
    ("name", "source", "repository", "digest"),
    [
        ("docker.io/library/nginx:1.30", "docker.io/library/nginx", "docker.io/library/nginx", None),
        (f"docker.io/library/nginx@{DIGEST}", "docker.io/library/nginx", "docker.io/library/nginx", DIGEST),
        ("localhost/x:1", "localhost/x", "localhost/x", None),
        ("reg.example.org:8443/a/b_c:v1", "reg.example.org:8443/a/b_c", "reg.example.org/a/b_c", None),
    ],
)
def test_full_names_are_taken_apart(name: str, source: str, repository: str, digest: str | None) -> None:
    assert _oci.parse_name(name) == _oci.Name(name, source, repository, digest)


@pytest.mark.parametrize(
    "name",
    [
        "nginx",
        "nginx:1",
        "library/nginx:1",
        "docker.io/library/nginx",
        "docker.io/nginx:",
        "docker.io/../x:1",
        "docker.io/x:1\n",
        "-x.y/z:1",
        f"docker.io/x:1@{DIGEST}",
        "docker.io/x@sha256:12",
        "docker.io/X:1",
        "docker.io//x:1",
        "",
    ],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(AirgapError, match="is not complete"):
        _oci.parse_name(name)


@given(st.text(max_size=40))
def test_any_name_is_read_or_refused(name: str) -> None:
    try:
        parsed = _oci.parse_name(name)
    except AirgapError:
        return
    assert ".." not in parsed.repository.split("/") and not parsed.repository.startswith(("/", "-"))


def listing(*platforms: dict[str, str] | None) -> bytes:
    manifests = [
        {"digest": f"sha256:{number}", **({"platform": platform} if platform else {})}
        for number, platform in enumerate(platforms)
    ]
    return json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()


def test_one_architecture_is_chosen_from_a_list() -> None:
    raw = listing(
        {"os": "linux", "architecture": "arm64"},
        {"os": "windows", "architecture": "amd64"},
        {"os": "linux", "architecture": "amd64"},
    )
    assert _oci.choose_instance(raw, "amd64", "x") == "sha256:2"
    assert _oci.choose_instance(raw, "arm64", "x") == "sha256:0"
    with pytest.raises(AirgapError, match=r"linux/s390x; it has linux/arm64, windows/amd64, linux/amd64"):
        _oci.choose_instance(raw, "s390x", "x")


def test_a_single_manifest_is_named_by_its_own_digest() -> None:
    raw = b'{"schemaVersion": 2, "config": {}}'
    assert _oci.choose_instance(raw, "amd64", "x") == f"sha256:{hashlib.sha256(raw).hexdigest()}"


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"schemaVersion": 1}', b"<html>"])
def test_what_is_no_manifest_is_refused(raw: bytes) -> None:
    with pytest.raises(AirgapError):
        _oci.choose_instance(raw, "amd64", "x")


def make_image(path: Path, text: bytes, kind: str) -> str:
    """An image in skopeo's dir: form; returns its digest."""
    path.mkdir()
    docker = kind == _oci.DOCKER_MANIFEST
    layer_type = (
        "application/vnd.docker.image.rootfs.diff.tar.gzip" if docker else "application/vnd.oci.image.layer.v1.tar+gzip"
    )
    config_type = (
        "application/vnd.docker.container.image.v1+json" if docker else "application/vnd.oci.image.config.v1+json"
    )
    layer = subprocess.run(["gzip", "-nc"], input=text, capture_output=True, check=True).stdout
    diff = f"sha256:{hashlib.sha256(text).hexdigest()}"
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff]}}
    ).encode()

    def blob(data: bytes, media_type: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (path / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    manifest = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": blob(config, config_type),
        "layers": [blob(layer, layer_type)],
    }
    data = json.dumps(manifest).encode()
    (path / "manifest.json").write_bytes(data)
    (path / "version").write_text("Directory Transport Version: 1.1\n")
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def into_layout(source: Path, layout: Path, name: str) -> None:
    layout.mkdir(exist_ok=True)
    subprocess.run(["skopeo", "copy", "-q", "--preserve-digests", f"dir:{source}", f"oci:{layout}:{name}"], check=True)
    _oci._wrap(str(layout), name)


@needs_skopeo
@pytest.mark.parametrize("kind", [_oci.OCI_MANIFEST, _oci.DOCKER_MANIFEST])
def test_an_image_leaves_the_layout_with_the_digest_it_came_with(tmp_path: Path, kind: str) -> None:
    name = "docker.io/library/x:1"
    digest = make_image(tmp_path / "image", b"layer", kind)
    into_layout(tmp_path / "image", tmp_path / "layout", name)
    assert _oci.held(str(tmp_path / "layout")) == {name: digest}
    assert _oci.architecture(str(tmp_path / "layout"), digest) == "amd64"
    subprocess.run(
        ["skopeo", "copy", "-q", "--preserve-digests", f"oci:{tmp_path}/layout:{name}", f"dir:{tmp_path}/back"],
        check=True,
    )
    assert f"sha256:{hashlib.sha256((tmp_path / 'back/manifest.json').read_bytes()).hexdigest()}" == digest


@needs_skopeo
def test_pruning_keeps_what_is_named_and_its_layers(tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    kept = make_image(tmp_path / "one", b"one", _oci.DOCKER_MANIFEST)
    make_image(tmp_path / "two", b"two", _oci.OCI_MANIFEST)
    into_layout(tmp_path / "one", layout, "docker.io/x/one:1")
    into_layout(tmp_path / "two", layout, "docker.io/x/two:1")
    (layout / "oci-put-blob123").write_text("left by a killed copy")
    gone = _oci.prune(str(layout), {"docker.io/x/one:1"})
    # The other image's manifest, configuration and layer, and the leftover.
    assert len(gone) == 4 and "oci-put-blob123" in gone
    assert _oci.held(str(layout)) == {"docker.io/x/one:1": kept}
    assert _oci.prune(str(layout), {"docker.io/x/one:1"}) == []


@needs_skopeo
def test_an_image_that_lacks_a_layer_is_not_held(tmp_path: Path) -> None:
    digest = make_image(tmp_path / "image", b"layer", _oci.OCI_MANIFEST)
    into_layout(tmp_path / "image", tmp_path / "layout", "docker.io/x/one:1")
    layer = json.loads((tmp_path / "image/manifest.json").read_bytes())["layers"][0]
    assert _oci.size(str(tmp_path / "layout"), digest) > layer["size"]
    (tmp_path / "layout/blobs" / layer["digest"].replace(":", "/")).unlink()
    assert _oci.held(str(tmp_path / "layout")) == {}


@needs_skopeo
def test_a_registry_that_cannot_be_reached_is_told() -> None:
    with pytest.raises(AirgapError, match=r"localhost:1/x:1 cannot be had: .*refused"):
        _oci.resolve(_oci.parse_name("localhost:1/x:1"), "amd64", _oci.Registry(None, None))
