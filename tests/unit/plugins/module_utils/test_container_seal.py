# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's tables decide whether a container is sealed."""

from __future__ import annotations

import shutil
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
    groups = directory / "root/sys/fs/cgroup"
    groups.mkdir(parents=True)
    (groups / "pids.max").write_text(texts.get("pids", "8192\n"))
    (groups / "memory.max").write_text(texts.get("memory", "max\n"))
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
        ({"status": STATUS.replace("Seccomp:\t2", "Seccomp:\t0")}, "seccomp"),
        ({"mounts": MOUNTS.replace("/ ro,relatime", "/ rw,relatime")}, "writable"),
        ({"pids": "max\n"}, "processes are not limited"),
    ],
)
def test_every_breach_is_named(tmp_path: Path, texts: dict[str, str], words: str) -> None:
    breaches = _container_seal.breaches(_container_seal.read(container(), write(tmp_path, **texts)))
    assert len(breaches) == 1
    assert words in breaches[0]


@pytest.mark.parametrize(
    ("asked", "kernel", "sealed"),
    [
        (0, "max", True),
        (1000, "1000", True),
        (1000, "max", False),
        (1000, "2000", False),
        (1 << 30, str(1 << 30), True),
    ],
)
def test_memory_is_limited_where_that_was_asked_for(tmp_path: Path, asked: int, kernel: str, sealed: bool) -> None:
    described = container()
    described["HostConfig"]["Memory"] = asked
    breaches = _container_seal.breaches(_container_seal.read(described, write(tmp_path, memory=kernel)))
    told = f"its memory is not limited to the {asked} bytes that were asked for"
    assert breaches == ([] if sealed else [told])


def test_control_groups_of_the_first_version_say_it_elsewhere(tmp_path: Path) -> None:
    proc = write(tmp_path)
    groups = tmp_path / "7/root/sys/fs/cgroup"
    for name in ("pids.max", "memory.max"):
        (groups / name).unlink()
    (breach,) = _container_seal.breaches(_container_seal.read(container(), proc))
    assert breach == "whether its processes are limited cannot be read"
    for name, text in (("pids/pids.max", "64"), ("memory/memory.limit_in_bytes", "9223372036854771712")):
        (groups / name).parent.mkdir()
        (groups / name).write_text(f"{text}\n")
    seal = _container_seal.read(container(), proc)
    assert (seal.most_processes, seal.most_memory) == (64, 0)
    assert _container_seal.breaches(seal) == []


def test_a_container_that_does_not_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(AirgapError, match="airgap-chat is not running"):
        _container_seal.read(container(Running=False, Pid=0, Status="exited"), str(tmp_path))


def test_a_container_that_just_stopped_is_told(tmp_path: Path) -> None:
    with pytest.raises(AirgapError, match="just stopped"):
        _container_seal.read(container(), str(tmp_path))


def test_a_container_that_stops_while_it_is_read_is_told(tmp_path: Path) -> None:
    proc = write(tmp_path)
    shutil.rmtree(tmp_path / "7/root")
    with pytest.raises(AirgapError, match="just stopped"):
        _container_seal.read(container(), proc)


def test_a_relay_is_in_the_network_of_its_engine(tmp_path: Path) -> None:
    namespaces = tmp_path / "7/ns"
    proc = write(tmp_path)
    namespaces.mkdir()
    (namespaces / "net").symlink_to("net:[4711]")
    engine = _container_seal.read(container(), proc)
    relay = engine._replace(network_mode="container:1f")
    assert _container_seal.breaches(relay, engine=engine) == []
    assert _container_seal.breaches(relay) == ["its network mode is container:1f, not none"]
    elsewhere = relay._replace(network_namespace="net:[4712]")
    assert _container_seal.breaches(elsewhere, engine=engine) == ["its network is not its engine's"]


def test_root_is_allowed_only_where_the_engine_needs_it(tmp_path: Path) -> None:
    seal = _container_seal.read(container(), write(tmp_path, status=STATUS.replace("2000", "0")))
    assert _container_seal.breaches(seal) == ["it runs as root"]
    assert _container_seal.breaches(seal, may_be_root=True) == []


def test_the_memory_of_the_host_is_not_the_containers(tmp_path: Path) -> None:
    proc = write(tmp_path)
    for pid in ("1", "7"):
        (tmp_path / pid / "ns").mkdir(parents=True)
        (tmp_path / pid / "ns/ipc").symlink_to("ipc:[1]")
    assert _container_seal.breaches(_container_seal.read(container(), proc)) == [
        "it shares the memory (IPC) of the host"
    ]
