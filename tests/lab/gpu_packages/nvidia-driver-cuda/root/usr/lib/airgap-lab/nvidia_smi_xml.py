# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`nvidia-smi -q -x` in the shape of driver 580: the same elements in the same order, the ones nobody reads left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Union
from xml.sax.saxutils import escape

import mig_devices
from nvidia_smi_csv import RESERVED_MIB, used_mib, word
from nvidia_smi_settings import power_limit, power_range
from simulated_gpus import Host, Process

# Elements by name, or as pairs where a name comes more than once.
Tree = Union[Mapping[str, Union[str, "Tree"]], Sequence[tuple[str, Union[str, "Tree"]]]]
CLOCK_REASONS = (
    "gpu_idle",
    "applications_clocks_setting",
    "sw_power_cap",
    "hw_slowdown",
    "hw_thermal_slowdown",
    "hw_power_brake_slowdown",
    "sync_boost",
    "sw_thermal_slowdown",
    "display_clocks_setting",
)
LOST = "GPU is lost"


def document(host: Host, indices: Iterable[int], cuda: str, now: str) -> str:
    head: Tree = {
        "timestamp": now,
        "driver_version": host.driver,
        "cuda_version": cuda,
        "attached_gpus": str(len(host.gpus)),
    }
    lines = ['<?xml version="1.0" ?>', '<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v13.dtd">', "<nvidia_smi_log>"]
    lines += _render(head, 1, lost=False)
    for index in indices:
        gpu = host.gpus[index]
        lines.append(f'\t<gpu id="{gpu["bus_id"]}">')
        lines += _render(_gpu(host, index), 2, lost=bool(gpu.get("faults", {}).get("lost")))
        lines.append("\t</gpu>")
    lines.append("</nvidia_smi_log>")
    return "\n".join(lines) + "\n"


def _render(tree: Tree, depth: int, lost: bool) -> list[str]:
    """A lost GPU keeps its place and its elements, and every reading says that it is lost."""
    indent = "\t" * depth
    lines = []
    for name, value in tree.items() if isinstance(tree, Mapping) else tree:
        if isinstance(value, str):
            lines.append(f"{indent}<{name}>{escape(LOST if lost and name != 'pci_bus_id' else value)}</{name}>")
        else:
            lines += [f"{indent}<{name}>", *_render(value, depth + 1, lost), f"{indent}</{name}>"]
    return lines


def _gpu(host: Host, index: int) -> dict[str, Any]:
    gpu = host.gpus[index]
    faults = gpu.get("faults", {})
    used = used_mib(host, index)
    _domain, bus, slot = gpu["bus_id"].split(":")
    uncorrectable = str(faults.get("ecc_uncorrectable", 0))
    ecc, ecc_pending = host.state.ecc_mode(gpu["uuid"])
    mig, mig_pending = host.state.mig_mode(gpu["uuid"])
    divisible = bool(mig_devices.profiles(gpu))
    return {
        "product_name": gpu["name"],
        "product_brand": "NVIDIA",
        "product_architecture": gpu["architecture"],
        "display_mode": "Requested functionality has been deprecated",
        "display_attached": "Yes",
        "display_active": "Disabled",
        "persistence_mode": word(host.persistence),
        "addressing_mode": "HMM",
        "mig_mode": {
            "current_mig": word(mig) if divisible else "N/A",
            "pending_mig": word(mig_pending) if divisible else "N/A",
        },
        "mig_devices": [("mig_device", _mig_device(device)) for device in mig_devices.devices(host, gpu)] or "None",
        "accounting_mode": "Disabled",
        "driver_model": {"current_dm": "N/A", "pending_dm": "N/A"},
        "serial": gpu["serial"],
        "uuid": gpu["uuid"],
        "minor_number": str(index),
        "vbios_version": gpu.get("vbios_version", "96.00.A5.00.01"),
        "multigpu_board": "No",
        "gpu_virtualization_mode": {"virtualization_mode": "None", "host_vgpu_mode": "N/A"},
        "gpu_recovery_action": str(faults.get("recovery_action", "None")),
        "gsp_firmware_version": host.driver,
        "pci": {
            "pci_bus": bus,
            "pci_device": slot.split(".")[0],
            "pci_domain": "0000",
            "pci_base_class": "3",
            "pci_sub_class": "2",
            "pci_device_id": gpu["device_id"],
            "pci_bus_id": gpu["bus_id"],
            "pci_sub_system_id": gpu.get("subsystem_id", "16C110DE"),
        },
        "fan_speed": "N/A",
        "performance_state": "P0",
        "clocks_event_reasons": {
            f"clocks_event_reason_{reason}": "Active"
            if reason in faults.get("throttle", ["gpu_idle"])
            else "Not Active"
            for reason in CLOCK_REASONS
        },
        "sparse_operation_mode": "N/A",
        "fb_memory_usage": _memory(gpu["memory_mib"], RESERVED_MIB, used),
        "compute_mode": "Default",
        "utilization": {"gpu_util": "0 %", "memory_util": "0 %"},
        "ecc_mode": {"current_ecc": word(ecc), "pending_ecc": word(ecc_pending)},
        "ecc_errors": {
            "volatile": _ecc_errors(uncorrectable),
            "aggregate": {**_ecc_errors(uncorrectable), "sram_threshold_exceeded": "No"},
            "channel_repair_pending": "No",
            "tpc_repair_pending": "No",
        },
        "retired_pages": {
            "multiple_single_bit_retirement": {"retired_count": "N/A", "retired_pagelist": "N/A"},
            "double_bit_retirement": {"retired_count": "N/A", "retired_pagelist": "N/A"},
            "pending_blacklist": "N/A",
            "pending_retirement": "N/A",
        },
        "remapped_rows": {
            "remapped_row_corr": "0",
            "remapped_row_unc": str(faults.get("rows_remapped", 0)),
            "remapped_row_pending": "Yes" if faults.get("row_remap_pending") else "No",
            "remapped_row_failure": "Yes" if faults.get("row_remap_failure") else "No",
        },
        "temperature": {"gpu_temp": "29 C", "gpu_temp_tlimit": "58 C", "memory_temp": "37 C"},
        "gpu_power_readings": _power(host, gpu),
        "clocks": {"graphics_clock": "345 MHz", "sm_clock": "345 MHz", "mem_clock": "2619 MHz"},
        "fabric": _fabric(*host.fabric()),
        "processes": [("process_info", _process(process)) for process in host.processes(index)] or "",
    }


def _ecc_errors(uncorrectable: str) -> dict[str, str]:
    return {
        "sram_correctable": "0",
        "sram_uncorrectable_parity": "0",
        "sram_uncorrectable_secded": "0",
        "dram_correctable": "0",
        "dram_uncorrectable": uncorrectable,
    }


def _memory(total: int, reserved: int, used: int) -> dict[str, str]:
    values = {"total": total, "reserved": reserved, "used": used, "free": total - reserved - used}
    return {name: f"{value} MiB" for name, value in values.items()}


def _mig_device(device: mig_devices.Device) -> dict[str, Any]:
    multiprocessors, decoders, encoders, copy, jpeg, flow = device.profile.engines
    engines = {
        "multiprocessor_count": multiprocessors,
        "copy_engine_count": copy,
        "encoder_count": encoders,
        "decoder_count": decoders,
        "ofa_count": flow,
        "jpg_count": jpeg,
    }
    return {
        "index": str(device.index),
        "gpu_instance_id": str(device.gpu_instance),
        "compute_instance_id": str(device.compute_instance),
        "device_attributes": {"shared": {name: str(count) for name, count in engines.items()}},
        "ecc_error_count": {"volatile_count": {"sram_uncorrectable": "0"}},
        "fb_memory_usage": _memory(int(device.profile.memory_gib * 1024), 0, 0),
    }


def _power(host: Host, gpu: dict[str, Any]) -> dict[str, str]:
    smallest, default, largest = power_range(gpu)
    limit = power_limit(host, gpu)
    watts = {
        "average_power_draw": 68.57,
        "instant_power_draw": 68.92,
        "current_power_limit": limit,
        "requested_power_limit": limit,
        "default_power_limit": default,
        "min_power_limit": smallest,
        "max_power_limit": largest,
    }
    return {"power_state": "P0", **{name: f"{value:.2f} W" for name, value in watts.items()}}


def _fabric(state: str, status: str) -> dict[str, str]:
    done = state == "Completed"
    return {
        "state": state,
        "status": status,
        "cliqueId": "0" if done else "N/A",
        "clusterUuid": "00000000-0000-0000-0000-000000000000" if done else "N/A",
    }


def _process(process: Process) -> dict[str, str]:
    return {
        "gpu_instance_id": "N/A",
        "compute_instance_id": "N/A",
        "pid": str(process.pid),
        "type": "C",
        "process_name": process.name,
        "used_memory": f"{process.memory_mib} MiB",
    }
