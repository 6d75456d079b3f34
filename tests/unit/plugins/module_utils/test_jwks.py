# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which keys of a key set are taken, and what is said of the others."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _jwks
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def number(value: int) -> str:
    return base64.urlsafe_b64encode(value.to_bytes((value.bit_length() + 7) // 8, "big")).rstrip(b"=").decode()


RSA_KEY = {
    "kty": "RSA",
    "kid": "r",
    "use": "sig",
    "alg": "RS256",
    "n": number(1 << 2047 | 1),
    "e": "AQAB",
    "x5c": ["MII"],
}
EC_KEY = {"kty": "EC", "kid": "e", "crv": "P-256", "x": number(1 << 255), "y": number(1 << 254)}


def keys(*entries: Any) -> list[dict[str, Any]]:
    return _jwks.keys(json.dumps({"keys": list(entries)}))


def test_public_parts_are_taken_and_nothing_else() -> None:
    assert keys(RSA_KEY, EC_KEY) == [
        {"kid": "r", "alg": "RS256", "jwk": {"kty": "RSA", "n": RSA_KEY["n"], "e": "AQAB"}},
        {"kid": "e", "alg": "ES256", "jwk": {"kty": "EC", "crv": "P-256", "x": EC_KEY["x"], "y": EC_KEY["y"]}},
    ]


def test_keys_for_other_things_are_passed_over() -> None:
    others = [
        {**RSA_KEY, "kid": "x", "use": "enc"},
        {**RSA_KEY, "kid": "y", "alg": "RS512"},
        {"kty": "OKP", "kid": "z"},
    ]
    assert [key["kid"] for key in keys(*others, RSA_KEY)] == ["r"]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({**RSA_KEY, "use": "enc"}, "its use is 'enc'"),
        ({**RSA_KEY, "alg": "PS256"}, "its alg is 'PS256'"),
        ({**RSA_KEY, "n": number(1 << 1023)}, "1024 bits"),
        ({**RSA_KEY, "e": 65537}, "e cannot be read"),
        ({**RSA_KEY, "n": "ü"}, "n cannot be read"),
        ({**EC_KEY, "crv": "P-384"}, "its curve is 'P-384'"),
        ({"kty": "OKP", "kid": "o"}, "its kty is 'OKP'"),
        ({**RSA_KEY, "d": "AQAB"}, "has a secret"),
        ({"kty": "oct", "k": "AQAB"}, "has a secret"),
        ("RSA", "a key is an object"),
    ],
)
def test_a_key_that_cannot_verify(entry: Any, words: str) -> None:
    with pytest.raises(AirgapError, match=words):
        keys(entry)


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "no JSON"), ("[]", "no list of keys"), ('{"keys": {}}', "no list of keys"), ('{"keys": []}', "it is empty")],
)
def test_a_file_that_is_no_key_set(text: str, words: str) -> None:
    with pytest.raises(AirgapError, match=words):
        _jwks.keys(text)


def test_two_keys_of_one_name() -> None:
    with pytest.raises(AirgapError, match="two usable keys with the kid 'r'"):
        keys(RSA_KEY, {**EC_KEY, "kid": "r"})
