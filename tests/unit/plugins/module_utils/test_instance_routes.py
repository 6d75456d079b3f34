# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What instances mean together: names of units, and names that clients ask for."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _instance_routes
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.instances import CHAT, ENGINES, FILE, LEGAL


def told(*instances: dict[str, Any]) -> list[tuple[int, str]]:
    return list(_instance_routes.refusals(instances, ENGINES))


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ({}, {}, "the name chat stands twice"),
        ({"replicas": 2}, {"replicas": 3}, "the name chat stands twice"),
        ({"replicas": 2}, {"name": "chat-2"}, "chat-2 is the name of another instance as well"),
        ({"name": "chat-1"}, {"replicas": 2}, "chat-1 is the name of another instance as well"),
    ],
)
def test_names_of_units_are_told_once(first: dict[str, Any], second: dict[str, Any], words: str) -> None:
    found = told({**CHAT, **first}, {**CHAT, **second})
    assert [position for position, _reason in found] == [1]
    assert words in found[0][1]


def test_instances_without_a_name_are_told_elsewhere() -> None:
    assert told({**CHAT, "name": ""}, {**CHAT, "name": ""}) == []


def test_instances_of_one_model_are_one_route() -> None:
    other = {**CHAT, "name": "other", "adapters": [LEGAL]}
    assert told({**CHAT, "replicas": 3, "adapters": [LEGAL]}, other) == []
    # Another engine that takes the same requests is none the worse.
    assert told({**CHAT, "model": "file"}, FILE) == []


def test_one_name_cannot_be_asked_in_two_ways() -> None:
    found = told(CHAT, {**CHAT, "name": "vectors", "task": "embed", "replicas": 2})
    assert [position for position, _reason in found] == [1]
    assert "it serves tiny for embed with vllm, and the instance chat does for generate" in found[0][1]


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (
            {},
            {"model": "small", "adapters": [{"name": "tiny", "model": "x"}]},
            "that is the model tiny in the instance chat",
        ),
        ({"adapters": [LEGAL]}, {"model": "small", "adapters": [LEGAL]}, "the adapter legal-lora on tiny"),
        (
            {"adapters": [LEGAL]},
            {"adapters": [{"name": "legal", "model": "x"}]},
            "clients would ask for the adapter x on tiny",
        ),
    ],
)
def test_one_name_means_one_model(first: dict[str, Any], second: dict[str, Any], words: str) -> None:
    found = told({**CHAT, **first}, {**CHAT, "name": "other", **second})
    assert len(found) == 1
    assert words in found[0][1]


def test_an_adapter_is_not_its_own_model() -> None:
    assert "a name means one model" in told({**CHAT, "adapters": [{"name": "tiny", "model": "x"}]})[0][1]


def test_an_engine_that_is_not_known_has_no_api() -> None:
    assert told(CHAT, {**CHAT, "name": "other", "engine": "x"}) == []
