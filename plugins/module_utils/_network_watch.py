# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container without a network tried to reach, from the kernel's counters and from the names that it asked for.

Nothing can leave such a container, so an attempt shows only there: the kernel counts each connection or datagram for which
it finds no route, and a name server on the container's own loopback, which knows no name, writes down who was asked for.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import threading
from types import TracebackType
from typing import BinaryIO, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

# The container's only name server; containers are started with it.
NAME_SERVER = "127.0.0.1"

_CLONE_NEWNET = 0x40000000
_SERVER_FAILURE = 0x8182  # an answer, recursion wished for and available, code 2: what an unreachable server comes to


class Attempts(NamedTuple):
    """What was tried so far."""

    ipv4: int
    ipv6: int
    names: tuple[str, ...]

    def __str__(self) -> str:
        parts = []
        if self.names:
            parts.append(f"it asked for the address of {', '.join(self.names)}")
        counted = [f"{count} over IPv{version}" for version, count in ((4, self.ipv4), (6, self.ipv6)) if count]
        if counted:
            parts.append(f"connections or datagrams for which the kernel had no route: {' and '.join(counted)}")
        return "; ".join(parts)

    def __bool__(self) -> bool:
        return bool(self.ipv4 or self.ipv6 or self.names)


class Watch:
    """Watches the network namespace of a process. Its end does not end the watch: open files keep the namespace."""

    def __init__(self, pid: int, hostname: str = "", proc: str = "/proc") -> None:
        base = os.path.join(proc, str(pid))
        self._own = hostname.lower()
        self._names: dict[str, None] = {}
        self._early = 0
        self._socket: socket.socket | None = None
        try:
            self._counters: list[BinaryIO] = [
                open(os.path.join(base, "net", name), "rb", buffering=0)  # noqa: SIM115 - open as long as the watch
                for name in ("snmp", "snmp6")
                if os.path.exists(os.path.join(base, "net", name))
            ]
            with open(os.path.join(base, "ns", "net"), "rb") as namespace:
                self._listen(namespace.fileno())
        except FileNotFoundError as error:
            raise AirgapError(f"{base} is not there; the container has just stopped.") from error
        except OSError as error:
            raise AirgapError(
                f"The network of the process {pid} cannot be watched: {error.strerror or error}; this needs root."
            ) from error

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def attempts(self) -> Attempts:
        """All attempts since the namespace was made."""
        text = "\n".join(_whole(counter) for counter in self._counters)
        ipv4, ipv6, _ports = counts(text)
        # A name that was asked for before the name server listened is known by its number only.
        return Attempts(ipv4 + self._early, ipv6, tuple(self._names))

    def close(self) -> None:
        """End the name server and let the namespace go."""
        for counter in self._counters:
            counter.close()
        if self._socket is not None:
            # Wakes the thread that waits for it; closing alone does not.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()

    def _listen(self, namespace: int) -> None:
        """Serve names in the other namespace. Only a thread may go there and leave this one where it is."""
        ready = threading.Event()
        threading.Thread(target=self._serve, args=(namespace, ready), daemon=True).start()
        ready.wait()
        if self._socket is not None:
            self._early = counts("\n".join(_whole(counter) for counter in self._counters))[2]

    def _serve(self, namespace: int, ready: threading.Event) -> None:
        try:
            if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET) != 0:
                return
            server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            server.bind((NAME_SERVER, 53))
            self._socket = server
        except OSError:
            # Without it the attempts are still counted, only their names are not known.
            return
        finally:
            ready.set()
        with contextlib.suppress(OSError):
            while True:
                question, sender = server.recvfrom(4096)
                if not question:
                    return
                name = asked_name(question)
                # Its own name is not somewhere else.
                if name and name.lower() != self._own:
                    self._names[name] = None
                if len(question) >= 12:
                    server.sendto(failure(question), sender)


def counts(text: str) -> tuple[int, int, int]:
    """No route over IPv4, no route over IPv6, no listener on a local port: from net/snmp and net/snmp6."""
    ipv4 = ipv6 = ports = 0
    names: list[str] = []
    for line in text.splitlines():
        fields = line.split()
        if fields[:1] == ["Ip6OutNoRoutes"]:
            ipv6 = int(fields[1])
        elif fields[:1] in (["Ip:"], ["Udp:"]):
            # A line of names, then one of numbers.
            if not fields[1].lstrip("-").isdigit():
                names = fields
                continue
            values = dict(zip(names[1:], fields[1:]))
            ipv4 += int(values.get("OutNoRoutes", 0))
            ports += int(values.get("NoPorts", 0))
    return ipv4, ipv6, ports


def asked_name(question: bytes) -> str:
    """The name in a DNS question, or nothing when it is none."""
    labels = []
    at = 12
    while at < len(question) and 0 < question[at] < 64:
        labels.append(question[at + 1 : at + 1 + question[at]].decode("ascii", "replace"))
        at += 1 + question[at]
    return ".".join(label for label in labels if label.isprintable())


def failure(question: bytes) -> bytes:
    """The answer that this server can tell nothing."""
    return question[:2] + struct.pack("!H", _SERVER_FAILURE) + question[4:6] + b"\0" * 6 + question[12:]


def _whole(counter: BinaryIO) -> str:
    counter.seek(0)
    parts: list[bytes] = []
    while True:
        part = counter.read(65536)
        if not part:
            return b"".join(parts).decode("ascii", "replace")
        parts.append(part)
