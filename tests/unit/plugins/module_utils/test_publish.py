# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts rely on: what is published is what was sealed, whole at every moment, whenever a run was killed."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _check, _digest, _manifest, _publish
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.sealed import (
    Bundle,
    make_bundle,
)

CONTENT = {"config.json": b"{ }", "sub/model.safetensors": b"weights" * 1000}


def make_tree(tmp_path: Path, content: dict[str, bytes], name: str = "models/tiny/rev") -> _publish.Tree:
    """Write a source and describe it, as the manifest would."""
    source = tmp_path / "bundle" / name
    # What was published is links to what lies here: new content is a new file.
    shutil.rmtree(source, ignore_errors=True)
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


def test_what_a_killed_run_left_beside_the_place_is_built_anew(tmp_path: Path) -> None:
    tree = make_tree(tmp_path, CONTENT)
    for stray in ("stray", "sub/.new", "config.json"):
        Path(tree.partial, stray).parent.mkdir(parents=True, exist_ok=True)
        Path(tree.partial, stray).write_bytes(b"rubbish")
    _publish.publish(tree)
    assert read(tree.target) == CONTENT


def test_nothing_is_copied(tmp_path: Path) -> None:
    tree = make_tree(tmp_path, CONTENT)
    _publish.publish(tree)
    assert os.path.samefile(os.path.join(tree.source, "config.json"), os.path.join(tree.target, "config.json"))


def test_where_links_cannot_be_made_the_copy_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_publish, "try_link", lambda source, target: False)
    tree = make_tree(tmp_path, CONTENT)
    Path(tree.source, "config.json").write_bytes(b"{!}")
    with pytest.raises(AirgapError, match="changed after it was received"):
        _publish.publish(tree)
    assert not os.path.exists(tree.target)
    Path(tree.source, "config.json").write_bytes(CONTENT["config.json"])
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


def test_old_packages_stay_when_the_new_ones_are_not_all_there(tmp_path: Path) -> None:
    old = make_tree(tmp_path, {"Packages": b"old"}, "packages/debian-trixie")
    _publish.switch(old)
    new = make_tree(tmp_path, {"Packages": b"new!", "Release": b""}, "packages/debian-trixie")
    Path(new.source, "Release").unlink()
    with pytest.raises(OSError, match="Release"):
        _publish.switch(new)
    assert read(old.target) == {"Packages": b"old"}


def test_a_directory_in_the_place_of_the_link_is_not_touched(tmp_path: Path) -> None:
    tree = make_tree(tmp_path, {"Packages": b"new"}, "packages/debian-trixie")
    os.makedirs(tree.target)
    with pytest.raises(AirgapError, match="Move it away"):
        _publish.switch(tree)


@pytest.fixture(name="bundle")
def fixture_bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path)


def test_a_tree_goes_to_its_place(bundle: Bundle) -> None:
    (tree,) = _publish.trees(manifest_of(bundle), "models", str(bundle.root), "/srv/airgap")
    assert tree.target == "/srv/airgap/models/tiny/0123456789abcdef"
    assert [file.path for file in tree.files] == ["config.json"]


def manifest_of(bundle: Bundle) -> _manifest.Manifest:
    return _check.read_sealed(str(bundle.root), str(bundle.allowed_signers)).manifest


def test_an_artifact_stays_in_its_part_of_the_depot(bundle: Bundle) -> None:
    manifest = manifest_of(bundle)
    manifest.artifacts["models"][0]["directory"] = "registry/docker"
    with pytest.raises(AirgapError, match="is not below models/"):
        _publish.trees(manifest, "models", str(bundle.root), "/srv/airgap")
