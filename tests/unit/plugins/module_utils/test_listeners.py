# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What listens, from the kernel's tables: of this machine, and of one that is made up."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _listeners
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._listeners import Listener

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def row(address: str, state: str, inode: int) -> str:
    return (
        f"   0: {address} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 0 100\n"
    )


@pytest.fixture
def proc(tmp_path: Path) -> str:
    """sshd at every address, nginx at IPv6, an established connection, a UDP socket that nobody is seen to have."""
    (tmp_path / "net").mkdir()
    tables = {
        "tcp": row("00000000:0016", "0A", 11) + row("0100007F:1F90", "01", 12),
        "tcp6": row("00000000000000000000000001000000:01BB", "0A", 13),
        "udp": row("0B00007F:A1B2", "07", 14),
    }
    for name, rows in tables.items():
        (tmp_path / "net" / name).write_text(HEAD + rows)
    processes = (
        (1, "systemd", 11, "0::/init.scope"),
        (70, "sshd", 11, "0::/system.slice/ssh.service"),
        (80, "nginx", 13, "0::/system.slice/docker-1f.scope"),
    )
    for pid, comm, inode, group in processes:
        (tmp_path / str(pid) / "fd").mkdir(parents=True)
        (tmp_path / str(pid) / "comm").write_text(f"{comm}\n")
        (tmp_path / str(pid) / "cgroup").write_text(f"{group}\n")
        (tmp_path / str(pid) / "fd/3").symlink_to(f"socket:[{inode}]")
        (tmp_path / str(pid) / "fd/4").symlink_to("/dev/null")
    return str(tmp_path)


def test_listeners_are_named_with_their_process(proc: str) -> None:
    assert _listeners.read(proc) == [
        Listener("tcp", "0.0.0.0", 22, "sshd", 70, "ssh.service"),
        Listener("tcp", "::1", 443, "nginx", 80, "docker-1f.scope"),
        Listener("udp", "127.0.0.11", 41394),
    ]
    told = [str(listener) for listener in _listeners.read(proc)]
    assert told[0] == "tcp 0.0.0.0:22 by sshd (pid 70, ssh.service)"
    assert told[1] == "tcp [::1]:443 by nginx (pid 80, docker-1f.scope)"
    assert told[2] == "udp 127.0.0.11:41394 by a process not seen here"


def test_a_socket_of_this_machine_is_seen() -> None:
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        udp.bind(("127.0.0.1", 0))
        seen = {(entry.protocol, entry.address, entry.port): entry.pid for entry in _listeners.read()}
        for protocol, opened in (("tcp", tcp), ("udp", udp)):
            assert seen[(protocol, "127.0.0.1", opened.getsockname()[1])] == os.getpid()


SSH = Listener("tcp", "0.0.0.0", 22, "sshd", 70, "ssh.service")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"protocol": "tcp", "port": 22, "reason": "SSH"}, "SSH"),
        ({"port": 22}, "stated by the site"),
        ({"process": "sshd"}, "stated by the site"),
        ({"address": "0.0.0.0/0"}, "stated by the site"),
        ({"protocol": "udp", "port": 22}, None),
        ({"port": 23}, None),
        ({"port": 22, "process": "nginx"}, None),
        ({"port": 22, "address": "127.0.0.0/8"}, None),
        ({"address": "::/0"}, None),
    ],
)
def test_an_entry_allows_what_it_states(entry: dict[str, object], expected: str | None) -> None:
    assert _listeners.reason_for(SSH, [entry]) == expected


def test_the_kernels_short_names_are_understood() -> None:
    resolver = Listener("udp", "127.0.0.53", 53, "systemd-resolve", 9)
    assert _listeners.reason_for(resolver, [{"process": "systemd-resolved", "address": "127.0.0.0/8"}])


@pytest.mark.parametrize("entry", [{}, {"protocol": "tcp"}, {"address": "everywhere"}])
def test_an_entry_that_would_allow_everything_is_refused(entry: dict[str, object]) -> None:
    with pytest.raises(AirgapError):
        _listeners.check_expected([entry])
