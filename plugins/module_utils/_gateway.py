# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a client sees of a gateway: each check says what it found, none stops the others."""

from __future__ import annotations

import socket
import ssl
import time
from functools import partial
from typing import Any, Callable, NamedTuple, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import _openai
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._http import Address, parse_url, read_all, request

# Paths that engines have and that no client may reach, and one that nobody has.
_CLOSED = ("/metrics", "/invocations", "/docs", "/no/such/path")

# A key that cannot be right, however keys are made.
_WRONG_KEY = "not-a-key"


class Check(NamedTuple):
    """One line of the report."""

    subject: str
    ok: bool
    detail: str


class Instance(NamedTuple):
    """What is expected behind the gateway; the prefix is empty for the first."""

    name: str
    model: str
    prefix: str = ""


def examine(url: str, ca_path: str, key: str | None, instances: Sequence[Instance], timeout: int) -> list[Check]:
    """All checks of one gateway, in the order in which a person would ask."""
    address = parse_url(url, ca_path)
    checks = [
        _check("TLS", lambda: _trusted(address, timeout)),
        _check("TLS", lambda: _old_tls_refused(address, timeout)),
        _check("keys", lambda: _refused(address, "GET", "/v1/models", None, 401, "without a key", timeout)),
        _check("keys", lambda: _refused(address, "GET", "/v1/models", _WRONG_KEY, 401, "with a wrong key", timeout)),
    ]
    if key is None:
        return [*checks, Check("keys", False, "no client key to verify with, so nothing behind the lock was seen")]
    checks.extend(
        _check("paths", partial(_refused, address, "GET", path, key, 404, "with a key", timeout)) for path in _CLOSED
    )
    checks.extend(_check(instance.name, partial(_generates, address, key, instance, timeout)) for instance in instances)
    return checks


def _check(subject: str, look: Callable[[], str]) -> Check:
    try:
        return Check(subject, True, look())
    except AirgapError as error:
        return Check(subject, False, str(error))


def _trusted(address: Address, timeout: int) -> str:
    """A handshake that verifies the chain and the name."""
    with request(address, "GET", "/", None, {}, time.monotonic() + timeout) as reply:
        read_all(reply)
    context = _context(address)
    with _handshake(address, context, timeout) as tls:
        certificate: Any = tls.getpeercert()
        days = (ssl.cert_time_to_seconds(certificate["notAfter"]) - time.time()) / 86400
        return f"{tls.version()}, certificate of the site's CA, valid for {days:.0f} days"


def _old_tls_refused(address: Address, timeout: int) -> str:
    """Only a refusal by the other side counts, not a connection that failed."""
    context = _context(address)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    try:
        with _handshake(address, context, timeout) as tls:
            raise AirgapError(f"{address} still speaks {tls.version()}; only TLS 1.3 is meant to be on")
    except ssl.SSLError as error:
        return f"TLS 1.2 is refused ({error.reason or error})"
    except OSError as error:
        raise AirgapError(f"{address} was not reached: {error.strerror or error}") from error


def _refused(address: Address, method: str, path: str, key: str | None, status: int, how: str, timeout: int) -> str:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with request(address, method, path, None, headers, time.monotonic() + timeout) as reply:
        read_all(reply)
    if reply.status != status:
        raise AirgapError(f"{method} {path} {how} is answered with {reply.status}, not {status}")
    return f"{method} {path} {how}: {status}"


def _generates(address: Address, key: str, instance: Instance, timeout: int) -> str:
    answer = _openai.probe(
        _openai.Question(
            address=address._replace(prefix=address.prefix + instance.prefix),
            key=key,
            health_path="",
            model=instance.model,
            timeout=timeout,
        )
    )
    generation = answer["generation"]
    tokens = generation["tokens"] if generation["tokens"] is not None else generation["chunks"]
    listed = ", ".join(answer["models"])
    return (
        f"streamed generation by {instance.model}: {tokens} tokens, first after {answer['ttft_ms']:.0f} ms; "
        f"/v1/models lists {listed}"
    )


def _context(address: Address) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=address.ca_path)
    except (OSError, ssl.SSLError) as error:
        raise AirgapError(f"ca_path {address.ca_path} cannot be used: {error}") from error


def _handshake(address: Address, context: ssl.SSLContext, timeout: int) -> ssl.SSLSocket:
    plain = socket.create_connection((address.host, address.port), timeout)
    try:
        return context.wrap_socket(plain, server_hostname=address.host)
    except BaseException:
        plain.close()
        raise
