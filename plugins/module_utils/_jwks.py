# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A JSON Web Key Set (RFC 7517): which of its keys can verify RS256 or ES256, and why others cannot."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, Mapping

from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

# RFC 7518: a key of 2048 bits or more is a must for RS256.
_RSA_BITS = 2048
_MEMBERS = {"RS256": ("n", "e"), "ES256": ("x", "y")}


def keys(text: str) -> list[dict[str, Any]]:
    """The usable keys, public parts only: kid, alg and the key as WebCrypto takes it."""
    found: list[dict[str, Any]] = []
    whys = []
    for position, key in enumerate(_entries(text)):
        if not isinstance(key, Mapping):
            raise AirgapError(f"keys[{position}] of the JWKS is {key!r}; a key is an object.")
        what = f"key {key.get('kid') or position}"
        if "d" in key or key.get("kty") == "oct":
            raise AirgapError(
                f"The JWKS has a secret ({what}); tokens are verified with public keys only. "
                "Take the file that the identity provider publishes (jwks_uri)."
            )
        algorithm, why = _algorithm(key)
        if why:
            whys.append(f"{what}: {why}")
            continue
        kid = str(key.get("kid") or "")
        if any(other["kid"] == kid for other in found):
            raise AirgapError(
                f"The JWKS has two usable keys with the kid {kid!r}; a token could not say which one it means."
            )
        jwk = {"kty": key["kty"], **{name: key[name] for name in _MEMBERS[algorithm]}}
        if algorithm == "ES256":
            jwk["crv"] = "P-256"
        found.append({"kid": kid, "alg": algorithm, "jwk": jwk})
    if not found:
        raise AirgapError(
            f"The JWKS has no key that verifies RS256 or ES256 ({'; '.join(whys) or 'it is empty'}). "
            "Take the file that the identity provider publishes (jwks_uri)."
        )
    return found


def _entries(text: str) -> list[Any]:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise AirgapError(f"The JWKS is no JSON: {error}.") from error
    entries = data.get("keys") if isinstance(data, Mapping) else None
    if not isinstance(entries, list):
        raise AirgapError('The JWKS has no list of keys; it is a file like {"keys": [...]}.')
    return entries


def _algorithm(key: Mapping[str, Any]) -> tuple[str, str]:
    """RS256 or ES256, or why neither."""
    kind = {"RSA": "RS256", "EC": "ES256"}.get(str(key.get("kty")), "")
    if not kind:
        return "", f"its kty is {key.get('kty')!r}"
    if key.get("use", "sig") != "sig":
        return "", f"its use is {key['use']!r}"
    if key.get("alg", kind) != kind:
        return "", f"its alg is {key['alg']!r}"
    if kind == "ES256" and key.get("crv") != "P-256":
        return "", f"its curve is {key.get('crv')!r}"
    numbers = {name: _number(key.get(name)) for name in _MEMBERS[kind]}
    wrong = sorted(name for name, number in numbers.items() if not number)
    if wrong:
        return "", f"{' and '.join(wrong)} cannot be read"
    if kind == "RS256" and numbers["n"].bit_length() < _RSA_BITS:
        return "", f"it has {numbers['n'].bit_length()} bits, and {_RSA_BITS} are the least"
    return kind, ""


def _number(value: Any) -> int:
    """A number as a key writes it; 0 if it cannot be read."""
    if not isinstance(value, str):
        return 0
    try:
        return int.from_bytes(base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)), "big")
    except (ValueError, binascii.Error):
        return 0
