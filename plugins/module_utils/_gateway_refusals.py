# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a gateway cannot work as it is described: every reason at once, each with what was seen and what helps."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Iterator, Mapping, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import _jwks
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._gateway_plan import MODEL, api

Entry = Mapping[str, Any]

_KEY = re.compile(r"[0-9a-f]{64}\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
# As clients ask for it; some name an owner before a slash.
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*\Z")
_RATE = re.compile(r"[1-9][0-9]*r/[sm]\Z")
_PATH = re.compile(r"(/([A-Za-z0-9._-]+|\{model\}))+\Z")
_METHOD = re.compile(r"[A-Z]+\Z")
_OWN_PATHS = re.compile(r"/(v1/models(/.*)?|health|metrics(/.*)?)\Z")
_TOKENS = {"jwks", "issuer", "audience", "scopes", "leeway"}
# Clocks that differ more are to be set, and a token that went out is not to be good for long.
_MOST_LEEWAY = 300


def refusals(
    instances: Sequence[Entry],
    clients: Sequence[Entry],
    models: Sequence[str] = (),
    tokens: Entry | None = None,
    jwks: str = "",
    networks: Sequence[str] = (),
    client_ca: str = "",
    client_ca_text: str = "",
    client_crl: str = "",
    client_crl_text: str = "",
) -> list[str]:
    """Every reason. The models are those of the site, beside those that this host serves."""
    served = [str(model) for instance in instances for model in instance.get("models") or []]
    found = list(_instances(instances))
    found.extend(reason for position in range(len(clients)) for reason in client(clients, position, bool(tokens)))
    found.extend(_models(clients, sorted({*served, *models})))
    found.extend(_tokens(tokens or {}, jwks, clients))
    for network in networks:
        try:
            ipaddress.ip_network(str(network))
        except ValueError as error:
            found.append(
                f"gateway_metrics_networks has {network!r}, which is no network ({error}); write it like 10.20.0.0/24."
            )
    if client_ca and "-----BEGIN CERTIFICATE-----" not in client_ca_text:
        found.append(
            f"gateway_client_ca is {client_ca!r}, where the controller finds no certificate; "
            "it is a PEM file on the controller that begins with -----BEGIN CERTIFICATE-----."
        )
    if client_crl and not client_ca:
        found.append(
            f"gateway_client_crl is {client_crl!r}, and gateway_client_ca is not stated; without it no certificate is asked for."
        )
    elif client_crl and "-----BEGIN X509 CRL-----" not in client_crl_text:
        found.append(
            f"gateway_client_crl is {client_crl!r}, where the controller finds no list of certificates taken back; "
            "it is a PEM file on the controller with -----BEGIN X509 CRL-----. Convert DER by openssl crl -inform DER."
        )
    return found


def client(clients: Sequence[Entry], position: int, tokens: bool) -> Iterator[str]:
    """What is wrong with one client, in itself and beside those before it."""
    described, before = clients[position], clients[:position]
    name = str(described.get("name") or "")
    where = f"gateway_clients: client {name or 'number ' + str(position + 1)}"
    if not _NAME.match(name):
        yield f"{where}: name is {name!r}; it is made of letters, digits, dots, underscores and hyphens, since the audit log names it so."
    elif name.lower() in [str(other.get("name")).lower() for other in before]:
        yield f"{where}: the name stands twice (large and small letters are the same here); give each client its own."
    yield from (f"{where}: {reason}" for reason in _key(described, before))
    yield from (f"{where}: {reason}" for reason in _claims(described, before, tokens))
    yield from (f"{where}: {reason}" for reason in _limits(described))


def _key(described: Entry, before: Sequence[Entry]) -> Iterator[str]:
    key = str(described.get("key_sha256") or "")
    if bool(key) == bool(described.get("claims")):
        yield "it needs either key_sha256 or claims, one of both; a client is known by its key or by its tokens."
    # A key's hash is no secret, but it is nobody's business in a log either.
    if not key:
        return
    if not _KEY.match(key):
        yield (
            f"key_sha256 has {len(key)} characters; it is the key's SHA-256 in 64 lower-case hexadecimal digits "
            "(printf %s 'the key' | sha256sum prints it)."
        )
    elif not key.strip("0"):
        yield "key_sha256 is the example's zeros; make a key with `openssl rand -hex 32`, and write its SHA-256."
    else:
        for other in before:
            if other.get("key_sha256") == key:
                yield f"key_sha256 is that of client {other.get('name')} as well; a key means one client. Make another key."


def _claims(described: Entry, before: Sequence[Entry], tokens: bool) -> Iterator[str]:
    claims = described.get("claims")
    if not claims:
        return
    if not isinstance(claims, Mapping) or not all(isinstance(value, (str, int)) for value in claims.values()):
        yield f"claims is {claims!r}; it gives each claim one value, like {{azp: radiology-app}}."
        return
    if not tokens:
        yield "it has claims, and gateway_tokens is empty, so no token is ever read; describe gateway_tokens, or give it a key."
    for other in before:
        if other.get("claims") == claims:
            yield f"claims are those of client {other.get('name')} as well; a token could not say whose it is. Name another claim."


def _limits(described: Entry) -> Iterator[str]:
    rate, burst, concurrency = described.get("rate"), described.get("burst"), described.get("concurrency")
    if rate and not _RATE.match(str(rate)):
        yield f"rate is {rate!r}; write it like 10r/s or 30r/m."
    if burst and not rate:
        yield f"burst is {burst!r}, and there is no rate that it could exceed; state a rate, or leave burst out."
    for name, value, least in (("burst", burst, 0), ("concurrency", concurrency, 1)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            yield f"{name} is {value!r}; it is a number of requests, {least} or more."


def _models(clients: Sequence[Entry], known: Sequence[str]) -> Iterator[str]:
    for described in clients:
        for model in described.get("models") or []:
            if model not in known:
                yield (
                    f"gateway_clients: client {described.get('name')}: models has {model!r}, which the site does not have; "
                    f"it has {', '.join(known) or 'none'}. Correct the name, or take it out."
                )


def _instances(instances: Sequence[Entry]) -> Iterator[str]:
    if not instances:
        yield "gateway_instances is empty; a gateway stands before one instance or more."
    names = [str(instance.get("name")) for instance in instances]
    serving: dict[str, Entry] = {}
    pathways: dict[str, set[tuple[str, ...]]] = {}
    for position, instance in enumerate(instances):
        where = f"gateway_instances: instance {names[position]}"
        if not _NAME.match(names[position]) or names[position] in names[:position]:
            yield f"{where}: the name stands twice, or is not made of letters, digits, dots, underscores and hyphens."
        if not instance.get("models"):
            yield f"{where}: it serves no model; models has the names that clients ask for."
        for model in map(str, instance.get("models") or []):
            if not _MODEL_NAME.match(model):
                yield f"{where}: models has {model!r}; a model's name is made of letters, digits and . _ : / @ + -."
            other = serving.setdefault(model, instance)
            if _shape(other) != _shape(instance):
                yield (
                    f"{where}: it serves {model}, as instance {other.get('name')} does, but at other paths; "
                    "requests for one name go to either, so both need the same engine and task. Give one of them another name."
                )
        yield from (f"{where}: {reason}" for reason in _paths(instance))
        for path, methods in api(instance).items():
            if MODEL not in path and "GET" in methods:
                pathways.setdefault(path, set()).add(tuple(sorted(map(str, instance.get("models") or []))))
    for path, groups in sorted(pathways.items()):
        if len(groups) > 1:
            models = "; ".join(sorted(", ".join(group) for group in groups))
            yield f"gateway_instances: GET {path} names no model, and instances with different models have it ({models}). Take it out of their api."


def _shape(instance: Entry) -> dict[str, list[str]]:
    return {path: sorted(methods) for path, methods in api(instance).items()}


def _paths(instance: Entry) -> Iterator[str]:
    for path, methods in api(instance).items():
        if _OWN_PATHS.match(path):
            yield f"its api has {path}, which the gateway answers itself. Take it out."
        elif not _PATH.match(path) or path.count(MODEL) > 1:
            yield f"its api has the path {path!r}; a path is made of plain words after slashes, and may have {MODEL} once."
        if not methods or not all(_METHOD.match(method) for method in methods):
            yield f"its api has the methods {methods!r} at {path}; they are words like GET and POST."


def _tokens(tokens: Entry, jwks: str, clients: Sequence[Entry]) -> Iterator[str]:
    if not tokens:
        return
    unknown = sorted(set(map(str, tokens)) - _TOKENS)
    if unknown:
        yield f"gateway_tokens has {', '.join(unknown)}; it knows {', '.join(sorted(_TOKENS))}."
    issuer, audience = tokens.get("issuer"), tokens.get("audience")
    if not isinstance(issuer, str) or not issuer:
        yield f"gateway_tokens.issuer is {issuer!r}; it is the text that tokens have as iss, to the letter."
    many = audience if isinstance(audience, (list, tuple)) else [audience]
    if not many or not all(isinstance(one, str) and one for one in many):
        yield f"gateway_tokens.audience is {audience!r}; it is a text that tokens have in aud, or a list of such texts."
    scopes, leeway = tokens.get("scopes") or [], tokens.get("leeway", 30)
    if not isinstance(scopes, (list, tuple)) or not all(isinstance(scope, str) and scope for scope in scopes):
        yield f"gateway_tokens.scopes is {scopes!r}; it is a list of names."
    if isinstance(leeway, bool) or not isinstance(leeway, int) or not 0 <= leeway <= _MOST_LEEWAY:
        yield f"gateway_tokens.leeway is {leeway!r}; it is a number of seconds, {_MOST_LEEWAY} at most."
    if not any(described.get("claims") for described in clients):
        yield "gateway_tokens is described, and none of gateway_clients has claims, so a token would open for nobody. Give a client claims."
    if not str(jwks).strip():
        yield (
            f"gateway_tokens.jwks is {tokens.get('jwks')!r}, which the controller does not find, or which is empty; "
            "it is the file that the identity provider publishes as jwks_uri."
        )
        return
    try:
        _jwks.keys(jwks)
    except AirgapError as error:
        yield f"gateway_tokens.jwks ({tokens.get('jwks')}): {error}"
