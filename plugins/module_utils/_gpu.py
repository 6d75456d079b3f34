# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What nvidia-smi says of the GPUs, or why it cannot say it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from typing import Any, NamedTuple
from xml.etree import ElementTree

from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

MAX_OUTPUT = 64 * 1024 * 1024

# What NVML answers in the place of a value when the device itself does not answer.
_DEVICE_ERRORS = ("GPU is lost", "GPU is inaccessible", "Unknown Error", "GPU requires reset")

# The infoROM of a board is damaged: nvidia-smi says so with this status, and still describes every GPU.
_INFOROM_CORRUPTED = 14

_DOCTYPE = re.compile(r"""<!DOCTYPE\s+nvidia_smi_log\s+SYSTEM\s+(?:"[^"<>]*"|'[^'<>]*')\s*>""")


class Answer(NamedTuple):
    """One run of nvidia-smi."""

    status: int
    stdout: str
    stderr: str


class _Failure(NamedTuple):
    status: int | None
    text: str
    meaning: str


# Told apart by the text first: it says more than the exit status, and old drivers exit 255 for much of it.
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
        15,
        "Unable to determine the device handle",
        "a GPU does not answer any more: it has been lost from the bus. Look for 'Xid' in 'dmesg', power the host "
        "off and on, and have the card and its slot checked if it comes back",
    ),
    _Failure(
        15,
        "GPU is lost",
        "a GPU does not answer any more: it has been lost from the bus. Look for 'Xid' in 'dmesg', power the host "
        "off and on, and have the card and its slot checked if it comes back",
    ),
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
    _Failure(
        None,
        "Failed to initialize NVML: Unknown Error",
        "the driver refuses this process. In a container its GPU devices were taken away ('systemctl daemon-reload' "
        "does this to containers without CDI); on a host look for 'NVRM' in 'dmesg'",
    ),
)


def ask(nvidia_smi: str, timeout: int) -> Answer:
    """Run nvidia-smi and bring back what it said, whatever it was."""
    program = shutil.which(nvidia_smi)
    if program is None:
        raise AirgapError(
            f"{nvidia_smi} is not installed on this host (or not on the PATH {os.environ.get('PATH', '')!r}), so its GPUs "
            "cannot be described. Install the NVIDIA driver with its tools; the gpu_host role does"
        )
    try:
        process = subprocess.Popen(
            [program, "-q", "-x"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(os.environ, LC_ALL="C"),
            start_new_session=True,
        )
    except OSError as error:
        raise AirgapError(f"{program} cannot be started: {error.strerror or error}") from error
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired as expired:
        process.kill()
        # A process that hangs in the driver cannot be killed: waiting for it would hang this module as well.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        raise AirgapError(
            f"{program} gave no answer within {timeout} seconds. A GPU or its driver hangs: look for 'Xid' and 'NVRM' in "
            "'dmesg'. Without nvidia-persistenced every call initialises all GPUs anew, which takes long on large hosts: "
            "switch it on, or raise the timeout"
        ) from expired
    return Answer(process.returncode, _decode(stdout), _decode(stderr))


def read(answer: Answer) -> dict[str, Any]:
    """Describe the GPUs from what nvidia-smi said, or tell why that cannot be done."""
    document, remarks = _split(answer.stdout)
    remarks = "\n".join(part for part in (remarks, answer.stderr.strip()) if part)
    described_all = document and answer.status == _INFOROM_CORRUPTED
    reason = explain(0 if described_all else answer.status, remarks)
    if reason is not None:
        raise AirgapError(reason)
    if not document:
        raise AirgapError("nvidia-smi -q -x exited with 0 and wrote no report. Run it by hand on the host")
    return dict(parse(document), warnings=remarks.splitlines())


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


def parse(document: str) -> dict[str, Any]:
    """Read the XML report. Every driver writes a DOCTYPE line; anything that could define entities is refused."""
    if len(document) > MAX_OUTPUT:
        raise AirgapError(f"nvidia-smi wrote more than {MAX_OUTPUT} bytes: this is not its report")
    plain = _DOCTYPE.sub("", document, count=1)
    if "<!DOCTYPE" in plain or "<!ENTITY" in plain:
        raise AirgapError(
            "The report of nvidia-smi carries its own document type definition: it is not nvidia-smi's, and is not read"
        )
    try:
        root = ElementTree.fromstring(plain)
    except (ElementTree.ParseError, ValueError) as error:
        raise AirgapError(
            f"The report of nvidia-smi is not complete XML ({error}): it stopped half-way, or something wrote into it"
        ) from error
    if root.tag != "nvidia_smi_log":
        raise AirgapError(f"The report of nvidia-smi begins with the element {root.tag!r} instead of 'nvidia_smi_log'")
    gpus = [_gpu(index, element) for index, element in enumerate(root.findall("gpu"))]
    attached = _integer(_text(root, "attached_gpus"))
    if not gpus:
        raise AirgapError(f"nvidia-smi says 'No devices were found': {_meaning('No devices were found')}")
    if attached is not None and attached > len(gpus):
        raise AirgapError(
            f"The driver has {attached} GPUs and nvidia-smi describes {len(gpus)} of them ({listing(gpus)}): {_meaning('GPU is lost')}"
        )
    return {
        "gpus": gpus,
        # Branches from 590 on name these two anew.
        "driver_version": _text(root, "driver_version") or _text(root, "kmd_version"),
        "cuda_version": _text(root, "cuda_version") or _text(root, "cuda_umd_version"),
    }


def count_refusal(gpus: list[dict[str, Any]], required: int) -> str | None:
    """Why this many GPUs cannot be had here, or None."""
    if len(gpus) >= required:
        return None
    return (
        f"{_counted(required)} asked for, and the host has {len(gpus)}: {listing(gpus)}. "
        f"Ask for at most {len(gpus)} (the instance's 'gpus'), or, if there should be more, compare with 'lspci -d 10de:' and "
        "look for 'NVRM' and 'Xid' in 'dmesg'"
    )


def listing(gpus: list[dict[str, Any]]) -> str:
    return ", ".join(f"{gpu['index']} {gpu['name']} at {gpu['pci_address']}" for gpu in gpus)


def _counted(number: int) -> str:
    return "1 GPU is" if number == 1 else f"{number} GPUs are"


def _meaning(text: str) -> str:
    return next(failure.meaning for failure in _FAILURES if failure.text == text)


def _decode(data: bytes) -> str:
    return data[: MAX_OUTPUT + 1].decode("utf-8", "replace")


def _split(output: str) -> tuple[str, str]:
    """The report, and what was written around it: warnings about a lost GPU share the standard output."""
    start = min(
        (at for at in (output.find("<?xml"), output.find("<!DOCTYPE"), output.find("<nvidia_smi_log")) if at >= 0),
        default=-1,
    )
    if start < 0:
        return "", output.strip()
    closing = "</nvidia_smi_log>"
    end = output.rfind(closing)
    end = len(output) if end < 0 else end + len(closing)
    return output[start:end], (output[:start] + output[end:]).strip()


def _gpu(index: int, element: ElementTree.Element) -> dict[str, Any]:
    address = _text(element, "pci/pci_bus_id") or element.get("id") or "an unknown address"
    for path in ("uuid", "product_name", "persistence_mode", "fb_memory_usage/total", "temperature/gpu_temp"):
        body = (element.findtext(path) or "").strip()
        if any(body.lower() == error.lower() for error in _DEVICE_ERRORS):
            raise AirgapError(
                f"GPU {index} at {address} answers '{body}' when asked for its {path}: {_meaning('GPU is lost')}"
            )
    uuid = _text(element, "uuid")
    if uuid is None:
        raise AirgapError(f"The report of nvidia-smi states no uuid for GPU {index} at {address}")
    # Branches before 530 call it power_readings.
    power = element.find("gpu_power_readings")
    if power is None:
        power = element.find("power_readings")
    return {
        "index": index,
        "uuid": uuid,
        "name": _text(element, "product_name"),
        "architecture": _text(element, "product_architecture"),
        "serial": _text(element, "serial"),
        "pci_address": address,
        "memory_mib": _integer(_text(element, "fb_memory_usage/total")),
        "memory_used_mib": _integer(_text(element, "fb_memory_usage/used")),
        "persistence": _text(element, "persistence_mode") == "Enabled",
        "ecc_mode": _mode(_text(element, "ecc_mode/current_ecc")),
        "mig_mode": _mode(_text(element, "mig_mode/current_mig")),
        "temperature_celsius": _integer(_text(element, "temperature/gpu_temp")),
        "power_limit_watts": _number(
            None if power is None else _text(power, "current_power_limit") or _text(power, "power_limit")
        ),
        "vbios_version": _text(element, "vbios_version"),
    }


def _text(element: ElementTree.Element, path: str) -> str | None:
    """The value, or None where nvidia-smi writes one of its words for 'this GPU has no such thing'."""
    value = (element.findtext(path) or "").strip()
    absent = ("", "N/A", "[N/A]", "Not Supported", "[Not Supported]", "Insufficient Permissions")
    if value in absent or value.startswith("Requested functionality"):
        return None
    return value


def _mode(value: str | None) -> str | None:
    return value.lower() if value in ("Enabled", "Disabled") else None


def _integer(value: str | None) -> int | None:
    """'81559 MiB', '36 C': a number and its unit."""
    match = re.match(r"-?\d{1,15}(?=\s|$)", value or "")
    return int(match.group()) if match else None


def _number(value: str | None) -> float | None:
    match = re.match(r"-?\d{1,15}(?:\.\d{1,6})?(?=\s|$)", value or "")
    return float(match.group()) if match else None
