# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's hosts as fixtures."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from testinfra.host import Host

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "shared"))

import site_under_test


@pytest.fixture(scope="session")
def bastion() -> Host:
    """The bastion, which is the depot."""
    return site_under_test.lab_host("bastion")


@pytest.fixture(scope="session")
def gpu_host() -> Host:
    """The GPU host."""
    return site_under_test.lab_host("gpu1")
