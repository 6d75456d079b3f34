# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sealing: what does not belong goes, what is foreign stays untouched, what has not changed is not signed again."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import (
    _check,
    _digest,
    _manifest,
    _model_source,
    _seal,
    _signature,
)
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.sealed import new_key


class Staging:
    """A directory with one model, and the key that seals it."""

    def __init__(self, tmp_path: Path) -> None:
        self.root = tmp_path / "bundle"
        self.key = tmp_path / "key"
        self.record = _digest.Record(None)
        self.allowed = tmp_path / "allowed"
        self.allowed.write_text(f"me {new_key(self.key)}\n")
        source = tmp_path / "source"
        source.mkdir()
        (source / "config.json").write_text("{}")
        wanted = _model_source.Source("tiny", str(source), _model_source.read_directory("tiny", str(source)))
        model = _model_source.take(str(self.root / "models"), wanted, self.record)
        (self.root / "bootstrap").write_text("#!/bin/sh\n")
        self.artifacts: dict[str, Any] = {"packages": [], "images": [], "models": [model.artifact()], "controller": {}}

    def wanted(self, created: str) -> _manifest.Manifest:
        return _manifest.Manifest("lab", created, "airgap.inference 0.1.0", [], copy.deepcopy(self.artifacts))

    def seal(self, created: str = "2026-11-21T00:00:00Z") -> _seal.Sealed:
        plan = _seal.plan(str(self.root), self.artifacts)
        return _seal.seal(str(self.root), self.wanted(created), plan, _seal.Way(str(self.key), self.record))

    def would_change(self) -> bool:
        return _seal.would_change(
            str(self.root),
            self.wanted("later"),
            _seal.plan(str(self.root), self.artifacts),
            _seal.Way(str(self.key), self.record),
        )


@pytest.fixture(name="staging")
def fixture_staging(tmp_path: Path) -> Staging:
    return Staging(tmp_path)


def test_a_sealed_bundle_passes_the_check_of_import(staging: Staging) -> None:
    assert staging.would_change()
    sealed = staging.seal()
    assert sealed.changed and sealed.files == 3
    checked = _check.check(str(staging.root), str(staging.allowed))
    assert checked.problems == [] and checked.signer == "me"


def test_what_has_not_changed_keeps_its_date_and_signature(staging: Staging) -> None:
    staging.seal()
    before = (staging.root / _manifest.SIGNATURE).read_bytes()
    sealed = staging.seal(created="2027-01-01T00:00:00Z")
    assert (sealed.changed, sealed.created) == (False, "2026-11-21T00:00:00Z")
    assert (staging.root / _manifest.SIGNATURE).read_bytes() == before
    assert not staging.would_change()


def test_another_key_seals_again(staging: Staging, tmp_path: Path) -> None:
    staging.seal()
    staging.key = tmp_path / "other"
    staging.allowed.write_text(f"other {new_key(staging.key)}\n")
    assert staging.seal().changed
    assert _check.check(str(staging.root), str(staging.allowed)).signer == "other"


def test_a_lost_signature_is_made_again(staging: Staging) -> None:
    staging.seal()
    (staging.root / _manifest.SIGNATURE).unlink()
    assert staging.seal().changed
    assert _signature.signer((staging.root / _manifest.MANIFEST).read_bytes(), str(staging.root / _manifest.SIGNATURE))


@pytest.mark.parametrize(
    "path",
    [
        "models/old/0123456789abcdef/x",
        "models/tiny/.incoming/x",
        "images/index.json",
        "packages/debian-bookworm/pool/x",
        "controller/wheels/.x.whl.part",
    ],
)
def test_what_is_no_longer_described_goes(staging: Staging, path: str) -> None:
    staging.seal()
    (staging.root / path).parent.mkdir(parents=True, exist_ok=True)
    (staging.root / path).write_text("old")
    assert staging.would_change()
    assert staging.seal().removed == [path]
    assert not (staging.root / path).exists()
    assert _check.check(str(staging.root), str(staging.allowed)).problems == []


def test_foreign_files_are_refused_and_stay(staging: Staging) -> None:
    (staging.root / "holiday.jpg").write_text("precious")
    with pytest.raises(AirgapError, match=r"holiday\.jpg"):
        staging.seal()
    assert (staging.root / "holiday.jpg").read_text() == "precious"


def test_a_damaged_file_is_not_sealed(staging: Staging) -> None:
    directory = staging.artifacts["models"][0]["directory"]
    (staging.root / directory / "config.json").write_text("{]")
    with pytest.raises(AirgapError, match=r"config.json.*stage again"):
        staging.seal()
    assert not (staging.root / _manifest.MANIFEST).exists()


def test_a_link_is_refused(staging: Staging) -> None:
    directory = staging.artifacts["models"][0]["directory"]
    (staging.root / directory / "link").symlink_to("/etc/hostname")
    with pytest.raises(AirgapError, match="symbolic link"):
        staging.seal()


def test_a_missing_key_is_told(staging: Staging, tmp_path: Path) -> None:
    staging.key = tmp_path / "none"
    with pytest.raises(AirgapError, match="none"):
        staging.seal()
