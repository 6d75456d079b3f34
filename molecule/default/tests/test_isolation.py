# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing outside answers: not from the bastion, not from the GPU host, not from inside the engine."""

from __future__ import annotations

import pytest
import site_under_test
from testinfra.host import Host

ENGINE = "docker exec airgap-chat"

# Addresses reserved for documentation (RFC 5737), a public resolver's well-known address, and the
# machine's own side of the lab's network. An answer of any kind, a refusal too, prints "reached".
ATTEMPT = """
import errno, socket, sys
for address, port in {targets!r}:
    attempt = socket.socket()
    attempt.settimeout(2)
    status = attempt.connect_ex((address, port))
    if status in (0, errno.ECONNREFUSED):
        print("reached", address, port, status)
try:
    print("resolved", socket.getaddrinfo("mirror.example.org", 443)[0][4])
except socket.gaierror:
    print("unresolved")
"""


def attempts(host: Host, prefix: str, targets: list[tuple[str, int]]) -> str:
    """Try each target from ``host`` and tell which answered."""
    return host.check_output(f"{prefix} python3 -c %s", ATTEMPT.format(targets=targets)).strip()


@pytest.fixture(scope="module")
def outside() -> list[tuple[str, int]]:
    """Addresses that no part of the isolated side may reach."""
    return [("192.0.2.1", 443), ("198.51.100.1", 80), ("9.9.9.9", 53)]


def test_the_probe_itself_tells_an_open_port(gpu_host: Host) -> None:
    """Without this, a probe that never reaches anything would prove everything."""
    assert "reached bastion 443 0" in attempts(gpu_host, "", [("bastion", 443)])


@pytest.mark.parametrize("name", ["bastion", "gpu1"])
def test_nothing_outside_answers_a_host(name: str, outside: list[tuple[str, int]]) -> None:
    assert attempts(site_under_test.lab_host(name), "", outside) == "unresolved"


def test_nothing_at_all_answers_the_engine(gpu_host: Host, outside: list[tuple[str, int]]) -> None:
    """The depot and the host itself are as far away as the rest of the world."""
    hosts = site_under_test.lab().described["room"]["hosts"]
    near = [(host["address"], port) for host in hosts.values() for port in (22, 443, 5000)]
    assert attempts(gpu_host, ENGINE, [*outside, *near]) == "unresolved"


def test_the_engine_has_no_interface_but_loopback(gpu_host: Host) -> None:
    assert gpu_host.check_output(f"{ENGINE} ls /sys/class/net").split() == ["lo"]
