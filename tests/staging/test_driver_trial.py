# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drivers are tried on a host for real: Debian 12 with its headers, DKMS and compiler from a bundle, and small drivers that take seconds."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _throwaway_root
from drivers_room import RELEASE, TOOLS, debian, lab_cache, publish
from host_room import Host, changed, lend
from test_rehearse_packages import newest_kernel

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, TOOLS)), reason="needs mmdebstrap, dpkg-deb, apt-ftparchive and gpg"
)


@pytest.fixture(name="bundle", scope="module")
def fixture_bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A directory with the bundle's packages, this collection and Ansible's own Python; the empty root; and the kernel."""
    lent = tmp_path_factory.mktemp("lent")
    room = debian(RELEASE, lent / "packages", publish(lab_cache() / "vendor"))
    kernel = newest_kernel(room)
    collected = room.collect("lab-dkms", "lab-open-dkms", "python3", kernels=[kernel])
    assert "failed" not in collected, collected["msg"]
    # Rehearsing makes the empty root.
    assert "failed" not in room.rehearse("python3", groups=[{"name": "python", "packages": ["python3"]}])
    lend(lent)
    (base,) = (room.cache / "roots").glob("*/system")
    return lent, str(base), kernel


@pytest.fixture(name="host")
def fixture_host(bundle: tuple[Path, str, str]) -> Iterator[Host]:
    lent, base, _kernel = bundle
    with _throwaway_root.Copy(base, str(lent), str(Path(base).parent)) as copy:
        yield Host(copy, lent)


def test_check_mode_says_what_a_trial_needs_and_changes_nothing(host: Host, bundle: tuple[Path, str, str]) -> None:
    kernel = bundle[2]
    before = host.state()
    result = host.call(
        "gpu_driver_trial", check=True, packages=["lab-dkms"], kernel=kernel, headers=f"linux-headers-{kernel}"
    )
    assert not result.get("failed"), result["msg"]
    assert result["changed"] and result["trial_needed"] and not result["tried"]
    assert {"name": "lab-dkms", "before": None, "after": "1.0-1"} in result["changes"]
    names = {tool["name"] for tool in result["tools"]}
    assert {"dkms", "make", f"linux-headers-{kernel}"} <= names and "lab-dkms" not in names
    assert changed(before, host.state()) == []


def test_a_driver_that_builds_leaves_its_tools_and_nothing_else(host: Host, bundle: tuple[Path, str, str]) -> None:
    kernel = bundle[2]
    wanted: dict[str, Any] = {"packages": ["lab-dkms"], "kernel": kernel, "headers": f"linux-headers-{kernel}"}
    result = host.call("gpu_driver_trial", **wanted)
    assert not result.get("failed"), result["msg"]
    assert result["changed"] and result["tried"] and result["modules"] == ["lab 1.0"] and result["kernel"] == kernel
    assert result["seconds"] > 0
    state = host.state()
    assert [line for line in state if line.startswith("dkms ")]
    assert not [line for line in state if re.search("^lab-dkms|/var/lib/airgap|/mok[.]|/lab", line)]
    # The driver is still to be installed, so it would be tried again; nothing more comes for that.
    again = host.call("gpu_driver_trial", check=True, **wanted)
    assert again["trial_needed"] and not again["changed"] and not again["tools"]

    installed = host.call("packages", packages=["lab-dkms=1.0-*"])
    assert [item["name"] for item in installed["packages"]] == ["lab-dkms"], installed
    assert not host.call("packages", packages=["lab-dkms=1.0-*"])["changed"]
    assert f"lab/1.0, {kernel}" in host.run("dkms", "status")
    after = host.call("gpu_driver_trial", **wanted)
    assert (after["changed"], after["trial_needed"], after["changes"]) == (False, False, [])

    # A kernel for which the installed driver is not built is tried from what is installed.
    host.run("dkms", "uninstall", "lab/1.0", "-k", kernel)
    late = host.call("gpu_driver_trial", **wanted)
    assert late["tried"] and late["modules"] == ["lab 1.0"] and not late["changes"] and not late["changed"]


def test_a_driver_that_does_not_build_leaves_the_host_as_it_was(host: Host, bundle: tuple[Path, str, str]) -> None:
    kernel = bundle[2]
    before = host.state()
    wanted: dict[str, Any] = {"packages": ["lab-open-dkms"], "kernel": kernel, "headers": f"linux-headers-{kernel}"}
    result = host.call("gpu_driver_trial", **wanted)
    assert result["failed"]
    assert f"DKMS cannot build lab_open 1.0 (package lab-open-dkms) for the kernel {kernel}" in result["msg"]
    assert re.search(r"lab_open\.c:2:\d+: error: .no_such_symbol. undeclared", result["msg"])
    assert "gpu_host_kernel_modules" in result["msg"] and "was purged again" in result["msg"]
    log = f"/var/log/airgap/dkms-lab_open-1.0-{kernel}.log"
    assert log in result["msg"] and "no_such_symbol" in host.run("cat", log)
    assert changed(before, host.state()) == []


def test_without_headers_nothing_is_begun_and_those_that_are_there_are_named(
    host: Host, bundle: tuple[Path, str, str]
) -> None:
    before = host.state()
    kernel = "6.1.0-1-amd64"
    for check in (True, False):
        result = host.call(
            "gpu_driver_trial", check=check, packages=["lab-dkms"], kernel=kernel, headers=f"linux-headers-{kernel}"
        )
        assert result["failed"] and f"it has no linux-headers-{kernel}" in result["msg"]
        assert f"it has linux-headers-{bundle[2]} (file:" in result["msg"]
        assert "airgap_targets[].kernels" in result["msg"] and "uname -r" in result["msg"]
    assert changed(before, host.state()) == []


def test_what_needs_no_dkms_is_not_tried(host: Host, bundle: tuple[Path, str, str]) -> None:
    result = host.call("gpu_driver_trial", packages=["make"], kernel=bundle[2])
    assert not result["changed"] and not result["trial_needed"] and not result["tried"]
    assert "make" in [change["name"] for change in result["changes"]]
