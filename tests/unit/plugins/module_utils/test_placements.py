# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many questions at once have the answers of each alone, and a bad one does not stop the others."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _placement_case, _placement_remedies, _placements
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils import placement_models as models


@pytest.fixture
def path(tmp_path: pathlib.Path) -> str:
    return models.write(tmp_path, models.LLAMA_8B)


def test_the_answer_is_that_of_one_alone(path: str) -> None:
    question = {"path": path, "gpus": [models.L4], "max_model_len": 65536}
    answer = _placements.answer(question)
    alone = _placement_remedies.place(_placement_case.read(question))
    assert {key: answer[key] for key in alone} == alone
    assert answer["verdict"] == "does not fit"
    assert len(answer["topics"]) == len(answer["reasons"])
    assert "memory" in answer["topics"]


def test_the_longest_that_fits(path: str) -> None:
    question = {"path": path, "gpus": [models.L4]}
    longest = _placements.answer(question)["largest_max_model_len"]
    answer = _placements.answer({**question, "max_model_len": _placements.AS_FITS})
    assert answer["max_model_len"] == longest < 131072
    assert answer["verdict"] in ("fits", "tight")


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ({}, "path None"),
        ({"path": 3}, "path 3"),
        ({"path": "/nowhere"}, "/nowhere"),
        ({"max_model_len": "long"}, "max_model_len is 'long'"),
        ({"max_model_len": 1.5}, "max_model_len is 1.5"),
        ({"tensor_parallel_size": True}, "tensor_parallel_size is True"),
        ({"tensor_parallel_size": 0}, "tensor_parallel_size is 0"),
        ({"gpu_memory_utilization": "all"}, "gpu_memory_utilization is 'all'"),
        ({"host": []}, "host is []"),
        ({"disks": {}}, "disks is {}"),
        ({"gpus": "two"}, "gpus is 'two'"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_bad_question_is_told_and_does_not_stop_the_others(path: str, question: dict[str, Any], words: str) -> None:
    bad = {} if not question else {"path": path, **question}
    found = _placements.answers([bad, {"path": path, "gpus": [models.H100]}])
    assert words in found[0]["error"]
    assert (found[1]["error"], found[1]["verdict"]) == (None, "fits")


def test_numbers_may_be_texts(path: str) -> None:
    answer = _placements.answer(
        {"path": path, "gpus": [models.H100], "max_model_len": "4096", "gpu_memory_utilization": "0.5"}
    )
    assert answer["max_model_len"] == 4096
