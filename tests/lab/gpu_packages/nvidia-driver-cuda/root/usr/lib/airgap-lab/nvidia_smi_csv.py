# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""--query-gpu with --format=csv[,noheader][,nounits]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mig_devices
from nvidia_smi_refusal import INVALID, Refusal
from nvidia_smi_settings import power_limit, power_range
from simulated_gpus import Host

UNITS = {"memory": "MiB", "utilization": "%", "power": "W", "clocks": "MHz"}
RESERVED_MIB = 480


def used_mib(host: Host, index: int) -> int:
    return int(host.gpus[index].get("memory_used_mib", 0)) + sum(
        process.memory_mib for process in host.processes(index)
    )


def word(on: bool) -> str:
    return "Enabled" if on else "Disabled"


def fields(host: Host, index: int) -> dict[str, str]:
    gpu = host.gpus[index]
    faults = gpu.get("faults", {})
    used = used_mib(host, index)
    ecc, ecc_pending = host.state.ecc_mode(gpu["uuid"])
    mig, mig_pending = host.state.mig_mode(gpu["uuid"])
    divisible = bool(mig_devices.profiles(gpu))
    smallest, default, largest = power_range(gpu)
    state, status = host.fabric()
    return {
        "count": str(len(host.gpus)),
        "index": str(index),
        "name": gpu["name"],
        "gpu_name": gpu["name"],
        "uuid": gpu["uuid"],
        "gpu_uuid": gpu["uuid"],
        "serial": gpu["serial"],
        "gpu_serial": gpu["serial"],
        "pci.bus_id": gpu["bus_id"],
        "gpu_bus_id": gpu["bus_id"],
        "pci.device_id": "0x" + gpu["device_id"],
        "driver_version": host.driver,
        "vbios_version": gpu.get("vbios_version", "96.00.A5.00.01"),
        "compute_cap": gpu["compute_capability"],
        "persistence_mode": word(host.persistence),
        "compute_mode": "Default",
        "pstate": "P0",
        "memory.total": str(gpu["memory_mib"]),
        "memory.reserved": str(RESERVED_MIB),
        "memory.used": str(used),
        "memory.free": str(gpu["memory_mib"] - RESERVED_MIB - used),
        "utilization.gpu": "[N/A]" if mig and divisible else "0",
        "utilization.memory": "[N/A]" if mig and divisible else "0",
        "temperature.gpu": "29",
        "power.draw": "68.92",
        "power.limit": f"{power_limit(host, gpu):.2f}",
        "power.default_limit": f"{default:.2f}",
        "power.min_limit": f"{smallest:.2f}",
        "power.max_limit": f"{largest:.2f}",
        "mig.mode.current": word(mig) if divisible else "[N/A]",
        "mig.mode.pending": word(mig_pending) if divisible else "[N/A]",
        "ecc.mode.current": word(ecc),
        "ecc.mode.pending": word(ecc_pending),
        "ecc.errors.uncorrected.volatile.total": str(faults.get("ecc_uncorrectable", 0)),
        "ecc.errors.uncorrected.aggregate.total": str(faults.get("ecc_uncorrectable", 0)),
        "remapped_rows.uncorrectable": str(faults.get("rows_remapped", 0)),
        "remapped_rows.pending": "Yes" if faults.get("row_remap_pending") else "No",
        "remapped_rows.failure": "Yes" if faults.get("row_remap_failure") else "No",
        "fabric.state": state,
        "fabric.status": status,
        "gpu_recovery_action": str(faults.get("recovery_action", "None")),
    }


def table(host: Host, chosen: Sequence[tuple[int, dict[str, Any]]], query: str, options: Sequence[str]) -> str:
    names = [name.strip() for name in query.split(",")]
    if "csv" not in options:
        raise Refusal(INVALID, "\"--format=\" switch is missing. Please run 'nvidia-smi -h' for help.")
    rows = [fields(host, index) for index, _gpu in chosen]
    for name in names:
        if name not in rows[0]:
            raise Refusal(INVALID, f'Field "{name}" is not a valid field to query.')
    lines = []
    if "noheader" not in options:
        lines.append(", ".join(_with_unit(name, name, "{} [{}]") for name in names))
    for row, (_index, gpu) in zip(rows, chosen):
        if gpu.get("faults", {}).get("lost"):
            lines.append(", ".join("[GPU is lost]" for _name in names))
        elif "nounits" in options:
            lines.append(", ".join(row[name] for name in names))
        else:
            lines.append(", ".join(_with_unit(name, row[name], "{} {}") for name in names))
    return "\n".join(lines)


def _with_unit(name: str, text: str, form: str) -> str:
    unit = UNITS.get(name.split(".")[0])
    return form.format(text, unit) if unit and text != "[N/A]" else text
