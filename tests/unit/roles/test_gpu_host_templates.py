# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role gpu_host leaves for the next start of a host, run against the simulated nvidia-smi."""

from __future__ import annotations

import configparser
import subprocess
from pathlib import Path

import pytest
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.smi_simulator import Simulator
from ansible_collections.airgap.inference.tests.unit.roles.rendering import REPOSITORY, render

REPORT = REPOSITORY / "tests/unit/plugins/module_utils/fixtures/nvidia_smi/h100-580.xml"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered once, with the program's path for a value that has to be quoted."""
    folder = tmp_path_factory.mktemp("gpu host")
    gpus = Simulator(folder, REPORT)
    first, second = gpus.state["uuids"]
    commands = [
        [gpus.program, "-i", first, "-pl", "500"],
        [gpus.program, "-i", second, "-pl", "500"],
        [gpus.program, "-i", first, "-mig", "1"],
        [gpus.program, "mig", "-i", first, "-cgi", "3g.40gb,1g.10gb,1g.10gb", "-C"],
    ]
    render("gpu_host", ["gpu-boot", "airgap-gpu.service"], {"__gpu_host_boot_commands": commands}, folder / "rendered")
    return folder


@pytest.fixture
def gpus(home: Path) -> Simulator:
    return Simulator(home, REPORT)


def boot(home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", str(home / "rendered/gpu-boot")], capture_output=True, text=True, check=False)


def test_a_start_makes_the_layout(home: Path, gpus: Simulator) -> None:
    done = boot(home)
    assert (done.returncode, done.stderr) == (0, "")
    assert (gpus.instances(0), gpus.instances(1)) == (["3g.40gb", "1g.10gb", "1g.10gb"], [])
    assert [gpu["limit"] for gpu in gpus.state["gpus"]] == [500.0, 500.0]


def test_run_again_it_leaves_instances_alone(home: Path, gpus: Simulator) -> None:
    boot(home)
    gpus.forget()
    assert boot(home).returncode == 0
    assert not any("-cgi" in call for call in gpus.state["calls"])


def test_a_failure_does_not_keep_the_other_gpus_from_theirs(home: Path, gpus: Simulator) -> None:
    gpus.fault("power_refused")
    done = boot(home)
    assert done.returncode == 1
    assert done.stderr.count("failed with exit status 4") == 2
    assert gpus.instances(0) == ["3g.40gb", "1g.10gb", "1g.10gb"]


def test_the_unit_comes_before_those_who_look_for_instances(home: Path) -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string((home / "rendered/airgap-gpu.service").read_text(encoding="utf-8"))
    assert {"docker.service", "nvidia-cdi-refresh.service", "airgap-cdi.service"} <= set(unit["Unit"]["Before"].split())
    assert "nvidia-persistenced.service" in unit["Unit"]["After"].split()
    assert unit["Service"]["Type"] == "oneshot"
