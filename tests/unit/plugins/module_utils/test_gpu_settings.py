# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _gpu_settings
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._gpu_change import Smi
from ansible_collections.airgap.inference.plugins.module_utils._gpu_settings import Outcome, Wanted
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.smi_simulator import Services, Simulator

REPORT = pathlib.Path(__file__).parent / "fixtures" / "nvidia_smi" / "h100-580.xml"
FIRST = "GPU-0a1b2c3d-1111-2222-3333-444455556666"
SECOND = "GPU-0a1b2c3d-1111-2222-3333-777788889999"


@pytest.fixture
def gpus(tmp_path: pathlib.Path) -> Simulator:
    return Simulator(tmp_path, REPORT)


def converge(
    gpus: Simulator,
    watts: float | None = None,
    ecc: bool | None = None,
    names: str = "all",
    check: bool = False,
    services: Services | None = None,
    outcome: Outcome | None = None,
) -> dict[str, Any]:
    smi = Smi(gpus.program, 20, run=(services or Services()).run, bus=str(gpus.folder / "bus"), proc=str(gpus.folder))
    return _gpu_settings.converge(smi, [names], Wanted(watts, ecc), check, outcome or Outcome([], [], []))


def test_the_power_is_limited(gpus: Simulator) -> None:
    result = converge(gpus, 500)
    assert gpus.changed() == [f"-i {FIRST} -pl 500", f"-i {SECOND} -pl 500"]
    assert [gpu["after"]["power_limit_watts"] for gpu in result["gpus"]] == [500.0, 500.0]
    assert result["commands"] == [[gpus.program, "-i", uuid, "-pl", "500"] for uuid in (FIRST, SECOND)]
    assert "power limit 700.0 W, ECC enabled\n" in result["diff"]["before"]


def test_check_run_check_run(gpus: Simulator) -> None:
    foretold = converge(gpus, 350.5, False, check=True)
    assert (foretold["changed"], gpus.changed()) == (True, [])
    done = converge(gpus, 350.5, False)
    assert done["changed"] is True
    gpus.forget()
    for check in (True, False):
        again = converge(gpus, 350.5, False, check=check)
        assert (again["changed"], again["reasons"], again["commands"]) == (False, [], done["commands"])
    assert gpus.changed() == []


def test_only_what_is_named(gpus: Simulator) -> None:
    assert [gpu["index"] for gpu in converge(gpus, 500, names="1")["gpus"]] == [1]
    assert gpus.changed() == [f"-i {SECOND} -pl 500"]


def test_nothing_stated_changes_nothing(gpus: Simulator) -> None:
    assert converge(gpus)["changed"] is False
    assert (gpus.changed(), converge(gpus)["commands"]) == ([], [])


@pytest.mark.parametrize("watts", [199.0, 701.0])
@pytest.mark.parametrize("check", [False, True], ids=["run", "check"])
def test_a_limit_that_no_gpu_takes(gpus: Simulator, watts: float, check: bool) -> None:
    with pytest.raises(AirgapError) as raised:
        converge(gpus, watts, False, check=check)
    assert f"power_limit_watts is {watts:g}, and GPU 0 ({FIRST}, PCI 00000000:1B:00.0) takes 200 to 700 W" in str(
        raised.value
    )
    assert f"GPU 1 ({SECOND}" in str(raised.value)
    assert gpus.changed() == []


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("no_power", "has no power limit that could be set"),
        ("no_ecc", "has no ECC that could be switched"),
        ("no_persistence", "persistence is off on GPU 0 .*Start nvidia-persistenced"),
    ],
)
def test_what_a_gpu_lacks(gpus: Simulator, fault: str, reason: str) -> None:
    gpus.fault(fault)
    with pytest.raises(AirgapError, match=reason):
        converge(gpus, 500, True)
    assert gpus.changed() == []


def test_check_mode_does_not_ask_for_persistence(gpus: Simulator) -> None:
    gpus.fault("no_persistence")
    assert converge(gpus, 500, check=True)["changed"] is True


def test_a_limit_that_another_one_undercuts_is_a_warning(gpus: Simulator) -> None:
    gpus.fault("floor", 600.0)
    outcome = Outcome([], [], [])
    assert converge(gpus, 500, names="0", outcome=outcome)["changed"] is True
    assert "power_limit_watts is 500, and the limit in force is 600 W" in outcome.warnings[0]
    assert converge(gpus, 500, names="0")["changed"] is False


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("power_refused", "cannot be set to 500 W: nvidia-smi says 'Failed to set"),
        ("ecc_refused", "ECC cannot be disabled"),
    ],
)
def test_what_nvidia_smi_refuses(gpus: Simulator, fault: str, said: str) -> None:
    gpus.fault(fault)
    with pytest.raises(AirgapError, match=said):
        converge(gpus, 500, False)


def test_ecc_comes_with_a_reset_and_the_limit_after_it(gpus: Simulator) -> None:
    services = Services("nvidia-persistenced.service")
    result = converge(gpus, 500, False, names="0", services=services)
    assert gpus.changed() == [f"-i {FIRST} -e 0", f"--gpu-reset -i {FIRST}", f"-i {FIRST} -pl 500"]
    assert services.calls == ["stop nvidia-persistenced.service", "start nvidia-persistenced.service"]
    assert (result["reboot_required"], result["gpus"][0]["after"]) == (
        False,
        {"power_limit_watts": 500.0, "ecc": "disabled", "ecc_pending": "disabled"},
    )


def test_the_reset_of_one_gpu_takes_no_limit_from_another(gpus: Simulator) -> None:
    services = Services("nvidia-persistenced.service")
    services.gpus = gpus
    result = converge(gpus, 500, False, services=services)
    assert [gpu["limit"] for gpu in gpus.state["gpus"]] == [500.0, 500.0]
    assert [gpu["after"]["power_limit_watts"] for gpu in result["gpus"]] == [500.0, 500.0]
    # All resets, and only then the limits.
    kinds = [call.split()[0] if "reset" in call else call.split()[2] for call in gpus.changed()]
    assert kinds == ["-e", "--gpu-reset", "-e", "--gpu-reset", "-pl", "-pl"]


@pytest.mark.parametrize("fault", ["", "no_reset"])
def test_limits_that_are_not_stated_survive_a_reset(gpus: Simulator, fault: str) -> None:
    gpus.set(0, limit=450.0)
    gpus.set(1, limit=400.0)
    gpus.fault(fault)
    services = Services("nvidia-persistenced.service")
    services.gpus = gpus
    result = converge(gpus, ecc=False, names="0", services=services)
    assert [gpu["limit"] for gpu in gpus.state["gpus"]] == [450.0, 400.0]
    assert [gpu["index"] for gpu in result["gpus"]] == [0]


def test_a_limit_that_cannot_be_set_again_is_an_error(gpus: Simulator) -> None:
    gpus.set(1, limit=400.0)
    gpus.fault("power_refused")
    services = Services("nvidia-persistenced.service")
    services.gpus = gpus
    outcome = Outcome([], [], [])
    with pytest.raises(AirgapError, match=r"GPU 1 .* had a power limit of 400 W, which it lost .*Insufficient"):
        converge(gpus, ecc=False, names="0", services=services, outcome=outcome)
    assert [gpu["after"]["ecc"] for gpu in outcome.gpus] == ["disabled"]


@pytest.mark.parametrize("obstacle", ["in use", "divided", "NVSwitch", "not supported"])
def test_ecc_that_waits_for_a_restart(gpus: Simulator, obstacle: str) -> None:
    if obstacle == "in use":
        gpus.set(0, processes=[[4242, "vllm"]])
    elif obstacle == "divided":
        gpus.divide(0, "3g.40gb")
    else:
        gpus.fault({"NVSwitch": "fabric", "not supported": "no_reset"}[obstacle])
    services = Services("nvidia-persistenced.service")
    result = converge(gpus, ecc=False, names="0", services=services)
    assert (result["changed"], result["reboot_required"]) == (True, True)
    assert f"GPU 0 ({FIRST}, PCI 00000000:1B:00.0): ECC will be disabled after a restart" in result["reasons"][0]
    assert obstacle in result["reasons"][0]
    assert bool(services.calls) is (obstacle == "not supported")
    assert "ECC enabled (disabled after a restart)" in result["diff"]["after"]
    again = converge(gpus, ecc=False, names="0")
    assert (again["changed"], again["reboot_required"]) == (False, True)


def test_a_pending_change_is_taken_back(gpus: Simulator) -> None:
    gpus.set(0, ecc_pending=0)
    assert converge(gpus, ecc=True, names="0")["reboot_required"] is False
    assert gpus.changed() == [f"-i {FIRST} -e 1"]
