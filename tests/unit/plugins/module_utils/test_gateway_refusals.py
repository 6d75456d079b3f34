# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each mistake in a gateway's description has its own words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _gateway_refusals
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.test_gateway_plan import CHAT, instance
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.test_jwks import EC_KEY

CLIENT = {"name": "a", "key_sha256": "9f" * 32, "rate": "10r/s", "burst": 20, "concurrency": 8}
TOKEN_CLIENT = {"name": "t", "claims": {"azp": "t"}}
TOKENS = {"jwks": "jwks.json", "issuer": "https://sso", "audience": "here"}
JWKS = json.dumps({"keys": [EC_KEY]})


def refused(*clients: dict[str, Any], instances: Any = None, **more: Any) -> list[str]:
    behind = [instance("chat", "tiny")] if instances is None else instances
    return _gateway_refusals.refusals(behind, clients, **more)


def test_a_good_description_is_not_refused() -> None:
    assert refused(CLIENT) == []
    assert (
        refused(
            CLIENT,
            {**TOKEN_CLIENT, "models": ["far"]},
            models=["far"],
            tokens=TOKENS,
            jwks=JWKS,
            networks=["10.0.0.0/8", "::1"],
        )
        == []
    )
    pem = "-----BEGIN CERTIFICATE-----\n"
    assert (
        refused(CLIENT, instances=[instance("a-1", "m"), instance("a-2", "m")], client_ca="ca.pem", client_ca_text=pem)
        == []
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "a b"}, "name is 'a b'"),
        ({"name": None}, "client number 1: name is ''"),
        ({"key_sha256": None}, "either key_sha256 or claims"),
        ({"claims": {"azp": "x"}}, "either key_sha256 or claims"),
        ({"key_sha256": "AB" * 32}, "has 64 characters; it is the key's SHA-256"),
        ({"key_sha256": "0" * 64}, "zeros"),
        ({"rate": "10/s"}, "rate is '10/s'"),
        ({"rate": None}, "burst is 20, and there is no rate"),
        ({"burst": -1}, "burst is -1"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"concurrency": True}, "concurrency is True"),
        ({"models": ["tiny", "huge"]}, "models has 'huge', which the site does not have; it has tiny"),
        ({"key_sha256": None, "claims": {"azp": "x"}}, "gateway_tokens is empty"),
        ({"key_sha256": None, "claims": {"azp": ["x"]}}, "gives each claim one value"),
        ({"key_sha256": None, "claims": "x"}, "gives each claim one value"),
    ],
)
def test_a_client_that_is_wrong(change: dict[str, Any], words: str) -> None:
    reasons = [reason for reason in refused({**CLIENT, **change}) if words in reason]
    assert len(reasons) == 1
    assert reasons[0].startswith("gateway_clients: client ")


def test_clients_that_cannot_be_told_apart() -> None:
    assert "the name stands twice" in refused(CLIENT, {**CLIENT, "name": "A", "key_sha256": "8e" * 32})[0]
    assert refused(CLIENT, {**CLIENT, "name": "b"}) == [
        "gateway_clients: client b: key_sha256 is that of client a as well; a key means one client. Make another key."
    ]
    assert (
        "claims are those of client t as well"
        in refused(TOKEN_CLIENT, {**TOKEN_CLIENT, "name": "u"}, tokens=TOKENS, jwks=JWKS)[0]
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"issuer": ""}, "issuer is ''"),
        ({"audience": None}, "audience is None"),
        ({"audience": []}, "audience is []"),
        ({"scopes": "infer"}, "scopes is 'infer'"),
        ({"leeway": 3600}, "leeway is 3600"),
        ({"url": "https://sso"}, "gateway_tokens has url; it knows audience"),
    ],
)
def test_tokens_that_are_described_wrongly(change: dict[str, Any], words: str) -> None:
    reasons = refused(TOKEN_CLIENT, tokens={**TOKENS, **change}, jwks=JWKS)
    assert len(reasons) == 1
    assert words in reasons[0]


def test_tokens_without_their_keys_or_clients() -> None:
    assert "'jwks.json', which the controller does not find" in refused(TOKEN_CLIENT, tokens=TOKENS)[0]
    assert "gateway_tokens.jwks (jwks.json): The JWKS has no list" in refused(TOKEN_CLIENT, tokens=TOKENS, jwks="{}")[0]
    assert "would open for nobody" in refused(CLIENT, tokens=TOKENS, jwks=JWKS)[0]


@pytest.mark.parametrize("network", ["10.0.0.1/24", "monitoring", "10.0.0.0/33"])
def test_what_is_no_network(network: str) -> None:
    assert f"gateway_metrics_networks has {network!r}" in refused(CLIENT, networks=[network])[0]


def test_a_ca_that_is_not_there() -> None:
    assert (
        "gateway_client_ca is 'ca.pem', where the controller finds no certificate"
        in refused(CLIENT, client_ca="ca.pem")[0]
    )


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"client_ca": ""}, "gateway_client_ca is not stated"),
        ({}, "where the controller finds no list"),
        ({"client_crl_text": "-----BEGIN CERTIFICATE-----\n"}, "openssl crl -inform DER"),
    ],
)
def test_a_list_of_what_was_taken_back(stated: dict[str, str], words: str) -> None:
    authority = {"client_ca": "ca.pem", "client_ca_text": "-----BEGIN CERTIFICATE-----\n", "client_crl": "crl.pem"}
    assert refused(CLIENT, **{**authority, "client_crl_text": "-----BEGIN X509 CRL-----\n"}) == []
    (reason,) = refused(CLIENT, **{**authority, **stated})
    assert "gateway_client_crl is 'crl.pem'" in reason and words in reason


@pytest.mark.parametrize(
    ("instances", "words"),
    [
        ([], "gateway_instances is empty"),
        ([instance("a", "m"), instance("a", "n")], "the name stands twice"),
        ([instance("a;", "m")], "is not made of letters"),
        ([instance("a")], "serves no model"),
        ([instance("a", "m }")], "models has 'm }'"),
        ([instance("a", "m"), instance("b", "m", api=CHAT[:1])], "it serves m, as instance a does, but at other paths"),
        ([instance("a", "m", api=[{"path": "/health", "methods": ["GET"]}])], "which the gateway answers itself"),
        ([instance("a", "m", api=[{"path": "/v1/models/x", "methods": ["GET"]}])], "which the gateway answers itself"),
        ([instance("a", "m", api=[{"path": "/x y", "methods": ["POST"]}])], "has the path '/x y'"),
        ([instance("a", "m", api=[{"path": "/{model}/{model}", "methods": ["POST"]}])], "may have {model} once"),
        ([instance("a", "m", api=[{"path": "/x", "methods": ["post"]}])], "has the methods ['post'] at /x"),
        (
            [instance(name, name, api=[{"path": "/v2", "methods": ["GET"]}]) for name in ("a", "b")],
            "GET /v2 names no model, and instances with different models have it (a; b)",
        ),
    ],
)
def test_instances_that_do_not_fit(instances: list[dict[str, Any]], words: str) -> None:
    reasons = refused(CLIENT, instances=instances)
    assert len(reasons) == 1
    assert words in reasons[0]
