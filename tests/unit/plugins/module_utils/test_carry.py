# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What travels: all, what a base lacks, or volumes; the check of the isolated side reads each."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import (
    _carry,
    _check,
    _digest,
    _incoming,
    _manifest,
    _model_source,
    _publish,
    _receive,
    _seal,
)
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.modules import depot_publish
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.sealed import new_key

MIB = 1024 * 1024


class Staging:
    """A bundle with models, sealed for carrying."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.root = tmp_path / "bundle"
        self.carried = tmp_path / "carry"
        self.key = tmp_path / "key"
        trusted = tmp_path / "etc"
        trusted.mkdir(mode=0o755)
        self.allowed = trusted / "allowed"
        self.allowed.write_text(f"me {new_key(self.key)}\n")
        self.allowed.chmod(0o644)
        self.record = _digest.Record(str(tmp_path / "digests.json"))
        self.models: list[dict[str, Any]] = []
        (self.root / "controller").mkdir(parents=True)
        (self.root / "bootstrap").write_text("#!/bin/sh\n")
        (self.root / "controller/wheel.whl").write_text("wheel")
        (self.root / "sbom.cdx.json").write_text("{}")

    def add_model(self, name: str, content: bytes) -> None:
        source = self.tmp_path / "sources" / name
        source.mkdir(parents=True)
        (source / "weights").write_bytes(content)
        found = _model_source.Source(name, str(source), _model_source.read_directory(name, str(source)))
        self.models.append(_model_source.take(str(self.root / "models"), found, self.record).artifact())

    def seal(
        self, base: str | None = None, volume_size: int | None = None, file_size: int | None = None
    ) -> _seal.Sealed:
        artifacts: dict[str, Any] = {"packages": [], "images": [], "models": self.models, "controller": {}}
        carry = _carry.Carry(str(self.carried), volume_size, file_size) if base or volume_size or file_size else None
        way = _seal.Way(str(self.key), self.record, False, base, carry)
        wanted = _manifest.Manifest("lab", "2026-11-21T00:00:00Z", "airgap.inference 0.1.0", [], artifacts)
        return _seal.seal(str(self.root), wanted, _seal.plan(str(self.root), artifacts), way)

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.carried)) for path in self.carried.rglob("*") if path.is_file())


@pytest.fixture(name="staging")
def fixture_staging(tmp_path: Path) -> Staging:
    return Staging(tmp_path)


def test_a_difference_holds_the_new_model_and_its_seal_alone(staging: Staging) -> None:
    staging.add_model("large", b"l" * MIB)
    staging.seal()
    base = staging.tmp_path / "manifest.json"
    shutil.copy(staging.root / "manifest.json", base)
    staging.add_model("small", b"s" * 10)
    (staging.root / "sbom.cdx.json").write_text("{ }")
    sealed = staging.seal(base=str(base))
    revision = staging.models[1]["revision"]
    listing = f"models/small/{revision}.sha256"
    assert staging.files() == sorted(
        ["manifest.json", "manifest.json.sig", "sbom.cdx.json", listing, f"models/small/{revision}/weights"]
    )
    assert sealed.travels == 10 + 3 + (staging.root / listing).stat().st_size
    manifest = _manifest.parse((staging.carried / "manifest.json").read_bytes())
    assert manifest.base == _manifest.Base(_digest.sha256_file(str(base)), "2026-11-21T00:00:00Z")
    assert _check.check(str(staging.carried), str(staging.allowed)).problems == []
    assert not staging.seal(base=str(base)).changed


def test_the_same_content_under_another_name_does_not_travel_again(staging: Staging) -> None:
    staging.add_model("old", b"w" * MIB)
    staging.seal()
    base = staging.tmp_path / "manifest.json"
    shutil.copy(staging.root / "manifest.json", base)
    staging.models.clear()
    staging.add_model("new", b"w" * MIB)
    assert staging.seal(base=str(base)).travels < MIB


def test_a_changed_controller_travels_whole(staging: Staging) -> None:
    (staging.root / "controller/other.whl").write_text("other")
    staging.add_model("m", b"m")
    staging.seal()
    base = staging.tmp_path / "manifest.json"
    shutil.copy(staging.root / "manifest.json", base)
    (staging.root / "controller/wheel.whl").write_text("newer wheel")
    staging.seal(base=str(base))
    assert {"bootstrap", "controller/other.whl", "controller/wheel.whl"} <= set(staging.files())


def test_a_base_of_another_site_is_refused(staging: Staging) -> None:
    staging.add_model("m", b"m")
    staging.seal()
    base = staging.tmp_path / "manifest.json"
    manifest = _manifest.parse((staging.root / "manifest.json").read_bytes())
    base.write_bytes(_manifest.render(manifest._replace(site="elsewhere")))
    with pytest.raises(AirgapError, match="a bundle of the site 'elsewhere'; this one is for 'lab'"):
        staging.seal(base=str(base))


def test_a_base_that_is_not_there_is_refused(staging: Staging) -> None:
    with pytest.raises(AirgapError, match=r"bundle_base is /none.* cannot be read"):
        staging.seal(base="/none")


def test_volumes_hold_all_of_it_and_each_is_checked_alone(staging: Staging) -> None:
    content = os.urandom(9 * MIB + 5)
    staging.add_model("large", content)
    sealed = staging.seal(volume_size=4 * MIB)
    assert sealed.volumes > 2
    parts: dict[int, bytes] = {}
    for name in sorted(os.listdir(staging.carried)):
        volume = staging.carried / name
        assert sum(path.stat().st_size for path in volume.rglob("*") if path.is_file()) <= 4 * MIB
        checked = _check.check(str(volume), str(staging.allowed))
        assert checked.problems == []
        parts.update(
            {
                part.offset: (volume / part.file).read_bytes()
                for item in checked.manifest.volumes
                if item.name == name
                for part in item.parts
            }
        )
    assert b"".join(parts[offset] for offset in sorted(parts)) == content
    assert not staging.seal(volume_size=4 * MIB).changed


def test_what_an_earlier_layout_left_goes(staging: Staging) -> None:
    staging.add_model("large", os.urandom(9 * MIB))
    staging.seal(volume_size=4 * MIB)
    sealed = staging.seal(file_size=3 * MIB)
    assert sealed.changed and sorted(os.listdir(staging.carried)) == ["volume-1"]


def test_files_that_are_somebodys_are_refused_and_stay(staging: Staging) -> None:
    staging.carried.mkdir()
    (staging.carried / "holiday.jpg").write_bytes(b"x")
    staging.add_model("m", b"m")
    with pytest.raises(AirgapError, match=r"bundle_carry_directory .* holiday\.jpg"):
        staging.seal(volume_size=4 * MIB)
    assert (staging.carried / "holiday.jpg").exists() and not (staging.root / "manifest.json").exists()


def test_a_file_that_changed_after_it_was_hashed_is_read_and_refused(staging: Staging) -> None:
    staging.add_model("m", b"m" * 100)
    staging.seal()
    path = staging.root / staging.models[0]["directory"] / "weights"
    path.write_bytes(b"x" * 100)
    with pytest.raises(AirgapError, match=r"damaged after they were fetched: models/m/.*/weights"):
        staging.seal()


class Depot:
    """The isolated side, as the role depot uses it, but for images."""

    def __init__(self, staging: Staging) -> None:
        self.root = staging.tmp_path / "depot"
        self.allowed = str(staging.allowed)

    def take(self, drive: Path) -> list[str]:
        """Import what one drive has; return the names of the volumes that are still to come."""
        receiver = _receive.Receiver(str(drive), str(self.root), _check.read_sealed(str(drive), self.allowed))
        with _incoming.lock(str(self.root)):
            received = receiver.receive(None, False)
        if received.missing:
            return [volume.name for volume in received.missing]
        bundle = receiver.area.bundle
        proof = _check.read_sealed(bundle, self.allowed)
        depot_publish.publish_trees(proof.manifest, "models", bundle, str(self.root), False)
        depot_publish.publish_files(proof.manifest, _publish.sums(proof.manifest), bundle, str(self.root), False)
        depot_publish.publish_manifest(proof, bundle, str(self.root), False)
        shutil.rmtree(receiver.area.root)
        return []

    def models(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in self.root.glob("models/*/*/*")
            if path.is_file()
        }


def carried_models(staging: Staging) -> dict[str, bytes]:
    return {
        str(path.relative_to(staging.root)): path.read_bytes()
        for path in staging.root.glob("models/*/*/*")
        if path.is_file()
    }


def test_the_isolated_side_makes_the_whole_of_a_difference(staging: Staging) -> None:
    depot = Depot(staging)
    staging.add_model("large", b"l" * MIB)
    staging.seal()
    assert depot.take(staging.root) == []
    base = staging.tmp_path / "manifest.json"
    shutil.copy(depot.root / "manifest.json", base)
    staging.add_model("small", b"s" * 10)
    staging.add_model("again", b"l" * MIB)
    staging.seal(base=str(base))
    assert depot.take(staging.carried) == []
    assert depot.models() == carried_models(staging) and len(depot.models()) == 3


def test_a_difference_without_its_base_is_refused_with_what_is_missing(staging: Staging) -> None:
    staging.add_model("large", b"l" * MIB)
    staging.seal()
    base = staging.tmp_path / "manifest.json"
    shutil.copy(staging.root / "manifest.json", base)
    staging.add_model("small", b"s" * 10)
    staging.seal(base=str(base))
    with pytest.raises(AirgapError, match=r"(?s)2026-11-21T00:00:00Z.*models/large/.*/weights"):
        Depot(staging).take(staging.carried)


@pytest.mark.parametrize("backwards", [False, True])
def test_the_isolated_side_takes_volumes_in_any_order(staging: Staging, backwards: bool) -> None:
    depot = Depot(staging)
    staging.add_model("large", os.urandom(9 * MIB + 5))
    staging.seal(volume_size=4 * MIB)
    names = sorted(os.listdir(staging.carried), reverse=backwards)
    for number, name in enumerate(names, start=1):
        assert sorted(depot.take(staging.carried / name)) == sorted(names[number:])
    assert depot.models() == carried_models(staging)
