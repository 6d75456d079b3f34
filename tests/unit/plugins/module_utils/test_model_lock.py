# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lock is small sorted text, and a damaged one is told rather than ignored."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._model_lock import Lock, alone


def test_what_is_set_is_there_next_time_until_it_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "state/models.lock.json"
    lock = Lock(str(path))
    lock.set("hf://b/b@main", "2")
    lock.set("hf://a/a@main", "1")
    lock.save()
    assert path.read_text() == '{\n "hf://a/a@main": "1",\n "hf://b/b@main": "2"\n}\n'
    again = Lock(str(path))
    assert (again.get("hf://a/a@main"), again.get("hf://c/c@main")) == ("1", None)
    again.drop("hf://a/a@main")
    again.drop("hf://c/c@main")
    again.save()
    assert Lock(str(path)).get("hf://a/a@main") is None


def test_without_a_path_nothing_is_kept() -> None:
    lock = Lock(None)
    lock.set("a", "b")
    lock.save()
    assert lock.get("a") == "b" and Lock(None).get("a") is None


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}', "null", "\xff"])
def test_a_damaged_lock_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "lock").write_bytes(text.encode("latin-1"))
    with pytest.raises(AirgapError, match="lock cannot be read"):
        Lock(str(tmp_path / "lock"))


def test_a_second_run_in_the_same_directory_is_refused(tmp_path: Path) -> None:
    with alone(str(tmp_path / "x"), "fetches it"), pytest.raises(AirgapError, match="Another run fetches it"):  # noqa: SIM117
        with alone(str(tmp_path / "x"), "fetches it"):
            pass
    with alone(str(tmp_path / "x"), "fetches it"):
        pass
