# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nvidia-smi as scripts use it, with the real one's shapes, messages and exit codes."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import mig_devices
import nvidia_smi_mig
import nvidia_smi_settings
from nvidia_smi_csv import table
from nvidia_smi_refusal import INVALID, Refusal, chosen
from nvidia_smi_xml import document
from simulated_gpus import Host, read

LIBRARY = Path("/usr/lib/airgap-lab/library-version")
CUDA = "13.0"
NO_DRIVER = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. "
    "Make sure that the latest NVIDIA driver is installed and running.\n"
)
ALIASES = {
    "--list-gpus": "-L",
    "--query": "-q",
    "--xml-format": "-x",
    "--id": "-i",
    "--multi-instance-gpu": "-mig",
    "--power-limit": "-pl",
    "--ecc-config": "-e",
    "-r": "--gpu-reset",
}
WITH_VALUE = ("-i", "-mig", "-pl", "-e")
KNOWN = (*ALIASES.values(), *WITH_VALUE, "--query-gpu", "--format")
CHANGES = ("-mig", "-e", "-pl", "--gpu-reset")


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
    lines = []
    for index, gpu in enumerate(host.gpus):
        lines.append(f"GPU {index}: {gpu['name']} (UUID: {gpu['uuid']})")
        for device in mig_devices.devices(host, gpu):
            lines.append(f"  MIG {device.profile.name:<12}Device {device.index:2}: (UUID: {device.uuid})")
    return "\n".join(lines)


def answer(host: Host, library: str, arguments: Sequence[str]) -> str:
    if arguments and arguments[0] == "mig":
        check(host, library)
        return nvidia_smi_mig.answer(host, arguments[1:])
    options = _options(arguments)
    check(host, library)
    gpus = chosen(host, options.pop("-i", ""))
    if "-L" in options:
        check_lost(host)
        return listing(host)
    if "--query-gpu" in options:
        return table(host, gpus, options["--query-gpu"], options.get("--format", "").split(","))
    if "-q" in options and "-x" in options:
        return document(host, [index for index, _gpu in gpus], CUDA, time.ctime())
    changes = [option for option in CHANGES if option in options]
    if len(changes) == 1:
        return nvidia_smi_settings.apply(host, gpus, changes[0], options[changes[0]])
    if not options:
        check_lost(host)
        head = f"NVIDIA-SMI {library}  Driver Version: {host.driver}  CUDA Version: {CUDA}  (simulated)"
        return f"{head}\n{listing(host)}"
    raise Refusal(3, "The simulated nvidia-smi of the lab does not answer this; tests/lab/README.md says what it does.")


def _options(arguments: Sequence[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    words = iter(arguments)
    for word in words:
        name, separator, value = word.partition("=")
        name = ALIASES.get(name, name)
        if name == "-qx":
            options.update({"-q": "", "-x": ""})
            continue
        if name not in KNOWN:
            raise Refusal(
                INVALID, f"Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n({word})"
            )
        if not separator and name in WITH_VALUE:
            value = next(words, "")
        options[name] = value
    return options


def main() -> int:
    host = read()
    try:
        print(answer(host, LIBRARY.read_text(encoding="utf-8").strip(), sys.argv[1:]))
        code = 0
    except Refusal as refusal:
        print(refusal)
        code = refusal.code
    if host.changed():
        # What was done before a refusal is done.
        host.state.write({gpu["uuid"] for gpu in host.gpus if nvidia_smi_settings.keeps_mig(gpu)})
    return code


if __name__ == "__main__":
    sys.exit(main())
