# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two files of tests run at a time (pytest-xdist, `make staging`): the longest first, and those that share caches in turns."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator

import pytest

# They share caches that outlive a run (drivers_room.lab_cache).
TURNS = ("test_driver_trial.py", "test_gpu_host_driver.py", "test_install_dnf.py", "test_packages_drivers.py")
# Minutes each: what begins last should end soon.
LONG = ("test_rehearse_instances.py", "test_driver_trial.py", "test_engine_parsers.py", "test_packages_drivers.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@pytest.fixture(scope="module", autouse=True)
def turn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One file at a time, of those that share caches."""
    if request.path.name not in TURNS:
        yield
        return
    # What is above each process's own.
    with (tmp_path_factory.getbasetemp().parent / "turn.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
