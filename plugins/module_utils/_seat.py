# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client's seat: HTTPS requests whose headers matter, with a client certificate where the gateway wants one."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from typing import Iterator, Mapping, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils import _http
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._http import Address, Reply


class Seat(NamedTuple):
    """Where the gateway is, who vouches for it, and what this client shows of itself."""

    address: Address
    certificate: str | None = None
    certificate_key: str | None = None
    timeout: int = 120


class Answer(NamedTuple):
    """A whole answer; the names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def context(seat: Seat) -> ssl.SSLContext:
    """Trusts the site's CA alone."""
    try:
        trusting = ssl.create_default_context(cafile=seat.address.ca_path)
    except (OSError, ssl.SSLError) as error:
        raise AirgapError(f"ca_path {seat.address.ca_path} cannot be used: {error}") from error
    if seat.certificate:
        try:
            trusting.load_cert_chain(seat.certificate, seat.certificate_key)
        except (OSError, ssl.SSLError) as error:
            raise AirgapError(
                f"client_certificate {seat.certificate} and its key {seat.certificate_key} cannot be used: {error}"
            ) from error
    return trusting


def handshake(seat: Seat, trusting: ssl.SSLContext) -> ssl.SSLSocket:
    """A connection of which TLS is done; whoever asked closes it."""
    address = seat.address
    plain = socket.create_connection((address.host, address.port), seat.timeout)
    try:
        return trusting.wrap_socket(plain, server_hostname=address.host)
    except BaseException:
        plain.close()
        raise


@contextlib.contextmanager
def reply(
    seat: Seat, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
) -> Iterator[tuple[Reply, dict[str, str]]]:
    """One request; the body of its answer is still to be read, and nothing goes on after the seat's timeout."""
    address = seat.address
    connection = http.client.HTTPSConnection(address.host, address.port, timeout=seat.timeout, context=context(seat))
    late = threading.Event()

    def cut() -> None:
        late.set()
        if connection.sock is not None:
            # Not SSLSocket.shutdown: it takes TLS away from under the reader.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)

    watchdog = threading.Timer(seat.timeout, cut)
    watchdog.daemon = True
    watchdog.start()
    try:
        connection.request(method, address.prefix + path, body=body, headers=dict(headers))
        response = connection.getresponse()
        sent = {name.lower(): value for name, value in response.getheaders()}
        yield (
            Reply(
                response.status,
                response.reason,
                sent.get("location", ""),
                _http._pieces(response),
                f"{address} at {path}",
            ),
            sent,
        )
        if late.is_set():
            raise socket.timeout()
    except (OSError, http.client.HTTPException) as error:
        raise _http._translate(error, address, path, late.is_set()) from error
    finally:
        watchdog.cancel()
        connection.close()


def ask(
    seat: Seat, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """One request and its whole answer."""
    with reply(seat, method, path, body, headers or {}) as (got, sent):
        return Answer(got.status, sent, _http.read_all(got))


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
