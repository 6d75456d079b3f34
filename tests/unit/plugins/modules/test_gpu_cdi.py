# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.airgap.inference.plugins.module_utils import _cdi
from ansible_collections.airgap.inference.plugins.modules import gpu_cdi

# `cdi generate` writes what the host has now; `system create-device-nodes` is unknown to old versions.
NVIDIA_CTK = """#!/bin/sh
test "$1" = cdi || exit 2
test -e {root}/specification || {{ echo 'level=error msg="failed to initialize NVML: ERROR_DRIVER_NOT_LOADED"' >&2; exit 1; }}
cp {root}/specification "${{3#--output=}}"
echo "$NVIDIA_CTK_CDI_GENERATE_VENDOR" > {root}/asked
"""


def specification(*names: str) -> str:
    return "---\ncdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n" + "".join(
        f'    - name: "{name}"\n' for name in names
    )


class Machine:
    """A folder that stands for a host."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self.capsys = root, capsys
        self.file = root / "run/cdi/nvidia.yaml"
        program = root / "bin/nvidia-ctk"
        program.parent.mkdir()
        program.write_text(NVIDIA_CTK.format(root=root), encoding="utf-8")
        program.chmod(0o755)
        (root / "environment").write_text(f"{_cdi.OUTPUT_VARIABLE}={self.file}\nNVIDIA_CTK_CDI_GENERATE_VENDOR=x\n")
        monkeypatch.setenv("PATH", f"{root}/bin:{os.environ['PATH']}")
        monkeypatch.setattr(_cdi, "ENVIRONMENT", str(root / "environment"))

    def has(self, *names: str) -> None:
        (self.root / "specification").write_text(specification(*names), encoding="utf-8")

    def call(self, check: bool = False) -> dict[str, Any]:
        with patch_module_args({"_ansible_check_mode": check}), pytest.raises(SystemExit):
            gpu_cdi.main()
        result: dict[str, Any] = json.loads(self.capsys.readouterr().out)
        return result


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Machine:
    return Machine(tmp_path, monkeypatch, capsys)


def test_check_run_check_run(machine: Machine) -> None:
    machine.has("0", "1", "all")
    foretold = machine.call(check=True)
    assert (foretold["changed"], machine.file.exists()) == (True, False)
    done = machine.call()
    assert done == foretold
    assert done["devices"] == ["nvidia.com/gpu=0", "nvidia.com/gpu=1", "nvidia.com/gpu=all"]
    assert machine.file.read_text() == specification("0", "1", "all")
    assert machine.file.stat().st_mode & 0o777 == 0o644
    assert (machine.root / "asked").read_text() == "x\n"
    assert machine.call(check=True)["changed"] is False
    assert machine.call()["changed"] is False


def test_another_mig_layout_is_described(machine: Machine) -> None:
    machine.has("0", "all")
    machine.call()
    machine.has("0:0", "0:1", "all")
    result = machine.call()
    assert (result["changed"], result["devices"][:2]) == (True, ["nvidia.com/gpu=0:0", "nvidia.com/gpu=0:1"])
    assert result["diff"][0]["before"] == specification("0", "all")


def test_a_silent_driver_fails_and_in_check_mode_warns(machine: Machine) -> None:
    result = machine.call()
    assert "cannot describe the GPUs of this host" in result["msg"]
    assert "ERROR_DRIVER_NOT_LOADED" in result["msg"]
    foretold = machine.call(check=True)
    assert foretold["changed"] is True
    assert "ERROR_DRIVER_NOT_LOADED" in str(foretold["warnings"])


def test_no_gpu_is_a_failure_and_keeps_the_file(machine: Machine) -> None:
    machine.has("0")
    machine.call()
    machine.has("all")
    for check in (True, False):
        assert "describes no GPU" in machine.call(check=check)["msg"]
    assert machine.file.read_text() == specification("0")
