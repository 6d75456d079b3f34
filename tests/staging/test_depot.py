# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The depot's modules as Ansible runs them, with a real registry and the real skopeo: whole, smaller, in volumes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _manifest
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils import sealed
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.images import Layout
from ansible_collections.airgap.inference.tests.unit.plugins.modules.test_bundle import run
from images_room import Registry

FIRST, SECOND, THIRD = "docker.io/vendor/engine:1.0", "docker.io/vendor/proxy:2", "docker.io/vendor/other:3"


class Site:
    """A depot with a registry, and drives that are mounted one after another."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.depot = path / "depot"
        self.drive = path / "drive"
        self.key, self.allowed = path / "key", path / "allowed_signers"
        path.chmod(0o755)
        self.allowed.write_text(f"release@example.org {sealed.new_key(self.key)}\n")
        self.allowed.chmod(0o644)
        self.registry = Registry(path / "registry")
        # Where the role lets the registry keep its data.
        self.depot.mkdir()
        (path / "registry/data").mkdir(exist_ok=True)
        (self.depot / "registry").symlink_to(path / "registry/data")
        self.number = 0

    def bundle(self, *images: str, **more: bytes) -> tuple[_manifest.Manifest, dict[str, bytes]]:
        """A bundle with these images, which share a layer."""
        self.number += 1
        layout = Layout(self.path / f"layout-{self.number}")
        artifacts = []
        for name in images:
            # Layers of equal content and number are the same; the last layer is the image's own.
            image = layout.image("shared", layers=2 + [FIRST, SECOND, THIRD].index(name), size=300_000)
            layout.name(image, name)
            artifacts.append(
                {"name": name, "repository": name.split(":")[0], "digest": image["digest"], "size": image["size"]}
            )
        content = {path: data for path, data in sealed.whole_content().items() if not path.startswith("images/")}
        content.update({f"images/{path}": data for path, data in layout.members().items()})
        content.update({path.replace("__", "/"): data for path, data in more.items()})
        content = sealed.with_sums(content)
        manifest = sealed.describe(content, f"2026-11-2{self.number}T00:00:00Z")
        return manifest._replace(artifacts={**manifest.artifacts, "images": artifacts}), content

    def mount(self, manifest: _manifest.Manifest, content: dict[str, bytes], *volumes: str) -> int:
        """Another drive; returns the bytes of its files."""
        shutil.rmtree(self.drive, ignore_errors=True)
        sealed.write(self.drive, self.key, manifest, content, *volumes)
        seal = {self.drive / name for name in (_manifest.MANIFEST, _manifest.SIGNATURE)}
        return sum(path.stat().st_size for path in self.drive.rglob("*") if path.is_file() and path not in seal)

    def run(self, module: str, **arguments: Any) -> dict[str, Any]:
        result = run(module, allowed_signers=str(self.allowed), **arguments)
        assert not result.get("failed"), result["msg"]
        return result

    def receive(self) -> dict[str, Any]:
        return self.run("depot_receive", bundle=str(self.drive), directory=str(self.depot))

    def publish(self, received: dict[str, Any], storage: bool = True) -> list[bool]:
        """What the role does; returns what changed."""
        bundle, where = received["bundle"], {"directory": str(self.depot)}
        changed = [self.run("depot_publish", bundle=bundle, kind="packages", **where)["changed"]]
        place = {"storage": str(self.depot / "registry")} if storage else {}
        pushed = self.run("depot_images", bundle=bundle, registry=self.registry.address, **place)
        changed.append(pushed["changed"])
        changed += [
            self.run("depot_publish", bundle=bundle, kind=kind, **where)["changed"] for kind in ("models", "manifest")
        ]
        shutil.rmtree(received["incoming"])
        return changed

    def has(self, manifest: _manifest.Manifest) -> None:
        """Hosts get every image by its digest, whole."""
        for image in manifest.artifacts["images"]:
            target = self.path / "pulled"
            shutil.rmtree(target, ignore_errors=True)
            reference = f"docker://{self.registry.address}/{image['repository']}@{image['digest']}"
            command = ["skopeo", "copy", "--quiet", "--preserve-digests", "--src-tls-verify=false", reference]
            subprocess.run([*command, f"dir:{target}"], check=True)
        published = json.loads((self.depot / "manifest.json").read_text())
        assert published["created"] == manifest.created


@pytest.fixture(name="site")
def fixture_site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.registry.stop()


def test_a_whole_bundle_then_smaller_ones(site: Site) -> None:
    manifest, content = site.bundle(FIRST, SECOND)
    size = site.mount(manifest, content)
    received = site.receive()
    layers = {path.name: path.stat().st_ino for path in Path(received["bundle"], "images/blobs/sha256").iterdir()}
    assert site.publish(received) == [True] * 4
    site.has(manifest)
    stored = list((site.depot / "registry/docker/registry/v2/blobs").rglob("data"))
    linked = [path for path in stored if layers.get(path.parent.name) == path.stat().st_ino]
    # Of each image only its manifest is sent to the registry.
    assert len(stored) - len(linked) == 2
    again = site.receive()
    assert not again["changed"]
    assert site.publish(again) == [False] * 4

    base = manifest
    manifest, content = site.bundle(FIRST, SECOND, **{"models__new__0123__weights": b"0" * 5000})
    manifest = sealed.build_on(manifest, base)
    small = site.mount(manifest, content)
    assert small < 6000 < size / 100
    assert sorted(path for path in site.receive()["received"]) == ["models/new/0123.sha256", "models/new/0123/weights"]
    assert site.publish(site.receive()) == [False, False, True, True]
    assert (site.depot / "models/new/0123/weights").read_bytes() == b"0" * 5000
    site.has(manifest)


@pytest.mark.parametrize("storage", [True, False])
def test_an_image_of_another_repository_takes_its_layers_from_the_base(site: Site, storage: bool) -> None:
    base, content = site.bundle(FIRST)
    site.mount(base, content)
    site.publish(site.receive(), storage)
    manifest, content = site.bundle(FIRST, THIRD)
    manifest = sealed.build_on(manifest, base)
    site.mount(manifest, content)
    travelling = [file.path for file in manifest.travelling()]
    assert len([path for path in travelling if "blobs" in path]) == 4, travelling
    received = site.receive()
    assert site.publish(received, storage) == [False, True, False, True]
    site.has(manifest)


def test_volumes_in_the_wrong_order(site: Site) -> None:
    manifest, content = site.bundle(FIRST, SECOND)
    manifest = sealed.in_volumes(manifest, content, 3, 500_000)
    for name, missing in (("volume-3", 2), ("volume-3", 2), ("volume-1", 1), ("volume-2", 0)):
        site.mount(manifest, content, name)
        checked = site.run("bundle_check", path=str(site.drive))
        assert len(checked["missing_volumes"]) == 2
        received = site.receive()
        assert len(received["missing_volumes"]) == missing
        assert received["complete"] is (missing == 0)
        assert not (site.depot / "manifest.json").exists()
    assert site.publish(received) == [True] * 4
    site.has(manifest)


def test_a_missing_base_is_told(site: Site) -> None:
    base, _content = site.bundle(FIRST)
    manifest, content = site.bundle(FIRST, **{"models__new__0123__weights": b"0"})
    site.mount(sealed.build_on(manifest, base), content)
    refused = run("depot_receive", bundle=str(site.drive), directory=str(site.depot), allowed_signers=str(site.allowed))
    assert refused["failed"] and base.created in refused["msg"] and "bundle_base" in refused["msg"]
    checked = site.run("bundle_check", path=str(site.drive))
    assert checked["base"]["files"] > 5 and checked["base"]["created"] == base.created


def test_only_what_was_received_is_published(site: Site) -> None:
    manifest, content = site.bundle(FIRST)
    site.mount(manifest, content)
    refused = run(
        "depot_publish",
        bundle=str(site.drive),
        directory=str(site.depot),
        allowed_signers=str(site.allowed),
        kind="models",
    )
    assert refused["failed"] and "depot_receive" in refused["msg"]
    assert set(os.listdir(site.depot)) == {"registry", "incoming"}


def test_check_mode_tells_and_changes_nothing(site: Site) -> None:
    manifest, content = site.bundle(FIRST)
    site.mount(manifest, content)
    received = site.run("depot_receive", bundle=str(site.drive), directory=str(site.depot), _ansible_check_mode=True)
    assert received["changed"] and received["complete"] and received["bundle"] == str(site.drive)
    for kind in ("packages", "models", "manifest"):
        told = site.run(
            "depot_publish", bundle=str(site.drive), directory=str(site.depot), kind=kind, _ansible_check_mode=True
        )
        assert told["changed"], kind
    assert os.listdir(site.depot) == ["registry"]
