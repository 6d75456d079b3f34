# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables here have the shape of real ones: an H100 with 80 GB, an A100 with 40 GB, branches 450 to 580."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _mig
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._gpu_change import Smi
from ansible_collections.airgap.inference.plugins.module_utils._mig import Layout, Profile
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.smi_simulator import Services, Simulator

REPORT = pathlib.Path(__file__).parent / "fixtures" / "nvidia_smi" / "h100-580.xml"
FIRST = "GPU-0a1b2c3d-1111-2222-3333-444455556666"

LGIP = """\
+-------------------------------------------------------------------------------+
| GPU instance profiles:                                                        |
| GPU   Name               ID    Instances   Memory     P2P    SM    DEC   ENC  |
|                                Free/Total   GiB              CE    JPEG  OFA  |
|===============================================================================|
|   0  MIG 1g.10gb         19     7/7        9.75       No     16     1     0   |
|                                                               1     1     0   |
+-------------------------------------------------------------------------------+
|   0  MIG 1g.10gb+me      20     1/1        9.75       No     16     1     0   |
|                                                               1     1     1   |
+-------------------------------------------------------------------------------+
|   0  MIG 1g.20gb         15     4/4        19.62      No     26     1     0   |
|                                                               1     1     0   |
+-------------------------------------------------------------------------------+
|   0  MIG 2g.20gb         14     3/3        19.62      No     32     2     0   |
|                                                               2     2     0   |
+-------------------------------------------------------------------------------+
|   0  MIG 3g.40gb          9     2/2        39.50      No     60     3     0   |
|                                                               3     3     0   |
+-------------------------------------------------------------------------------+
|   0  MIG 4g.40gb          5     1/1        39.50      No     64     4     0   |
|                                                               4     4     0   |
+-------------------------------------------------------------------------------+
|   0  MIG 7g.80gb          0     1/1        79.25      No     132    7     0   |
|                                                               8     7     1   |
+-------------------------------------------------------------------------------+
"""
LGIPP = """\
GPU  0 Profile ID 19 Placements: {0,1,2,3,4,5,6}:1
GPU  0 Profile ID 20 Placements: {0,1,2,3,4,5,6}:1
GPU  0 Profile ID 15 Placements: {0,2,4,6}:2
GPU  0 Profile ID 14 Placements: {0,2,4}:2
GPU  0 Profile ID  9 Placements: {0,4}:4
GPU  0 Profile ID  5 Placement : {0}:4
GPU  0 Profile ID  0 Placement : {0}:8
"""
LGI = """\
+-------------------------------------------------------+
| GPU instances:                                        |
| GPU   Name             Profile  Instance   Placement  |
|                          ID       ID       Start:Size |
|=======================================================|
|   0  MIG 1g.10gb         19       11          0:1     |
+-------------------------------------------------------+
|   0  MIG 1g.10gb+me      20        6          2:1     |
+-------------------------------------------------------+
|   0  MIG 3g.40gb          9        1          4:4     |
+-------------------------------------------------------+
"""
LCI = """\
+--------------------------------------------------------------------+
| Compute instances:                                                 |
| GPU     GPU       Name             Profile   Instance   Placement  |
|       Instance                       ID        ID       Start:Size |
|         ID                                                         |
|====================================================================|
|   0     11       MIG 1g.10gb          0         0          0:1     |
+--------------------------------------------------------------------+
|   0      6       MIG 1g.10gb+me       0         0          0:1     |
+--------------------------------------------------------------------+
|   0      1       MIG 3g.40gb          2         0          0:3     |
+--------------------------------------------------------------------+
"""


def test_profiles() -> None:
    profiles = _mig.read_profiles(LGIP, LGIPP)
    assert list(profiles) == ["1g.10gb", "1g.10gb+me", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"]
    assert profiles["3g.40gb"] == Profile(2, (0, 4), 4)
    assert profiles["7g.80gb"] == Profile(1, (0,), 8)
    assert _mig.read_profiles("No MIG-supported devices found.", "") == {}


def test_instances() -> None:
    assert _mig.read_layout(LGI, LCI) == Layout(True, ("3g.40gb", "1g.10gb", "1g.10gb+me"), True)
    assert _mig.read_layout("No GPU instances found: Not Found", "No compute instances found: Not Found") == Layout(
        True
    )


@pytest.mark.parametrize(
    "compute",
    [
        LCI.replace("MIG 3g.40gb   ", "MIG 1c.3g.40gb"),
        LCI.replace("|   0      1       MIG 3g.40gb          2         0          0:3     |\n", ""),
        "No compute instances found: Not Found",
    ],
    ids=["smaller", "missing", "none"],
)
def test_another_division_inside_is_another_layout(compute: str) -> None:
    assert _mig.read_layout(LGI, compute).whole is False


def test_compute_instances_of_the_first_branches_have_no_placement() -> None:
    old = "|   0      1       MIG 3g.20gb          2         0     |\n"
    assert _mig.read_layout("|   0  MIG 3g.20gb       9        1          4:4     |\n", old) == Layout(
        True, ("3g.20gb",)
    )


def test_the_largest_comes_first() -> None:
    wanted = ["1g.10gb", "MIG 3g.40gb", "1g.20gb", "4g.40gb"]
    assert _mig.ordered(wanted) == ("4g.40gb", "3g.40gb", "1g.20gb", "1g.10gb")


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (["3g.40gb", "3g.40gb"], None),
        (["4g.40gb", "2g.20gb", "1g.10gb"], None),
        (["3g.40gb", "2g.20gb", "1g.10gb", "1g.10gb"], None),
        (["1g.10gb"] * 7, None),
        (["2g.20gb", "2g.20gb", "2g.20gb", "1g.10gb"], None),
        (["3g.20gb"], "no profile 3g.20gb; it has 1g.10gb (at most 7), 1g.10gb+me"),
        (["1g.10gb"] * 8, "8 instances of 1g.10gb are too many"),
        (["1g.10gb+me"] * 2, "2 instances of 1g.10gb+me are too many"),
        (["3g.40gb", "3g.40gb", "1g.10gb"], "no room for 3g.40gb, 3g.40gb, 1g.10gb together"),
        (["7g.80gb", "1g.10gb"], "no room"),
    ],
    ids=["halves", "4-2-1", "3-2-1-1", "sevenths", "2-2-2-1", "unknown", "eight", "two-media", "full", "whole"],
)
def test_what_fits(wanted: list[str], reason: str | None) -> None:
    said = _mig.refusal(wanted, _mig.read_profiles(LGIP, LGIPP))
    assert (said is None) if reason is None else (reason in str(said))


def test_without_placements_only_numbers_are_checked() -> None:
    profiles = _mig.read_profiles(LGIP, "")
    assert _mig.refusal(["3g.40gb", "3g.40gb", "1g.10gb"], profiles) is None
    assert "too many" in str(_mig.refusal(["3g.40gb"] * 3, profiles))


@pytest.fixture
def gpus(tmp_path: pathlib.Path) -> Simulator:
    return Simulator(tmp_path, REPORT)


def converge(
    gpus: Simulator, *layout: dict[str, Any], check: bool = False, services: Services | None = None
) -> dict[str, Any]:
    (gpus.folder / "proc").mkdir(exist_ok=True)
    services = services or Services()
    smi = Smi(gpus.program, 20, run=services.run, bus=str(gpus.folder / "bus"), proc=str(gpus.folder / "proc"))
    return _mig.converge(smi, [{"gpus": ["all"], **entry} for entry in layout], check, [])


def test_a_gpu_is_divided(gpus: Simulator) -> None:
    result = converge(gpus, {"gpus": ["0"], "instances": ["1g.10gb", "3g.40gb", "2g.20gb"]})
    assert result["changed"] is True
    assert result["gpus"] == [
        {
            "index": 0,
            "uuid": FIRST,
            "before": {"mode": "disabled", "instances": []},
            "after": {"mode": "enabled", "instances": ["3g.40gb", "2g.20gb", "1g.10gb"]},
        }
    ]
    assert gpus.changed() == [f"-i {FIRST} -mig 1", f"mig -i {FIRST} -cgi 3g.40gb,2g.20gb,1g.10gb -C"]
    assert (gpus.instances(0), gpus.instances(1)) == (["3g.40gb", "2g.20gb", "1g.10gb"], [])
    assert result["commands"] == [
        [gpus.program, "-i", FIRST, "-mig", "1"],
        [gpus.program, "mig", "-i", FIRST, "-cgi", "3g.40gb,2g.20gb,1g.10gb", "-C"],
    ]


def test_check_run_check_run(gpus: Simulator) -> None:
    layout = {"instances": ["3g.40gb", "3g.40gb"]}
    foretold = converge(gpus, layout, check=True)
    assert (foretold["changed"], gpus.changed()) == (True, [])
    done = converge(gpus, layout)
    assert (done["gpus"], done["diff"]) == (foretold["gpus"], foretold["diff"])
    gpus.forget()
    for check in (True, False):
        again = converge(gpus, layout, check=check)
        assert (again["changed"], again["commands"], again["diff"]["after"]) == (False, done["commands"], "")
    assert gpus.changed() == []


def test_another_division_takes_the_place_of_the_first(gpus: Simulator) -> None:
    gpus.divide(0, "3g.40gb")
    converge(gpus, {"gpus": [FIRST.upper()], "instances": ["7g.80gb"]})
    assert gpus.changed() == [f"mig -i {FIRST} -dci", f"mig -i {FIRST} -dgi", f"mig -i {FIRST} -cgi 7g.80gb -C"]


def test_the_order_of_the_instances_does_not_matter(gpus: Simulator) -> None:
    gpus.divide(0, "1g.10gb", "3g.40gb", "1g.10gb")
    assert converge(gpus, {"gpus": ["0"], "instances": ["3g.40gb", "MIG 1g.10gb", "1g.10gb"]})["changed"] is False
    assert converge(gpus, {"gpus": ["0"], "instances": ["3g.40gb", "1g.10gb"]})["changed"] is True


def test_mig_is_switched_off(gpus: Simulator) -> None:
    gpus.divide(0, "3g.40gb")
    result = converge(gpus, {"instances": []})
    assert gpus.changed() == [f"mig -i {FIRST} -dci", f"mig -i {FIRST} -dgi", f"-i {FIRST} -mig 0"]
    assert (result["commands"], [gpu["index"] for gpu in result["gpus"]]) == ([], [0])


def test_a_gpu_instance_without_compute_instance_is_made_anew(gpus: Simulator) -> None:
    gpus.set(0, mig=1, mig_pending=1, gis=[{"id": 2, "profile": "3g.40gb", "start": 0, "cis": []}])
    assert converge(gpus, {"gpus": ["0"], "instances": ["3g.40gb"]})["changed"] is True
    assert gpus.state["gpus"][0]["gis"][0]["cis"] == ["3g.40gb"]


@pytest.mark.parametrize("check", [False, True], ids=["run", "check"])
def test_all_refusals_are_in_one_message_and_nothing_is_done(gpus: Simulator, check: bool) -> None:
    gpus.set(1, processes=[[4242, "/usr/bin/vllm"], [4243, "tritonserver"]])
    with pytest.raises(AirgapError) as raised:
        converge(
            gpus, {"gpus": ["0"], "instances": ["3g.20gb"]}, {"gpus": ["1"], "instances": ["7g.80gb"]}, check=check
        )
    message = str(raised.value)
    assert f"GPU 0 ({FIRST}, PCI 00000000:1B:00.0) cannot be divided into 3g.20gb: it has no profile 3g.20gb" in message
    assert (
        "PCI 00000000:43:00.0) is to be divided anew (off -> 7g.80gb), and it is in use by /usr/bin/vllm (process 4242)"
        in message
    )
    assert gpus.changed() == []


def test_a_gpu_in_use_may_stay_as_it_is(gpus: Simulator) -> None:
    gpus.divide(0, "7g.80gb")
    gpus.set(0, processes=[[4242, "vllm"]])
    assert converge(gpus, {"gpus": ["0"], "instances": ["7g.80gb"]})["changed"] is False


def test_a_gpu_without_mig(gpus: Simulator) -> None:
    gpus.fault("no_mig")
    with pytest.raises(
        AirgapError, match=r"GPU 0 .*NVIDIA H100 80GB HBM3, cannot be divided: nvidia-smi shows no MIG mode"
    ):
        converge(gpus, {"instances": ["7g.80gb"]})
    assert converge(gpus, {"instances": []})["changed"] is False


@pytest.mark.parametrize("token", ["2", "GPU-absent", "00000000:99:00.0"])
def test_a_gpu_that_is_not_there(gpus: Simulator, token: str) -> None:
    with pytest.raises(AirgapError, match=rf"layout\[0\]\.gpus names the GPU '{token}', which this host does not have"):
        converge(gpus, {"gpus": [token], "instances": []})


def test_a_gpu_that_is_named_twice(gpus: Simulator) -> None:
    with pytest.raises(AirgapError, match=r"layout\[1\]\.gpus names GPU 0 .* an entry before it names as well"):
        converge(gpus, {"instances": []}, {"gpus": ["00000000:1b:00.0"], "instances": []})


def test_a_mode_that_is_refused(gpus: Simulator) -> None:
    gpus.fault("mig_refused")
    with pytest.raises(
        AirgapError, match=r"MIG mode cannot be enabled: nvidia-smi says 'Unable to enable MIG Mode .*Not Supported"
    ):
        converge(gpus, {"instances": ["7g.80gb"]})


def test_a_profile_that_is_known_only_with_the_mode_on(gpus: Simulator) -> None:
    gpus.fault("profiles_need_mode")
    assert converge(gpus, {"instances": ["3g.20gb"]}, check=True)["changed"] is True
    with pytest.raises(AirgapError, match=r"it has no profile 3g\.20gb.*It is as it was before: off"):
        converge(gpus, {"instances": ["3g.20gb"]})
    assert gpus.state["gpus"][0]["mig"] == 0


def test_a_pending_mode_is_reset_without_the_watchers(gpus: Simulator) -> None:
    gpus.fault("ampere")
    services = Services("nvidia-dcgm.service", "nvidia-persistenced.service")
    result = converge(gpus, {"gpus": ["0"], "instances": ["7g.80gb"]}, services=services)
    assert (result["reboot_required"], gpus.instances(0)) == (False, ["7g.80gb"])
    assert f"--gpu-reset -i {FIRST}" in gpus.changed()
    assert services.calls == [
        "stop nvidia-dcgm.service",
        "stop nvidia-persistenced.service",
        "start nvidia-persistenced.service",
        "start nvidia-dcgm.service",
    ]


@pytest.mark.parametrize("fault", ["", "no_reset"])
def test_power_limits_survive_the_reset(gpus: Simulator, fault: str) -> None:
    gpus.fault("ampere")
    gpus.fault(fault)
    gpus.set(0, limit=450.0)
    gpus.set(1, limit=400.0)
    services = Services("nvidia-persistenced.service")
    services.gpus = gpus
    converge(gpus, {"gpus": ["0"], "instances": ["7g.80gb"]}, services=services)
    assert [gpu["limit"] for gpu in gpus.state["gpus"]] == [450.0, 400.0]
    assert services.calls[-1] == "start nvidia-persistenced.service"


def test_power_limits_survive_a_failure(gpus: Simulator) -> None:
    gpus.fault("ampere")
    gpus.fault("-cgi", "no")
    gpus.set(1, limit=400.0)
    services = Services("nvidia-persistenced.service")
    services.gpus = gpus
    with pytest.raises(AirgapError, match="nvidia-smi says 'no'"):
        converge(gpus, {"gpus": ["0"], "instances": ["7g.80gb"]}, services=services)
    assert gpus.state["gpus"][1]["limit"] == 400.0


@pytest.mark.parametrize("fault", ["no_reset", "fabric"])
def test_a_mode_that_waits_for_a_restart(gpus: Simulator, fault: str) -> None:
    gpus.fault("ampere")
    gpus.fault(fault)
    layout = {"gpus": ["0"], "instances": ["7g.80gb"]}
    result = converge(gpus, layout)
    assert (result["changed"], result["reboot_required"]) == (True, True)
    assert "MIG mode will be enabled after a restart" in result["reasons"][0]
    assert {"no_reset": "is not supported", "fabric": "NVSwitch"}[fault] in result["reasons"][0]
    again = converge(gpus, layout)
    assert (again["changed"], again["reboot_required"]) == (False, True)


def test_an_nvswitch_on_the_bus(gpus: Simulator) -> None:
    for device, (vendor, kind) in {
        "0000:01:00.0": ("0x10de", "0x068000"),
        "0000:02:00.0": ("0x10de", "0x030200"),
    }.items():
        folder = gpus.folder / "bus" / device
        folder.mkdir(parents=True)
        (folder / "vendor").write_text(vendor + "\n", encoding="utf-8")
        (folder / "class").write_text(kind + "\n", encoding="utf-8")
    gpus.fault("ampere")
    assert "NVSwitch" in converge(gpus, {"gpus": ["0"], "instances": ["7g.80gb"]})["reasons"][0]


def test_half_a_division_is_taken_back(gpus: Simulator) -> None:
    gpus.divide(0, "3g.40gb")
    gpus.fault("no_room", "1g.10gb")
    with pytest.raises(
        AirgapError, match=r"(?s)is 2g\.20gb: .*Insufficient Resources.*It is as it was before: 3g\.40gb"
    ):
        converge(gpus, {"gpus": ["0"], "instances": ["2g.20gb", "1g.10gb"]})
    assert gpus.instances(0) == ["3g.40gb"]


def test_an_instance_that_cannot_go_names_who_holds_it(gpus: Simulator) -> None:
    gpus.divide(0, "3g.40gb")
    gpus.fault("-dgi", "Unable to destroy GPU instance ID  2 from GPU  0: In use by another client")
    folder = gpus.folder / "proc" / "77" / "fd"
    folder.mkdir(parents=True)
    (folder / "9").symlink_to("/dev/nvidia0")
    (folder.parent / "comm").write_text("nv-hostengine\n", encoding="utf-8")
    with pytest.raises(
        AirgapError, match=r"mig -dgi says .*open in nv-hostengine \(process 77\).*could not be put back"
    ):
        converge(gpus, {"gpus": ["0"], "instances": []})


def test_what_was_done_before_a_failure_is_known(gpus: Simulator) -> None:
    gpus.fault("no_room", "1g.20gb")
    done: list[dict[str, Any]] = []
    smi = Smi(gpus.program, 20, run=Services().run, bus="/nowhere", proc=str(gpus.folder))
    layout = [{"gpus": ["0"], "instances": ["7g.80gb"]}, {"gpus": ["1"], "instances": ["1g.20gb"]}]
    with pytest.raises(AirgapError, match="GPU 1 "):
        _mig.converge(smi, layout, False, done)
    assert [gpu["index"] for gpu in done] == [0]
