# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages are rehearsed for real: Debian's own roots, headers, DKMS and compiler; small drivers, and NVIDIA's where it is slow.

Versions move. What NVIDIA's drivers do on a day is not for a test to say: it asserts that the module tells what happened.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _apt_repository, _repository
from drivers_room import RELEASE, TOOLS, Room, debian, lab_cache, publish

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, TOOLS)), reason="needs mmdebstrap, dpkg-deb, apt-ftparchive and gpg"
)
LINE = {"bookworm": r"6\.1\.0-\d+-amd64", "trixie": r"6\.12\.\d+\+deb13-amd64"}


@pytest.fixture(name="lab")
def fixture_lab(tmp_path: Path) -> Room:
    """Debian 12 with the vendor's small drivers."""
    room = debian(RELEASE, tmp_path / f"debian-{RELEASE}", publish(lab_cache() / "vendor"))
    room.forget()
    return room


def newest_kernel(room: Room) -> str:
    """The newest kernel of the release's own line whose headers the sources have."""
    root = _apt_repository.Root(str(room.cache / "newest"), _repository.described(room.system))
    root.prepare()
    root.update()
    kernels = [kernel for kernel in root.kernels() if re.fullmatch(LINE[room.system["release"]], kernel)]
    return max(kernels, key=lambda kernel: [int(number) for number in re.findall(r"\d+", kernel)])


def test_a_driver_is_built_once_and_a_driver_that_does_not_build_is_refused_with_one_that_does(lab: Room) -> None:
    kernel = newest_kernel(lab)
    assert "failed" not in lab.collect("lab-dkms", kernels=[kernel])
    result = lab.rehearse("lab-dkms")
    assert result["rehearsals"] == [
        {"kind": "packages", "name": "debian-bookworm-amd64", "level": "modules", "kernels": {kernel: ["lab 1.0"]}}
    ], result["msg"]
    assert not result["remembered"] and not result["changed"]
    again = lab.rehearse("lab-dkms", _ansible_check_mode=True)
    assert again["remembered"] and again["seconds"] < 1 and again["rehearsals"] == result["rehearsals"]

    assert "failed" not in lab.collect("lab-open-dkms", kernels=[kernel])
    predicted = lab.rehearse("lab-open-dkms", _ansible_check_mode=True)["rehearsals"][0]
    assert predicted["level"] == "none" and "check mode" in predicted["reason"]
    refused = lab.rehearse("lab-open-dkms", alternatives=1)
    assert refused["failed"]
    lines = refused["msg"].splitlines()
    assert lines[0].startswith("Debian bookworm amd64: the packages of hosts") and lines[0].endswith(
        f"DKMS cannot build lab_open 1.0 for the kernel {kernel}."
    )
    assert re.match(r"  lab_open\.c:2:\d+: error: .no_such_symbol. undeclared", lines[1])
    assert f"  lab-dkms instead of lab-open-dkms, for {kernel}: builds: lab 1.0 for {kernel}" in lines
    assert [line for line in lines if line.startswith("  the kernel 6.1.0-") and "alternatives is 1" in line]
    assert lab.left() == []


def test_packages_are_kept_from_network_machine_and_services(lab: Room) -> None:
    assert "failed" not in lab.collect("lab-nosy")
    result = lab.rehearse("lab-nosy")
    assert result.get("rehearsals") == [
        {"kind": "packages", "name": "debian-bookworm-amd64", "level": "installed", "kernels": {}}
    ], result["msg"]
    assert not (lab.repository / "nosy").exists() and lab.left() == []


def test_a_package_that_breaks_is_refused_with_dpkgs_reason(lab: Room) -> None:
    assert "failed" not in lab.collect("lab-broken")
    refused = lab.rehearse("lab-broken")
    assert refused["failed"] and "dpkg: error processing package lab-broken" in refused["msg"]
    assert "returned error exit status 3" in refused["msg"] and lab.left() == []


def test_what_the_bundle_lacks_is_not_fetched_from_elsewhere(lab: Room) -> None:
    assert "failed" not in lab.collect("lab-broken")
    refused = lab.rehearse("rsync")
    assert refused["failed"] and "Unable to locate package rsync" in refused["msg"]


def test_other_bytes_under_the_same_version_are_indexed_as_they_are(lab: Room) -> None:
    assert "failed" not in lab.collect("lab-broken")
    publish(lab_cache() / "vendor", breaks="exit 33")
    # apt takes a file of the same size from its cache; the first run finds it out, and the second one fetches.
    results = [lab.collect("lab-broken") for _attempt in range(2)]
    assert "failed" not in results[1]
    assert "returned error exit status 33" in lab.rehearse("lab-broken")["msg"]


def test_what_cannot_be_collected_is_refused_with_what_can(lab: Room) -> None:
    """Debian 12's open driver beside its security updates, on the day this was written."""
    names = ("nvidia-open-kernel-dkms", "nvidia-smi")
    collected = lab.collect(*names)
    if not collected.get("failed"):
        pytest.skip("Debian 12's nvidia-open-kernel-dkms is installable again")
    assert "nvidia-open-kernel-dkms : Depends: " in collected["msg"]
    silent = lab.rehearse(*names, refused=collected["msg"], rehearse=False)
    assert silent["msg"] == collected["msg"]
    refused = lab.rehearse(*names, refused=collected["msg"], alternatives=0)
    assert refused["failed"] and refused["msg"].startswith(collected["msg"])
    assert "  nvidia-kernel-dkms instead of nvidia-open-kernel-dkms: " in refused["msg"]


@pytest.mark.driver
def test_nvidias_driver_builds_on_debian_12(tmp_path: Path) -> None:
    room = debian("bookworm", tmp_path / "debian-bookworm")
    room.forget()
    kernel = newest_kernel(room)
    assert "failed" not in room.collect("nvidia-kernel-dkms", "nvidia-smi", kernels=[kernel])
    result = room.rehearse("nvidia-kernel-dkms", "nvidia-smi", alternatives=0)
    if result.get("failed"):
        assert re.search(r"^  \S+:\d+:\d+: error: ", result["msg"], re.M), result["msg"]
    else:
        (rehearsal,) = result["rehearsals"]
        assert rehearsal["level"] == "modules"
        assert re.match(r"nvidia\S* \d+\.\d+", rehearsal["kernels"][kernel][0])
    assert room.left() == []


@pytest.mark.driver
def test_nvidias_open_driver_on_debian_13_is_built_or_refused(tmp_path: Path) -> None:
    room = debian("trixie", tmp_path / "debian-trixie")
    room.forget()
    kernel = newest_kernel(room)
    assert "failed" not in room.collect("nvidia-open-kernel-dkms", "nvidia-smi", kernels=[kernel])
    result = room.rehearse("nvidia-open-kernel-dkms", "nvidia-smi", alternatives=0)
    if result.get("failed"):
        assert f"for the kernel {kernel}." in result["msg"]
        assert re.search(r"^  nvidia\S*/\S+\.[ch]:\d+:\d+: error: ", result["msg"], re.M), result["msg"]
        assert f"  nvidia-kernel-dkms instead of nvidia-open-kernel-dkms, for {kernel}: not tried" in result["msg"]
        assert re.search(r"^  the kernel 6\.12\.\d+\+deb13-amd64: not tried", result["msg"], re.M)
    else:
        assert result["rehearsals"][0]["level"] == "modules"
    assert room.left() == []
