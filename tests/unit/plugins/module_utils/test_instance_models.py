# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A draft and adapters are refused where the engine cannot take them or the bundle lacks them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _instance_models
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.instances import (
    CHAT,
    ENGINE,
    FILE,
    FILE_ENGINE,
    LEGAL,
    MODELS,
)


def test_what_the_bundle_has_is_taken() -> None:
    own = {**CHAT, "draft_model": "small", "adapters": [LEGAL]}
    assert [*_instance_models.refusals(own, MODELS), *_instance_models.unsupported(own, ENGINE)] == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "huge"}, "model 'huge' is not in the bundle, which has file, legal-lora, small, tiny. Stage"),
        ({"model": None}, "model None is not in the bundle"),
        ({"draft_model": "huge"}, "draft_model 'huge' is not in the bundle"),
        ({"adapters": [{"name": "legal", "model": "huge"}]}, "adapters[0].model 'huge' is not in the bundle"),
        ({"adapters": [{"name": "a/b", "model": "small"}]}, "adapters[0].name is 'a/b'"),
        ({"adapters": [{"model": "small"}]}, "adapters[0].name is ''"),
        ({"adapters": [LEGAL, LEGAL]}, "adapters[1].name legal stands twice"),
        ({"adapters": [{**LEGAL, "rank": 8}]}, "adapters[0] has rank"),
        ({"adapters": {"legal": "legal-lora"}}, "it is a list such as"),
        ({"adapters": ["legal-lora"]}, "it is a list such as"),
    ],
)
def test_a_refusal_names_the_place(changes: dict[str, Any], words: str) -> None:
    found = list(_instance_models.refusals({**CHAT, **changes}, MODELS))
    assert len(found) == 1
    assert words in found[0]


def test_not_every_engine_takes_everything() -> None:
    engine = {**FILE_ENGINE, "container": {"model_directory": "/model"}}
    found = list(_instance_models.unsupported({**FILE, "draft_model": "small", "adapters": [LEGAL]}, engine))
    assert ["takes no draft" in found[0], "takes none here" in found[1]] == [True, True]
    assert "generation alone" in next(
        _instance_models.unsupported({**CHAT, "task": "embed", "draft_model": "small"}, ENGINE)
    )
