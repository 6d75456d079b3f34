# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What changing a GPU needs, whatever is changed: which GPUs are meant, who uses them, and a reset where that is possible."""

from __future__ import annotations

import contextlib
import os
from typing import Any, Iterator, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import _driver_services, _gpu
from ansible_collections.airgap.inference.plugins.module_utils._driver_services import Run, Said, short
from ansible_collections.airgap.inference.plugins.module_utils._driver_users import named, users
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

# nvidia-smi shows two decimals of what a GPU made of a power limit.
NEAR = 0.5

# Vendor NVIDIA, class "Bridge, other": how the kernel shows NVSwitches up to the third generation on the PCI bus.
_VENDOR, _BRIDGE = "0x10de", "0x0680"


class Smi:
    """nvidia-smi, and the services that would be in its way."""

    def __init__(
        self,
        program: str,
        timeout: int,
        *,
        run: Run = _driver_services.run,
        bus: str = "/sys/bus/pci/devices",
        proc: str = "/proc",
    ) -> None:
        self.program = program
        self.timeout = timeout
        self.run = run
        self.bus = bus
        self.proc = proc

    def gpus(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = _gpu.read(_gpu.ask(self.program, self.timeout))["gpus"]
        return found

    def gpu(self, uuid: str) -> dict[str, Any]:
        for gpu in self.gpus():
            if gpu["uuid"] == uuid:
                return gpu
        raise AirgapError(f"GPU {uuid} was there, and nvidia-smi does not show it any more. Look for 'Xid' in 'dmesg'")

    def say(self, *arguments: str) -> Said:
        answer = _gpu.ask(self.program, self.timeout, arguments)
        return Said(answer.status, (answer.stdout + answer.stderr).strip())

    def holders(self) -> str:
        """Who has the driver's files open, for a message; empty where nobody has."""
        found = users(self.proc)
        return f". The driver's files are open in {named(found)}" if found else ""

    @contextlib.contextmanager
    def services_stopped(self) -> Iterator[None]:
        """Without the services that keep every GPU open."""
        stopped = _driver_services.stop(self.run)
        try:
            yield
        finally:
            _driver_services.start(self.run, stopped)

    @contextlib.contextmanager
    def limits_kept(self, gpus: Sequence[dict[str, Any]]) -> Iterator[None]:
        """Power limits that are in force now are in force afterwards, after a failure too.

        A reset takes the limit of its GPU away. While the services are stopped, every idle GPU forgets its own: without a client the
        driver lets a GPU go, and what was set falls back to the defaults (NVIDIA, "Driver Persistence", Data Persistence).
        """
        try:
            yield
        except AirgapError as error:
            lost = self._limit_again(gpus)
            raise AirgapError(f"{error}. {lost}") if lost else error from error
        lost = self._limit_again(gpus)
        if lost:
            raise AirgapError(lost)

    def _limit_again(self, before: Sequence[dict[str, Any]]) -> str:
        """Set the limits that are no longer in force; in words, which of them cannot be."""
        try:
            said = {
                gpu["uuid"]: short(self.say("-i", gpu["uuid"], "-pl", f"{gpu['power']['limit']:g}").text)
                for gpu in _other_limit(before, self.gpus())
            }
            lost = _other_limit(before, self.gpus()) if said else []
        except AirgapError as error:
            return f"Whether the power limits are as before is not known: {error}"
        return "; ".join(
            f"{label(gpu)} had a power limit of {gpu['power']['limit']:g} W, which it lost and which cannot be set again: "
            f"nvidia-smi says '{said.get(gpu['uuid'], '')}'"
            for gpu in lost
        )

    def reset(self, gpu: dict[str, Any]) -> str | None:
        """Reset one idle GPU, or say why that is left to a restart."""
        # nvidia-smi(1), --gpu-reset: GPUs behind NVLink may have to be reset together, and Ampere's NVSwitches need the fabric manager.
        if nvswitches(self.bus) or gpu["fabric"] is not None:
            return "it sits behind an NVSwitch, where one GPU is not reset alone"
        if gpu["mig"]["instances"]:
            return "it is divided into MIG instances, which a reset would take away"
        busy = in_use(gpu)
        if busy:
            return busy
        with self.services_stopped():
            said = self.say("--gpu-reset", "-i", gpu["uuid"])
        if said.rc != 0 or "successfully reset" not in said.text:
            return f"it cannot be reset (nvidia-smi says '{short(said.text)}')"
        return None


def _other_limit(before: Sequence[dict[str, Any]], now: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The GPUs, as they were, whose power limit is not the same any more."""
    limits = {gpu["uuid"]: gpu["power"]["limit"] for gpu in now}
    return [
        gpu
        for gpu in before
        if gpu["power"]["limit"] is not None
        and limits.get(gpu["uuid"]) is not None
        and abs(limits[gpu["uuid"]] - gpu["power"]["limit"]) >= NEAR
    ]


def nvswitches(bus: str) -> int:
    """How many NVSwitches the PCI bus shows."""
    try:
        devices = os.listdir(bus)
    except OSError:
        return 0
    return sum(
        _line(os.path.join(bus, device, "vendor")) == _VENDOR
        and _line(os.path.join(bus, device, "class")).startswith(_BRIDGE)
        for device in devices
    )


def select(gpus: Sequence[dict[str, Any]], wanted: Sequence[str], option: str) -> list[dict[str, Any]]:
    """The GPUs that an option names: all of them, or by index, UUID or PCI address."""
    chosen: list[dict[str, Any]] = []
    for token in wanted:
        found = [gpu for gpu in gpus if token == "all" or _means(token, gpu)]
        if not found:
            there = ", ".join(label(gpu) for gpu in gpus)
            raise AirgapError(
                f"{option} names the GPU '{token}', which this host does not have. State 'all', an index, a UUID or a PCI address; "
                f"it has {there}"
            )
        chosen += [gpu for gpu in found if gpu not in chosen]
    return sorted(chosen, key=lambda gpu: int(gpu["index"]))


def label(gpu: dict[str, Any]) -> str:
    """One GPU for a message, so that it can be found: by number, by identity, and in the machine."""
    return f"GPU {gpu['index']} ({gpu['uuid']}, PCI {gpu['pci_address']})"


def in_use(gpu: dict[str, Any]) -> str | None:
    """Who works on a GPU or on one of its instances; None when nobody does."""
    processes = gpu["processes"]
    if not processes:
        return None
    told = ", ".join(f"{process['name'] or '?'} (process {process['pid']})" for process in processes[:8])
    more = f" and {len(processes) - 8} more" if len(processes) > 8 else ""
    return f"it is in use by {told}{more}"


def _means(token: str, gpu: dict[str, Any]) -> bool:
    if token.isdigit():
        return bool(int(token) == gpu["index"])
    return token.lower() in (str(gpu["uuid"]).lower(), str(gpu["pci_address"]).lower())


def _line(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(64).strip()
    except OSError:
        return ""
