# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry decides what is copied, and its answer by digest is the proof."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _registry
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

DIGEST = "sha256:" + "a" * 64
ARTIFACT = {"name": "docker.io/library/nginx:1.30", "repository": "docker.io/library/nginx", "digest": DIGEST}


@pytest.fixture(name="registry")
def fixture_registry() -> Iterator[tuple[str, dict[str, str]]]:
    """A registry that knows what a test tells it."""
    known: dict[str, str] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            found = known.get(self.path)
            self.send_response(200 if found else 404)
            if found == "broken":
                self.send_response(500)
            self.send_header("Docker-Content-Digest", found or "")
            self.end_headers()

        def log_message(self, *_args: Any) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}", known
    server.shutdown()


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("docker.io/library/nginx:1.30", "1.30"),
        ("localhost:5000/nginx", DIGEST),
        (f"docker.io/library/nginx@{DIGEST}", DIGEST),
        (f"docker.io/library/nginx:1.30@{DIGEST}", "1.30"),
    ],
)
def test_a_tag_where_the_name_has_one(name: str, reference: str) -> None:
    assert _registry.image({**ARTIFACT, "name": name}).reference == reference


@pytest.mark.parametrize("repository", ["../x", "a/../b", "A/b", "a?b", "a:b", "", "a//b", "a/b\n"])
def test_a_repository_that_is_none_is_refused(repository: str) -> None:
    with pytest.raises(AirgapError, match="names the repository"):
        _registry.image({**ARTIFACT, "repository": repository})


def test_only_what_lacks_or_differs_is_missing(registry: tuple[str, dict[str, str]]) -> None:
    address, known = registry
    image = _registry.image(ARTIFACT)
    assert _registry.missing(address, [image]) == [image]
    known["/v2/docker.io/library/nginx/manifests/1.30"] = "sha256:" + "b" * 64
    assert _registry.missing(address, [image]) == [image]
    known["/v2/docker.io/library/nginx/manifests/1.30"] = DIGEST
    assert _registry.missing(address, [image]) == []


def test_a_registry_that_is_down_is_named() -> None:
    assert not _registry.listens("127.0.0.1:1")
    with pytest.raises(AirgapError, match=r"127\.0\.0\.1:1 does not answer"):
        _registry.digest_in_registry("127.0.0.1:1", "a", "b")


def test_a_copy_that_came_out_different_is_refused(
    registry: tuple[str, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, known = registry
    skopeo = tmp_path / "skopeo"
    skopeo.write_text('#!/bin/sh\necho "$PWD $*" >>"$0.log"\n')
    skopeo.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    image = _registry.image(ARTIFACT)
    with pytest.raises(AirgapError, match="has the digest None"):
        _registry.push(str(tmp_path), address, image)
    known["/v2/docker.io/library/nginx/manifests/1.30"] = DIGEST
    _registry.push(str(tmp_path), address, image)
    said = (tmp_path / "skopeo.log").read_text()
    assert f"oci:images:docker.io/library/nginx:1.30 docker://{address}/docker.io/library/nginx:1.30" in said
    assert said.startswith(f"{tmp_path} ")


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"{}",
        b'{"config": 1, "layers": {}}',
        json.dumps({"config": {"digest": "sha256:../../../outside"}, "layers": [{"digest": 1}, None, {}]}).encode(),
    ],
)
def test_a_manifest_that_is_none_seeds_nothing(document: bytes, tmp_path: Path) -> None:
    blobs, storage = tmp_path / "images/blobs/sha256", tmp_path / "registry"
    blobs.mkdir(parents=True)
    storage.mkdir()
    (blobs / DIGEST[7:]).write_bytes(document)
    _registry.seed(str(tmp_path), str(storage), _registry.image(ARTIFACT))
    assert list(storage.iterdir()) == []


def test_layers_are_linked_where_the_registry_looks_for_them(tmp_path: Path) -> None:
    blobs, storage = tmp_path / "images/blobs/sha256", tmp_path / "registry"
    blobs.mkdir(parents=True)
    storage.mkdir()
    config, layer, foreign = ("sha256:" + letter * 64 for letter in "bcd")
    document = {"config": {"digest": config}, "layers": [{"digest": foreign}, {"digest": layer}]}
    (blobs / DIGEST[7:]).write_text(json.dumps(document))
    for digest in (config, layer):
        (blobs / digest[7:]).write_text(digest)
    for _twice in range(2):
        _registry.seed(str(tmp_path), str(storage), _registry.image(ARTIFACT))
    root = storage / "docker/registry/v2"
    links = root / "repositories/docker.io/library/nginx/_layers/sha256"
    assert sorted(path.name for path in links.iterdir()) == [config[7:], layer[7:]]
    for digest in (config, layer):
        assert (links / digest[7:] / "link").read_text() == digest
        assert (root / "blobs/sha256" / digest[7:9] / digest[7:] / "data").samefile(blobs / digest[7:])
