# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A preset is data: options for all GPUs, and others for those of a generation."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _instance_presets
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.instances import CHAT, ENGINE


@pytest.mark.parametrize(
    ("expected", "generation"),
    [
        ({"name": "H100", "count": 8}, "hopper"),
        ({"name": "L40S"}, "ada"),
        ({"name": "B200"}, "blackwell"),
        ({"compute_capability": "8.6"}, "ampere"),
        ({"compute_capability": 12.0}, "blackwell"),
        ({"name": "T4"}, "turing"),
        ({"name": "P40"}, ""),
        ({"name": "nothing"}, ""),
        ({"count": 2}, ""),
        ({}, ""),
        (None, ""),
        ("H100", ""),
    ],
)
def test_a_generation_by_what_the_inventory_states(expected: Any, generation: str) -> None:
    assert _instance_presets.generation(expected) == generation


@pytest.mark.parametrize(
    ("gpus", "generation", "seqs"), [(1, "hopper", 1024), (1, "ada", 256), (1, "", 256), (0, "hopper", 256)]
)
def test_what_is_for_a_generation_replaces_what_is_for_any(gpus: int, generation: str, seqs: int) -> None:
    instance = {**CHAT, "gpus": gpus, "preset": "throughput"}
    assert _instance_presets.options(instance, ENGINE, generation) == {
        "performance_mode": "throughput",
        "max_num_seqs": seqs,
    }


def test_no_preset_is_no_option() -> None:
    assert _instance_presets.options(CHAT, ENGINE, "hopper") == {}
    assert _instance_presets.options({**CHAT, "preset": "latency"}, {"name": "x"}) == {}
