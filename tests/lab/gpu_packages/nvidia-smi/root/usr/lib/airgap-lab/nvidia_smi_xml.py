# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`nvidia-smi -q -x` in the shape of driver 580: the same elements in the same order, the ones nobody reads left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Union
from xml.sax.saxutils import escape

from simulated_gpus import Host

Tree = Mapping[str, Union[str, "Tree"]]
LOST = "GPU is lost"


def document(host: Host, cuda: str, now: str) -> str:
    head: Tree = {
        "timestamp": now,
        "driver_version": host.driver,
        "cuda_version": cuda,
        "attached_gpus": str(len(host.gpus)),
    }
    lines = ['<?xml version="1.0" ?>', '<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v13.dtd">', "<nvidia_smi_log>"]
    lines += _render(head, 1, lost=False)
    for index, gpu in enumerate(host.gpus):
        lines.append(f'\t<gpu id="{gpu["bus_id"]}">')
        lines += _render(_gpu(host, index), 2, lost=bool(gpu.get("faults", {}).get("lost")))
        lines.append("\t</gpu>")
    lines.append("</nvidia_smi_log>")
    return "\n".join(lines) + "\n"


def _render(tree: Tree, depth: int, lost: bool) -> list[str]:
    """A lost GPU keeps its place and its elements, and every reading says that it is lost."""
    indent = "\t" * depth
    lines = []
    for name, value in tree.items():
        if isinstance(value, str):
            lines.append(f"{indent}<{name}>{escape(LOST if lost and name != 'pci_bus_id' else value)}</{name}>")
        else:
            lines += [f"{indent}<{name}>", *_render(value, depth + 1, lost), f"{indent}</{name}>"]
    return lines


def _gpu(host: Host, index: int) -> dict[str, Any]:
    gpu = host.gpus[index]
    faults = gpu.get("faults", {})
    used = int(gpu.get("memory_used_mib", 0))
    reserved = 480
    _domain, bus, slot = gpu["bus_id"].split(":")
    uncorrectable = str(faults.get("ecc_uncorrectable", 0))
    return {
        "product_name": gpu["name"],
        "product_brand": "NVIDIA",
        "product_architecture": gpu["architecture"],
        "display_mode": "Requested functionality has been deprecated",
        "display_attached": "Yes",
        "display_active": "Disabled",
        "persistence_mode": "Enabled" if host.persistence else "Disabled",
        "addressing_mode": "HMM",
        "mig_mode": {"current_mig": "Disabled", "pending_mig": "Disabled"},
        "mig_devices": "None",
        "accounting_mode": "Disabled",
        "driver_model": {"current_dm": "N/A", "pending_dm": "N/A"},
        "serial": gpu["serial"],
        "uuid": gpu["uuid"],
        "minor_number": str(index),
        "multigpu_board": "No",
        "gpu_virtualization_mode": {"virtualization_mode": "None", "host_vgpu_mode": "N/A"},
        "gpu_recovery_action": str(faults.get("recovery_action", "None")),
        "gsp_firmware_version": host.driver,
        "pci": {
            "pci_bus": bus,
            "pci_device": slot.split(".")[0],
            "pci_domain": "0000",
            "pci_device_id": gpu["device_id"],
            "pci_bus_id": gpu["bus_id"],
        },
        "fan_speed": "N/A",
        "performance_state": "P0",
        "fb_memory_usage": {
            "total": f"{gpu['memory_mib']} MiB",
            "reserved": f"{reserved} MiB",
            "used": f"{used} MiB",
            "free": f"{gpu['memory_mib'] - reserved - used} MiB",
        },
        "compute_mode": "Default",
        "utilization": {"gpu_util": "0 %", "memory_util": "0 %"},
        "ecc_mode": {"current_ecc": "Enabled", "pending_ecc": "Enabled"},
        "ecc_errors": {
            "volatile": {
                "sram_correctable": "0",
                "sram_uncorrectable_parity": "0",
                "sram_uncorrectable_secded": "0",
                "dram_correctable": "0",
                "dram_uncorrectable": uncorrectable,
            },
            "aggregate": {
                "sram_correctable": "0",
                "sram_uncorrectable_parity": "0",
                "sram_uncorrectable_secded": "0",
                "dram_correctable": "0",
                "dram_uncorrectable": uncorrectable,
                "sram_threshold_exceeded": "No",
            },
            "channel_repair_pending": "No",
            "tpc_repair_pending": "No",
        },
        "remapped_rows": {
            "remapped_row_corr": "0",
            "remapped_row_unc": "0",
            "remapped_row_pending": "No",
            "remapped_row_failure": "No",
        },
        "temperature": {"gpu_temp": "29 C", "gpu_temp_tlimit": "58 C", "memory_temp": "37 C"},
        "gpu_power_readings": {
            "power_state": "P0",
            "average_power_draw": "68.57 W",
            "instant_power_draw": "68.92 W",
            "current_power_limit": "700.00 W",
            "default_power_limit": "700.00 W",
        },
        "clocks": {"graphics_clock": "345 MHz", "sm_clock": "345 MHz", "mem_clock": "2619 MHz"},
        "fabric": {"state": "Completed", "status": "Success"},
        "processes": {},
    }
