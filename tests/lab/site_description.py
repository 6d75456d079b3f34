# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the lab's site description: inventories/lab and what only this machine knows.

The lab's inventory is committed; the mirror's address, the paths of the cache and the hashes of the clients'
keys are not known before the lab runs. They become ``group_vars/<group>/lab.yml`` of a copy. Beside the copy,
in ``engines``, is the data of the engines that a site brings itself.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]

# Who may ask. The first has the key that `verify` and the demo use.
CLIENT = "lab"
CLIENTS: dict[str, dict[str, Any]] = {
    CLIENT: {"rate": "10r/s", "burst": 20, "concurrency": 4},
    # One model only.
    "ward": {"models": ["tiny-gguf"]},
    # Few at a time: `verify` asks as it too, and sees the limits bite.
    "trial": {"models": ["tiny-gguf"], "rate": "60r/m", "burst": 3, "concurrency": 2},
    # No model: it reads metrics.
    "monitoring": {"models": [], "metrics": True},
}


@dataclass(frozen=True)
class Lab:
    """What this code needs to know of a running lab."""

    cache: Path
    #: Where the lab of this name keeps its own files; only its owner may look inside ``keys``.
    directory: Path
    drive: Path
    bastion: str
    described: dict[str, Any]

    @classmethod
    def named(cls, name: str) -> Lab:
        """Ask ``lab.py paths``."""
        answer = subprocess.run(
            [sys.executable, str(REPOSITORY / "tests/lab/lab.py"), "paths", "--name", name],
            check=True,
            stdout=subprocess.PIPE,
        )
        described = json.loads(answer.stdout)
        room = described["room"]
        return cls(
            cache=Path(described["cache"]),
            directory=Path(room["signing_key"]).parent.parent,
            drive=Path(room["drive"]),
            bastion=room["hosts"]["bastion"]["container"],
            described=described,
        )


def private_text(path: Path, text: str) -> None:
    """Write a file that only its owner reads; it is never readable by others, not even for a moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)


def client_key(lab: Lab, name: str = CLIENT) -> str:
    """The key of one of the lab's clients, made once."""
    path = lab.directory / "keys" / ("client" if name == CLIENT else f"client-{name}")
    if not path.exists():
        private_text(path, secrets.token_hex(32) + "\n")
    return path.read_text().strip()


def site_variables(lab: Lab) -> dict[str, Any]:
    """The variables of the site that this machine alone knows."""
    return {
        "lab_models": lab.described["models"],
        "airgap_targets": lab.described["targets"],
        "airgap_clients": [
            {"name": name, "key_sha256": hashlib.sha256(client_key(lab, name).encode()).hexdigest(), **may}
            for name, may in CLIENTS.items()
        ],
    }


def staging_variables(lab: Lab) -> dict[str, Any]:
    """The variables of the connected side."""
    return {
        "airgap_bundle": str(lab.drive / "bundle"),
        "bundle_signing_key": lab.described["room"]["signing_key"],
        "bundle_registries_conf": lab.described["registry"]["registries_conf"],
        "bundle_cache_directory": str(lab.cache / "stage"),
        "bundle_compose_command": lab.described["compose_command"],
    }


def write_site(lab: Lab, directory: Path) -> None:
    """Write the lab's site description to ``directory``, engines' data beside it, and give the bastion its clients' keys.

    The keys travel on standard input and are kept in files of mode 0600: they stand in no command line.
    """
    for source, target in (("lab", directory), ("engines", directory.parent / "engines")):
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(REPOSITORY / "inventories" / source, target)
    for group, variables in (("all", site_variables(lab)), ("airgap_staging", staging_variables(lab))):
        path = directory / "group_vars" / group / "lab.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(variables, indent=2) + "\n")
    files = {f"{name}.key": client_key(lab, name) for name in CLIENTS if name != CLIENT}
    files.update({"client.key": client_key(lab), "client.header": f"Authorization: Bearer {client_key(lab)}"})
    for name, content in files.items():
        subprocess.run(
            ["docker", "exec", "-i", lab.bastion, "install", "-m", "0600", "/dev/stdin", f"/etc/airgap/{name}"],
            input=f"{content}\n".encode(),
            check=True,
        )


def main() -> None:
    """Write the site of a running lab."""
    parser = argparse.ArgumentParser(description="Write the site description of a running lab.")
    parser.add_argument("--name", default="demo", help="the lab's name")
    parser.add_argument("directory", type=Path, help="where the site description goes")
    arguments = parser.parse_args()
    write_site(Lab.named(arguments.name), arguments.directory)


if __name__ == "__main__":
    main()
