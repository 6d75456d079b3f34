# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host as _driver_load sees it: /proc and /sys/module in a directory, and programs that change it as kmod, DKMS and systemd would."""

from __future__ import annotations

import pathlib
import shutil
from typing import Sequence

from ansible_collections.airgap.inference.plugins.module_utils._driver_load import Host
from ansible_collections.airgap.inference.plugins.module_utils._driver_services import Said

KERNEL = "6.12.48-amd64"
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {}  Release Build  (dvs-builder@U22-I3-B17-02-5)\nGCC version: gcc\n"
PROPRIETARY = (
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}  Tue Sep 16 19:00:00 UTC 2025\nGCC version: gcc version 12\n"
)


class Machine:
    """What kmod finds in /lib/modules: `modinfo` maps a kernel to (version, licence) of the module `name`."""

    def __init__(self, root: pathlib.Path, installed: str | None = "580.105.08", name: str = "nvidia") -> None:
        self.root = root
        self.name = name
        self.modinfo = {KERNEL: (installed, "Dual MIT/GPL")} if installed else {}
        self.answers: dict[str, Said] = {}
        self.registered = ""
        self.active: list[str] = []
        self.calls: list[str] = []
        self.log = "[    1.0] gpu1 kernel: NVRM: an old line"
        self.log_after = ""
        (root / "proc" / "driver" / "nvidia").mkdir(parents=True)
        (root / "lib" / KERNEL).mkdir(parents=True)
        # Built in: no initstate.
        (root / "sys" / "ext4").mkdir(parents=True)

    def host(self, wanted: str | None = None) -> Host:
        proc, modules, libraries, boot, settings = (
            str(self.root / name) for name in ("proc", "sys", "lib", "boot", "default")
        )
        return Host(
            wanted,
            run=self.run,
            running=KERNEL,
            proc=proc,
            modules=modules,
            libraries=libraries,
            boot=boot,
            settings=settings,
        )

    def kernel(self, version: str, image: bool = True, headers: bool = True, module: bool = False) -> None:
        """Another kernel than the running one, as GRUB would find it."""
        (self.root / "default").mkdir(exist_ok=True)
        (self.root / "default" / "grub").write_text("GRUB_DEFAULT=0\n", encoding="utf-8")
        (self.root / "boot").mkdir(exist_ok=True)
        (self.root / "boot" / f"vmlinuz-{KERNEL}").touch()
        build = self.root / "lib" / version / "build"
        build.mkdir(parents=True)
        if image:
            (self.root / "boot" / f"vmlinuz-{version}").touch()
        if headers:
            (build / "Makefile").touch()
        if module:
            self.modinfo[version] = ("580.105.08", "Dual MIT/GPL")

    def module(self, name: str, references: int = 0, *users: str) -> None:
        folder = self.root / "sys" / name
        (folder / "holders").mkdir(parents=True)
        (folder / "initstate").write_text("live\n", encoding="utf-8")
        (folder / "refcnt").write_text(f"{references}\n", encoding="utf-8")
        for user in users:
            (folder / "holders" / user).symlink_to(f"../../{user}")

    def loaded(self, version: str, text: str = OPEN, modules: Sequence[str] = ("nvidia", "nvidia_uvm")) -> None:
        for name in modules:
            users = ["nvidia_uvm"] if name == "nvidia" and "nvidia_uvm" in modules else []
            shutil.rmtree(self.root / "sys" / name, ignore_errors=True)
            self.module(name, len(users), *users)
        (self.root / "proc" / "driver" / "nvidia" / "version").write_text(text.format(version), encoding="utf-8")

    def modules(self) -> list[str]:
        return sorted(path.parent.name for path in (self.root / "sys").glob("*/initstate"))

    def user(self, pid: int, name: str, unit: str = "", device: str = "/dev/nvidia0") -> None:
        folder = self.root / "proc" / str(pid)
        (folder / "fd").mkdir(parents=True)
        (folder / "fd" / "3").symlink_to(device)
        (folder / "comm").write_text(name + "\n", encoding="utf-8")
        (folder / "cgroup").write_text(f"0::/system.slice/{unit}\n", encoding="utf-8")

    def run(self, argv: Sequence[str]) -> Said:
        line = " ".join(argv)
        self.calls.append(line)
        if line in self.answers:
            return self.answers[line]
        return getattr(self, "_" + argv[0])(list(argv[1:]))

    def changed(self) -> list[str]:
        asking = ("modinfo", "modprobe -S", "systemctl is-active", "dkms status", "journalctl", "dmesg")
        return [call for call in self.calls if not call.startswith(asking)]

    def _modinfo(self, argv: list[str]) -> Said:
        kernel, field, name = argv[1], argv[3], argv[4]
        if name != self.name or kernel not in self.modinfo:
            return Said(1, f"modinfo: ERROR: Module {name} not found.")
        return Said(0, self.modinfo[kernel][field == "license"])

    def _modprobe(self, argv: list[str]) -> Said:
        if argv[0] == "-S":
            # As Debian's modprobe.d leads the name.
            return Said(0, "" if self.name == "nvidia" else f"install modprobe -i {self.name} $CMDLINE_OPTS ")
        if argv[0] == "-r":
            shutil.rmtree(self.root / "sys" / argv[1])
            if argv[1] == "nvidia":
                (self.root / "proc" / "driver" / "nvidia" / "version").unlink()
            return Said(0, "")
        names = [name for name in self.modules() if name.startswith("nvidia")]
        version, licence = self.modinfo[KERNEL]
        self.loaded(version, OPEN if "GPL" in licence else PROPRIETARY, [*names, argv[0]])
        return Said(0, "")

    def _systemctl(self, argv: list[str]) -> Said:
        if argv[0] == "is-active":
            return Said(3, "\n".join("active" if unit in self.active else "inactive" for unit in argv[1:]))
        if argv[0] == "stop":
            for folder in (self.root / "proc").glob("[0-9]*"):
                if argv[1] in (folder / "cgroup").read_text(encoding="utf-8"):
                    (folder / "fd" / "3").unlink()
        return Said(0, "")

    def _dkms(self, argv: list[str]) -> Said:
        if argv[0] == "status":
            return Said(0, self.registered)
        if "nvidia" in self.registered:
            self.modinfo[argv[2]] = ("580.105.08", "Dual MIT/GPL")
        return Said(0, "")

    def _journalctl(self, argv: list[str]) -> Said:
        log, self.log = self.log, self.log + self.log_after
        return Said(0, log)

    _dmesg = _journalctl
