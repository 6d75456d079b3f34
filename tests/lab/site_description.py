# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the lab's site description: inventories/lab and what only this machine knows.

The lab's inventory is committed; the mirror's address, the paths of the cache and the hash of the client's
key are not known before the lab runs. They become ``group_vars/<group>/lab.yml`` of a copy.
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
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]


def lab_paths(name: str) -> dict[str, Any]:
    """What ``lab.py paths`` says of the lab of that name."""
    answer = subprocess.run(
        [sys.executable, str(REPOSITORY / "tests/lab/lab.py"), "paths", "--name", name],
        check=True,
        stdout=subprocess.PIPE,
    )
    described: dict[str, Any] = json.loads(answer.stdout)
    return described


def private_text(path: Path, text: str) -> None:
    """Write a file that only its owner reads; it is never readable by others, not even for a moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)


def client_key(directory: Path) -> str:
    """The lab's client key, made once per lab, and beside it the header file that curl reads."""
    path = directory / "client.key"
    if not path.exists():
        private_text(path, secrets.token_hex(32) + "\n")
    key = path.read_text().strip()
    private_text(directory / "client.header", f"Authorization: Bearer {key}\n")
    return key


def machine_variables(lab: dict[str, Any], key: str) -> dict[str, Any]:
    """The variables of the site that this machine alone knows."""
    return {
        "lab_models": lab["models"],
        "airgap_targets": lab["targets"],
        "airgap_clients": [
            {
                "name": "lab",
                "key_sha256": hashlib.sha256(key.encode()).hexdigest(),
                "rate": "10r/s",
                "burst": 20,
                "concurrency": 4,
            }
        ],
    }


def staging_variables(lab: dict[str, Any]) -> dict[str, Any]:
    """The variables of the connected side."""
    return {
        "airgap_bundle": f"{lab['drive']}/bundle",
        "bundle_signing_key": lab["signing_key"],
        "bundle_registries_conf": lab["registries_conf"],
        "bundle_cache_directory": f"{lab['cache']}/stage",
    }


def write_site(lab: dict[str, Any], key: str, directory: Path) -> None:
    """Replace ``directory`` by the lab's site description."""
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(REPOSITORY / "inventories/lab", directory)
    for group, variables in (("all", machine_variables(lab, key)), ("airgap_staging", staging_variables(lab))):
        path = directory / "group_vars" / group / "lab.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(variables, indent=2) + "\n")


def give_key_to_bastion(lab: dict[str, Any], key: str) -> None:
    """Put the client's key where ``verify`` looks for it; it travels on standard input, not in a command line."""
    store = "umask 077; mkdir -p /etc/airgap; chmod 0755 /etc/airgap; cat > /etc/airgap/client.key"
    subprocess.run(
        ["docker", "exec", "-i", lab["containers"]["bastion"], "sh", "-c", store],
        input=key.encode(),
        check=True,
    )


def main() -> None:
    """Write the site of a running lab."""
    parser = argparse.ArgumentParser(description="Write the site description of a running lab.")
    parser.add_argument("--name", default="demo", help="the lab's name")
    parser.add_argument("directory", type=Path, help="where the site description goes")
    arguments = parser.parse_args()
    lab = lab_paths(arguments.name)
    key = client_key(Path(lab["directory"]))
    write_site(lab, key, arguments.directory)
    give_key_to_bastion(lab, key)


if __name__ == "__main__":
    main()
