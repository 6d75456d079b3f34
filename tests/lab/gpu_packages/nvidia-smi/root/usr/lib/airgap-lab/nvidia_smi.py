# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nvidia-smi as scripts use it: -L, -q -x and --query-gpu, with the real one's shapes, messages and exit codes."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nvidia_smi_xml import document
from simulated_gpus import Host, read

LIBRARY = Path("/usr/lib/airgap-lab/library-version")
CUDA = "13.0"
NO_DRIVER = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. "
    "Make sure that the latest NVIDIA driver is installed and running.\n"
)
UNITS = {"memory": "MiB", "utilization": "%", "power": "W", "clocks": "MHz"}


class Refusal(Exception):
    """What nvidia-smi prints instead of an answer, and its exit code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def check(host: Host, library: str) -> None:
    """The driver and the library must be there and match before any GPU is seen."""
    if not host.driver:
        raise Refusal(9, NO_DRIVER)
    if host.driver != library or host.faults.get("version_mismatch"):
        short = ".".join(library.split(".")[:2])
        raise Refusal(18, f"Failed to initialize NVML: Driver/library version mismatch\nNVML library version: {short}")
    if not host.gpus:
        raise Refusal(6, "No devices were found")


def check_lost(host: Host) -> None:
    for index, gpu in enumerate(host.gpus):
        if gpu.get("faults", {}).get("lost"):
            bus = gpu["bus_id"].lower().replace("00000000:", "0000:")
            raise Refusal(
                15,
                f"Unable to determine the device handle for GPU{index}: {bus}: GPU is lost.  "
                "Reboot the system to recover this GPU",
            )


def listing(host: Host) -> str:
    return "\n".join(f"GPU {index}: {gpu['name']} (UUID: {gpu['uuid']})" for index, gpu in enumerate(host.gpus))


def fields(host: Host, index: int) -> dict[str, str]:
    gpu = host.gpus[index]
    faults = gpu.get("faults", {})
    used = int(gpu.get("memory_used_mib", 0))
    reserved = 480
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
        "compute_cap": gpu["compute_capability"],
        "persistence_mode": "Enabled" if host.persistence else "Disabled",
        "compute_mode": "Default",
        "pstate": "P0",
        "memory.total": str(gpu["memory_mib"]),
        "memory.reserved": str(reserved),
        "memory.used": str(used),
        "memory.free": str(gpu["memory_mib"] - reserved - used),
        "utilization.gpu": "0",
        "utilization.memory": "0",
        "temperature.gpu": "29",
        "power.draw": "68.92",
        "power.limit": "700.00",
        "mig.mode.current": "Disabled",
        "mig.mode.pending": "Disabled",
        "ecc.mode.current": "Enabled",
        "ecc.mode.pending": "Enabled",
        "ecc.errors.uncorrected.volatile.total": str(faults.get("ecc_uncorrectable", 0)),
        "gpu_recovery_action": str(faults.get("recovery_action", "None")),
    }


def table(host: Host, query: str, options: Sequence[str]) -> str:
    """--query-gpu with --format=csv[,noheader][,nounits]."""
    names = [name.strip() for name in query.split(",")]
    if "csv" not in options:
        raise Refusal(2, "\"--format=\" switch is missing. Please run 'nvidia-smi -h' for help.")
    rows = [fields(host, index) for index in range(len(host.gpus))]
    for name in names:
        if name not in rows[0]:
            raise Refusal(2, f'Field "{name}" is not a valid field to query.')
    lines = []
    if "noheader" not in options:
        lines.append(", ".join(_with_unit(name, name, "{} [{}]") for name in names))
    for row, gpu in zip(rows, host.gpus):
        if gpu.get("faults", {}).get("lost"):
            lines.append(", ".join("[GPU is lost]" for _name in names))
        elif "nounits" in options:
            lines.append(", ".join(row[name] for name in names))
        else:
            lines.append(", ".join(_with_unit(name, row[name], "{} {}") for name in names))
    return "\n".join(lines)


def _with_unit(name: str, text: str, form: str) -> str:
    unit = UNITS.get(name.split(".")[0])
    return form.format(text, unit) if unit else text


def answer(host: Host, library: str, arguments: Sequence[str]) -> str:
    options = _options(arguments)
    check(host, library)
    if "-L" in options or "--list-gpus" in options:
        check_lost(host)
        return listing(host)
    if "--query-gpu" in options:
        return table(host, options["--query-gpu"], options.get("--format", "").split(","))
    if ("-q" in options or "--query" in options) and ("-x" in options or "--xml-format" in options):
        return document(host, CUDA, time.ctime())
    if not options:
        check_lost(host)
        return f"NVIDIA-SMI {library}  Driver Version: {host.driver}  CUDA Version: {CUDA}  (simulated)\n" + listing(
            host
        )
    raise Refusal(3, "The simulated nvidia-smi of the lab answers -L, -q -x, --query-gpu and a call without arguments.")


def _options(arguments: Sequence[str]) -> dict[str, Any]:
    known = ("-L", "--list-gpus", "-q", "--query", "-x", "--xml-format", "--query-gpu", "--format", "-qx")
    options: dict[str, Any] = {}
    for argument in arguments:
        name, _separator, value = argument.partition("=")
        if name not in known:
            raise Refusal(
                2, f"Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n({argument})"
            )
        options.update({"-q": "", "-x": ""} if name == "-qx" else {name: value})
    return options


def main() -> int:
    try:
        print(answer(read(), LIBRARY.read_text(encoding="utf-8").strip(), sys.argv[1:]))
    except Refusal as refusal:
        print(refusal)
        return refusal.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
