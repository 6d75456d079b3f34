# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Planned or only described: what is to be seen is the same, as far as it is known."""

from __future__ import annotations

from ansible_collections.airgap.inference.plugins.module_utils import _acceptance


def test_described_instances_are_expanded() -> None:
    seen = _acceptance.instances(
        [
            {"name": "chat", "model": "tiny", "replicas": 2, "adapters": [{"name": "legal", "model": "tiny-legal"}]},
            {"name": "find", "model": "vectors", "task": "embed"},
        ]
    )
    assert [(entry["name"], entry["models"], entry["task"]) for entry in seen] == [
        ("chat-1", ["tiny", "legal"], "generate"),
        ("chat-2", ["tiny", "legal"], "generate"),
        ("find", ["vectors"], "embed"),
    ]
    assert seen[0] == {**seen[0], "probe": None, "relay": False, "may_be_root": False}


def test_a_plan_is_taken_as_it_is() -> None:
    probe = {"path": "/v1/completions", "body": {"model": "tiny"}, "expects": "text"}
    planned = {
        "name": "chat-1",
        "serves": ["tiny"],
        "task": "generate",
        "probe": probe,
        "listens": "tcp",
        "supports_user": False,
    }
    assert _acceptance.instances([planned]) == [
        {"name": "chat-1", "models": ["tiny"], "task": "generate", "probe": probe, "relay": True, "may_be_root": True}
    ]
