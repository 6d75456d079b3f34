# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An identity provider: its key set, and the tokens that it signs, good ones and others."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(value: int, length: int = 0) -> str:
    return encoded(value.to_bytes(length or (value.bit_length() + 7) // 8, "big"))


class Identity:
    """One RSA and one EC key; the kid of a key is <algorithm>-key."""

    issuer = "https://sso.clinic-a.example.org/realms/clinic"

    def __init__(self, directory: Path) -> None:
        self.rsa = rsa.generate_private_key(65537, 2048)
        self.stranger = rsa.generate_private_key(65537, 2048)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        numbers, point = self.rsa.public_key().public_numbers(), self.ec.public_key().public_numbers()
        keys = [
            {
                "kty": "RSA",
                "kid": "RS256-key",
                "use": "sig",
                "alg": "RS256",
                "n": _number(numbers.n),
                "e": _number(numbers.e),
            },
            {"kty": "EC", "kid": "ES256-key", "crv": "P-256", "x": _number(point.x, 32), "y": _number(point.y, 32)},
            {"kty": "RSA", "kid": "for-encryption", "use": "enc", "n": _number(numbers.n), "e": _number(numbers.e)},
        ]
        self.jwks = directory / "jwks.json"
        self.jwks.write_text(json.dumps({"keys": keys}))

    def token(
        self,
        algorithm: str,
        claims: dict[str, Any] | None = None,
        header: dict[str, Any] | None = None,
        forged: bool = False,
        cut: bool = False,
        broken: bool = False,
    ) -> str:
        """A good token, but for what is changed; None leaves a claim out, and times are told from now."""
        now = int(time.time())
        payload = {
            **{"iss": self.issuer, "aud": "inference", "azp": "triage-app", "scope": "openid infer read"},
            **{"sub": "u-1", "iat": now, "exp": 300, "nbf": -1},
            **(claims or {}),
        }
        for name in ("exp", "nbf"):
            if isinstance(payload.get(name), int):
                payload[name] += now
        head = {"alg": algorithm, "typ": "JWT", "kid": f"{algorithm}-key", **(header or {})}
        parts = [
            encoded(json.dumps({name: value for name, value in part.items() if value is not None}).encode())
            for part in (head, payload)
        ]
        if broken:
            parts[1] = encoded(b"\xff{")
        text = ".".join(parts).encode()
        signature = self.sign(algorithm, text, forged)
        return ".".join([*parts, encoded(signature[:-1] if cut else signature)])

    def sign(self, algorithm: str, text: bytes, forged: bool) -> bytes:
        if algorithm == "RS256":
            return (self.stranger if forged else self.rsa).sign(text, padding.PKCS1v15(), hashes.SHA256())
        r, s = utils.decode_dss_signature(self.ec.sign(text, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")
