# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The site with one instance that starts in seconds: what is tried here brings the host down and up often, and vLLM takes a minute."""

from __future__ import annotations

import json
from typing import Iterator

import pytest
import site_under_test
from site_under_test import run_playbook

# Read after the site's own file, so that what it states counts.
STATED = site_under_test.REPOSITORY / ".cache/molecule/site/group_vars/all/small.yml"


@pytest.fixture(scope="session", autouse=True)
def with_one_small_engine() -> Iterator[None]:
    """``chat`` is another engine, and alone. By the name of their folder these tests come last: only a later deploy brings the site back."""
    (small,) = (instance for instance in site_under_test.instances() if instance["name"] == "small")
    chat = {**small, "name": "chat", "gpus": 1}
    del chat["replicas"]
    STATED.write_text(json.dumps({"airgap_instances": [chat]}))
    try:
        run = run_playbook("deploy")
        assert run.status == 0, run.output
        yield
    finally:
        STATED.unlink()
