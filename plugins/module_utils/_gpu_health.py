# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides which GPUs are sick and whether the host has those that it should have, and says why and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ansible_collections.airgap.inference.plugins.module_utils import _gpu_bus, _gpu_failures, _gpu_report, _gpu_xid

_RESET = "stop what uses the GPU and reset it (nvidia-smi --gpu-reset -i {index}), or reboot the host"
_REPLACE = "have the card replaced: NVIDIA names this as a reason for it"

# What the driver wants done, as nvidia-smi words it: "Error Recovery and Response Flags" in NVIDIA's GPU Memory Error Management
# (https://docs.nvidia.com/deploy/a100-gpu-mem-error-mgmt/error-recovery-and-response-flags.html).
_ACTIONS = {
    "reset": _RESET,
    "reboot": "reboot the host",
    "drain p2p": "stop every process that uses NVLink or peer access between GPUs; the driver then says what it needs next",
    "drain and reset": "let what runs on the GPU end, start nothing new on it, and reset it (nvidia-smi --gpu-reset -i {index})",
}

# The hardware itself lowers the clocks: nvmlClocksEventReasons in NVIDIA's NVML API reference.
_SLOWDOWNS = {
    "hw_thermal_slowdown": (
        "the GPU is too hot, and halves its clocks or lowers them further",
        "check fans, air flow and inlet temperature of the host",
    ),
    "hw_power_brake_slowdown": (
        "the host's power supply tells the GPU to slow down",
        "check the power supplies of the host and their redundancy",
    ),
    "hw_slowdown": (
        "the hardware lowers the GPU's clocks: too hot, or short of power",
        "check cooling and power supply of the host",
    ),
}


def examine(described: dict[str, Any], bus: list[dict[str, Any]], xids: list[dict[str, Any]]) -> dict[str, Any]:
    """The description with slots, XIDs and problems."""
    slots = {device["pci_address"]: device["slot"] for device in bus}
    indices = {_gpu_bus.address(gpu["pci_address"]): gpu["index"] for gpu in described["gpus"]}
    assigned = [dict(xid, gpu=indices.get(xid["pci_address"])) for xid in xids]
    gpus = []
    for gpu in described["gpus"]:
        own = [xid for xid in assigned if xid["gpu"] == gpu["index"]]
        slot = slots.get(_gpu_bus.address(gpu["pci_address"]))
        gpus.append(dict(gpu, slot=slot, problems=list(problems(gpu, own, described["driver_version"]))))
    found = {"gpus": gpus, "gpus_on_bus": bus, "xids": assigned}
    return {**described, **found, "problems": list(_outside(set(indices), bus, assigned))}


def problems(gpu: dict[str, Any], xids: list[dict[str, Any]], driver: str | None) -> Iterator[str]:
    """What makes a GPU unfit for work: each with the value seen and the remedy."""
    yield from _memory_problems(gpu)
    action = gpu["recovery_action"]
    if action not in (None, "None"):
        remedy = _ACTIONS.get(action.lower(), _RESET).format(index=gpu["index"])
        yield f"the driver asks for a recovery action: '{action}'. Remedy: {remedy}"
    yield from (_gpu_xid.problem(xid) for xid in xids if xid["fatal"])
    yield from _fabric_problems(gpu["fabric"], driver)
    slowdowns = [reason for reason in _SLOWDOWNS if reason in gpu["throttle_reasons"]]
    if len(slowdowns) > 1 and "hw_slowdown" in slowdowns:
        # It is active together with the one that says why.
        slowdowns.remove("hw_slowdown")
    for reason in slowdowns:
        meaning, remedy = _SLOWDOWNS[reason]
        yield f"{meaning} ({reason} is active at {gpu['temperature_celsius']} C). Remedy: {remedy}"


def _memory_problems(gpu: dict[str, Any]) -> Iterator[str]:
    ecc, rows = gpu["ecc"], gpu["row_remap"]
    reset = _RESET.format(index=gpu["index"])
    if ecc["volatile_uncorrected"]:
        errors = "error" if ecc["volatile_uncorrected"] == 1 else "errors"
        yield (
            f"{ecc['volatile_uncorrected']} uncorrectable ECC {errors} since the GPU was initialised "
            f"({ecc['aggregate_uncorrected']} in its life). Remedy: {reset}. If they come back, have the card checked"
        )
    if ecc["sram_threshold_exceeded"]:
        yield f"the count of uncorrectable SRAM errors is past its limit. Remedy: {_REPLACE}"
    if rows["failure"]:
        yield f"a faulty memory row could not be replaced by a spare one. Remedy: {_REPLACE}"
    if rows["pending"]:
        yield f"a faulty memory row waits to be replaced by a spare one. Remedy: {reset}"
    if gpu["retired_pages"]["pending"]:
        yield "faulty memory pages wait to be taken out of use. Remedy: reboot the host"
    if ecc["channel_repair_pending"] or ecc["tpc_repair_pending"]:
        what = "memory channel" if ecc["channel_repair_pending"] else "processing cluster (TPC)"
        yield f"a {what} waits to be repaired. Remedy: {reset}"
    if ecc["unrepairable_memory"]:
        yield "the driver reports memory that cannot be repaired. Remedy: have the card replaced"


def _fabric_problems(fabric: dict[str, str | None] | None, driver: str | None) -> Iterator[str]:
    """The status counts only once the state is complete (nvmlGpuFabricInfo_t in NVIDIA's NVML API reference)."""
    if fabric is None or (fabric["state"] == "Completed" and fabric["status"] in (None, "Success")):
        return
    yield (
        f"the NVLink fabric is not ready: state '{fabric['state']}', status '{fabric['status'] or 'N/A'}', driver {driver}. "
        f"{_gpu_failures.FABRIC}. Remedy: {_gpu_failures.FABRIC_REMEDY}"
    )


def _outside(shown: set[str], bus: list[dict[str, Any]], xids: list[dict[str, Any]]) -> Iterator[str]:
    """Problems of GPUs that the driver does not show; one that was given to virtual machines is not missed."""
    for device in bus:
        if device["pci_address"] in shown or device["driver"] == "vfio-pci":
            continue
        said = [f"Xid {xid['xid']} ('{xid['text']}')" for xid in xids if xid["pci_address"] == device["pci_address"]]
        yield (
            f"{place(device)} is on the PCI bus, and the driver does not show it"
            f"{'; the kernel log says ' + ', '.join(said) if said else ''}. Remedy: look for its address and 'NVRM' in 'dmesg'; "
            "a card that failed comes back with the host powered off and on, or is broken; one that this driver does not support "
            "needs another branch"
        )
    known = shown | {device["pci_address"] for device in bus}
    for xid in xids:
        if xid["fatal"] and xid["pci_address"] not in known:
            yield f"A GPU that was at {xid['pci_address']} is gone: {_gpu_xid.problem(xid)}"


def place(device: dict[str, Any]) -> str:
    """A GPU on the bus, as a person finds it."""
    slot = f" in slot {device['slot']}" if device["slot"] else ""
    served = f"driver {device['driver']}" if device["driver"] else "no driver"
    return f"The GPU at {device['pci_address']}{slot} (10de:{device['device_id']}, {served})"


def sick(examined: dict[str, Any]) -> list[str]:
    """Every sick GPU with its problems, and those that the driver does not show."""
    told = []
    for gpu in examined["gpus"]:
        found = gpu["problems"]
        if not found:
            continue
        slot = f", slot {gpu['slot']}" if gpu["slot"] else ""
        several = " ".join(f"({number}) {problem}." for number, problem in enumerate(found, 1))
        told.append(
            f"GPU {gpu['index']} ({gpu['name']}, {gpu['uuid']}) at {gpu['pci_address']}{slot}: "
            f"{found[0] if len(found) == 1 else several.rstrip('.')}"
        )
    return [*told, *examined["problems"]]


# Of one product, GPUs show so much more or less memory by ECC and by what the driver keeps.
_TOLERANCE = 0.03


def unexpected(
    examined: dict[str, Any],
    count: int | None = None,
    name: str | None = None,
    memory_mib: int | None = None,
    compute_capability: str | None = None,
) -> list[str]:
    """Where the GPUs are not those that the inventory states."""
    gpus = examined["gpus"]
    told = []
    if count is not None and count != len(gpus):
        bus = examined["gpus_on_bus"]
        seen = f" (on the PCI bus: {len(bus)})" if bus else ""
        told.append(
            f"expected.count is {count}, and the driver shows {len(gpus)}{seen}: {_gpu_report.listing(gpus)}. "
            "Correct gpu_host_expected in the inventory, or the hardware"
        )
    others = [gpu for gpu in gpus if name and name.lower() not in (gpu["name"] or "").lower()]
    if others:
        told.append(
            f"expected.name is {name}, and the host has another GPU: {_gpu_report.listing(others)}. "
            "Correct gpu_host_expected in the inventory, or the hardware"
        )
    smaller = [gpu for gpu in gpus if memory_mib and (gpu["memory_mib"] or memory_mib) < memory_mib * (1 - _TOLERANCE)]
    if smaller:
        sizes = ", ".join(f"GPU {gpu['index']} {gpu['memory_mib']} MiB" for gpu in smaller)
        told.append(
            f"expected.memory_mib is {memory_mib}, and the host has less: {sizes}. "
            "Correct gpu_host_expected in the inventory, or the hardware"
        )
    # An old nvidia-smi does not state it.
    unlike = [gpu for gpu in gpus if compute_capability and gpu["compute_capability"] not in (None, compute_capability)]
    if unlike:
        seen = ", ".join(f"GPU {gpu['index']} {gpu['compute_capability']}" for gpu in unlike)
        told.append(
            f"expected.compute_capability is {compute_capability}, and the host has another: {seen}. "
            "Correct gpu_host_expected in the inventory, or the hardware"
        )
    return told


def why(reason: str, bus: list[dict[str, Any]], xids: list[dict[str, Any]]) -> str:
    """A failure of nvidia-smi with what the bus and the kernel log know: they often tell the reason."""
    told = [reason]
    if not bus:
        told.append(
            "The PCI bus of this host shows no NVIDIA GPU (vendor 10de, class 0300 or 0302): without one no driver can work. "
            "Check that the card is seated and powered, or given to this virtual machine"
        )
    for device in bus:
        told.append(place(device) + _held(device["driver"]))
    told += [f"Kernel log, {xid['pci_address']}: {_gpu_xid.problem(xid)}" for xid in xids if xid["fatal"]]
    return ". ".join(told)


def _held(driver: str | None) -> str:
    return {
        None: " is served by nobody",
        "nouveau": " is held by nouveau, which must be switched off before the NVIDIA driver can have it",
        "vfio-pci": " is set aside for virtual machines",
    }.get(driver, " is there")
