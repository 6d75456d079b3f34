# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An engine that takes a file is given the only one that there is, or the one that the person names."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _instance_files
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.instances import (
    CHAT,
    ENGINE,
    FILE,
    FILE_ENGINE,
)

PARTS = [f"big-q8-0000{part}-of-00003.gguf" for part in (1, 2, 3)]


def models(*files: str) -> dict[str, Any]:
    return {"file": {"revision": "r", "gguf": list(files)}, "small": {"revision": "s", "gguf": ["draft.gguf"]}}


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (["q4.gguf"], "q4.gguf"),
        (["sub/q4.gguf", "mmproj-f16.gguf", "sub/mmproj-f16.gguf"], "sub/q4.gguf"),
        (PARTS, PARTS[0]),
    ],
)
def test_the_only_model_among_the_files(files: list[str], chosen: str) -> None:
    assert _instance_files.chosen(FILE, FILE_ENGINE, models(*files)) == {"model_file": chosen}
    assert list(_instance_files.refusals(FILE, FILE_ENGINE, models(*files))) == []


def test_a_draft_has_a_file_too() -> None:
    own = {**FILE, "draft_model": "small", "model_file": "other.gguf"}
    assert _instance_files.chosen(own, FILE_ENGINE, models()) == {
        "model_file": "other.gguf",
        "draft_file": "draft.gguf",
    }


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (
            models("q4.gguf", "q8.gguf"),
            "the model file has q4.gguf, q8.gguf, and llama-cpp takes one of them; name it as model_file",
        ),
        (models(), "the model file has no *.gguf, which llama-cpp needs"),
        ({"file": {"revision": "r"}}, "is not known here; name it as model_file"),
    ],
)
def test_a_choice_is_the_persons(known: dict[str, Any], words: str) -> None:
    assert words in next(_instance_files.refusals(FILE, FILE_ENGINE, known))


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ("/model/q4.gguf", "by its path below"),
        ("../q4.gguf", "by its path below"),
        (3, "by its path below"),
        ("q5.gguf", "the model has q4.gguf"),
    ],
)
def test_a_named_file_is_looked_for(stated: Any, words: str) -> None:
    assert words in next(_instance_files.refusals({**FILE, "model_file": stated}, FILE_ENGINE, models("q4.gguf")))
    assert list(_instance_files.refusals({**FILE, "model_file": "q4.gguf"}, FILE_ENGINE, models("q4.gguf"))) == []


def test_before_the_model_is_collected_nothing_is_refused() -> None:
    later = {"file": {"revision": "not collected yet", "gguf": None}}
    assert list(_instance_files.refusals(FILE, FILE_ENGINE, later)) == []
    assert _instance_files.chosen(FILE, FILE_ENGINE, later) == {"model_file": _instance_files.LATER}
    assert list(_instance_files.refusals({**FILE, "model_file": "any.gguf"}, FILE_ENGINE, later)) == []


def test_an_engine_that_takes_a_directory_is_given_no_file() -> None:
    assert _instance_files.chosen(CHAT, ENGINE, models("q4.gguf")) == {}
    assert "whole directory" in next(_instance_files.refusals({**CHAT, "model_file": "x.gguf"}, ENGINE, models()))
