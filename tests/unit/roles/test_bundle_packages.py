# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker's packages in a bundle: the role's own, or what hosts state, resolved apart where they exclude each other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.airgap.inference.tests.unit.roles.rendering import REPOSITORY

OWN = yaml.safe_load((REPOSITORY / "roles/container_runtime/vars/Debian.yml").read_text())[
    "__container_runtime_packages"
]
VENDORS = ["containerd.io", "docker-ce", "docker-ce-cli", "docker-compose-plugin", "nvidia-container-toolkit-base"]
NAMES = ("__bundle_packages", "__bundle_apart", "__bundle_rehearsed_groups")


def read(hosts: dict[str, Any], into: Path, names: Sequence[str] = NAMES) -> dict[str, Any]:
    """What the bundle makes of what hosts state as container_runtime_packages."""
    stated = {host: {"container_runtime_packages": value} if value else {} for host, value in hosts.items()}
    inventory = {"all": {"children": {"airgap_hosts": {"hosts": stated}, "airgap_staging": {"hosts": {"stage": {}}}}}}
    play = {
        "hosts": "stage",
        "connection": "local",
        "gather_facts": False,
        "vars_files": [str(REPOSITORY / "roles/bundle" / part / "main.yml") for part in ("defaults", "vars")],
        "vars": {
            "role_path": str(REPOSITORY / "roles/bundle"),
            "ansible_python_interpreter": sys.executable,
            "bundle_extra_packages": [],
            "__bundle_target": {"distribution": "Debian", "release": "trixie"},
        },
        "tasks": [
            {
                "ansible.builtin.copy": {
                    "dest": str(into / "read.json"),
                    "mode": "0644",
                    "content": "{{ " + f"dict({', '.join(f'{name}={name}' for name in names)})" + " | to_json }}",
                }
            }
        ],
    }
    (into / "play.json").write_text(json.dumps([play]))
    (into / "hosts.json").write_text(json.dumps(inventory))
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "-i", into / "hosts.json", into / "play.json"],
        env={**os.environ, "ANSIBLE_HOME": str(into / "ansible")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads((into / "read.json").read_text())
    return result


def test_without_a_word_of_the_hosts_it_is_the_roles_own(tmp_path: Path) -> None:
    found = read({}, tmp_path)
    assert found["__bundle_packages"]["__container_runtime_packages"] == OWN
    assert [name for name in found["__bundle_apart"] if "runtime" in name] == []
    assert [group["name"] for group in found["__bundle_rehearsed_groups"]][-1] == "the depot"
    assert set(OWN) <= set(found["__bundle_rehearsed_groups"][0]["packages"])


def test_where_all_hosts_state_the_same_nothing_else_travels(tmp_path: Path) -> None:
    found = read({"gpu1": VENDORS, "gpu2": VENDORS}, tmp_path)
    assert found["__bundle_packages"]["container_runtime_packages of gpu1, gpu2"] == VENDORS
    assert "__container_runtime_packages" not in found["__bundle_packages"]
    assert "docker.io" not in json.dumps(found)
    assert set(VENDORS) <= set(found["__bundle_rehearsed_groups"][0]["packages"])


def test_what_excludes_each_other_is_resolved_and_tried_apart(tmp_path: Path) -> None:
    found = read({"gpu1": [], "gpu2": VENDORS}, tmp_path)
    mine, theirs = "__container_runtime_packages", "container_runtime_packages of gpu2"
    assert (found["__bundle_packages"][mine], found["__bundle_packages"][theirs]) == (OWN, VENDORS)
    assert {mine, theirs} <= set(found["__bundle_apart"]) <= set(found["__bundle_packages"])
    groups = {group["name"]: group["packages"] for group in found["__bundle_rehearsed_groups"]}
    assert set(VENDORS) <= set(groups[theirs])
    assert not [packages for packages in groups.values() if {"docker.io", "docker-ce"} <= set(packages)]


def test_a_text_in_place_of_a_list_is_named(tmp_path: Path) -> None:
    stated = {"gpu1": "docker-ce,containerd.io", "gpu2": VENDORS, "gpu3": []}
    assert read(stated, tmp_path, ["__bundle_runtime_texts"]) == {"__bundle_runtime_texts": ["gpu1"]}
