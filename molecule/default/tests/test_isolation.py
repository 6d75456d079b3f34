# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing outside answers: not from the bastion, not from the GPU host, not from inside an engine or its relay."""

from __future__ import annotations

import json

import pytest
import site_under_test
from test_instances import containers
from testinfra.host import Host

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


def inside(gpu_host: Host, container: str) -> str:
    """The beginning of a command line: in the container's network, with the host's programs, since not every image has Python."""
    pid = gpu_host.check_output("docker inspect --format '{{.State.Pid}}' %s", container)
    return f"nsenter --target {pid} --net"


def test_nothing_at_all_answers_an_engine(gpu_host: Host, outside: list[tuple[str, int]]) -> None:
    """The depot and the host itself, by each of its addresses, are as far away as the rest of the world."""
    hosts = site_under_test.lab().described["room"]["hosts"]
    addresses = {host["address"] for host in hosts.values()}
    listed = json.loads(gpu_host.check_output("ip -json -4 address show"))
    addresses |= {each["local"] for link in listed for each in link["addr_info"] if link["ifname"] != "lo"}
    near = [(address, port) for address in sorted(addresses) for port in (22, 443, 5000)]
    tried = sorted(containers(gpu_host))
    assert len(tried) > 4
    for container in tried:
        assert attempts(gpu_host, inside(gpu_host, container), [*outside, *near]) == "unresolved", container


def test_an_engine_has_no_interface_but_loopback(gpu_host: Host) -> None:
    for container in containers(gpu_host):
        pid = gpu_host.check_output("docker inspect --format '{{.State.Pid}}' %s", container)
        links = gpu_host.check_output(f"cat /proc/{pid}/net/dev").splitlines()[2:]
        assert [line.split(":")[0].strip() for line in links] == ["lo"], container


def test_an_engine_cannot_ask_docker_or_systemd(gpu_host: Host) -> None:
    """No socket of the host's own is in a container."""
    for container in containers(gpu_host):
        mounts = json.loads(gpu_host.check_output("docker inspect --format '{{json .Mounts}}' %s", container))
        sources = {mount.get("Source", "") for mount in mounts}
        allowed = ("/run/airgap-inference/", "/srv/models/", "/var/cache/airgap-inference/", "/etc/airgap/instances/")
        assert not [source for source in sources if source and not source.startswith(allowed)], sources
