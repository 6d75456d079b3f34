# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts rely on: what is published is what was sealed, whole at every moment, whenever a run was killed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _digest, _manifest, _publish
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.sealed import (
    Bundle,
    make_bundle,
    new_key,
    seal,
)

CONTENT = {"config.json": b"{ }", "sub/model.safetensors": b"weights" * 1000}


def make_tree(tmp_path: Path, content: dict[str, bytes], name: str = "models/tiny/rev") -> _publish.Tree:
    """Write a source and describe it, as the manifest would."""
    source = tmp_path / "bundle" / name
    for path, data in content.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes(data)
    files = [_manifest.File(path, len(data), hashlib.sha256(data).hexdigest()) for path, data in content.items()]
    target = tmp_path / "depot" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    return _publish.Tree(name, str(source), str(target), sorted(files))


def read(directory: str) -> dict[str, bytes]:
    return {path: Path(directory, path).read_bytes() for path in _digest.scan(directory).files}


def beside(tree: _publish.Tree) -> list[str]:
    return sorted(os.listdir(os.path.dirname(tree.target)))


def test_a_model_is_published_and_then_left_alone(tmp_path: Path) -> None:
    tree = make_tree(tmp_path, CONTENT)
    assert not _publish.is_published(tree)
    _publish.publish(tree)
    assert read(tree.target) == CONTENT
    assert _publish.is_published(tree)
    assert beside(tree) == ["rev"]


def test_a_file_that_the_drive_damages_after_the_check_is_not_published(tmp_path: Path) -> None:
    tree = make_tree(tmp_path, CONTENT)
    Path(tree.source, "config.json").write_bytes(b"{!}")
    with pytest.raises(AirgapError, match=r"config\.json has the SHA-256"):
        _publish.publish(tree)
    assert not os.path.exists(tree.target)


def test_a_killed_run_goes_on_inside_a_file(tmp_path: Path) -> None:
    tree = make_tree(tmp_path, CONTENT)
    part = Path(_digest.partial_name(os.path.join(tree.partial, "sub/model.safetensors")))
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT["sub/model.safetensors"][:3000])
    inode = part.stat().st_ino
    _publish.publish(tree)
    assert read(tree.target) == CONTENT
    assert Path(tree.target, "sub/model.safetensors").stat().st_ino == inode


@pytest.mark.parametrize("left", [b"rubbish", b"weights" * 2000])
def test_a_part_that_is_wrong_is_begun_again(tmp_path: Path, left: bytes) -> None:
    tree = make_tree(tmp_path, CONTENT)
    part = Path(_digest.partial_name(os.path.join(tree.partial, "sub/model.safetensors")))
    part.parent.mkdir(parents=True)
    part.write_bytes(left)
    (part.parent / "stray").write_bytes(b"x")
    _publish.publish(tree)
    assert read(tree.target) == CONTENT


def test_a_model_that_lost_a_file_at_the_depot_is_mended(tmp_path: Path) -> None:
    tree = make_tree(tmp_path, CONTENT)
    _publish.publish(tree)
    Path(tree.target, "config.json").unlink()
    assert not _publish.is_published(tree)
    _publish.publish(tree)
    assert read(tree.target) == CONTENT
    assert beside(tree) == ["rev"]


def test_packages_are_switched_and_the_old_ones_go(tmp_path: Path) -> None:
    old = make_tree(tmp_path, {"Packages": b"old"}, "packages/debian-trixie")
    _publish.switch(old)
    assert _publish.is_current(old)
    new = make_tree(tmp_path, {"Packages": b"new!"}, "packages/debian-trixie")
    assert not _publish.is_current(new)
    _publish.switch(new)
    assert read(new.target) == {"Packages": b"new!"}
    assert beside(new) == [_publish.link_text(new), "debian-trixie"]


def test_old_packages_stay_when_the_new_ones_are_damaged(tmp_path: Path) -> None:
    old = make_tree(tmp_path, {"Packages": b"old"}, "packages/debian-trixie")
    _publish.switch(old)
    new = make_tree(tmp_path, {"Packages": b"new!"}, "packages/debian-trixie")
    Path(new.source, "Packages").write_bytes(b"evil")
    with pytest.raises(AirgapError):
        _publish.switch(new)
    assert read(old.target) == {"Packages": b"old"}


def test_a_directory_in_the_place_of_the_link_is_not_touched(tmp_path: Path) -> None:
    tree = make_tree(tmp_path, {"Packages": b"new"}, "packages/debian-trixie")
    os.makedirs(tree.target)
    with pytest.raises(AirgapError, match="Move it away"):
        _publish.switch(tree)


def test_a_full_disk_is_said_before_anything_is_copied(tmp_path: Path) -> None:
    tree = make_tree(tmp_path, CONTENT)
    huge = tree._replace(files=[_manifest.File("config.json", 10**18, "0" * 64)])
    with pytest.raises(AirgapError, match=r"1000000000\.0 GB are to be published \(models/tiny/rev\)"):
        _publish.require_space([huge], str(tmp_path / "not" / "there"))
    _publish.require_space([tree], str(tmp_path))


@pytest.fixture(name="bundle")
def fixture_bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path)


def test_the_seal_decides(bundle: Bundle, tmp_path: Path) -> None:
    manifest = _publish.sealed_manifest(str(bundle.root), str(bundle.allowed_signers))
    (tree,) = _publish.trees(manifest, "models", str(bundle.root), "/srv/airgap")
    assert tree.target == "/srv/airgap/models/tiny/0123456789abcdef"
    assert [file.path for file in tree.files] == ["config.json"]
    new_key(tmp_path / "foreign")
    seal(bundle.root, tmp_path / "foreign")
    with pytest.raises(AirgapError, match="SHA256:"):
        _publish.sealed_manifest(str(bundle.root), str(bundle.allowed_signers))


def test_no_bundle_is_said(tmp_path: Path) -> None:
    with pytest.raises(AirgapError, match="Is the drive mounted there"):
        _publish.sealed_manifest(str(tmp_path), "/etc/airgap/allowed_signers")


def test_an_artifact_stays_in_its_part_of_the_depot(bundle: Bundle) -> None:
    manifest = _publish.sealed_manifest(str(bundle.root), str(bundle.allowed_signers))
    manifest.artifacts["models"][0]["directory"] = "registry/docker"
    with pytest.raises(AirgapError, match="is not below models/"):
        _publish.trees(manifest, "models", str(bundle.root), "/srv/airgap")
