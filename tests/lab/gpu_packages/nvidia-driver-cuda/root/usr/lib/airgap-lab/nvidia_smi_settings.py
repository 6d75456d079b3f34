# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What nvidia-smi changes besides MIG instances: MIG mode, ECC, the power limit, a reset."""

from __future__ import annotations

from typing import Any

import mig_devices
from nvidia_smi_refusal import INVALID, Refusal, need_root
from simulated_gpus import Host

Gpu = dict[str, Any]
Chosen = list[tuple[int, Gpu]]
BUSY = (
    "{bus} is currently being used by one or more other processes (e.g. CUDA application or a monitoring application such as "
    "another instance of nvidia-smi). Please first kill all processes using the device and retry the command or reboot the "
    "system to make MIG mode effective."
)
FORGETFUL = (
    "Warning: persistence mode is disabled on this device. This settings will go back to default as soon as driver unloads "
    "(e.g. last application like nvidia-smi or cuda application terminates). Run with [--help | -h] switch to get more "
    "information on how to enable persistence mode."
)


def apply(host: Host, gpus: Chosen, option: str, value: str) -> str:
    need_root()
    change = {"-mig": mig, "-e": ecc, "-pl": power, "--gpu-reset": reset}[option]
    return change(host, gpus, value)


def keeps_mig(gpu: Gpu) -> bool:
    """Ampere has MIG mode in its InfoROM; later generations leave it to the driver."""
    return bool(gpu["architecture"] == "Ampere")


def power_range(gpu: Gpu) -> tuple[float, float, float]:
    """Smallest, default and largest limit."""
    smallest, default, largest = gpu.get("power_watts", (200, 700, 700))
    return float(smallest), float(default), float(largest)


def power_limit(host: Host, gpu: Gpu) -> float:
    return host.state.power.get(gpu["uuid"], power_range(gpu)[1])


def mig(host: Host, gpus: Chosen, value: str) -> str:
    if value not in ("0", "1"):
        raise Refusal(INVALID, "Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.")
    on = value == "1"
    verb = "enable" if on else "disable"
    lines = []
    for index, gpu in gpus:
        bus, uuid = gpu["bus_id"], gpu["uuid"]
        if not mig_devices.profiles(gpu):
            lines += [f"Unable to {verb} MIG Mode for GPU {bus}: Not Supported", "Treating as warning and moving on."]
            continue
        now, _pending = host.state.mig_mode(uuid)
        host.state.mig[uuid] = on
        host.state.mig_now[uuid] = now
        # Ampere resets the GPU for it, which the persistence daemon alone does not hinder.
        if now != on and (host.processes(index) or host.state.instances.get(uuid)):
            lines += [
                f"Warning: MIG mode is in pending {verb} state for GPU {bus}:In use by another client",
                BUSY.format(bus=bus),
            ]
            continue
        host.state.mig_now[uuid] = on
        lines.append(f"{'Enabled' if on else 'Disabled'} MIG Mode for GPU {bus}")
    return "\n".join([*lines, "All done."])


def ecc(host: Host, gpus: Chosen, value: str) -> str:
    on = value in ("1", "ENABLED")
    lines = []
    for _index, gpu in gpus:
        current, _pending = host.state.ecc_mode(gpu["uuid"])
        host.state.ecc_now[gpu["uuid"]] = current
        host.state.ecc[gpu["uuid"]] = on
        lines.append(f"{'Enabled' if on else 'Disabled'} ECC support for GPU {gpu['bus_id']}.")
    return "\n".join([*lines, "All done.", "Reboot required."])


def power(host: Host, gpus: Chosen, value: str) -> str:
    watts = float(value)
    lines = []
    for _index, gpu in gpus:
        smallest, _default, largest = power_range(gpu)
        if not smallest <= watts <= largest:
            raise Refusal(
                INVALID,
                f"Provided power limit {watts:.2f} W is not a valid power limit which should be between {smallest:.2f} W "
                f"and {largest:.2f} W for GPU {gpu['bus_id']}\nTerminating early due to previous errors.",
            )
    for _index, gpu in gpus:
        before = power_limit(host, gpu)
        lines.append(f"Power limit for GPU {gpu['bus_id']} was set to {watts:.2f} W from {before:.2f} W.")
        if host.persistence:
            host.state.power[gpu["uuid"]] = watts
        else:
            lines.append(FORGETFUL)
    return "\n".join([*lines, "All done."])


def reset(host: Host, gpus: Chosen, _value: str) -> str:
    """Nobody may have the GPU open, the daemons included; a GPU behind NVSwitches is not reset alone."""
    held = [gpu for index, gpu in gpus if host.processes(index) or host.persistence or host.fabric_manager]
    if not held and host.nvswitches and len(gpus) < len(host.gpus):
        listed = "".join(f"  GPU {gpu['bus_id']}: Not Supported\n" for _index, gpu in gpus)
        raise Refusal(255, f"The following GPUs could not be reset:\n{listed}")
    if held:
        listed = "".join(f"  GPU {gpu['bus_id']}: In use by another client\n" for gpu in held)
        many = len(held) > 1
        raise Refusal(
            255,
            f"The following GPUs could not be reset:\n{listed}\n{len(held)} {'devices are' if many else 'device is'} currently "
            "being used by one or more other processes (e.g., Fabric Manager, CUDA application, graphics application such as an X "
            "server, or a monitoring application such as another instance of nvidia-smi). Please first kill all processes using "
            f"{'these devices' if many else 'this device'} and all compute applications running in the system.",
        )
    for _index, gpu in gpus:
        host.state.reset(gpu["uuid"])
    return "\n".join([*(f"GPU {gpu['bus_id']} was successfully reset." for _index, gpu in gpus), "All done."])
