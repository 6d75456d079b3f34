# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's hosts as fixtures, and a client's seat."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Iterator

import pytest
from testinfra.host import Host

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "shared"))

import seat as seats
import site_under_test


@pytest.fixture(scope="session")
def bastion() -> Host:
    """The bastion, which is the depot."""
    return site_under_test.lab_host("bastion")


@pytest.fixture(scope="session")
def gpu_host() -> Host:
    """The GPU host."""
    return site_under_test.lab_host("gpu1")


@pytest.fixture(scope="session")
def seat(bastion: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[seats.Seat]:
    """Where the room's clients ask from."""
    lab = site_under_test.lab()
    ca = bastion.file("/srv/airgap/ca.pem").content_string
    address = lab.described["room"]["hosts"]["gpu1"]["address"]
    with seats.way_to(lab.bastion, address, 443, tmp_path_factory.mktemp("seat") / "gateway.sock") as path:
        yield seats.Seat("gpu1", path, ca, site_under_test.client_keys())


@pytest.fixture
def mended() -> Iterator[None]:
    """Whatever was deployed, the site's own instances return."""
    yield
    run = site_under_test.run_playbook("deploy")
    assert run.status == 0, run.output
