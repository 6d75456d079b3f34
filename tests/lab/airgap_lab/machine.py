# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab needs from the machine it runs on: root, Debian, and a few of its packages."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from airgap_lab import cache
from airgap_lab.console import LabError, run, succeeds, timed

# Every Debian package that the lab calls, each with the command that shows it is there.
PACKAGES = {
    "apt-utils": "apt-ftparchive",
    "ca-certificates": "update-ca-certificates",
    "debian-archive-keyring": "/usr/share/keyrings/debian-archive-keyring.gpg",
    "docker-registry": "docker-registry",
    "docker.io": "dockerd",
    "gnupg": "gpg",
    "mmdebstrap": "mmdebstrap",
    "openssh-client": "ssh-keygen",
    "pigz": "pigz",
    "python3-venv": "",
    "skopeo": "skopeo",
}


def _missing() -> list[str]:
    absent = []
    for package, proof in PACKAGES.items():
        if proof.startswith("/"):
            there = Path(proof).exists()
        elif proof:
            there = shutil.which(proof) is not None
        else:
            there = succeeds(["dpkg-query", "-W", package])
        if not there:
            absent.append(package)
    return absent


def prepare() -> None:
    """Install what is missing; a machine that has everything is left as it is."""
    if os.geteuid() != 0:
        raise LabError("the lab makes containers and file systems: run it as root")
    if shutil.which("apt-get") is None:
        raise LabError("the lab needs a Debian machine (no apt-get here)")
    absent = _missing()
    if not absent:
        return
    with timed("install " + " ".join(absent)):
        log = cache.log("machine")
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "update"], log, quiet)
        run(["apt-get", "install", "--yes", "--no-install-recommends", *absent], log, quiet)
        if "docker-registry" in absent and has_systemd():
            # The package starts a registry open to the network; the lab runs its own on the loopback.
            run(["systemctl", "disable", "--now", "docker-registry"], log)


def has_systemd() -> bool:
    return Path("/run/systemd/system").is_dir()
