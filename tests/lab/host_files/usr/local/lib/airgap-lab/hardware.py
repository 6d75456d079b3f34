# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""airgap-lab-hardware: the simulated machine of a lab host, from /etc/airgap-lab/gpus.json.

boot            before systemd's first units: the kernel's files are covered, the kernel's log begins
probe           the kernel finds its devices and loads their modules; without an argument: what is described anew
load|unload M   what modprobe's install and remove lines call
build FOLDER    what the kernel's build system does with a module's folder
log TEXT        a line in the kernel's log
"""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import lab_bus
import lab_kernel
import lab_log
import lab_modules
from lab_tree import COVERED, REAL, STATE, TREE, cover, description, kernel, write

LOGGED = STATE / "logged.json"


def boot() -> None:
    """A container that is started again has booted: another boot id, nothing loaded, an empty kernel log."""
    if not (TREE / "boot_id").exists():
        write(TREE / "boot_id", f"{uuid.uuid4()}\n")
        lab_bus.keep_the_machines()
        _keep_modules()
        for name in ("firmware", "driver"):
            (TREE / name).mkdir(parents=True, exist_ok=True)
    lab_log.make()
    lab_bus.plug(description())
    cover()


def _keep_modules() -> None:
    """The machine's own modules stay in sight, all but those that a lab host simulates."""
    real = REAL / "sys-module"
    real.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "--bind", "/sys/module", str(real)], check=True)
    shown = TREE / "module"
    shown.mkdir(parents=True, exist_ok=True)
    for entry in sorted(real.iterdir()):
        if entry.name not in lab_modules.NEEDS:
            (shown / entry.name).symlink_to(entry)
    listed = COVERED[TREE / "modules"]
    if listed.exists():
        lines = listed.read_text(encoding="utf-8").splitlines(keepends=True)
        write(REAL / "modules", "".join(line for line in lines if line.split()[0] not in lab_modules.NEEDS))
    write(TREE / "modules", (REAL / "modules").read_bytes() if listed.exists() else b"")


def probe(described: dict[str, Any]) -> None:
    lab_bus.plug(described)
    lab_bus.bind(lab_modules.bound())
    if described:
        lab_kernel.prepare(described)
    _report(described)


def _report(described: dict[str, Any]) -> None:
    """The XIDs of the description in the kernel's log, each once in a boot."""
    logged = json.loads(LOGGED.read_text(encoding="utf-8")) if LOGGED.exists() else []
    for gpu in described.get("gpus", []):
        for xid in gpu.get("faults", {}).get("xids", []):
            place = lab_bus.address_of(gpu).rpartition(".")[0]
            line = f"NVRM: Xid (PCI:{place}): {xid['xid']}, {xid['text']}"
            if line not in logged:
                lab_log.say(line, lab_log.ERROR)
                logged.append(line)
    LOGGED.write_text(json.dumps(logged), encoding="utf-8")


def main(arguments: list[str]) -> int:
    verb = arguments[0] if arguments else "probe"
    described = description()
    try:
        if verb == "boot":
            boot()
        elif verb == "probe":
            booting = not LOGGED.exists()
            if booting:
                lab_log.say(f"Linux version {kernel()} (simulated)")
            probe(described)
            if booting:
                lab_modules.at_boot(described)
        elif verb == "load":
            lab_modules.load(arguments[1], described)
        elif verb == "unload":
            lab_modules.unload(arguments[1], described)
        elif verb == "build":
            return lab_kernel.build(Path(arguments[1]), described)
        elif verb == "log":
            lab_log.say(" ".join(arguments[1:]))
        else:
            print(__doc__, file=sys.stderr)
            return 2
    except lab_modules.Refused as refused:
        print(refused, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
