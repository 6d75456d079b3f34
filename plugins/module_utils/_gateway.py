# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a client sees of a gateway: each check says what it found, none stops the others."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from functools import partial
from typing import Any, Callable, Mapping, NamedTuple, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import _gateway_client, _http, _seat
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._gateway_client import (
    Asked,
    Check,
    Client,
    Instance,
    NotMade,
)
from ansible_collections.airgap.inference.plugins.module_utils._http import Address, parse_url
from ansible_collections.airgap.inference.plugins.module_utils._seat import Seat

# Paths that engines have and that no client may reach, and one that nobody has.
_CLOSED = ("/invocations", "/docs", "/no/such/path")

# A key that cannot be right, however keys are made.
_WRONG_KEY = "not-a-key"


class Gateway(NamedTuple):
    """A gateway as clients reach it, and what is expected behind it."""

    url: str
    instances: Sequence[Instance]
    # Whoever asks from these networks may read metrics.
    metrics_networks: Sequence[str] = ()


class Told(NamedTuple):
    """What came of all checks of a gateway, and which requests its audit log must know."""

    checks: list[Check]
    asked: list[Asked]


def examine(gateway: Gateway, clients: Sequence[Client], seat: Seat, marker: str, most_requests: int) -> Told:
    """All checks of one gateway, in the order in which a person would ask. The seat's address is the gateway's."""
    asked: list[Asked] = []
    checks = [
        check("TLS", "", partial(_trusted, seat)),
        check("TLS", "", partial(_old_tls_refused, seat)),
        check("keys", "", partial(_refused, seat, "/v1/models", None, (401,), "without a key", asked, "")),
        check("keys", "", partial(_refused, seat, "/v1/models", _WRONG_KEY, (401,), "with a wrong key", asked, "")),
    ]
    if seat.address.certificate:
        checks.append(check("TLS", "", partial(_certificate_demanded, seat)))
    if not clients:
        checks.append(Check("keys", "", False, "no client key to verify with, so nothing behind the lock was seen"))
    for client in clients:
        if client.fault:
            checks.append(Check("keys", client.name, False, client.fault))
            continue
        for path in _CLOSED:
            look = partial(_refused, seat, path, client.key, (404,), "with a key", asked, client.name)
            checks.append(check("paths", client.name, look))
        checks.append(check("metrics", client.name, partial(_metrics, seat, gateway, client, asked)))
        looker = _gateway_client.Looker(seat, client, gateway.instances, marker, asked)
        checks.extend(check(subject, client.name, look) for subject, look in looker.looks(most_requests))
    return Told(checks, asked)


def unseen(clients: Sequence[Client], stated: Sequence[Mapping[str, Any]]) -> list[Check]:
    """The site's clients as whom nobody can ask."""
    seen = {client.name for client in clients}
    names = [str(entry.get("name")) for entry in stated if str(entry.get("name")) not in seen]
    if not names:
        return []
    told = f"nobody asked as {', '.join(names)}: acceptance_clients has no file with the key or token of these"
    return [Check("keys", "", True, told, made=False)]


def seat_at(url: str, ca_path: str, certificate: str | None, key: str | None, timeout: int) -> Seat:
    """The seat before a gateway."""
    address = parse_url(url, ca_path)
    if not address.tls:
        raise AirgapError(f"url {url} is not https: keys would be sent in the clear. State https://host[:port]")
    return Seat(address._replace(certificate=certificate, certificate_key=key), timeout)


def check(subject: str, client: str, look: Callable[[], str]) -> Check:
    """What a look found, or why it found a fault, or why there was no look."""
    try:
        return Check(subject, client, True, look())
    except NotMade as reason:
        return Check(subject, client, True, str(reason), made=False)
    except AirgapError as error:
        return Check(subject, client, False, str(error))


def _trusted(seat: Seat) -> str:
    """A handshake that verifies the chain and the name."""
    _seat.ask(seat, "GET", "/")
    with _seat.handshake(seat, _http.tls_context(seat.address)) as tls:
        certificate: Any = tls.getpeercert()
        days = (ssl.cert_time_to_seconds(certificate["notAfter"]) - time.time()) / 86400
        return f"{tls.version()}, certificate of the site's CA, valid for {days:.0f} days"


def _old_tls_refused(seat: Seat) -> str:
    """Only a refusal by the other side counts, not a connection that failed."""
    old = _http.tls_context(seat.address)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    try:
        with _seat.handshake(seat, old) as tls:
            raise AirgapError(f"{seat.address} still speaks {tls.version()}; only TLS 1.3 is meant to be on")
    except ssl.SSLError as error:
        return f"TLS 1.2 is refused ({error.reason or error})"
    except OSError as error:
        raise AirgapError(f"{seat.address} was not reached: {error.strerror or error}") from error


def _certificate_demanded(seat: Seat) -> str:
    """TLS 1.3 tells a client without a certificate only when it reads."""
    bare = seat._replace(address=seat.address._replace(certificate=None, certificate_key=None))
    try:
        status = _seat.ask(bare, "GET", "/v1/models").status
    except AirgapError as error:
        return f"without a client certificate the connection ends: {error}"
    if status not in (400, 401, 403, 496):
        raise AirgapError(f"without a client certificate GET /v1/models is answered with {status}; it must be refused")
    return f"without a client certificate: {status}"


def _refused(
    seat: Seat, path: str, key: str | None, statuses: Sequence[int], how: str, asked: list[Asked], client: str
) -> str:
    answer = _seat.patiently(seat, "GET", path, None, _gateway_client.bearer(key))
    asked.append(Asked.of(answer, client, path))
    if answer.status not in statuses:
        wanted = " or ".join(map(str, statuses))
        raise AirgapError(f"GET {path} {how} is answered with {answer.status}, not {wanted}")
    _gateway_client.error_form(answer, f"GET {path} {how}")
    return f"GET {path} {how}: {answer.status}"


def _metrics(seat: Seat, gateway: Gateway, client: Client, asked: list[Asked]) -> str:
    """Open to the monitoring network and client, and to nobody else."""
    here = _own_address(seat.address)
    if not client.metrics and not _within(here, gateway.metrics_networks):
        return _refused(seat, "/metrics", client.key, (403, 404), "with a key", asked, client.name)
    answer = _seat.patiently(seat, "GET", "/metrics", None, _gateway_client.bearer(client.key))
    asked.append(Asked.of(answer, client.name, "/metrics"))
    if answer.status != 200:
        raise AirgapError(f"GET /metrics is answered with {answer.status}, though this client or {here} may read it")
    return f"GET /metrics: 200, as stated for {client.name if client.metrics else here}"


def _own_address(address: Address) -> str:
    """Where this machine is seen from, as far as it knows itself."""
    try:
        with socket.create_connection((address.host, address.port), 10) as plain:
            return str(plain.getsockname()[0])
    except OSError as error:
        raise AirgapError(f"{address} was not reached: {error.strerror or error}") from error


def _within(address: str, networks: Sequence[str]) -> bool:
    here = ipaddress.ip_address(address.partition("%")[0])
    return any(here in ipaddress.ip_network(network, strict=False) for network in networks)


def described(
    stated: Mapping[str, Any], key: str, site: Sequence[Mapping[str, Any]], key_sha256: str, position: int
) -> Client:
    """A client to verify with, and what the site says of it: found by its name, or by the key's hash."""
    name = str(stated.get("name") or "")
    by_hash = next((entry for entry in site if str(entry.get("key_sha256", "")).lower() == key_sha256), None)
    by_name = next((entry for entry in site if entry.get("name") == name), None) if name else None
    entry = by_name or by_hash or {}
    fault = ""
    if by_name is not None and by_name.get("key_sha256") and by_name is not by_hash:
        fault = (
            f"the key in {stated['key_file']} is not the one whose SHA-256 the site states for {name}: "
            "put the right key into the file, or deploy with the new hash"
        )
    return Client(
        name=name or str(entry.get("name") or f"client {position + 1}"),
        key=key,
        models=None if entry.get("models") is None else [str(model) for model in entry["models"]],
        rate=str(entry.get("rate") or ""),
        burst=int(entry.get("burst") or 0),
        concurrency=int(entry.get("concurrency") or 0),
        metrics=bool(entry.get("metrics")),
        fault=fault,
    )
