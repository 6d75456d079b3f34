# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib

from ansible_collections.airgap.inference.plugins.module_utils._driver_users import User, named, users
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.driver_host import Machine


def test_who_holds_the_driver(tmp_path: pathlib.Path) -> None:
    machine = Machine(tmp_path)
    machine.user(20, "vllm", "docker-0a1b.scope", "/dev/nvidia-uvm")
    machine.user(3, "nv-hostengine", "nvidia-dcgm.service", "/dev/nvidiactl")
    machine.user(5, "bash", "", "/dev/null")
    assert users(str(tmp_path / "proc")) == [User(3, "nv-hostengine", "nvidia-dcgm.service"), User(20, "vllm", "")]


def test_a_unit_below_another_slice(tmp_path: pathlib.Path) -> None:
    machine = Machine(tmp_path)
    machine.user(3, "nvidia-persiste")
    (tmp_path / "proc" / "3" / "cgroup").write_text(
        "0::/docker/0a1b/system.slice/nvidia-persistenced.service\n", encoding="utf-8"
    )
    assert users(str(tmp_path / "proc"))[0].unit == "nvidia-persistenced.service"


def test_a_process_that_ended_meanwhile(tmp_path: pathlib.Path) -> None:
    (tmp_path / "7").mkdir()
    assert users(str(tmp_path)) == []


def test_the_real_one_is_read() -> None:
    assert isinstance(users(), list)
    assert os.getpid() not in [user.pid for user in users()]


def test_many_are_counted() -> None:
    assert named([User(1, "a", "b.service")]) == "a (process 1, b.service)"
    assert named([User(pid, "a", "") for pid in range(10)]).endswith(" and 2 more")
