# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An engine's data may name a few words in braces, and nothing else."""

from __future__ import annotations

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _instance_words
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.instances import (
    CHAT,
    ENGINE,
    FILE,
    FILE_ENGINE,
    LEGAL,
)


def test_the_words_of_an_instance() -> None:
    words = _instance_words.words({**CHAT, "gpus": 2, "draft_model": "small", "adapters": [LEGAL]}, ENGINE)
    assert words == {
        "name": "chat",
        "model": "tiny",
        "gpus": "2",
        "socket": "/run/engine/engine.sock",
        "model_directory": "/model",
        "draft_directory": "/draft",
        "adapters": ["legal=/adapters/legal"],
    }


def test_files_stand_with_their_whole_paths() -> None:
    instance = {**FILE, "model_file": "a/b.gguf", "draft_model": "small", "draft_file": "c.gguf"}
    words = _instance_words.words(instance, FILE_ENGINE)
    assert (words["model_file"], words["draft_file"], words["port"]) == ("/model/a/b.gguf", "/draft/c.gguf", "8080")


def test_a_list_stays_one_where_it_is_the_whole_text() -> None:
    values = {"adapters": ["a=/a", "b=/b"], "model": "tiny"}
    assert _instance_words.filled({"x": ["{adapters}", "{model}: {adapters}", 3, None]}, values) == {
        "x": [["a=/a", "b=/b"], "tiny: a=/a,b=/b", 3, None]
    }


def test_a_fault_in_an_engines_data_is_named() -> None:
    with pytest.raises(AirgapError, match=r"\{modell\} in '--x=\{modell\}'; they may use model"):
        _instance_words.fill("--x={modell}", {"model": "tiny"})


def test_other_braces_stay() -> None:
    assert _instance_words.fill('{"a": {}}{{ b }}', {}) == '{"a": {}}{{ b }}'
