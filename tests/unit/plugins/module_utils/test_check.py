# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What import relies on: a bundle that differs in anything from what was sealed is refused, by name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _check, _manifest
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.sealed import (
    Bundle,
    make_bundle,
    new_key,
    seal,
)


@pytest.fixture(name="bundle")
def fixture_bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path)


def problems(bundle: Bundle) -> dict[str, str]:
    found = _check.check(str(bundle.root), str(bundle.allowed_signers)).problems
    assert all(name in _check.refusal(str(bundle.root), found) for name, _problem in found)
    return dict(found)


def test_a_sealed_bundle_is_sound(bundle: Bundle) -> None:
    checked = _check.check(str(bundle.root), str(bundle.allowed_signers))
    assert checked.problems == []
    assert checked.signer == "release@example.org"
    assert checked.manifest.artifacts["models"][0]["name"] == "tiny"


def test_a_flipped_byte_is_named(bundle: Bundle) -> None:
    (bundle.root / "images/index.json").write_bytes(b"{]")
    assert "SHA-256" in problems(bundle)["images/index.json"]


def test_another_size_is_named(bundle: Bundle) -> None:
    (bundle.root / "bootstrap").write_bytes(b"#!/bin/sh\nrm")
    assert problems(bundle) == {"bootstrap": "has 12 bytes, the manifest says 10"}


def test_a_missing_file_is_named(bundle: Bundle) -> None:
    (bundle.root / "bootstrap").unlink()
    assert problems(bundle) == {"bootstrap": "is missing"}


@pytest.mark.parametrize("name", ["extra", "models/tiny/0123456789abcdef/evil.py", ".hidden", "new\nline"])
def test_a_file_too_many_is_named(bundle: Bundle, name: str) -> None:
    (bundle.root / name).write_bytes(b"x")
    assert problems(bundle) == {name.replace("\n", "\\n"): "is in the bundle but not in its manifest"}


def test_a_name_that_is_not_utf8_is_a_file_too_many(bundle: Bundle) -> None:
    Path(os.fsdecode(os.fsencode(bundle.root) + b"/\xff")).write_bytes(b"x")
    assert list(problems(bundle)) == ["\\udcff"]


def test_a_link_in_place_of_a_file_is_refused_even_with_the_right_content(bundle: Bundle, tmp_path: Path) -> None:
    (bundle.root / "bootstrap").rename(tmp_path / "outside")
    (bundle.root / "bootstrap").symlink_to(tmp_path / "outside")
    assert "symbolic link" in problems(bundle)["bootstrap"]


def test_a_linked_directory_is_not_entered(bundle: Bundle, tmp_path: Path) -> None:
    (bundle.root / "images").rename(tmp_path / "outside")
    (bundle.root / "images").symlink_to(tmp_path / "outside")
    found = problems(bundle)
    assert "symbolic link" in found["images"]
    assert found["images/index.json"] == "is missing"


def test_a_pipe_is_refused(bundle: Bundle) -> None:
    os.mkfifo(bundle.root / "pipe")
    assert "a pipe" in problems(bundle)["pipe"]


def test_all_problems_are_listed_but_the_message_is_bounded(bundle: Bundle) -> None:
    for number in range(50):
        (bundle.root / f"extra{number:02}").write_bytes(b"")
    found = _check.check(str(bundle.root), str(bundle.allowed_signers)).problems
    assert len(found) == 50
    message = _check.refusal(str(bundle.root), found)
    assert "extra19" in message and "extra20" not in message and "30 more" in message


def refused(bundle: Bundle) -> str:
    with pytest.raises(AirgapError) as caught:
        _check.check(str(bundle.root), str(bundle.allowed_signers))
    return str(caught.value)


def test_a_foreign_signature_is_refused_with_the_fingerprint(bundle: Bundle, tmp_path: Path) -> None:
    new_key(tmp_path / "foreign")
    seal(bundle.root, tmp_path / "foreign")
    assert "SHA256:" in refused(bundle)


def test_a_signature_for_another_purpose_is_refused(bundle: Bundle) -> None:
    seal(bundle.root, bundle.key, namespace="file")
    assert "airgap-bundle" in refused(bundle)


def test_a_changed_manifest_is_refused(bundle: Bundle) -> None:
    path = bundle.root / _manifest.MANIFEST
    path.write_bytes(path.read_bytes().replace(b'"lab"', b'"lob"'))
    assert "seal does not hold" in refused(bundle)


def test_an_expired_key_is_refused(bundle: Bundle) -> None:
    line = bundle.allowed_signers.read_text().split(" ", 1)
    bundle.allowed_signers.write_text(f'{line[0]} valid-before="20200101" {line[1]}')
    assert str(bundle.allowed_signers) in refused(bundle)


def test_a_missing_signature_is_refused(bundle: Bundle) -> None:
    (bundle.root / _manifest.SIGNATURE).unlink()
    assert "not signed" in refused(bundle)


def test_a_signature_that_is_none_is_refused(bundle: Bundle) -> None:
    (bundle.root / _manifest.SIGNATURE).write_bytes(b"hello")
    assert "does not allow" in refused(bundle)


def test_missing_allowed_signers_are_told(bundle: Bundle) -> None:
    bundle.allowed_signers.unlink()
    assert str(bundle.allowed_signers) in refused(bundle)


def test_an_empty_mount_point_is_told(tmp_path: Path) -> None:
    with pytest.raises(AirgapError, match="Is the drive mounted"):
        _check.check(str(tmp_path), str(tmp_path / "allowed_signers"))


def test_two_identities_of_one_key_are_both_tried(bundle: Bundle) -> None:
    name, key = bundle.allowed_signers.read_text().split(" ", 1)
    bundle.allowed_signers.write_text(f'old@example.org valid-before="20200101" {key}{name},second@example.org {key}')
    checked = _check.check(str(bundle.root), str(bundle.allowed_signers))
    assert checked.signer in (name, "second@example.org")


def test_a_signer_whose_time_is_over_is_told_apart_from_a_stranger(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    name, _space, key = bundle.allowed_signers.read_text().partition(" ")
    bundle.allowed_signers.write_text(f'{name} valid-before="20200101" {key}')
    with pytest.raises(AirgapError, match=r"lists, but does not allow now: line 1: key has expired"):
        _check.check(str(bundle.root), str(bundle.allowed_signers))
