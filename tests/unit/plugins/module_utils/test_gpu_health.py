# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import re
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _gpu_health, _gpu_report, _gpu_xid

FIXTURES = pathlib.Path(__file__).parent / "fixtures" / "nvidia_smi"
FIRST = {"pci_address": "0000:1b:00.0", "device_id": "2330", "driver": "nvidia", "slot": "7"}
SECOND = {"pci_address": "0000:43:00.0", "device_id": "2330", "driver": "nvidia", "slot": None}


def examined(
    name: str = "h100-580.xml",
    *changes: tuple[str, str],
    bus: tuple[dict[str, Any], ...] = (FIRST, SECOND),
    log: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Each change is made in the first GPU of the report."""
    document = (FIXTURES / name).read_text(encoding="utf-8")
    for old, new in changes:
        assert old in document
        document = document.replace(old, new, 1)
    xids = _gpu_xid.find(f"2026-11-21T08:05:19+0000 gpu1 kernel: NVRM: Xid {line}" for line in log)
    return _gpu_health.examine(_gpu_report.parse(document), list(bus), xids)


def problem(*changes: tuple[str, str], log: tuple[str, ...] = ()) -> str:
    """The only problem of the first GPU; the second has none."""
    found = examined("h100-580.xml", *changes, log=log)
    assert (len(found["gpus"][0]["problems"]), found["gpus"][1]["problems"], found["problems"]) == (1, [], [])
    told: str = found["gpus"][0]["problems"][0]
    assert "Remedy: " in told
    return told


@pytest.mark.parametrize("name", ["a100-mig-535.xml", "gb10-590.xml", "h100-580.xml", "h100-mig-575.xml", "t4-470.xml"])
def test_healthy_gpus(name: str) -> None:
    assert _gpu_health.sick(examined(name, bus=())) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("<dram_uncorrectable>0<", "<dram_uncorrectable>3<", "3 uncorrectable ECC errors .*--gpu-reset -i 0"),
        ("<sram_uncorrectable_parity>0<", "<sram_uncorrectable_parity>1<", "1 uncorrectable ECC error since"),
        ("threshold_exceeded>No<", "threshold_exceeded>Yes<", "SRAM errors is past its limit.*replaced"),
        ("remapped_row_pending>No<", "remapped_row_pending>Yes<", "waits to be replaced by a spare one.*-i 0"),
        ("remapped_row_failure>No<", "remapped_row_failure>Yes<", "could not be replaced.*card replaced"),
        ("gpu_recovery_action>None<", "gpu_recovery_action>Reset<", "recovery action: 'Reset'.*-i 0"),
        ("gpu_recovery_action>None<", "gpu_recovery_action>Reboot<", "'Reboot'. Remedy: reboot the host"),
        ("gpu_recovery_action>None<", "gpu_recovery_action>Drain P2P<", "'Drain P2P'.*NVLink or peer access"),
        ("gpu_recovery_action>None<", "gpu_recovery_action>Bus Reset<", "'Bus Reset'.*reboot"),
        ("<state>Completed<", "<state>In Progress<", "state 'In Progress'.*580.95.05.*802.*nvidia-fabricmanager"),
        ("<status>Success<", "<status>Insufficient Resources<", "status 'Insufficient Resources'"),
    ],
)
def test_a_sick_gpu(old: str, new: str, told: str) -> None:
    assert re.search(told, problem((old, new)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<dram_correctable>0<", "<dram_correctable>7<"),
        ("remapped_row_corr>0<", "remapped_row_corr>3<"),
        ("remapped_row_unc>0<", "remapped_row_unc>1<"),
        ("reason_sw_power_cap>Not Active<", "reason_sw_power_cap>Active<"),
        ("pending_ecc>Enabled<", "pending_ecc>Disabled<"),
        ("<state>Completed<", "<state>N/A<"),
        ("<state>Completed<", "<state>Not Supported<"),
    ],
)
def test_what_is_no_sickness(old: str, new: str) -> None:
    assert _gpu_health.sick(examined("h100-580.xml", (old, new))) == []


@pytest.mark.parametrize(
    ("active", "told"),
    [
        (["hw_slowdown"], "cooling and power supply"),
        (["hw_slowdown", "hw_thermal_slowdown"], "hw_thermal_slowdown is active at 31 C"),
        (["hw_power_brake_slowdown"], "check the power supplies"),
    ],
)
def test_a_slow_gpu(active: list[str], told: str) -> None:
    reasons = "".join(f"<clocks_event_reason_{name}>Active</clocks_event_reason_{name}>" for name in active)
    assert told in problem(("<clocks_event_reasons>", f"<clocks_event_reasons>{reasons}"))


def test_heat_and_power_are_two_problems() -> None:
    reasons = "".join(
        f"<clocks_event_reason_hw_{name}_slowdown>Active</clocks_event_reason_hw_{name}_slowdown>"
        for name in ("thermal", "power_brake")
    )
    found = examined("h100-580.xml", ("<clocks_event_reasons>", f"<clocks_event_reasons>{reasons}"))
    assert len(found["gpus"][0]["problems"]) == 2


def test_retired_pages() -> None:
    (told,) = _gpu_health.sick(examined("v100-418.xml", bus=()))
    assert ": (1) 1 uncorrectable ECC error since" in told
    assert ". (2) faulty memory pages wait to be taken out of use. Remedy: reboot the host" in told


def test_everything_at_once_is_told() -> None:
    (told,) = _gpu_health.sick(examined("b200-590.xml", bus=()))
    assert told.startswith("GPU 0 (NVIDIA B200, GPU-0c3d4e5f-3333-4444-5555-666677778888) at 00000000:5F:00.0: (1) ")
    assert re.findall(r"\((\d+)\) ", told) == [str(number) for number in range(1, 10)]


def test_an_xid_belongs_to_its_gpu() -> None:
    found = examined(log=("(PCI:0000:43:00): 79, GPU has fallen off the bus.", "(PCI:0000:1b:00): 13, pid=9"))
    assert [(xid["xid"], xid["gpu"]) for xid in found["xids"]] == [(79, 1), (13, 0)]
    assert _gpu_health.sick(found) == [
        "GPU 1 (NVIDIA H100 80GB HBM3, GPU-0a1b2c3d-1111-2222-3333-777788889999) at 00000000:43:00.0: the GPU has fallen off the "
        "bus: Xid 79 in the kernel log at 2026-11-21T08:05:19+00:00 ('GPU has fallen off the bus.'). Remedy: power the host off "
        "and on, and have the card, its slot and its power checked if it comes back"
    ]


def test_all_gpus_are_told_with_their_slots() -> None:
    document = examined("h100-580.xml", log=("(PCI:0000:43:00): 48, DBE", "(PCI:0000:1b:00): 48, DBE"))
    told = _gpu_health.sick(document)
    assert [each.partition(": ")[0] for each in told] == [
        "GPU 0 (NVIDIA H100 80GB HBM3, GPU-0a1b2c3d-1111-2222-3333-444455556666) at 00000000:1B:00.0, slot 7",
        "GPU 1 (NVIDIA H100 80GB HBM3, GPU-0a1b2c3d-1111-2222-3333-777788889999) at 00000000:43:00.0",
    ]


def test_a_gpu_that_the_driver_does_not_show() -> None:
    third = {"pci_address": "0000:5f:00.0", "device_id": "2330", "driver": "nvidia", "slot": "9"}
    found = examined(bus=(FIRST, SECOND, third), log=("(PCI:0000:5f:00): 79, GPU has fallen off the bus.",))
    (told,) = _gpu_health.sick(found)
    assert told.startswith(
        "The GPU at 0000:5f:00.0 in slot 9 (10de:2330, driver nvidia) is on the PCI bus, and the driver does not show it; "
        "the kernel log says Xid 79 ('GPU has fallen off the bus.'). Remedy: "
    )
    assert found["xids"][0]["gpu"] is None


def test_a_gpu_for_virtual_machines_is_not_missed() -> None:
    third = {"pci_address": "0000:5f:00.0", "device_id": "2330", "driver": "vfio-pci", "slot": "9"}
    assert _gpu_health.sick(examined(bus=(FIRST, SECOND, third))) == []


def test_a_gpu_that_is_gone() -> None:
    (told,) = _gpu_health.sick(examined(log=("(PCI:0000:5f:00): 79, GPU has fallen off the bus.",)))
    assert told.startswith("A GPU that was at 0000:5f:00.0 is gone: the GPU has fallen off the bus: Xid 79")


@pytest.mark.parametrize(
    ("count", "name", "told"),
    [
        (2, "H100", []),
        (None, None, []),
        (None, "h100 80gb", []),
        (
            3,
            None,
            ["expected.count is 3, and the driver shows 2 (on the PCI bus: 2): 0 NVIDIA H100 80GB HBM3 at 00000000:1B"],
        ),
        (1, "", ["expected.count is 1, and the driver shows 2"]),
        (2, "A100", ["expected.name is A100, and the host has another GPU: 0 NVIDIA H100 80GB HBM3 at 00000000:1B"]),
        (8, "A100", ["expected.count is 8", "expected.name is A100"]),
    ],
)
def test_the_expected_hardware(count: int | None, name: str | None, told: list[str]) -> None:
    refusals = _gpu_health.unexpected(examined(), count, name)
    assert len(refusals) == len(told)
    assert all(refusal.startswith(start) for refusal, start in zip(refusals, told))


@pytest.mark.parametrize(
    ("bus", "told"),
    [
        ([], "shows no NVIDIA GPU"),
        ([dict(FIRST, driver=None)], "at 0000:1b:00.0 in slot 7 (10de:2330, no driver) is served by nobody"),
        ([dict(SECOND, driver="nouveau")], "at 0000:43:00.0 (10de:2330, driver nouveau) is held by nouveau"),
        ([dict(SECOND, driver="vfio-pci")], "set aside for virtual machines"),
        ([FIRST], "driver nvidia) is there"),
    ],
)
def test_why_there_are_no_gpus(bus: list[dict[str, Any]], told: str) -> None:
    said = _gpu_health.why("nvidia-smi says no", bus, [])
    assert said.startswith("nvidia-smi says no. ")
    assert told in said


def test_why_with_the_kernel_log() -> None:
    xids = _gpu_xid.find(
        ["2026-11-21T08:05:19+0000 gpu1 kernel: NVRM: Xid (PCI:0000:1b:00): 79, GPU has fallen off the bus."]
    )
    assert "Kernel log, 0000:1b:00.0: the GPU has fallen off the bus: Xid 79" in _gpu_health.why("no", [FIRST], xids)
