# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What listens on this host, from the kernel's own tables, by which process, and whether it was to be expected."""

from __future__ import annotations

import ipaddress
import os
import re
import struct
from typing import Any, Iterator, Mapping, NamedTuple, Sequence

from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

_TABLES = ("tcp", "tcp6", "udp", "udp6")
# TCP_LISTEN, and what an unconnected UDP socket is in (TCP_CLOSE): include/net/tcp_states.h.
_STATES = {"tcp": "0A", "udp": "07"}
_INODE = re.compile(r"socket:\[(\d+)\]\Z")


class Listener(NamedTuple):
    """A socket that takes what comes."""

    protocol: str
    address: str
    port: int
    process: str = ""
    pid: int = 0
    unit: str = ""

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        by = (
            f"{self.process} (pid {self.pid}{', ' + self.unit if self.unit else ''})"
            if self.pid
            else "a process not seen here"
        )
        return f"{self.protocol} {host}:{self.port} by {by}"


def read(proc: str = "/proc") -> list[Listener]:
    """Every listening TCP and UDP socket of this network namespace, each once a process."""
    found: list[tuple[Listener, int]] = []
    for table in _TABLES:
        found.extend(_table(os.path.join(proc, "net", table), table[:3]))
    owners = _owners(proc, {inode for _listener, inode in found})
    listeners = []
    for listener, inode in found:
        pid = owners.get(inode, 0)
        named = listener._replace(pid=pid, process=_process(proc, pid), unit=_unit(proc, pid)) if pid else listener
        if named not in listeners:
            listeners.append(named)
    return sorted(listeners, key=lambda entry: (entry.protocol, entry.port, entry.address))


def check_expected(expected: Sequence[Mapping[str, Any]]) -> None:
    """Refuse an expectation that cannot be meant so."""
    for entry in expected:
        if not set(entry) & {"port", "process", "address"}:
            raise AirgapError(
                f"An entry of expected, {dict(entry)}, states neither port, process nor address: it would allow everything"
            )
        if entry.get("address"):
            try:
                ipaddress.ip_network(str(entry["address"]), strict=False)
            except ValueError as error:
                raise AirgapError(
                    f"address {entry['address']!r} of expected is no address or network: {error}"
                ) from error


def reason_for(listener: Listener, expected: Sequence[Mapping[str, Any]]) -> str | None:
    """Why this one may listen, or None. What an entry leaves out does not matter."""
    for entry in expected:
        if entry.get("protocol") and entry["protocol"] != listener.protocol:
            continue
        if entry.get("port") is not None and int(entry["port"]) != listener.port:
            continue
        # The kernel keeps 15 letters of a name.
        if entry.get("process") and str(entry["process"])[:15] != listener.process:
            continue
        if entry.get("address") and not _within(listener.address, str(entry["address"])):
            continue
        return str(entry.get("reason") or "stated by the site")
    return None


def _within(address: str, network: str) -> bool:
    here, there = ipaddress.ip_address(address), ipaddress.ip_network(network, strict=False)
    return here.version == there.version and here in there


def _table(path: str, protocol: str) -> Iterator[tuple[Listener, int]]:
    try:
        with open(path, encoding="ascii") as stream:
            lines = stream.read().splitlines()[1:]
    except FileNotFoundError:
        # A host without IPv6.
        return
    except OSError as error:
        raise AirgapError(f"{path} cannot be read: {error.strerror}") from error
    for line in lines:
        fields = line.split()
        if len(fields) > 9 and fields[3] == _STATES[protocol]:
            address, _colon, port = fields[1].partition(":")
            yield Listener(protocol, _address(address), int(port, 16)), int(fields[9])


def _address(text: str) -> str:
    """The kernel writes each 32 bits in the machine's own order."""
    words = [struct.pack("=I", int(text[start : start + 8], 16)) for start in range(0, len(text), 8)]
    address = ipaddress.ip_address(b"".join(words))
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def _owners(proc: str, inodes: set[int]) -> dict[int, int]:
    """The first process of each socket; a socket that is passed on belongs to whom systemd made it for."""
    owners: dict[int, int] = {}
    for pid in sorted(int(name) for name in os.listdir(proc) if name.isdigit()):
        directory = os.path.join(proc, str(pid), "fd")
        try:
            descriptors = os.listdir(directory)
        except OSError:
            continue
        for descriptor in descriptors:
            try:
                match = _INODE.match(os.readlink(os.path.join(directory, descriptor)))
            except OSError:
                continue
            inode = int(match.group(1)) if match else 0
            # systemd holds the sockets of its units; the service that answers says more.
            if inode in inodes and owners.get(inode, 1) == 1:
                owners[inode] = pid
    return owners


def _process(proc: str, pid: int) -> str:
    try:
        with open(os.path.join(proc, str(pid), "comm"), encoding="utf-8", errors="replace") as stream:
            return stream.read().strip()
    except OSError:
        return ""


def _unit(proc: str, pid: int) -> str:
    """The systemd unit of a process, from its control group."""
    try:
        with open(os.path.join(proc, str(pid), "cgroup"), encoding="utf-8", errors="replace") as stream:
            text = stream.read()
    except OSError:
        return ""
    units = re.findall(r"[^/\n]+\.(?:service|scope)(?=/|\n|$)", text)
    return units[-1] if units else ""
