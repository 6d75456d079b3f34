# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The XML here has the shape of real reports of the driver branches 418 to 590; its values are made up."""

from __future__ import annotations

import pathlib

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _gpu_report
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

FIXTURES = pathlib.Path(__file__).parent / "fixtures" / "nvidia_smi"
REPORTS = sorted(path.name for path in FIXTURES.glob("*.xml"))


def report(name: str) -> str:
    return (FIXTURES / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", REPORTS)
def test_every_branch_is_read(name: str) -> None:
    described = _gpu_report.parse(report(name))
    assert described["driver_version"].split(".")[0] in name
    assert described["cuda_version"]
    for index, gpu in enumerate(described["gpus"]):
        assert gpu["index"] == index
        assert gpu["uuid"].startswith("GPU-")
        assert gpu["name"].startswith(("NVIDIA ", "Tesla "))
        assert gpu["pci_address"].startswith("00000000:")
        assert isinstance(gpu["persistence"], bool)
        assert gpu["power_limit_watts"] is None or gpu["power_limit_watts"] > 0
        assert (gpu["ecc_mode"], gpu["mig_mode"]) == (gpu["ecc"]["mode"], gpu["mig"]["mode"])


def test_a_data_centre_gpu() -> None:
    described = _gpu_report.parse(report("h100-580.xml"))
    assert described["driver_version"] == "580.95.05"
    assert described["cuda_version"] == "13.0"
    assert [gpu["pci_address"] for gpu in described["gpus"]] == ["00000000:1B:00.0", "00000000:43:00.0"]
    assert described["gpus"][0] == {
        "index": 0,
        "uuid": "GPU-0a1b2c3d-1111-2222-3333-444455556666",
        "name": "NVIDIA H100 80GB HBM3",
        "architecture": "Hopper",
        "compute_capability": None,
        "serial": "1650000000001",
        "pci_address": "00000000:1B:00.0",
        "memory_mib": 81559,
        "memory_used_mib": 4,
        "persistence": True,
        "ecc_mode": "enabled",
        "ecc": {
            "mode": "enabled",
            "pending": "enabled",
            "volatile_corrected": 0,
            "volatile_uncorrected": 0,
            "aggregate_corrected": 0,
            "aggregate_uncorrected": 0,
            "sram_threshold_exceeded": False,
            "channel_repair_pending": None,
            "tpc_repair_pending": None,
            "unrepairable_memory": None,
        },
        "row_remap": {"corrected": 0, "uncorrected": 0, "pending": False, "failure": False},
        "retired_pages": {"single_bit": None, "double_bit": None, "pending": None},
        "mig_mode": "disabled",
        "mig": {"mode": "disabled", "pending": "disabled", "instances": []},
        "temperature_celsius": 31,
        "power_limit_watts": 700.0,
        "power": {"draw": 71.4, "limit": 700.0, "default_limit": 700.0, "min_limit": 200.0, "max_limit": 700.0},
        "throttle_reasons": [],
        "clock_reasons": ["gpu_idle"],
        "recovery_action": "None",
        "fabric": {
            "state": "Completed",
            "status": "Success",
            "clique_id": "0",
            "cluster_uuid": "00000000-0000-0000-0000-000000000000",
        },
        "processes": [],
        "vbios_version": "96.00.A5.00.01",
    }


def test_a_workstation_gpu_lacks_what_it_lacks() -> None:
    gpu = _gpu_report.parse(report("t4-470.xml"))["gpus"][0]
    assert (gpu["ecc_mode"], gpu["mig_mode"], gpu["serial"], gpu["architecture"]) == (None, None, None, None)
    assert gpu["persistence"] is False
    assert gpu["power_limit_watts"] == 70.0
    assert (gpu["fabric"], gpu["recovery_action"], gpu["mig"]["instances"]) == (None, None, [])
    assert set(gpu["row_remap"].values()) == {None}


def test_an_instance_of_a_divided_gpu_is_not_taken_for_the_gpu() -> None:
    gpu = _gpu_report.parse(report("a100-mig-535.xml"))["gpus"][0]
    assert (gpu["memory_mib"], gpu["mig_mode"]) == (81920, "enabled")


def test_a_gpu_that_shares_the_memory_of_its_host() -> None:
    gpu = _gpu_report.parse(report("gb10-590.xml"))["gpus"][0]
    assert gpu["memory_mib"] is None


def test_instances_and_processes() -> None:
    first, second = _gpu_report.parse(report("h100-mig-575.xml"))["gpus"]
    assert first["mig"]["instances"][0] == {
        "index": 0,
        "gi_id": 1,
        "ci_id": 0,
        "profile": None,
        "uuid": None,
        "memory_mib": 40448,
        "memory_used_mib": 44,
        "multiprocessors": 60,
    }
    assert [instance["gi_id"] for instance in first["mig"]["instances"]] == [1, 9, 11]
    assert first["processes"] == [
        {"pid": 4711, "name": "/usr/bin/python3", "type": "C", "memory_mib": 21360, "gi_id": 1, "ci_id": 0}
    ]
    assert (second["mig_mode"], second["mig"]["instances"]) == ("disabled", [])
    assert [(process["pid"], process["memory_mib"], process["gi_id"]) for process in second["processes"]] == [
        (5001, 70312, None),
        (5002, None, None),
    ]
    # With instances, the driver does not tell of rows.
    assert (first["row_remap"]["pending"], second["row_remap"]["pending"]) == (None, False)


def test_the_state_of_a_sick_gpu() -> None:
    gpu = _gpu_report.parse(report("b200-590.xml"))["gpus"][0]
    assert gpu["ecc"] == {
        "mode": "enabled",
        "pending": "disabled",
        "volatile_corrected": 5,
        "volatile_uncorrected": 10,
        "aggregate_corrected": 50,
        "aggregate_uncorrected": 100,
        "sram_threshold_exceeded": True,
        "channel_repair_pending": True,
        "tpc_repair_pending": False,
        "unrepairable_memory": True,
    }
    assert gpu["row_remap"] == {"corrected": 1, "uncorrected": 2, "pending": True, "failure": True}
    assert gpu["mig"] == {"mode": "disabled", "pending": "enabled", "instances": []}
    assert gpu["power"]["draw"] == 181.97
    assert gpu["throttle_reasons"] == ["sw_power_cap", "hw_slowdown", "hw_power_brake_slowdown"]
    assert gpu["clock_reasons"] == ["applications_clocks_setting"]
    assert gpu["recovery_action"] == "Drain and Reset"
    assert gpu["fabric"] == {"state": "In Progress", "status": None, "clique_id": None, "cluster_uuid": None}


def test_a_gpu_from_before_remapped_rows() -> None:
    gpu = _gpu_report.parse(report("v100-418.xml"))["gpus"][0]
    assert gpu["ecc"]["volatile_corrected"] == 6
    assert gpu["ecc"]["volatile_uncorrected"] == 1
    assert gpu["ecc"]["aggregate_uncorrected"] == 3
    assert gpu["retired_pages"] == {"single_bit": 2, "double_bit": 2, "pending": True}
    assert gpu["clock_reasons"] == ["gpu_idle"]
    assert gpu["power"] == {
        "draw": 42.11,
        "limit": 300.0,
        "default_limit": 300.0,
        "min_limit": 150.0,
        "max_limit": 300.0,
    }


@pytest.mark.parametrize(
    ("reset", "drain", "action"),
    [("Yes", "No", "Reset"), ("No", "Yes", "Drain and Reset"), ("No", "No", "None"), ("N/A", "N/A", None)],
)
def test_the_two_questions_before_the_recovery_action(reset: str, drain: str, action: str | None) -> None:
    asked = (
        f"<gpu_reset_status><reset_required>{reset}</reset_required>"
        f"<drain_and_reset_recommended>{drain}</drain_and_reset_recommended></gpu_reset_status>"
    )
    document = report("h100-580.xml").replace("<gpu_recovery_action>None</gpu_recovery_action>", asked)
    assert {gpu["recovery_action"] for gpu in _gpu_report.parse(document)["gpus"]} == {action}


def test_profiles_of_instances() -> None:
    first = "GPU-0b2c3d4e-2222-3333-4444-555566667777"
    listed = _gpu_report.instances(report("h100-mig-575.list"))
    assert listed[first, 0] == ("3g.40gb", "MIG-11111111-2222-5333-8444-555555555555")
    assert listed[first, 2] == ("1g.10gb", "MIG-33333333-4444-5555-8666-777777777777")
    assert len(listed) == 3


def test_an_instance_of_an_old_driver() -> None:
    said = (
        "GPU 0: A100-SXM4-40GB (UUID: GPU-0b2c3d4e-2222-3333-4444-555566667777)\n"
        "  MIG 1c.3g.20gb Device 0: (UUID: MIG-GPU-0b2c3d4e-2222-3333-4444-555566667777/1/0)\n"
    )
    assert list(_gpu_report.instances(said).values()) == [
        ("1c.3g.20gb", "MIG-GPU-0b2c3d4e-2222-3333-4444-555566667777/1/0")
    ]


@pytest.mark.parametrize(
    ("said", "known"),
    [
        ("GPU-0a1b2c3d-1111-2222-3333-444455556666, 9.0\n", {"GPU-0a1b2c3d-1111-2222-3333-444455556666": "9.0"}),
        ("GPU-0a1b2c3d-1111-2222-3333-444455556666, 12.1\n", {"GPU-0a1b2c3d-1111-2222-3333-444455556666": "12.1"}),
        ("GPU-0a1b2c3d-1111-2222-3333-444455556666, [N/A]\n", {}),
        ('Field "compute_cap" is not a valid field to query.\n', {}),
        ("", {}),
    ],
)
def test_compute_capability(said: str, known: dict[str, str]) -> None:
    assert _gpu_report.compute_capabilities(said) == known


def test_a_lost_gpu_is_named() -> None:
    with pytest.raises(AirgapError, match=r"GPU 1 at 00000000:43:00\.0 answers 'GPU is lost'.*Xid"):
        _gpu_report.parse(report("h100-580.xml").replace("GPU-0a1b2c3d-1111-2222-3333-777788889999", "GPU is lost"))


def test_every_silent_gpu_is_named() -> None:
    document = report("h100-580.xml").replace("GPU-0a1b2c3d-1111-2222-3333-444455556666", "GPU requires reset")
    document = document.replace("<gpu_temp>33 C<", "<gpu_temp>GPU is lost<")
    with pytest.raises(AirgapError) as raised:
        _gpu_report.parse(document)
    told = str(raised.value)
    assert "GPU 0 at 00000000:1B:00.0 answers 'GPU requires reset' when asked for its uuid" in told
    assert "GPU 1 at 00000000:43:00.0 answers 'GPU is lost' when asked for its temperature/gpu_temp" in told
    assert "nvidia-smi --gpu-reset" in told
    assert "power the host" in told


def test_fewer_gpus_than_the_driver_has() -> None:
    with pytest.raises(AirgapError, match=r"driver has 3 GPUs and nvidia-smi describes 2"):
        _gpu_report.parse(report("h100-580.xml").replace("<attached_gpus>2<", "<attached_gpus>3<"))


def test_a_report_without_gpus() -> None:
    with pytest.raises(AirgapError, match=r"No devices were found.*lspci"):
        _gpu_report.parse("<nvidia_smi_log><attached_gpus>0</attached_gpus></nvidia_smi_log>")


@pytest.mark.parametrize(
    "definition",
    [
        '<!DOCTYPE nvidia_smi_log [<!ENTITY a "aaaa">]>',
        '<!DOCTYPE nvidia_smi_log SYSTEM "x.dtd" [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE nvidia_smi_log SYSTEM "a.dtd"><!DOCTYPE nvidia_smi_log [<!ENTITY a "b">]>',
        '<!DOCTYPE other SYSTEM "a.dtd">',
    ],
)
def test_entities_are_not_defined(definition: str) -> None:
    with pytest.raises(AirgapError, match="document type definition"):
        _gpu_report.parse(
            f'<?xml version="1.0" ?>\n{definition}\n<nvidia_smi_log><gpu><uuid>&a;</uuid></gpu></nvidia_smi_log>'
        )


@pytest.mark.parametrize(
    "document", ["<nvidia_smi_log><gpu>", "<other/>", "<nvidia_smi_log><gpu><uuid>&a;</uuid></gpu></nvidia_smi_log>"]
)
def test_what_is_no_report_is_refused(document: str) -> None:
    with pytest.raises(AirgapError, match="report of nvidia-smi"):
        _gpu_report.parse(document)
