# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nvidia-ctk's CDI verbs: generate and list. A device sets an environment variable in its container and brings its node."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

import mig_devices
from simulated_gpus import Host, read

VERSION = "1.18.1"
KIND = "nvidia.com/gpu"
DIRECTORIES = (Path("/etc/cdi"), Path("/var/run/cdi"))


def specification(host: Host) -> str:
    """Every GPU by index and by UUID, and all of them; of a divided GPU its MIG devices, as nvidia-ctk does."""
    devices: list[tuple[list[str], str, str]] = []
    for index, gpu in enumerate(host.gpus):
        node = f"/dev/nvidia{index}"
        if mig_devices.enabled(host, gpu):
            for device in mig_devices.devices(host, gpu):
                variable = f"AIRGAP_LAB_GPU_{index}_{device.index}={device.uuid}"
                devices.append(([f"{index}:{device.index}", device.uuid], variable, node))
        else:
            devices.append(([str(index), gpu["uuid"]], f"AIRGAP_LAB_GPU_{index}={gpu['uuid']}", node))
    lines = ["---", "cdiVersion: 0.5.0", f"kind: {KIND}", "devices:"]
    for names, variable, node in devices:
        for name in names:
            lines += _device(name, [variable], [node])
    if devices:
        nodes = sorted({node for _names, _variable, node in devices})
        lines += _device("all", [variable for _names, variable, _node in devices], nodes)
    else:
        lines[-1] = "devices: []"
    lines += ["containerEdits:", "    env:", "        - NVIDIA_VISIBLE_DEVICES=void"]
    lines += ["    deviceNodes:", "        - path: /dev/nvidiactl"]
    return "\n".join(lines) + "\n"


def _device(name: str, variables: list[str], nodes: list[str]) -> list[str]:
    lines = [f'    - name: "{name}"', "      containerEdits:", "        env:"]
    lines += [f"            - {variable}" for variable in variables]
    lines += ["        deviceNodes:"]
    return lines + [f"            - path: {node}" for node in nodes]


def generate(output: str) -> int:
    host = read()
    if not host.driver or not host.gpus:
        print('level=error msg="failed to generate CDI spec: no NVIDIA driver or device found"', file=sys.stderr)
        return 1
    text = specification(host)
    if not output:
        sys.stdout.write(text)
        return 0
    target = Path(output)
    target.parent.mkdir(parents=True, exist_ok=True)
    half = target.with_name(f".{target.name}.part")
    half.write_text(text, encoding="utf-8")
    half.replace(target)
    return 0


def listing() -> int:
    names = []
    for directory in DIRECTORIES:
        for path in sorted(directory.glob("*.yaml")):
            content = path.read_text(encoding="utf-8")
            if f"kind: {KIND}\n" in content:
                names += re.findall(r'^    - name: "?([^"\n]+)"?$', content, re.MULTILINE)
    print(f'level=info msg="Found {len(names)} CDI devices"', file=sys.stderr)
    for name in names:
        print(f"{KIND}={name}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="nvidia-ctk")
    parser.add_argument(
        "--version", action="version", version=f"NVIDIA Container Toolkit CLI version {VERSION} (simulated)"
    )
    verbs = (
        parser.add_subparsers(dest="command", required=True)
        .add_parser("cdi")
        .add_subparsers(dest="verb", required=True)
    )
    verbs.add_parser("list")
    default = os.environ.get("NVIDIA_CTK_CDI_OUTPUT_FILE_PATH", "")
    verbs.add_parser("generate").add_argument("--output", default=default)
    arguments = parser.parse_args()
    return listing() if arguments.verb == "list" else generate(arguments.output)


if __name__ == "__main__":
    sys.exit(main())
