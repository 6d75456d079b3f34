# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replicas are instances of their own, and no GPU is given twice."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _instance_expand
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.instances import CHAT, LEGAL
from hypothesis import given
from hypothesis import strategies as st


def test_replicas_have_names_of_their_own_and_one_has_not() -> None:
    expanded = _instance_expand.expand([{**CHAT, "replicas": 2}, {**CHAT, "name": "one", "replicas": 1}])
    assert [(item["name"], item["base"], item["position"]) for item in expanded] == [
        ("chat-1", "chat", 0),
        ("chat-2", "chat", 0),
        ("one", "one", 1),
    ]
    assert not any("replicas" in item for item in expanded)


@pytest.mark.parametrize("count", [0, -1, 10**9, "2", True, None, 1.5])
def test_what_is_no_number_of_replicas_is_one(count: Any) -> None:
    assert [item["name"] for item in _instance_expand.expand([{**CHAT, "replicas": count}])] == ["chat"]


@given(st.lists(st.tuples(st.integers(min_value=0, max_value=8), st.integers(min_value=1, max_value=4)), max_size=8))
def test_no_gpu_is_given_twice_and_none_is_left_out(described: list[tuple[int, int]]) -> None:
    instances = [{"name": f"i{at}", "gpus": gpus, "replicas": many} for at, (gpus, many) in enumerate(described)]
    assigned = _instance_expand.assign_gpus(_instance_expand.expand(instances))
    assert [len(indices) for indices in assigned] == [gpus for gpus, many in described for _each in range(many)]
    total = sum(gpus * many for gpus, many in described)
    assert [index for indices in assigned for index in indices] == list(range(total))


def test_a_draft_and_adapters_are_models_that_it_needs() -> None:
    instance = {**CHAT, "draft_model": "small", "adapters": [LEGAL, {"name": "medical", "model": "legal-lora"}]}
    assert _instance_expand.model_names(instance) == ["tiny", "small", "legal-lora"]
    assert _instance_expand.serves(instance) == ["tiny", "legal", "medical"]


@pytest.mark.parametrize("adapters", [None, "legal", 3, {"name": "legal"}, ["legal"]])
def test_adapters_that_cannot_be_read_are_none(adapters: Any) -> None:
    assert _instance_expand.model_names({**CHAT, "adapters": adapters}) == ["tiny"]
