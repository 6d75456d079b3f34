# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated hardware and driver of a lab host, as every simulated tool sees them."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gpu_state import State, let_go

DESCRIPTION = Path("/etc/airgap-lab/gpus.json")
LOADED = Path("/proc/driver/nvidia/version")
PERSISTENCED = Path("/run/nvidia-persistenced/nvidia-persistenced.pid")
FABRICMANAGER = Path("/run/nvidia-fabricmanager/nv-fabricmanager.pid")
# They hold the devices open, and are no work on a GPU. The kernel keeps 15 letters of a name.
DAEMONS = ("nvidia-persiste", "nv-fabricmanage")


@dataclass(frozen=True)
class Process:
    """Who works on a GPU."""

    pid: int
    name: str
    memory_mib: int


@dataclass
class Host:
    """The GPUs that are on the bus and the driver that is loaded; faults come from the description."""

    description: dict[str, Any]
    driver: str
    persistence: bool
    fabric_manager: bool = False
    state: State = field(default_factory=State)
    #: Who has the devices open, by the GPU's index.
    holders: dict[int, list[Process]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.gpus = [gpu for gpu in self.description.get("gpus", []) if not gpu.get("faults", {}).get("missing")]
        self.faults: dict[str, Any] = self.description.get("faults", {})
        self.nvswitches = int(self.description.get("nvswitches", 0))
        self.nvlink5 = bool(self.description.get("nvlink5"))
        if self.faults.get("driver_not_loaded"):
            self.driver = ""
        self._before = repr(self.state)

    def changed(self) -> bool:
        """Whether something was set on a GPU since."""
        return repr(self.state) != self._before

    def fabric(self) -> tuple[str, str]:
        """State and status as nvidia-smi shows them; CUDA answers 802 until they are Completed and Success."""
        if not self.nvswitches and not self.nvlink5:
            return "N/A", "N/A"
        if not self.fabric_manager or self.faults.get("fabric_not_ready"):
            return "In Progress", "N/A"
        return "Completed", "Success"

    def idle(self) -> set[str]:
        """The GPUs that no client keeps initialised, by their UUIDs."""
        if self.persistence or self.fabric_manager:
            return set()
        return {gpu["uuid"] for index, gpu in enumerate(self.gpus) if not self.processes(index)}

    def processes(self, index: int) -> list[Process]:
        """Those that the description claims, and those that really hold the device open."""
        claimed = [
            Process(int(claim["pid"]), claim["name"], int(claim.get("memory_mib", 0)))
            for claim in self.gpus[index].get("processes", [])
        ]
        return claimed + self.holders.get(index, [])


def read() -> Host:
    description = json.loads(DESCRIPTION.read_text(encoding="utf-8")) if DESCRIPTION.exists() else {}
    driver = _loaded_driver()
    host = Host(description, driver, _runs(PERSISTENCED), _runs(FABRICMANAGER), State.read(), _holders())
    idle = host.idle()
    if not idle & set(host.state.power):
        return host
    # Somebody let them go meanwhile.
    if os.geteuid() == 0:
        let_go(idle)
    kept = {uuid: limit for uuid, limit in host.state.power.items() if uuid not in idle}
    return replace(host, state=replace(host.state, power=kept))


def _loaded_driver() -> str:
    """The first tool that asks for the driver loads it, as NVIDIA's tools do through nvidia-modprobe."""
    if not LOADED.exists() and os.geteuid() == 0:
        subprocess.run(["modprobe", "nvidia"], stderr=subprocess.DEVNULL, check=False)
    if not LOADED.exists():
        return ""
    found = re.search(r"Kernel Module(?: for \S+)?\s+([0-9.]+)", LOADED.read_text(encoding="utf-8"))
    return found.group(1) if found else ""


def be_called(name: str) -> None:
    """As ps and /proc show it: the daemons are scripts, whose name would be that of Python."""
    Path("/proc/self/comm").write_text(name, encoding="utf-8")


def _runs(pid_file: Path) -> bool:
    try:
        return Path("/proc", pid_file.read_text(encoding="utf-8").strip()).is_dir()
    except FileNotFoundError:
        return False


def _holders() -> dict[int, list[Process]]:
    found: dict[int, list[Process]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            open_files = {os.readlink(link) for link in (process / "fd").iterdir()}
            name = (process / "comm").read_text(encoding="utf-8").strip()
        except OSError:
            continue
        for index in (int(path[len("/dev/nvidia") :]) for path in open_files if re.fullmatch(r"/dev/nvidia\d+", path)):
            if name not in DAEMONS:
                found.setdefault(index, []).append(Process(int(process.name), name, 0))
    return found
