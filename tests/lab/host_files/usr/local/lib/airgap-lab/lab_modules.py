# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Loading and unloading of modules, refused where the kernel or the driver would; what is loaded shows as on a real host."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import lab_bus
import lab_kernel
import lab_log
from lab_tree import REAL, STATE, TREE, kernel, write

STATE_FILE = STATE / "modules.json"
# Which of the driver's modules each needs.
NEEDS = {
    "nvidia": [],
    "nvidia_modeset": ["nvidia"],
    "nvidia_uvm": ["nvidia"],
    "nvidia_drm": ["nvidia_modeset"],
    "nvidia_peermem": ["nvidia"],
    "nouveau": [],
}
NOT_FOR_OPEN = ("Maxwell", "Pascal", "Volta")
OPEN_ONLY = ("Blackwell",)
# Where nvidia-smi keeps what a driver forgets when it is unloaded: MIG instances and power limits.
VOLATILE = STATE / "gpu-state.json"
# The device of FUSE, under another name: anybody may open it, nothing comes of it, and a container does not have it unasked.
STAND_IN = (10, 229)
NULL = (1, 3)


class Refused(Exception):
    """Why the kernel does not do it, as modprobe says it."""


def loaded() -> dict[str, dict[str, str]]:
    if not STATE_FILE.exists():
        return {}
    read: dict[str, dict[str, str]] = json.loads(STATE_FILE.read_text(encoding="utf-8"))
    return read


def bound() -> str:
    """Which of the loaded drivers has the GPUs: the first that came."""
    return next((name for name in loaded() if name in ("nouveau", "nvidia")), "")


def load(name: str, description: dict[str, Any]) -> None:
    present = loaded()
    if name in present:
        return
    for needed in NEEDS[name]:
        load(needed, description)
    module = lab_kernel.installed(name)
    if module is None:
        raise Refused(f"modprobe: FATAL: Module {name} not found in directory /lib/modules/{kernel()}")
    if name == "nvidia":
        reason = refusal(module, description, nouveau="nouveau" in present)
        if reason:
            raise Refused(f"modprobe: ERROR: could not insert 'nvidia': {reason}")
        lab_log.say(f"nvidia-nvlink: Nvlink Core is being initialized, major device number {STAND_IN[0]}")
        lab_log.say(
            _banner(module["version"], is_open(module["license"]))
            .splitlines()[0]
            .replace("NVRM version", "NVRM: loading")
        )
    _show({**loaded(), name: module}, description)


def unload(name: str, description: dict[str, Any]) -> None:
    present = loaded()
    if name not in present:
        return
    users = [other for other in present if name in NEEDS[other]]
    if users:
        raise Refused(f"modprobe: FATAL: Module {name} is in use by: {' '.join(users)}")
    held = name == "nvidia" and (_holders() or any(gpu.get("processes") for gpu in description.get("gpus", [])))
    if held or (name == "nouveau" and description.get("faults", {}).get("nouveau_busy")):
        raise Refused(f"modprobe: FATAL: Module {name} is in use.")
    if name == "nvidia":
        VOLATILE.unlink(missing_ok=True)
    _show({other: module for other, module in present.items() if other != name}, description)


def refusal(module: dict[str, str], description: dict[str, Any], nouveau: bool) -> str:
    """Why the driver cannot start, as the kernel names the error; the kernel's log gets the driver's own words."""
    gpus = [gpu for gpu in description.get("gpus", []) if not gpu.get("faults", {}).get("missing")]
    if description.get("secure_boot") and not module["signer"] and not description.get("mok_enrolled"):
        lab_log.say("Loading of unsigned module is rejected", lab_log.ERROR)
        return "Key was rejected by service"
    words = []
    for gpu in gpus:
        address, architecture = lab_bus.address_of(gpu), gpu.get("architecture")
        if nouveau:
            words.append(f"NVRM: GPU {address} is already bound to nouveau.")
        elif is_open(module["license"]) and architecture in NOT_FOR_OPEN:
            words += [
                f"NVRM: The NVIDIA GPU {address} (PCI ID: 10de:{gpu['device_id'][:4].lower()})",
                f"NVRM: installed in this system is not supported by open nvidia.ko {module['version']} because it",
                "NVRM: does not include the required GPU System Processor (GSP).",
            ]
        elif not is_open(module["license"]) and architecture in OPEN_ONLY:
            words += [
                f"NVRM: The NVIDIA GPU {address} (PCI ID: 10de:{gpu['device_id'][:4].lower()})",
                "NVRM: installed in this system requires use of the NVIDIA open kernel modules.",
            ]
    if not gpus:
        words.append("NVRM: No NVIDIA GPU found.")
    elif description.get("faults", {}).get("driver_not_loaded"):
        words.append(f"NVRM: The NVIDIA probe routine failed for {len(gpus)} device(s).")
    if words and gpus:
        words.append("NVRM: None of the NVIDIA devices were initialized.")
    for line in words:
        lab_log.say(line, lab_log.ERROR)
    return "No such device" if words else ""


def is_open(licence: str) -> bool:
    return licence == "Dual MIT/GPL"


def at_boot(description: dict[str, Any]) -> None:
    """What udev loads for the devices that it finds, in its order: nouveau came with the kernel, and is first."""
    names = ["nouveau"] if description.get("nouveau") else []
    blacklisted = _blacklisted()
    for name in [*names, "nvidia"]:
        if description.get("gpus") and name not in blacklisted and lab_kernel.installed(name):
            try:
                load(name, description)
            except Refused as refused:
                lab_log.say(f"systemd-udevd: {refused}", lab_log.WARNING)


def _blacklisted() -> set[str]:
    shown = subprocess.run(["modprobe", "--showconfig"], capture_output=True, text=True, check=False).stdout
    return {line.split()[1] for line in shown.splitlines() if line.startswith("blacklist ")}


def _show(present: dict[str, dict[str, str]], description: dict[str, Any]) -> None:
    """In /proc/modules, /sys/module, /proc/driver and /dev."""
    STATE_FILE.write_text(json.dumps(present), encoding="utf-8")
    lines = [(REAL / "modules").read_text(encoding="utf-8")] if (REAL / "modules").exists() else []
    for name in NEEDS:
        shown = TREE / "module" / name
        shutil.rmtree(shown, ignore_errors=True)
        if name not in present:
            continue
        users = [other for other in present if name in NEEDS[other]]
        taint = "" if name == "nouveau" else " (OE)" if is_open(present[name]["license"]) else " (POE)"
        lines.append(f"{name} 14585856 {len(users)} {','.join([*users, '']) or '-'} Live 0x0000000000000000{taint}\n")
        write(shown / "initstate", "live\n")
        write(shown / "refcnt", f"{len(users)}\n")
        for user in users:
            (shown / "holders").mkdir(exist_ok=True)
            (shown / "holders" / user).symlink_to(f"../../{user}")
        if present[name]["version"]:
            write(shown / "version", present[name]["version"] + "\n")
    write(TREE / "modules", "".join(lines))
    lab_bus.bind(bound())
    _driver(present.get("nvidia"), present, description)


def _driver(nvidia: dict[str, str] | None, present: dict[str, dict[str, str]], description: dict[str, Any]) -> None:
    shutil.rmtree(TREE / "driver/nvidia", ignore_errors=True)
    for old in Path("/dev").glob("nvidia*"):
        old.unlink()
    if not nvidia:
        return
    write(TREE / "driver/nvidia/version", _banner(nvidia["version"], is_open(nvidia["license"])))
    gpus = [gpu for gpu in description.get("gpus", []) if not gpu.get("faults", {}).get("missing")]
    nodes = ["nvidiactl", *(f"nvidia{index}" for index in range(len(gpus)))]
    nodes += ["nvidia-uvm"] if "nvidia_uvm" in present else []
    fuse = Path("/proc/misc").read_text(encoding="utf-8").split()
    for node in nodes:
        os.mknod(f"/dev/{node}", stat.S_IFCHR, os.makedev(*(STAND_IN if "fuse" in fuse else NULL)))
        os.chmod(f"/dev/{node}", 0o666)


def _banner(version: str, opened: bool) -> str:
    """/proc/driver/nvidia/version in both flavours' words."""
    if opened:
        first = f"NVIDIA UNIX Open Kernel Module for x86_64  {version}  Release Build  (lab@example.org)  Mon Nov  3 02:03:04 UTC 2025"
    else:
        first = f"NVIDIA UNIX x86_64 Kernel Module  {version}  Mon Nov  3 02:03:04 UTC 2025"
    return f"NVRM version: {first}\nGCC version:  gcc version 14.2.0 (Debian 14.2.0-19) \n"


def _holders() -> list[str]:
    """Who has one of the driver's devices open."""
    found = []
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(link).startswith("/dev/nvidia"):
                found.append(link.parts[2])
        except OSError:
            continue
    return found
