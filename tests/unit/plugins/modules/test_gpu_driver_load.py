# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.airgap.inference.plugins.module_utils import _driver_load
from ansible_collections.airgap.inference.plugins.module_utils._driver_services import Said
from ansible_collections.airgap.inference.plugins.modules import gpu_driver_load
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.driver_host import Machine


def call(capsys: pytest.CaptureFixture[str], check: bool = False, **arguments: object) -> dict[str, Any]:
    with patch_module_args({**arguments, "_ansible_check_mode": check}), pytest.raises(SystemExit):
        gpu_driver_load.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


@pytest.fixture
def machine(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path)
    monkeypatch.setattr(_driver_load, "Host", machine.host)
    return machine


def test_check_run_check_run(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    foretold = call(capsys, check=True)
    assert (foretold["changed"], machine.changed()) == (True, [])
    done = call(capsys)
    assert (done["changed"], done["loaded"]) == (True, foretold["loaded"])
    assert done["diff"]["after"] == "loaded driver: 580.105.08 (open)\n"
    assert call(capsys, check=True)["changed"] is False
    assert call(capsys)["changed"] is False


def test_a_failure_says_what_was_done_before_it(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.loaded("580.95.05")
    machine.answers["modprobe nvidia"] = Said(1, "modprobe: ERROR: could not insert 'nvidia': No such device")
    result = call(capsys)
    assert (result["failed"], result["changed"]) == (True, True)
    assert result["actions"] == ["unloaded the driver 580.95.05 (open)"]
