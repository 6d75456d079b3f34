# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One HTTP request at a time over TLS, TCP or a Unix socket, within one deadline, and what stopped it in plain words."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
import urllib.parse
from typing import Iterator, Mapping, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

MAX_BODY = 4 * 1024 * 1024


class NotReady(AirgapError):
    """It does not answer yet; it may do so later."""


class Address(NamedTuple):
    """Where a service is: a host and port, with or without TLS, or a Unix socket; and what is shown to it of oneself."""

    host: str = "localhost"
    port: int = 0
    prefix: str = ""
    tls: bool = False
    ca_path: str | None = None
    unix: str | None = None
    certificate: str | None = None
    certificate_key: str | None = None

    def __str__(self) -> str:
        if self.unix is not None:
            return self.unix
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{self.prefix}"


class Reply(NamedTuple):
    """A response whose body is still to be read; the names of its headers are in lower case."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: Iterator[bytes]
    source: str


def parse_url(url: str, ca_path: str | None) -> Address:
    """Take a URL apart; what cannot belong to a service's address is refused."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise AirgapError(f"url {url!r} is not a URL: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise AirgapError(f"url {url!r} is not of the form https://host[:port]")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise AirgapError(
            "url carries a user, a query or a fragment; only https://host[:port] is taken, and a key as api_key"
        )
    tls = parts.scheme == "https"
    prefix = parts.path.rstrip("/")
    if prefix.endswith("/v1"):
        prefix = prefix[: -len("/v1")]
    return Address(parts.hostname, port or (443 if tls else 80), prefix, tls, ca_path)


def is_local(address: Address) -> bool:
    """Whether what is sent there stays on this machine."""
    if address.unix is not None or address.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.host).is_loopback
    except ValueError:
        return False


@contextlib.contextmanager
def request(
    address: Address, method: str, path: str, body: bytes | None, headers: Mapping[str, str], deadline: float
) -> Iterator[Reply]:
    """Send one request. Whatever the other side does, nothing goes on after the deadline (of the monotonic clock)."""
    connection = _Connection(address, max(0.001, deadline - time.monotonic()))
    late = threading.Event()

    def cut() -> None:
        late.set()
        if connection.sock is not None:
            # Not SSLSocket.shutdown: it takes TLS away from under the reader.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)

    watchdog = threading.Timer(max(0.001, deadline - time.monotonic()), cut)
    watchdog.daemon = True
    watchdog.start()
    try:
        connection.request(method, address.prefix + path, body=body, headers=dict(headers))
        response = connection.getresponse()
        yield Reply(
            response.status,
            response.reason,
            {name.lower(): value for name, value in response.getheaders()},
            _pieces(response),
            f"{address} at {path}",
        )
        if late.is_set():
            raise socket.timeout()
    except (OSError, http.client.HTTPException) as error:
        raise _translate(error, address, path, late.is_set()) from error
    finally:
        watchdog.cancel()
        connection.close()


def read_all(reply: Reply) -> bytes:
    """The whole of a body of bounded size."""
    parts: list[bytes] = []
    size = 0
    for piece in reply.body:
        size += len(piece)
        if size > MAX_BODY:
            raise AirgapError(f"The answer of {reply.source} is larger than {MAX_BODY} bytes: this is not an engine's")
        parts.append(piece)
    return b"".join(parts)


def _pieces(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while True:
        piece = response.read1(65536)
        if not piece:
            break
        yield piece
    # read1 keeps silent about a body that ends before its stated length.
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)


class _Connection(http.client.HTTPConnection):
    def __init__(self, address: Address, timeout: float) -> None:
        super().__init__(address.host, address.port or None, timeout=timeout)
        self._address = address

    def connect(self) -> None:
        if self._address.unix is not None:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            self.sock.connect(self._address.unix)
            return
        context = tls_context(self._address) if self._address.tls else None
        self.sock = socket.create_connection((self.host, self.port), self.timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            tls = context.wrap_socket(self.sock, server_hostname=self.host, do_handshake_on_connect=False)
            self.sock = tls
            tls.do_handshake()


def tls_context(address: Address) -> ssl.SSLContext:
    """Trusts the address's CA alone, or those of the system where none is stated."""
    try:
        context = ssl.create_default_context(cafile=address.ca_path)
    except ssl.SSLError as error:
        raise AirgapError(
            f"ca_path {address.ca_path} holds no certificate in PEM form ({error.reason or error})"
        ) from error
    except OSError as error:
        raise AirgapError(f"ca_path {address.ca_path} cannot be read: {error.strerror or error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if address.certificate:
        try:
            context.load_cert_chain(address.certificate, address.certificate_key)
        except (OSError, ssl.SSLError) as error:
            raise AirgapError(
                f"client_certificate {address.certificate} and its key {address.certificate_key} cannot be used: {error}"
            ) from error
    return context


# X509_V_ERR_*: expired, not yet valid, a name, an address; all others mean that no trusted authority vouches.
_CERTIFICATE = {
    10: "its certificate has expired. Renew it, and check the clock of this machine",
    9: "its certificate is not valid yet. Check the clocks of both machines",
    62: "its certificate was issued for other names. Use one of its names in url, or issue it again with this one",
    64: "its certificate was issued for other addresses. Use one of its names in url, or issue it again with this address",
}
_INCOMPLETE = (
    "the certificate or its authority's lacks what strict clients such as Python 3.13 demand. Issue it again: the authority with "
    "critical basicConstraints and keyUsage keyCertSign, both with their key identifiers"
)
_CERTIFICATE.update(dict.fromkeys(range(79, 95), _INCOMPLETE))


def _translate(error: Exception, address: Address, path: str, late: bool) -> AirgapError:
    if isinstance(error, ssl.SSLCertVerificationError):
        meaning = _CERTIFICATE.get(
            error.verify_code,
            "its certificate is not signed by an authority that is trusted here. State the site's CA in ca_path "
            f"(in use: {address.ca_path or 'the authorities of the system'})",
        )
        return AirgapError(f"{address} is not trusted ({error.verify_message}): {meaning}")
    if late or isinstance(error, socket.timeout):
        return NotReady(
            f"{address} gave no complete answer to {path} in time: raise timeout, or look at what keeps it busy"
        )
    if isinstance(error, ssl.SSLError) and error.reason in (
        "WRONG_VERSION_NUMBER",
        "RECORD_LAYER_FAILURE",
        "HTTP_REQUEST",
    ):
        return AirgapError(
            f"{address} does not speak TLS ({error.reason}): check the port, or use http:// for a local engine"
        )
    if isinstance(error, ssl.SSLError) and not isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return AirgapError(f"TLS with {address} failed: {error.reason or error}")
    if isinstance(error, socket.gaierror):
        return AirgapError(
            f"The name {address.host} of {address} cannot be resolved here ({error.strerror}): check it, /etc/hosts and DNS"
        )
    if isinstance(error, http.client.IncompleteRead):
        return NotReady(f"{address} cut its answer to {path} off before the end")
    if isinstance(error, (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected, ssl.SSLError)):
        return NotReady(f"{address} closed the connection without a complete answer to {path}")
    if isinstance(error, http.client.HTTPException):
        return AirgapError(
            f"{address} does not speak HTTP ({type(error).__name__} in its answer to {path}): check the port"
        )
    reason = getattr(error, "strerror", None) or str(error)
    if isinstance(error, PermissionError):
        return AirgapError(
            f"{address} cannot be opened: {reason}. Run the task as a member of the socket's group, or with become"
        )
    return NotReady(f"{address} cannot be reached: {reason}. {_where_to_look(error, address)}")


def _where_to_look(error: Exception, address: Address) -> str:
    if address.unix is not None:
        if isinstance(error, ConnectionRefusedError):
            return "The socket is there and nobody listens: the engine that made it is gone"
        return "Is the engine running, and is this the path of its socket?"
    if isinstance(error, ConnectionRefusedError):
        return "The machine is there and nothing listens on this port: is the service running?"
    return "Is the machine up, is the address right, and does a firewall let this port through?"
