# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client's seat: HTTPS requests whose headers matter, with a client certificate where the gateway wants one."""

from __future__ import annotations

import socket
import ssl
import time
from typing import ContextManager, Mapping, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils import _http
from ansible_collections.airgap.inference.plugins.module_utils._http import Address, Reply


class Seat(NamedTuple):
    """Where the gateway is, who vouches for it, what this client shows of itself, and how many seconds an answer may take."""

    address: Address
    timeout: int = 120


class Answer(NamedTuple):
    """A whole answer; the names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def handshake(seat: Seat, trusting: ssl.SSLContext) -> ssl.SSLSocket:
    """A connection of which TLS is done; whoever asked closes it."""
    address = seat.address
    plain = socket.create_connection((address.host, address.port), seat.timeout)
    try:
        return trusting.wrap_socket(plain, server_hostname=address.host)
    except BaseException:
        plain.close()
        raise


def reply(seat: Seat, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> ContextManager[Reply]:
    """One request; the body of its answer is still to be read, and nothing goes on after the seat's timeout."""
    return _http.request(seat.address, method, path, body, headers, time.monotonic() + seat.timeout)


def ask(
    seat: Seat, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """One request and its whole answer."""
    with reply(seat, method, path, body, headers or {}) as got:
        return Answer(got.status, got.headers, _http.read_all(got))


def patiently(
    seat: Seat, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """The same, and a client that has used its limit up waits as it was told, within the seat's timeout."""
    deadline = time.monotonic() + seat.timeout
    while True:
        answer = ask(seat, method, path, body, headers)
        wait = pause(answer)
        if wait is None or time.monotonic() + wait > deadline:
            return answer
        time.sleep(wait)


def pause(answer: Answer) -> float | None:
    """How long a 429 says to wait, or None when it is none."""
    if answer.status != 429:
        return None
    stated = answer.headers.get("retry-after", "")
    return max(1.0, float(stated)) if stated.isdigit() else 1.0
