# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is set by the simulated nvidia-smi: MIG, ECC, power limits; and the fabric."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import fabricmanager
import gpu_state
import nvidia_ctk
import nvidia_smi
import nvidia_smi_settings
import pytest
import simulated_gpus
from airgap_lab import gpus
from gpu_state import State
from nvidia_smi_refusal import Refusal
from simulated_gpus import Host, Process

VERSION = "580.105.08"


@pytest.fixture(autouse=True)
def _root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)


def host(**changes: Any) -> Host:
    described = gpus.describe("gpu1")
    described.update(changes.pop("description", {}))
    return Host(described, VERSION, changes.pop("persistence", True), **changes)


def ask(asked: Host, line: str) -> str:
    return nvidia_smi.answer(asked, VERSION, line.split())


def refused(asked: Host, line: str) -> tuple[int, str]:
    with pytest.raises(Refusal) as refusal:
        ask(asked, line)
    return refusal.value.code, str(refusal.value)


def divided(*profiles: str) -> Host:
    asked = host()
    ask(asked, "-i 0 -mig 1")
    if profiles:
        ask(asked, f"mig -i 0 -cgi {','.join(profiles)} -C")
    return asked


def test_a_gpu_is_divided_as_in_the_guide() -> None:
    asked = divided()
    said = ask(asked, "mig -i 0 -cgi 9,1g.10gb -C").splitlines()
    assert said[0] == "Successfully created GPU instance ID  2 on GPU  0 using profile MIG 3g.40gb (ID  9)"
    assert said[1].endswith("compute instance ID  0 on GPU  0 GPU instance ID  2 using profile MIG 3g.40gb (ID  2)")
    assert "|   0  MIG 3g.40gb            9        2          4:4     |" in ask(asked, "mig -lgi").splitlines()
    assert ask(asked, "-L").splitlines()[1].startswith("  MIG 3g.40gb     Device  0: (UUID: MIG-")
    log = ElementTree.fromstring(ask(asked, "-q -x"))
    assert log.findtext("gpu/mig_mode/current_mig") == "Enabled"
    sizes = [device.findtext("fb_memory_usage/total") for device in log.findall("gpu/mig_devices/mig_device")]
    assert sizes == ["40448 MiB", "9984 MiB"]
    assert log.findall("gpu")[1].findtext("mig_devices") == "None"


def test_profiles_say_how_many_more_there_is_room_for() -> None:
    lines = ask(divided("3g.40gb", "1g.10gb"), "mig -i 0 -lgip").splitlines()
    free = {line.split()[3]: line.split()[5] for line in lines if " MIG " in line}
    assert free == {
        "1g.10gb": "3/7",
        "1g.10gb+me": "1/1",
        "1g.20gb": "1/4",
        "2g.20gb": "1/3",
        "3g.40gb": "0/2",
        "4g.40gb": "0/1",
        "7g.80gb": "0/1",
    }
    assert len({len(line) for line in lines}) == 1


def test_what_does_not_fit_is_refused_and_what_was_made_stays() -> None:
    asked = divided()
    code, said = refused(asked, "mig -i 0 -cgi 1g.10gb,7g.80gb -C")
    assert code == 23
    assert said.endswith(
        "using profile 7g.80gb: Insufficient Resources\nFailed to create GPU instances: Insufficient Resources"
    )
    assert ask(asked, "mig -i 0 -lgi").count("MIG 1g.10gb") == 1
    assert refused(asked, "mig -i 0 -cgi 9g.80gb")[1].splitlines()[0].endswith("9g.80gb: Invalid Argument")


def test_instances_go_in_order_and_not_while_somebody_computes() -> None:
    asked = divided("7g.80gb")
    assert refused(asked, "mig -dgi")[0] == 19
    asked.holders[0] = [Process(4711, "python3", 100)]
    assert "In use by another client" in refused(asked, "mig -dci")[1]
    assert "pending disable state" in ask(asked, "-i 0 -mig 0")
    asked.holders.clear()
    ask(asked, "mig -dci")
    ask(asked, "mig -dgi")
    assert refused(asked, "mig -lgi") == (6, "No GPU instances found: Not Found")
    ask(asked, "-i 0 -mig 0")
    assert refused(asked, "mig -lgi") == (6, "No MIG-enabled devices found.")


def test_a_gpu_that_cannot_be_divided() -> None:
    asked = host()
    for gpu in asked.gpus:
        gpu["name"] = "NVIDIA L4"
    assert ask(asked, "-mig 1").count("Not Supported") == 2
    assert ElementTree.fromstring(ask(asked, "-q -x")).findtext("gpu/mig_mode/current_mig") == "N/A"


def test_containers_get_mig_devices_in_place_of_the_divided_gpu() -> None:
    text = nvidia_ctk.specification(divided("3g.40gb", "3g.40gb"))
    for name in ("0:0", "0:1", "1", "all"):
        assert f'- name: "{name}"\n' in text
    assert '- name: "0"\n' not in text
    assert text.count('- name: "MIG-') == 2


def test_ecc_waits_for_a_reset_and_a_reset_for_an_idle_gpu() -> None:
    asked = host()
    assert ask(asked, "-i 1 -e 0").splitlines() == [
        "Disabled ECC support for GPU 00000000:29:00.0.",
        "All done.",
        "Reboot required.",
    ]
    query = "-i 1 --query-gpu=ecc.mode.current,ecc.mode.pending --format=csv,noheader"
    assert ask(asked, query) == "Enabled, Disabled"
    assert "1 device is currently being used" in refused(asked, "--gpu-reset -i 1")[1]
    asked.persistence = False
    assert ask(asked, "--gpu-reset -i 1") == "GPU 00000000:29:00.0 was successfully reset.\nAll done."
    assert ask(asked, query) == "Disabled, Disabled"


def test_a_gpu_behind_nvswitches_is_not_reset_alone() -> None:
    asked = host(description={"nvswitches": 4}, persistence=False)
    assert "GPU 00000000:18:00.0: Not Supported" in refused(asked, "--gpu-reset -i 0")[1]


def test_power_limits_have_a_range_and_need_persistence() -> None:
    asked = host()
    assert "should be between 200.00 W and 700.00 W for GPU 00000000:18:00.0" in refused(asked, "-pl 800")[1]
    assert "was set to 500.00 W from 700.00 W." in ask(asked, "-i 1 -pl 500")
    limits = "--query-gpu=power.limit --format=csv,noheader"
    assert ask(asked, limits).splitlines() == ["700.00 W", "500.00 W"]
    forgetful = host(persistence=False)
    assert "Warning: persistence mode is disabled" in ask(forgetful, "-pl 500")
    assert ask(forgetful, limits).splitlines() == ["700.00 W", "700.00 W"]


def test_what_a_restart_forgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_state, "LASTING", tmp_path / "lasting.json")
    monkeypatch.setattr(gpu_state, "VOLATILE", tmp_path / "volatile.json")
    asked = divided("3g.40gb")
    asked.gpus[1]["architecture"] = "Ampere"
    ask(asked, "-i 1 -mig 1")
    ask(asked, "-e 0")
    ask(asked, "-pl 300")
    assert asked.changed()
    asked.state.write({gpu["uuid"] for gpu in asked.gpus if nvidia_smi_settings.keeps_mig(gpu)})
    hopper, ampere = (gpu["uuid"] for gpu in asked.gpus)

    read = State.read()
    assert read == asked.state
    gpu_state.VOLATILE.unlink()
    read = State.read()
    assert (read.mig_mode(hopper), read.mig_mode(ampere)) == ((False, False), (True, True))
    assert read.ecc_mode(hopper) == (False, False)
    assert (read.instances, read.power) == ({}, {})


@pytest.mark.parametrize(
    ("keeper", "limits"),
    [("nobody", []), ("persistence", ["0", "1"]), ("fabric_manager", ["0", "1"]), ("process", ["1"])],
)
def test_what_an_idle_gpu_forgets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keeper: str, limits: list[str]
) -> None:
    for module, name in ((gpu_state, "LASTING"), (gpu_state, "VOLATILE"), (simulated_gpus, "DESCRIPTION")):
        monkeypatch.setattr(module, name, tmp_path / name)
    asked = host()
    (tmp_path / "DESCRIPTION").write_text(json.dumps(asked.description), encoding="utf-8")
    ask(asked, "-pl 300")
    ask(asked, "-e 0")
    asked.state.write(set())
    running = {"persistence": simulated_gpus.PERSISTENCED, "fabric_manager": simulated_gpus.FABRICMANAGER}.get(keeper)
    holders = {1: [Process(12, "sleep", 0)]} if keeper == "process" else {}
    monkeypatch.setattr(simulated_gpus, "_runs", lambda file: file == running)
    monkeypatch.setattr(simulated_gpus, "_holders", lambda: holders)
    monkeypatch.setattr(simulated_gpus, "_loaded_driver", lambda: VERSION)
    for read in (simulated_gpus.read(), simulated_gpus.read()):
        assert set(read.state.power) == {asked.gpus[int(index)]["uuid"] for index in limits}
        assert read.state.ecc_mode(asked.gpus[0]["uuid"]) == (True, False)
        assert not read.changed()


@pytest.mark.parametrize(
    ("description", "fabric_manager", "state"),
    [
        ({}, False, "N/A N/A"),
        ({"nvswitches": 4}, False, "In Progress N/A"),
        ({"nvswitches": 4}, True, "Completed Success"),
        ({"nvlink5": True}, True, "Completed Success"),
        ({"nvswitches": 4, "faults": {"fabric_not_ready": True}}, True, "In Progress N/A"),
    ],
)
def test_the_fabric_is_ready_while_its_manager_runs(
    description: dict[str, Any], fabric_manager: bool, state: str
) -> None:
    log = ElementTree.fromstring(ask(host(description=description, fabric_manager=fabric_manager), "-q -x"))
    assert f"{log.findtext('gpu/fabric/state')} {log.findtext('gpu/fabric/status')}" == state


def test_the_fabric_manager_wants_switches_and_its_own_driver() -> None:
    switched = host(description={"nvswitches": 4})
    assert fabricmanager.refusal(switched, VERSION, subnet_manager=False) == ""
    assert "NV_WARN_NOTHING_TO_DO" in fabricmanager.refusal(host(), VERSION, subnet_manager=True)
    assert "version 580.95.05 don't match with driver version 580.105.08." in fabricmanager.refusal(
        switched, "580.95.05", subnet_manager=True
    )
    nvlink5 = host(description={"nvlink5": True})
    assert "nvlsm" in fabricmanager.refusal(nvlink5, VERSION, subnet_manager=False)
    assert fabricmanager.refusal(nvlink5, VERSION, subnet_manager=True) == ""


def test_processes_are_those_of_the_description_and_those_that_hold_the_device() -> None:
    asked = host(holders={0: [Process(12, "sleep", 0)]})
    asked.gpus[0]["processes"] = [{"pid": 4711, "name": "python3", "memory_mib": 100}]
    log = ElementTree.fromstring(ask(asked, "-q -x -i 0"))
    assert [process.findtext("pid") for process in log.findall("gpu/processes/process_info")] == ["4711", "12"]
    assert log.findtext("gpu/fb_memory_usage/used") == "100 MiB"
    assert log.findtext("attached_gpus") == "2"


def test_faults_of_a_gpu_show_in_the_report() -> None:
    asked = host()
    asked.gpus[1]["faults"] = {"row_remap_failure": True, "throttle": ["hw_slowdown"], "rows_remapped": 2}
    gpu = ElementTree.fromstring(ask(asked, "-q -x")).findall("gpu")[1]
    assert gpu.findtext("remapped_rows/remapped_row_failure") == "Yes"
    assert gpu.findtext("remapped_rows/remapped_row_unc") == "2"
    active = [reason.tag for reason in gpu.findall("clocks_event_reasons/*") if reason.text == "Active"]
    assert active == ["clocks_event_reason_hw_slowdown"]
