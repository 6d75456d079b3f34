# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's tables decide whether a container is sealed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _container_seal
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

STATUS = "Name:\tvllm\nUid:\t2000\t2000\t2000\t2000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n"
DEVICES = "Inter-|   Receive\n face |bytes\n    lo: 0 0\n"
ROUTES = "Iface\tDestination\n"
MOUNTS = "10 9 0:1 / / ro,relatime - overlay overlay ro\n11 10 0:2 / /tmp rw - tmpfs tmpfs rw\n"


def container(**state: Any) -> dict[str, Any]:
    return {
        "Name": "/airgap-chat",
        "State": {"Pid": 7, "Running": True, "Status": "running", **state},
        "HostConfig": {"NetworkMode": "none"},
    }


def write(proc: Path, **texts: str) -> str:
    directory = proc / "7"
    (directory / "net").mkdir(parents=True)
    (directory / "status").write_text(texts.get("status", STATUS))
    (directory / "net/dev").write_text(texts.get("devices", DEVICES))
    (directory / "net/route").write_text(texts.get("routes", ROUTES))
    (directory / "mountinfo").write_text(texts.get("mounts", MOUNTS))
    return str(proc)


def test_a_sealed_container_has_no_breach(tmp_path: Path) -> None:
    seal = _container_seal.read(container(), write(tmp_path))
    assert _container_seal.breaches(seal) == []
    assert _container_seal.describe(seal)["interfaces"] == ["lo"]


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({"devices": DEVICES + "  eth0: 1 1\n"}, "interfaces are eth0, lo"),
        ({"routes": ROUTES + "eth0\t00000000\n"}, "1 routes"),
        ({"status": STATUS.replace("2000", "0", 1)}, "runs as root"),
        ({"status": STATUS.replace("CapEff:\t0000000000000000", "CapEff:\t0000000000000400")}, "capabilities 0x400"),
        ({"status": STATUS.replace("CapBnd:\t0000000000000000", "CapBnd:\t0000000000000400")}, "gain capabilities"),
        ({"status": STATUS.replace("NoNewPrivs:\t1", "NoNewPrivs:\t0")}, "gain privileges"),
        ({"mounts": MOUNTS.replace("/ ro,relatime", "/ rw,relatime")}, "writable"),
    ],
)
def test_every_breach_is_named(tmp_path: Path, texts: dict[str, str], words: str) -> None:
    breaches = _container_seal.breaches(_container_seal.read(container(), write(tmp_path, **texts)))
    assert len(breaches) == 1
    assert words in breaches[0]


def test_a_container_that_does_not_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(AirgapError, match="airgap-chat is not running"):
        _container_seal.read(container(Running=False, Pid=0, Status="exited"), str(tmp_path))


def test_a_container_that_just_stopped_is_told(tmp_path: Path) -> None:
    with pytest.raises(AirgapError, match="just stopped"):
        _container_seal.read(container(), str(tmp_path))
