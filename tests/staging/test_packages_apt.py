# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages for real systems with apt: Debian as its own mirrors offer it today. Resolved only, nothing large is fetched."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.airgap.inference.plugins.module_utils import _driver_plan
from packages_room import run

ROLES = Path(__file__).resolve().parents[2] / "roles"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# What Debian itself does not have; the inventory names the vendors' repositories.
VENDORS = {"containerd.io", "docker-ce", "docker-ce-cli", "docker-compose-plugin", "nvidia-container-toolkit-base"}


def mirrors() -> dict[str, str]:
    """Where this machine's own apt finds Debian."""
    if not Path(KEYRING).is_file():
        return {}
    command = ["apt-get", "indextargets", "--format", "$(LABEL)|$(REPO_URI)", "Created-By: Packages"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return dict(line.split("|", 1) for line in reversed(listed.splitlines()))


def target(release: str, *kernels: str) -> dict[str, Any]:
    known = mirrors()
    if not {"Debian", "Debian-Security"} <= set(known):
        pytest.skip("this machine's apt has no mirror of Debian")
    suites = {"Debian": f"{release} {release}-updates", "Debian-Security": f"{release}-security"}
    components = "main contrib non-free non-free-firmware"
    sources = [
        {"uris": known[label], "suites": suites[label], "components": components, "signed_by": KEYRING}
        for label in suites
    ]
    return {"distribution": "Debian", "release": release, "sources": sources, "kernels": list(kernels)}


@pytest.fixture(name="resolve")
def fixture_resolve(tmp_path: Path) -> Any:
    def resolve(system: dict[str, Any], **packages: list[str]) -> dict[str, Any]:
        return run(
            path=str(tmp_path / "repository"),
            target=system,
            packages=packages,
            cache=str(tmp_path / "cache"),
            signing_key=str(tmp_path / "key"),
            _ansible_check_mode=True,
        )

    return resolve


def names(result: dict[str, Any]) -> set[str]:
    assert not result.get("failed"), result["msg"]
    return {item["name"] for item in result["artifact"]["packages"]}


def described(release: str) -> dict[str, list[str]]:
    """What the roles install on this Debian, less what vendors bring."""
    lists: dict[str, list[str]] = {}
    for role in ("base", "container_runtime", "depot", "gpu_host", "model_store"):
        paths = [ROLES / role / "vars" / f"{name}.yml" for name in (f"Debian-{release}", "Debian")]
        data = yaml.safe_load(next(path for path in paths if path.is_file()).read_text(encoding="utf-8"))
        drivers = data.get("__gpu_host_drivers")
        wanted = _driver_plan.packages_for(drivers, "distribution") if drivers else data[f"__{role}_packages"]
        lists[f"__{role}_packages"] = [name for name in wanted if name not in VENDORS]
    return lists


@pytest.mark.parametrize("release", ["bookworm", "trixie"])
def test_debian_has_what_the_roles_install_there(release: str, resolve: Any) -> None:
    lists = described(release)
    assert {name for wanted in lists.values() for name in wanted} <= names(resolve(target(release), **lists))


def test_the_headers_of_a_kernel_come_from_todays_debian(tmp_path: Path, resolve: Any) -> None:
    refused = resolve(target("bookworm", "6.1.0-9999-amd64"), x=["docker.io"])
    there = re.search(r"Headers are there for (6\.1\.0-\d+-amd64),", refused["msg"])
    assert refused["failed"] and there, refused["msg"]
    wanted = ["docker.io", "nvidia-kernel-dkms", "nvidia-smi", "nvidia-persistenced"]
    result = resolve(target("bookworm", there.group(1)), x=wanted)
    assert {*wanted, "dkms", f"linux-headers-{there.group(1)}"} <= names(result)
    assert result["artifact"]["kernels"] == [there.group(1)]
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_installed_today_is_told_in_the_words_of_apt(resolve: Any) -> None:
    """Debian 12's open driver was not installable beside its security updates; versions move, so both ends are right."""
    result = resolve(target("bookworm"), __gpu_host_packages=["nvidia-open-kernel-dkms"])
    if result.get("failed"):
        assert "cannot be installed together" in result["msg"] and "nvidia-open-kernel-dkms : Depends:" in result["msg"]
    else:
        assert "nvidia-open-kernel-dkms" in names(result)
