# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Engines' data that a site brings are told what they lack, before anything is tried with them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _instance_engines
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.instances import ENGINE, FILE_ENGINE


def test_good_data_have_no_fault() -> None:
    assert _instance_engines.faults([ENGINE, FILE_ENGINE]) == []


def test_a_name_is_one_engine() -> None:
    assert _instance_engines.faults([ENGINE, FILE_ENGINE, ENGINE]) == [
        "engine vllm: two files of engines' data have this name; give the one in inference_engine_directories "
        "a name of its own, and instances that name as their engine."
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": None}, "engine without a name: its data lack name."),
        ({"container": {}}, "lack container.socket_directory."),
        ({"container": "x", "tasks": {}}, "lack container.socket_directory, tasks."),
        ({"listens": "tcp"}, "lack port."),
        (
            {"container": {**ENGINE["container"], "entrypoint": "image"}},
            "lack listens as tcp, which container.entrypoint: image needs.",
        ),
        (
            {"container": {**ENGINE["container"], "entrypoint": ["/serve"]}},
            "lack container.entrypoint as image (or nothing at all).",
        ),
        ({"tasks": ["generate"]}, "lack tasks by name."),
        (
            {"tasks": {"embed": {"api": [], "probe": {"path": "/x"}}}},
            "tasks.embed.probe.body, tasks.embed.probe.expects.",
        ),
        ({"tasks": {"embed": None}}, "tasks.embed.api, tasks.embed.probe.path"),
    ],
)
def test_what_is_lacking_is_named(changes: dict[str, Any], words: str) -> None:
    found = _instance_engines.faults([{**ENGINE, **changes}])
    assert len(found) == 1
    assert words in found[0]
