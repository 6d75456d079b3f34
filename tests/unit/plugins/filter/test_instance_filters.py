# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters take what their documentation lists, and a plan holds what it says."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import yaml
from ansible_collections.airgap.inference.plugins.filter import instance_plan, instance_refusals
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.instances import (
    CHAT,
    ENGINE,
    IMAGES,
    MODELS,
)


@pytest.mark.parametrize("plugin", [instance_plan, instance_refusals], ids=["plan", "refusals"])
def test_a_filter_takes_what_it_documents(plugin: Any) -> None:
    documented = yaml.safe_load(plugin.DOCUMENTATION)
    taken = inspect.signature(plugin.FilterModule().filters()[documented["name"]]).parameters
    required = [name for name, option in documented["options"].items() if option.get("required")]
    assert list(taken)[1:] == [name for name in documented["options"] if name != "_input"]
    assert [name for name, parameter in taken.items() if parameter.default is inspect.Parameter.empty][1:] == required[
        1:
    ]


def test_a_plan_holds_what_it_documents() -> None:
    contained = yaml.safe_load(instance_plan.RETURN)["_value"]["contains"]
    planned = instance_plan.FilterModule().filters()["instance_plan"]([CHAT], [ENGINE], IMAGES, MODELS)
    assert list(planned[0]) == list(contained)


def test_a_good_instance_has_no_refusal() -> None:
    refusals = instance_refusals.FilterModule().filters()["instance_refusals"]
    assert refusals([CHAT], [ENGINE], IMAGES, MODELS, expected={"name": "H100"}) == []
