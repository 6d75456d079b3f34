# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine in a directory: what its kernel would show in /sys, /proc and /lib/modules."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

from ansible_collections.airgap.inference.plugins.module_utils._driver_load import Host
from ansible_collections.airgap.inference.plugins.module_utils._driver_services import Said

KERNEL = "6.1.0-56-amd64"


class Machine:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.modules: dict[tuple[str, str], dict[str, str]] = {}
        (root / "proc").mkdir()

    def write(self, path: str, content: str | bytes) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def pci(
        self,
        address: str,
        *,
        device: str,
        vendor: str = "0x10de",
        kind: str = "0x030200",
        subsystem: str = "",
        driver: str = "",
        vpd: bytes | None = None,
    ) -> Path:
        """A function on the bus; its vendor's own board unless it is said otherwise."""
        folder = self.root / "sys/bus/pci/devices" / address
        values = {"vendor": vendor, "device": device, "class": kind}
        if subsystem:
            values.update(subsystem_vendor=vendor, subsystem_device=subsystem)
        for name, value in values.items():
            self.write(f"sys/bus/pci/devices/{address}/{name}", value + "\n")
        if vpd is not None:
            (folder / "vpd").write_bytes(vpd)
        if driver:
            (folder / "driver").symlink_to(f"../../../bus/pci/drivers/{driver}")
        return folder

    def module(self, name: str, kernel: str, **fields: str) -> None:
        """An installed kernel module, by what modinfo says of it."""
        self.modules[name, kernel] = fields
        if name != "nvidia":
            self.write("etc/modprobe.d/nvidia.conf", f"install nvidia modprobe -i {name} $CMDLINE_OPTS\n")

    def process(self, pid: int, name: str, opened: str, group: str) -> None:
        self.write(f"proc/{pid}/comm", name + "\n")
        self.write(f"proc/{pid}/cgroup", group + "\n")
        (self.root / f"proc/{pid}/fd").mkdir()
        (self.root / f"proc/{pid}/fd/3").symlink_to(opened)

    def host(self, wanted: str | None = None) -> Host:
        return Host(
            wanted,
            run=self._run,
            running=KERNEL,
            proc=str(self.root / "proc"),
            modules=str(self.root / "sys/module"),
            libraries=str(self.root / "lib/modules"),
            boot=str(self.root / "boot"),
            settings=str(self.root / "etc/default"),
        )

    def _run(self, argv: Sequence[str]) -> Said:
        if argv[0] == "modprobe":
            configuration = self.root / "etc/modprobe.d/nvidia.conf"
            return Said(0, configuration.read_text() if configuration.is_file() else "")
        kernel, field, name = argv[2], argv[4], argv[5]
        fields = self.modules.get((name, kernel))
        if fields is None:
            return Said(1, f"modinfo: ERROR: Module {name} not found.")
        return Said(0, fields.get(field, ""))
