# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Downloads wheels with the machine's own pip configuration; nothing is installed on the machine."""

from __future__ import annotations

import email
import zipfile
from collections.abc import Iterable
from pathlib import Path

from airgap_lab import cache
from airgap_lab.console import run

# What a wheel for CPython 3.11 on Debian 12 (glibc 2.36) may be called.
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in range(36, 4, -1)] + [
    "manylinux2014_x86_64",
    "manylinux2010_x86_64",
    "manylinux1_x86_64",
    "linux_x86_64",
]


def pip(step: str) -> str:
    """A pip of the lab's own, in the cache."""
    folder = cache.root() / "pip"
    if not (folder / "bin" / "pip").exists():
        half = folder.with_name("pip.part")
        cache.remove(half)
        run(["python3", "-m", "venv", str(half)], cache.log(step))
        half.rename(folder)
    # Its scripts still name the folder it was made in, so it is called as a module.
    return str(folder / "bin" / "python3")


def download(requirements: Iterable[str], folder: Path, step: str, dependencies: bool = True) -> None:
    command = [pip(step), "-m", "pip", "download", "--dest", str(folder), "--only-binary=:all:"]
    command += ["--python-version=3.11", "--implementation=cp", "--abi=cp311", "--abi=abi3", "--abi=none"]
    command += ["--platform=" + platform for platform in PLATFORMS]
    command += [] if dependencies else ["--no-deps"]
    run(command + list(requirements), cache.log(step))


def requirements(wheel: Path) -> list[str]:
    """What a wheel asks for, without its extras."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    return [str(line) for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in str(line)]
