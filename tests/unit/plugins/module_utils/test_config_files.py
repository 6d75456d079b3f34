# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files are compared and checked as a set, before any of them is put in place."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _config_files
from ansible_collections.airgap.inference.plugins.module_utils._config_files import File
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def test_only_what_differs_is_written(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("same\n")
    same, other = File(str(tmp_path / "a"), "same\n", None), File(str(tmp_path / "b"), "new\n", None)
    assert _config_files.differing([same, other]) == [other]


def test_a_checker_sees_the_whole_set(tmp_path: Path) -> None:
    files = [File(str(tmp_path / name), f"{name}\n", None) for name in ("a", "b")]
    _config_files.check(files, files[:1], "grep -r b %s")
    with pytest.raises(AirgapError, match="nothing was changed"):
        _config_files.check(files, files[:1], "grep -r c %s")
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_has_the_checkers_words(tmp_path: Path) -> None:
    file = File(str(tmp_path / "a"), "x", "ls %s /no/such")
    with pytest.raises(AirgapError, match="/no/such"):
        _config_files.check([file], [file], None)


@pytest.mark.parametrize(
    ("validate", "words"), [("true", "must contain %s"), ("no-such-checker %s", "not on this host")]
)
def test_a_checker_that_cannot_work_is_told(tmp_path: Path, validate: str, words: str) -> None:
    file = File(str(tmp_path / "a"), "x", validate)
    with pytest.raises(AirgapError, match=words):
        _config_files.check([file], [file], None)


def test_files_of_one_name_cannot_be_checked_together(tmp_path: Path) -> None:
    files = [File(str(tmp_path / directory / "a"), "x", None) for directory in ("1", "2")]
    with pytest.raises(AirgapError, match="different names"):
        _config_files.check(files, files, "ls %s")


def test_a_directory_in_the_way_is_told(tmp_path: Path) -> None:
    with pytest.raises(AirgapError, match="is a directory"):
        _config_files.current(str(tmp_path))


def test_parents_are_made_readable(tmp_path: Path) -> None:
    _config_files.make_parents(str(tmp_path / "x/y/file"))
    assert (tmp_path / "x/y").stat().st_mode & 0o777 == 0o755
