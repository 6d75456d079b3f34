# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two files of tests run at a time (pytest-xdist, `make staging`); which of them may not run beside each other."""

from __future__ import annotations

import pytest

# They share caches that outlive a run (drivers_room.lab_cache).
TOGETHER = ("test_driver_trial.py", "test_gpu_host_driver.py", "test_install_dnf.py", "test_packages_drivers.py")
# Minutes each: what begins last should end soon.
LONG = ("test_rehearse_instances.py", *TOGETHER, "test_engine_parsers.py")


# Before pytest-xdist reads the marks.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of a file stay in one process, as their rooms do."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group("drivers" if item.path.name in TOGETHER else item.path.stem))
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))
