# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of a NIM image is checked first, and its links are made to lead somewhere. The rest is in tests/staging."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _nim
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

SOURCE = "nim://nvcr.io/nim/meta/llama-3.1-8b-instruct:1.15.5"


def nim(cache: Path, profile: str = "p", command: str = "create-model-store") -> _nim.Nim:
    return _nim.parse("n", SOURCE, profile, command, str(cache))


def test_each_profile_and_command_has_its_own_place(tmp_path: Path) -> None:
    places = {nim(tmp_path).work, nim(tmp_path, "q").work, nim(tmp_path, "p", "download-to-cache").work}
    assert len(places) == 3 and nim(tmp_path).work in places
    assert nim(tmp_path).directory.endswith("/store")
    assert nim(tmp_path, "p", "download-to-cache").directory.endswith("/cache")


@pytest.mark.parametrize(
    ("source", "profile", "command", "word"),
    [
        ("nim://", "p", "create-model-store", "not of the form"),
        ("nim://-v/etc:/x", "p", "create-model-store", "not of the form"),
        ("nim://image name", "p", "create-model-store", "not of the form"),
        (SOURCE, "--all", "create-model-store", "identifier of a profile"),
        (SOURCE, "p", "sh", "create-model-store and download-to-cache"),
    ],
)
def test_what_could_be_taken_for_an_option_is_refused(source: str, profile: str, command: str, word: str) -> None:
    with pytest.raises(AirgapError, match=word):
        _nim.parse("n", source, profile, command, "/cache")


def test_links_of_the_container_lead_where_its_directories_are(tmp_path: Path) -> None:
    made = nim(tmp_path)
    (Path(made.cache) / "snapshots").mkdir(parents=True)
    (Path(made.cache) / "snapshots/w").write_text("weights")
    os.makedirs(made.store)
    (Path(made.store) / "w").symlink_to("/opt/nim/.cache/snapshots/w")
    (Path(made.store) / "again").symlink_to("/model-store/w")
    (Path(made.store) / "out").symlink_to("/opt/nim/.cached/w")
    assert _nim._settle(made)
    assert (Path(made.store) / "w").read_text() == (Path(made.store) / "again").read_text() == "weights"
    assert os.readlink(Path(made.store) / "out") == "/opt/nim/.cached/w"


def test_a_store_that_is_whole_needs_no_cache(tmp_path: Path) -> None:
    made = nim(tmp_path)
    os.makedirs(made.cache)
    os.makedirs(made.store)
    assert not _nim._settle(made) and os.path.isdir(made.cache)
    (Path(made.store) / "w").write_text("weights")
    assert _nim._settle(made) and not os.path.isdir(made.cache)
