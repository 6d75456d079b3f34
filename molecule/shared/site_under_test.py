# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of a scenario share: the lab's hosts, and the collection's playbooks run against them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import testinfra
import yaml
from testinfra.host import Host

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests/lab"))

import site_description  # noqa: E402 - the lab is a set of scripts, not a package

SCENARIO_NAME = "molecule"


def lab() -> site_description.Lab:
    """What the lab says of itself."""
    return site_description.Lab.named(SCENARIO_NAME)


def lab_host(name: str) -> Host:
    """A host of the lab, by its inventory name."""
    return testinfra.get_host(f"docker://airgap-{SCENARIO_NAME}-{name}")


def client_keys() -> dict[str, str]:
    """The keys of the lab's clients, by name."""
    return {name: site_description.client_key(lab(), name) for name in site_description.CLIENTS}


def instances(**differences: dict[str, Any]) -> list[dict[str, Any]]:
    """The site's instances, but for what is stated of one by its name."""
    described = yaml.safe_load((REPOSITORY / "inventories/lab/group_vars/all/site.yml").read_text())
    return [{**instance, **differences.get(instance["name"], {})} for instance in described["airgap_instances"]]


@dataclass(frozen=True)
class PlaybookRun:
    """How a playbook ended: its exit status, and all that it printed."""

    status: int
    output: str


def run_playbook(playbook: str, *arguments: str, **variables: Any) -> PlaybookRun:
    """Run a playbook of the collection against the lab, as molecule does; ``variables`` are extra variables."""
    command = [
        str(Path(sys.executable).with_name("ansible-playbook")),
        *("-i", str(REPOSITORY / ".cache/molecule/site")),
        *("-i", str(REPOSITORY / "molecule/shared/inventory")),
        *("--limit", "all:!spare"),
        *("--extra-vars", json.dumps(variables)),
        f"airgap.inference.{playbook}",
        *arguments,
    ]
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".cache/collections"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PIPELINING": "1",
    }
    ended = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900, check=False
    )
    return PlaybookRun(ended.returncode, ended.stdout)
