# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The running kernel's folder in /lib/modules: its headers, its own modules, and what DKMS put there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import lab_elf
from lab_tree import kernel, write

# Stands for the kernel's build system: a folder with a module's <name>.modinfo gets <name>.ko.
MAKEFILE = "modules:\n\t@python3 /usr/local/lib/airgap-lab/hardware.py build $(M)\nclean:\n\t@rm -f $(M)/*.ko\n"
# What Debian 13's nvidia-open-kernel-dkms 550.163.01 meets with kernel 6.12.107.
DOES_NOT_BUILD = """\
{module}/nvidia/nv-pci.c: In function 'nv_resize_pcie_bars':
{module}/nvidia/nv-pci.c:237:9: error: too few arguments to function 'pci_resize_resource'
make[1]: *** [Makefile:{line}: {module}/nvidia/nv-pci.o] Error 1
"""


def folder() -> Path:
    return Path("/lib/modules", kernel())


def prepare(description: dict[str, Any]) -> None:
    """As a host that was just installed has it; a fault takes the headers away."""
    nouveau = folder() / "kernel/drivers/gpu/drm/nouveau/nouveau.ko"
    if not nouveau.exists():
        write(nouveau, lab_elf.module({"license": "GPL and additional rights", "name": "nouveau", "intree": "Y"}))
        for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
            write(folder() / name, "")
        subprocess.run(["depmod", kernel()], check=True)
    headers = folder() / "build"
    if description.get("faults", {}).get("headers_missing"):
        shutil.rmtree(headers, ignore_errors=True)
    else:
        write(headers / "Makefile", MAKEFILE)
        write(headers / ".config", "CONFIG_MODULES=y\n")
        write(headers / "include/config/kernel.release", kernel() + "\n")


def build(module: Path, description: dict[str, Any]) -> int:
    """What `make -C /lib/modules/…/build M=<module> modules` does; returns make's exit code."""
    if description.get("faults", {}).get("module_does_not_build"):
        print(DOES_NOT_BUILD.format(module=module, line=244), end="")
        return 2
    for information in sorted(module.glob("*.modinfo")):
        lines = information.read_text(encoding="utf-8").splitlines()
        fields = dict(line.split("=", 1) for line in lines)
        target = information.with_suffix(".ko")
        write(target, lab_elf.module({**fields, "vermagic": f"{kernel()} SMP preempt mod_unload modversions"}))
        print(f"  LD [M]  {target}")
    return 0


def installed(name: str) -> dict[str, str] | None:
    """A module as modinfo reads it; None when the running kernel has no such module."""
    read = {}
    for field in ("license", "version", "signer"):
        shown = subprocess.run(["modinfo", "-F", field, name], capture_output=True, text=True, check=False)
        if shown.returncode:
            return None
        read[field] = shown.stdout.strip()
    return read
