# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files are hashed as sha256sum would, copied whole or not at all, and no link is followed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _digest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    size=st.sampled_from([0, 1, _digest.CHUNK - 1, _digest.CHUNK, _digest.CHUNK + 1, 3 * _digest.CHUNK]),
    seed=st.binary(min_size=1, max_size=9),
)
def test_hashes_are_those_of_the_bytes(tmp_path: Path, size: int, seed: bytes) -> None:
    data = (seed * (size // len(seed) + 1))[:size]
    (tmp_path / "source").write_bytes(data)
    expected = hashlib.sha256(data).hexdigest()
    assert _digest.sha256_file(str(tmp_path / "source")) == expected
    assert _digest.copy_with_sha256(str(tmp_path / "source"), str(tmp_path / "a/b")) == (expected, size)
    assert (tmp_path / "a/b").read_bytes() == data
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


def test_many_files_at_a_time_and_errors_by_name(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / str(number)).write_bytes(bytes([number]) * number)
    found = _digest.sha256_files(str(tmp_path), {**{str(number): number for number in range(20)}, "none": 1}, workers=4)
    assert isinstance(found.pop("none"), FileNotFoundError)
    assert found == {str(number): hashlib.sha256(bytes([number]) * number).hexdigest() for number in range(20)}


def test_a_link_is_not_hashed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    with pytest.raises(OSError):
        _digest.sha256_file(str(tmp_path / "link"))


def test_an_interrupted_copy_leaves_no_file_under_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_arguments: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "source").write_bytes(b"x" * 10)
    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        _digest.copy_with_sha256(str(tmp_path / "source"), str(tmp_path / "target"))
    assert not (tmp_path / "target").exists()


def test_writing_the_same_is_no_change_and_the_mode_is_the_asked_one(tmp_path: Path) -> None:
    path = str(tmp_path / "a/key")
    assert _digest.write_if_changed(path, b"secret", mode=0o600)
    assert not _digest.write_if_changed(path, b"secret", mode=0o600)
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_removing_files_removes_the_directories_that_become_empty(tmp_path: Path) -> None:
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "a/b/c/file").write_bytes(b"")
    (tmp_path / "a/kept").write_bytes(b"")
    _digest.remove_files(str(tmp_path), ["a/b/c/file"])
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["kept"]
