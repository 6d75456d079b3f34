# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why nvidia-smi cannot describe the GPUs: its known failures, each with its remedy."""

from __future__ import annotations

from typing import NamedTuple


class _Failure(NamedTuple):
    status: int | None
    text: str
    meaning: str


_LOST = (
    "a GPU does not answer any more: it has been lost from the bus. Look for 'Xid' in 'dmesg', power the host "
    "off and on, and have the card and its slot checked if it comes back"
)

# What an NVLink fabric without its manager leads to, and what to do.
FABRIC = "CUDA stops with error 802, 'system not yet initialized', until the NVLink fabric is set up"
FABRIC_REMEDY = (
    "start nvidia-fabricmanager and read its log (journalctl -u nvidia-fabricmanager): its version must be exactly the driver's, "
    "and boards with NVLink 5 need nvlsm and libnvsdm beside it (the package nvlink5)"
)

# Told apart by the text first: it says more than the exit status, and old drivers exit 255 for much of it.
# The numbers are NVML's (nvmlReturn_t in NVIDIA's NVML API reference), which nvidia-smi exits with.
_FAILURES = (
    _Failure(
        18,
        "Driver/library version mismatch",
        "the loaded kernel module and the installed driver libraries are of different versions, as after an "
        "update without a reboot. Reboot the host (or stop every GPU process and reload the nvidia modules), "
        "and hold the driver packages so that it cannot happen again",
    ),
    _Failure(
        9,
        "couldn't communicate with the NVIDIA driver",
        "the driver's kernel module is not loaded. Try 'modprobe nvidia' and read its message: a module that was "
        "not built for the running kernel shows in 'dkms status', one refused by Secure Boot or by nouveau in "
        "'dmesg'. The gpu_host role installs the driver",
    ),
    _Failure(
        16,
        "GPU requires reset",
        "a GPU waits for its reset and cannot be used before. Stop what uses it and reset it (nvidia-smi --gpu-reset -i and its "
        "index), or reboot the host; look for 'Xid' in 'dmesg' for the reason",
    ),
    _Failure(15, "Unable to determine the device handle", _LOST),
    _Failure(15, "GPU is lost", _LOST),
    _Failure(
        6,
        "No devices were found",
        "the driver is loaded and has no GPU. Compare with 'lspci -d 10de:' and look for 'NVRM' in 'dmesg': a card "
        "may be missing, unpowered, given to a virtual machine, or too old or too new for this driver branch",
    ),
    _Failure(
        12,
        "couldn't find libnvidia-ml",
        "the driver's library libnvidia-ml.so.1 is missing. Install the driver's libraries of the same version as "
        "its kernel module; the gpu_host role does",
    ),
    _Failure(
        4,
        "Insufficient Permissions",
        "this user may not use the driver. Run the task with become, or check the modes of /dev/nvidia*",
    ),
    _Failure(None, "system not yet initialized", f"{FABRIC}. Remedy: {FABRIC_REMEDY}"),
    _Failure(
        None,
        "Failed to initialize NVML: Unknown Error",
        "the driver refuses this process. In a container its GPU devices were taken away ('systemctl daemon-reload' "
        "does this to containers without CDI); on a host look for 'NVRM' in 'dmesg'",
    ),
)


def explain(status: int, said: str) -> str | None:
    """The reason and the remedy, when nvidia-smi reports a failure; None when it reports none."""
    quoted = " ".join(said.split())[:400]
    for failure in _FAILURES:
        if failure.text.lower() in said.lower():
            return f"nvidia-smi (exit status {status}) says '{quoted}': {failure.meaning}"
    if status == 0:
        return None
    for failure in _FAILURES:
        if failure.status == status:
            return f"nvidia-smi (exit status {status}) says '{quoted}': {failure.meaning}"
    return (
        f"nvidia-smi failed with exit status {status} and says '{quoted}'. Run 'nvidia-smi -q -x' by hand on the host"
    )


def meaning(text: str) -> str:
    """What stands behind one of nvidia-smi's own words, and what to do."""
    return next(failure.meaning for failure in _FAILURES if failure.text == text)
