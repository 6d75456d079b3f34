# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drivers of several hosts in one bundle, with the real apt: a vendor's source has several branches, whose packages depend on each
other loosely, and two flavours that exclude each other, as NVIDIA's repository has."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.airgap.inference.plugins.module_utils import _driver_plan
from ansible_collections.airgap.inference.plugins.module_utils._openpgp import SigningKey
from packages_room import run

TOOLS = ("apt-get", "apt-ftparchive", "dpkg-deb", "gpg")
pytestmark = pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"one of {', '.join(TOOLS)} is not installed")

VARIABLES = Path(__file__).resolve().parents[2] / "roles/gpu_host/vars/Debian.yml"
DRIVERS: dict[str, Any] = yaml.safe_load(VARIABLES.read_text(encoding="utf-8"))["__gpu_host_drivers"]
VERSIONS = ("580.95.05-1", "580.105.08-1", "610.43.02-1")
# Without versions: apt alone would take the newest of each.
PACKAGES = {
    "nvidia-kernel-open-dkms": "Depends: nvidia-modprobe\nConflicts: nvidia-kernel-dkms",
    "nvidia-kernel-dkms": "Depends: nvidia-modprobe\nConflicts: nvidia-kernel-open-dkms",
    "nvidia-driver-cuda": "Depends: libcuda1, nvidia-persistenced",
    "nvidia-modprobe": "",
    "nvidia-persistenced": "",
    "libcuda1": "",
    "nvidia-fabricmanager": "",
    "libnvsdm": "",
}


@pytest.fixture(name="system", scope="module")
def fixture_system(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("vendor") / "source"
    listed = [(name, version, fields) for name, fields in PACKAGES.items() for version in VERSIONS]
    for name, version, fields in [*listed, ("nvlsm", "2025.10.12-1", ""), ("rsync", "3.4-1", "")]:
        control = root / "build/DEBIAN/control"
        control.parent.mkdir(parents=True, exist_ok=True)
        lines = [
            f"Package: {name}",
            f"Version: {version}",
            fields,
            "Architecture: all",
            "Maintainer: x <x@example.org>",
        ]
        control.write_text("\n".join([line for line in [*lines, "Description: x"] if line]) + "\n")
        _quietly(["dpkg-deb", "--root-owner-group", "-b", "build", f"{name}_{version}_all.deb"], root)
    shutil.rmtree(root / "build")
    (root / "Packages").write_bytes(_quietly(["apt-ftparchive", "packages", "."], root))
    (root / "Release").write_bytes(_quietly(["apt-ftparchive", "release", "."], root))
    key = SigningKey(str(root.parent / "vendor.key"), "vendor")
    source = {"uris": f"file:{root}", "suites": "./", "signed_by": key.public().decode()}
    (root / "InRelease").write_bytes(key.clearsign(str(root / "Release")))
    return {"distribution": "Debian", "release": "trixie", "sources": [source]}


def collect(tmp_path: Path, system: dict[str, Any], *wishes: dict[str, Any], together: bool = False) -> dict[str, Any]:
    """What the role bundle asks for, for hosts that state these drivers."""
    groups = _driver_plan.groups(wishes, DRIVERS, "nvidia")
    lists = {f"gpu_host_* of {group['name']}": group["packages"] + group["fabric"] for group in groups}
    return run(
        path=str(tmp_path / "repository"),
        target=system,
        packages={"__base_packages": ["rsync"], **lists},
        apart=[] if together else list(lists),
        pins=dict(zip(lists, [group["pins"] for group in groups])),
        cache=str(tmp_path / "cache"),
        signing_key=str(tmp_path / "key"),
    )


def versions(result: dict[str, Any]) -> dict[str, list[str]]:
    assert not result.get("failed"), result["msg"]
    found: dict[str, list[str]] = {}
    for package in result["artifact"]["packages"]:
        found.setdefault(package["name"], []).append(package["version"])
    return found


def test_one_branch_with_all_that_its_packages_depend_on(tmp_path: Path, system: dict[str, Any]) -> None:
    found = versions(collect(tmp_path, system, {}))
    assert found.pop("nvlsm") == ["2025.10.12-1"] and found.pop("rsync") == ["3.4-1"]
    assert found == {name: ["580.105.08-1"] for name in PACKAGES if name != "nvidia-kernel-dkms"}


def test_an_exact_version_holds_for_what_nobody_lists(tmp_path: Path, system: dict[str, Any]) -> None:
    found = versions(collect(tmp_path, system, {"version": "580.95.05"}))
    assert found["nvidia-modprobe"] == found["libcuda1"] == found["nvidia-fabricmanager"] == ["580.95.05-1"]


def test_drivers_that_exclude_each_other_travel_together(tmp_path: Path, system: dict[str, Any]) -> None:
    wishes = [{"host": "gpu1", "branch": "610"}, {"host": "gpu2", "modules": "proprietary", "version": "580.95.05"}]
    refused = collect(tmp_path, system, *wishes, together=True)
    assert refused["failed"] and "cannot be installed together" in refused["msg"]
    result = collect(tmp_path, system, *wishes)
    found = versions(result)
    assert found["nvidia-kernel-open-dkms"] == ["610.43.02-1"] and found["nvidia-kernel-dkms"] == ["580.95.05-1"]
    assert found["libcuda1"] == ["580.95.05-1", "610.43.02-1"]
    assert found["rsync"] == ["3.4-1"]
    # Every one is there, and the same again is no change.
    files = {path.name for path in (tmp_path / "repository/pool").iterdir()}
    assert {"libcuda1_580.95.05-1_all.deb", "libcuda1_610.43.02-1_all.deb"} <= files and len(files) == sum(
        map(len, found.values())
    )
    again = collect(tmp_path, system, *wishes)
    assert (again["changed"], again["fetched"]) == (False, 0)


def test_a_version_that_there_is_not_is_told_with_who_asks(tmp_path: Path, system: dict[str, Any]) -> None:
    result = collect(tmp_path, system, {"host": "gpu1"}, {"host": "gpu2", "version": "580.99.99"})
    assert result["failed"] and "gpu_host_* of hosts gpu2" in result["msg"] and "no such package" in result["msg"]


def _quietly(command: list[str], cwd: Path) -> bytes:
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True).stdout
