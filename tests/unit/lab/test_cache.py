# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
from airgap_lab import cache


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRGAP_CACHE", str(tmp_path / "cache"))


def test_key_follows_content_names_and_order(tmp_path: Path) -> None:
    folder = tmp_path / "inputs"
    folder.mkdir()
    (folder / "a").write_text("one", encoding="utf-8")
    first = cache.key(folder, "1.0")
    assert cache.key(folder, "1.0") == first
    assert cache.key(folder, "1.1") != first
    (folder / "a").rename(folder / "b")
    renamed = cache.key(folder, "1.0")
    assert renamed != first
    (folder / "b").write_text("two", encoding="utf-8")
    assert cache.key(folder, "1.0") != renamed


def test_key_does_not_join_neighbours() -> None:
    assert cache.key("ab", "c") != cache.key("a", "bc")


def test_a_step_is_made_once_and_replaces_the_one_before() -> None:
    made = []
    first = cache.build("step", "k1", "a step", made.append)
    assert cache.build("step", "k1", "a step", made.append) == first
    assert len(made) == 1
    second = cache.build("step", "k2", "a step", made.append)
    assert second.is_dir()
    assert not first.exists()


def test_a_step_that_fails_leaves_no_result_and_can_be_tried_again() -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError("no space")

    with pytest.raises(RuntimeError):
        cache.build("step", "k1", "a step", fail)
    assert not cache.built("step", "k1").exists()
    done = cache.build("step", "k1", "a step", lambda folder: (folder / "whole").touch())
    assert [path.name for path in done.iterdir()] == ["whole"]


def test_written_files_have_their_mode_at_once(tmp_path: Path) -> None:
    cache.write(tmp_path / "secret", "x", 0o600)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
