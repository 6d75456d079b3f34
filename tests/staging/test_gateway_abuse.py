# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hostile clients: right answers, nothing through to an engine that is not allowed, and everybody else is served meanwhile.

All of it is bounded in number and time, and goes to this machine alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import re
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from gateway_raw import Line, Reply, everything, message, parse
from gateway_room import API, Room, StandIn, sha256
from tokens_room import Identity, encoded

KEY = "a-key-that-is-good"
CHAT = "/v1/chat/completions"
# What the engines offer here: everything else that reaches one is a hole.
ALLOWED = {(method, entry["path"]) for entry in API for method in entry["methods"]}
NOT_FOR_ENGINES = {"authorization", "cookie", "upgrade", "x-injected", "transfer-encoding"}
# It stands in every body, and must stand in no log.
PROMPT = "the patient in bed seven"
MESSAGES = [{"role": "user", "content": PROMPT}]


def body(model: Any = "tiny", **more: Any) -> bytes:
    return json.dumps({"model": model, "messages": MESSAGES, **more}).encode()


class Attacked(Room):
    """It is patient for six seconds, where the role's is for twenty and thirty: the tests need not wait as long."""

    def configure(self, **variables: Any) -> None:
        super().configure(**variables)
        path = self.directory / "config/nginx.conf"
        text, found = re.subn(r"(client_(?:header|body)_timeout) \d+s;", r"\1 6s;", path.read_text())
        assert found == 2
        path.write_text(text)

    @property
    def line(self) -> Line:
        return Line(self.port, self.ca)

    def requests(self) -> list[dict[str, Any]]:
        """All that reached an engine."""
        return [request for engine in self.engines for request in engine.seen]


@pytest.fixture(name="identity", scope="module")
def fixture_identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return Identity(tmp_path_factory.mktemp("identity"))


@pytest.fixture(name="room", scope="module")
def fixture_room(identity: Identity) -> Iterator[Attacked]:
    """Tokens are on, so that there is a second door to try."""
    with Attacked() as room:
        room.engine("chat", StandIn(models=["tiny"]))
        room.engine("other", StandIn(models=["secret"]))
        room.engine("dead", StandIn(models=["dead"]), listens=False)
        room.start(
            clients=[
                {"name": "ward", "key_sha256": sha256(KEY), "models": ["tiny", "dead"]},
                {"name": "triage", "claims": {"azp": "triage-app"}, "models": ["tiny"]},
            ],
            tokens={"jwks": str(identity.jwks), "issuer": identity.issuer, "audience": "inference", "leeway": 0},
        )
        yield room


def decent(room: Attacked, within: float = 2) -> None:
    """Somebody with a key and a question is served, and soon."""
    reply, seconds = room.line.ask("POST", CHAT, KEY, body())
    assert reply.status == 200, reply
    assert seconds < within


@pytest.fixture(autouse=True)
def fixture_unharmed(room: Attacked) -> Iterator[None]:
    """After each attack: nothing came through that is not offered, and the gateway and its engines serve as before."""
    for engine in room.engines:
        engine.seen.clear()
    yield
    for request in room.requests():
        assert (request["method"], request["path"]) in ALLOWED, request
        assert json.loads(request["body"])["model"] == "tiny", request
        assert not NOT_FOR_ENGINES & {name.lower() for name in request["headers"]}, request
    decent(room)


# Paths that a proxy and an engine might read differently. What they would reach is not offered.
DISGUISES = [
    "/v1/../invocations",
    "/v1/%2e%2e/invocations",
    "/v1/%2E%2E/metrics",
    "/v1/chat/completions/../../../invocations",
    "/v1/chat/completions/..%2f..%2f..%2finvocations",
    "/v1/chat%2fcompletions%2f..%2f..%2f..%2finvocations",
    "/v1/chat/completions/..;/..;/invocations",
    "/v1/chat/completions;/../../../invocations",
    "/v1/chat/completions/",
    "/v1/chat/completions%00",
    "/v1/chat/completions%00/../../../invocations",
    "/v1/chat/completions%20",
    "/v1/chat/completions%0d%0aX-Injected:%20yes",
    "/v1/chat/completions%3fx",
    "/V1/CHAT/COMPLETIONS",
    "/v1\\chat\\completions",
    "/v1/..\\invocations",
    "/invocations",
    "//invocations",
    "/%69nvocations",
    "/%2finvocations",
    "/%252e%252e/invocations",
    "/..%c0%afinvocations",
    "/../../../../etc/passwd",
    "http://localhost/invocations",
    "http://engine/load_lora_adapter",
    "https://127.0.0.1/metrics",
    "/.error/401",
    "@error_401",
    "/v1/load_lora_adapter",
    "/tokenize",
    "/pause",
    "/docs",
    "*",
    "v1/chat/completions",
]
# Bytes that no library would send.
RAW_DISGUISES = [b"/v1/chat/completions\x00", b"/v1/chat/\xff\xfe", b"/\x01", b"/v1/chat/completions\t/x", b"\\"]


@pytest.mark.parametrize("path", [*DISGUISES, *RAW_DISGUISES], ids=ascii)
def test_a_path_in_disguise_finds_nothing(room: Attacked, path: str | bytes) -> None:
    raw = path if isinstance(path, bytes) else path.encode()
    (reply,) = room.line.send(message("POST", "@@", KEY, body()).replace(b"@@", raw))
    assert reply.status in (400, 404, 405), reply
    assert reply.error["type"] == "invalid_request_error"
    assert not room.requests()


@pytest.mark.parametrize(
    "path", ["//v1/chat/completions", "/x/../v1/chat/completions", "/v1/./chat/completions", "/v1/%63hat/completions"]
)
def test_another_spelling_of_an_offered_path_is_that_path_or_nothing(room: Attacked, path: str) -> None:
    reply, _seconds = room.line.ask("POST", path, KEY, body())
    assert reply.status in (200, 400, 404), reply
    for request in room.requests():
        assert request["path"] == CHAT


@pytest.mark.parametrize(
    "method", ["GET", "PUT", "DELETE", "TRACE", "CONNECT", "OPTIONS", "PROPFIND", "post", "POSTS", "X" * 5000]
)
def test_a_method_that_is_not_offered_is_refused(room: Attacked, method: str) -> None:
    reply, _seconds = room.line.ask(method, CHAT, KEY, body())
    assert reply.status in (400, 405, 414), reply
    assert reply.error["type"] == "invalid_request_error"
    assert not room.requests()


DEEP = b'{"model": "tiny", "messages": %s}'
BAD_BODIES = {
    "empty": b"",
    "not JSON": b"model=tiny",
    "cut off": body()[:-1],
    "more behind it": body() + b"{}",
    "a list": b'["tiny"]',
    "a string": b'"tiny"',
    "null": b"null",
    "no model": b'{"messages": []}',
    "the model is null": body(None),
    "the model is a number": body(1),
    "the model is a list": body(["tiny"]),
    "the model is empty": body(""),
    "the model twice": b'{"model": "tiny", "model": "secret"}',
    "the model twice, the other way": b'{"model": "secret", "model": "tiny"}',
    "the model twice, once escaped": b'{"model": "tiny", "mod\\u0065l": "secret"}',
    "Model beside model": b'{"model": "tiny", "Model": "secret"}',
    "MODEL before model": b'{"MODEL": "secret", "model": "tiny"}',
    "Model alone": b'{"Model": "secret"}',
    "bad UTF-8 in a value": b'{"model": "tiny", "messages": [{"role": "user", "content": "\xff\xfe"}]}',
    "bad UTF-8 in a key": b'{"model": "tiny", "mod\xc1\xa5l": "secret"}',
    "a surrogate in UTF-8": b'{"model": "tiny", "user": "\xed\xa0\x80"}',
    "bad UTF-8 in the model": b'{"model": "tiny\xc0\x80"}',
    "UTF-16": json.dumps({"model": "secret"}).encode("utf-16"),
    "UTF-16 without its mark": json.dumps({"model": "secret"}).encode("utf-16-le"),
    "UTF-32": json.dumps({"model": "secret"}).encode("utf-32"),
    "a NUL": b'{"model": "tiny\x00"}',
    "100,000 deep": DEEP % (b"[" * 100_000 + b"]" * 100_000),
    "100,000 deep and never closed": DEEP % (b'{"a":' * 100_000),
}


@pytest.mark.parametrize("what", BAD_BODIES)
def test_a_body_that_can_be_read_in_two_ways_is_read_in_none(room: Attacked, what: str) -> None:
    reply, seconds = room.line.ask("POST", CHAT, KEY, BAD_BODIES[what])
    # 413 is for what has too many parts.
    assert reply.status in (400, 413), reply
    assert reply.error["type"] == "invalid_request_error"
    assert PROMPT.encode() not in reply.body
    assert seconds < 2
    assert not room.requests()


@pytest.mark.parametrize(
    "model",
    ["secret\u0000", " tiny", "Tiny", "tiny/../secret", "__proto__", "constructor", "toString", "x" * 1_000_000],
)
def test_a_model_that_nobody_serves_is_a_404_whatever_its_name(room: Attacked, model: str) -> None:
    reply, _seconds = room.line.ask("POST", CHAT, KEY, body(model))
    assert reply.status in (400, 404), reply
    assert reply.error["type"] == "invalid_request_error"
    assert len(reply.body) < 4096


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "identity, gzip"])
def test_a_body_that_cannot_be_looked_into_is_refused(room: Attacked, encoding: str) -> None:
    reply, _seconds = room.line.ask("POST", CHAT, KEY, body(), Content_Encoding=encoding)
    assert reply.status in (400, 415), reply
    assert reply.error["type"] == "invalid_request_error"
    assert not room.requests()


def test_what_looks_odd_and_is_legal_passes(room: Attacked) -> None:
    """A tool's schema is deep, and may well speak of a model."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"model": {"type": "string"}, "Model": {"type": "string"}},
    }
    for _level in range(10):
        schema = {"type": "object", "properties": {"inner": schema}}
    tools = [{"type": "function", "function": {"name": "look", "parameters": schema}}]
    for good in (
        body(tools=tools),
        b" \r\n\t" + body(),
        body(user="\u20ac \U0001f600 \u0000"),
    ):
        reply, _seconds = room.line.ask("POST", CHAT, KEY, good)
        assert reply.status == 200, (good[:100], reply)
        assert room.engines[0].seen[-1]["body"] == good


INNER = "POST /invocations HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nContent-Length: 0\r\n\r\n"
START = (
    f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {{key}}\r\nContent-Type: application/json\r\n"
)
# Two ends of a line of servers that disagree on where a request ends let one request hide within another.
SMUGGLED = {
    "a length and chunks": "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n",
    "two lengths": "Content-Length: 0\r\nContent-Length: 60\r\n\r\n",
    "two lengths in one": "Content-Length: 0, 60\r\n\r\n",
    "a length with a sign": "Content-Length: +0\r\n\r\n",
    "a length below nothing": "Content-Length: -1\r\n\r\n",
    "a length in hexadecimal": "Content-Length: 0x0\r\n\r\n",
    "a length beyond all numbers": "Content-Length: 18446744073709551616\r\n\r\n",
    "an unknown coding": "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "two codings": "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
    "two headers of codings": "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "chunks twice": "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a folded header": "X-Folded: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an underscore": "Content_Length: 60\r\nContent-Length: 0\r\n\r\n",
    "a bare line feed": "X: y\nTransfer-Encoding: chunked\nContent-Length: 0\n\n0\r\n\r\n",
    "a bare carriage return": "X: y\rTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
    "a chunk beyond all numbers": "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n",
    "a chunk below nothing": "Transfer-Encoding: chunked\r\n\r\n-1\r\n",
    "a chunk that is longer than it says": "Transfer-Encoding: chunked\r\n\r\n1\r\n{}}}}\r\n0\r\n\r\n",
    "two hosts": "Host: elsewhere\r\nContent-Length: 0\r\n\r\n",
    "two keys": "Authorization: Bearer other\r\nContent-Length: 0\r\n\r\n",
    "a header without a name": ": value\r\nContent-Length: 0\r\n\r\n",
    "a NUL in a header": "X: a\x00b\r\nContent-Length: 0\r\n\r\n",
    "an upgrade": "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("what", SMUGGLED)
def test_no_request_hides_in_another(room: Attacked, what: str) -> None:
    text = (START + SMUGGLED[what] + INNER).replace(
        "{key}", KEY
    ) + "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    replies = room.line.send(text.encode("latin-1"), timeout=4)
    assert replies, "no answer at all"
    for reply in replies:
        assert reply.status in (400, 401, 404, 405, 413, 501), reply
        assert reply.error["type"] in ("invalid_request_error", "authentication_error")
    assert not room.requests()


def test_a_request_after_a_refused_one_is_its_own(room: Attacked) -> None:
    """The body of a refused request is no next request."""
    inner = message("POST", CHAT, KEY, body())
    start = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(inner)}\r\n"
    for lines in ("", f"Authorization: Bearer {KEY}\r\n", f"Authorization: Bearer {KEY}\r\nContent-Encoding: gzip\r\n"):
        replies = room.line.send(f"{start}{lines}\r\n".encode() + inner + message("GET", "/", KEY), timeout=4)
        assert [reply.status for reply in replies[1:]] in ([], [404])
        assert replies[0].status in (400, 401, 415), replies
    assert not room.requests()


@pytest.mark.parametrize("version", ["HTTP/0.9", "HTTP/2.0", "HTTP/9.9", "HTTP/1.1.1", "HTTP/-1", "HTCPCP/1.0"])
def test_versions_that_are_not_spoken(room: Attacked, version: str) -> None:
    replies = room.line.send(message("GET", "/v1/models", KEY).replace(b"HTTP/1.1", version.encode()))
    for reply in replies:
        assert reply.status in (0, 400, 505), reply
        assert b'"data"' not in reply.body


def test_http_0_9_has_no_key_and_gets_nothing(room: Attacked) -> None:
    for line in (b"GET /v1/models\r\n", b"POST /v1/chat/completions\r\n\r\n" + body()):
        for reply in room.line.send(line, timeout=4):
            assert b"tiny" not in reply.body
            assert b"<html" not in reply.body
    assert not room.requests()


def test_only_tls_1_3(room: Attacked) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with room.line.plain() as plain, pytest.raises(ssl.SSLError):
        old.wrap_socket(plain)
    context = ssl.create_default_context(cafile=str(room.ca))
    context.set_alpn_protocols(["h2"])
    with room.line.plain() as plain, contextlib.suppress(ssl.SSLError):
        assert context.wrap_socket(plain, server_hostname="localhost").selected_alpn_protocol() is None


def test_http_on_the_port_of_tls_is_told_so_in_json(room: Attacked) -> None:
    for sent in (message("GET", "/v1/models", KEY), message("POST", CHAT, KEY, body())):
        with room.line.plain() as plain:
            plain.sendall(sent)
            (reply,) = parse(everything(plain))
        assert reply.status == 400
        assert reply.error["type"] == "invalid_request_error"
    with room.line.plain() as plain:
        plain.sendall(b"\x16\x03\x01\xff\xff" + b"\x00" * 4096)
        everything(plain)


@pytest.mark.parametrize(
    "sent",
    [
        "Bearer {} x",
        "Bearer\t{}",
        "Bearer{}",
        "Bearer {}\x01",
        "Basic {}",
        "Bearer {},Bearer {}",
        "Token {}",
        "\xa0Bearer {}",
    ],
    ids=ascii,
)
def test_a_key_in_disguise_is_no_key(room: Attacked, sent: str) -> None:
    text = f"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: {sent.format(KEY, KEY)}\r\n\r\n"
    (reply,) = room.line.send(text.encode("latin-1"))
    assert reply.status in (400, 401), reply
    assert reply.error["code"] in ("invalid_api_key", "bad_request")


def test_a_bearer_of_a_megabyte(room: Attacked) -> None:
    begin = time.monotonic()
    for size in (5_000, 30_000, 1 << 20):
        (reply,) = room.line.send(message("GET", "/v1/models", "k" * size))
        assert (reply.status, reply.error["code"]) in ((401, "invalid_api_key"), (431, "headers_too_large"))
    assert time.monotonic() - begin < 5


def forgeries(identity: Identity) -> dict[str, str]:
    """Tokens that some verifier of the past has let in."""
    own = ec.generate_private_key(ec.SECP256R1())
    good = identity.token("ES256").split(".")
    point = own.public_key().public_numbers()
    jwk = {
        "kty": "EC",
        "crv": "P-256",
        "x": encoded(point.x.to_bytes(32, "big")),
        "y": encoded(point.y.to_bytes(32, "big")),
    }
    pem = identity.rsa.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )

    def signed(header: dict[str, Any], signature: Any) -> str:
        text = f"{encoded(json.dumps(header).encode())}.{good[1]}"
        return f"{text}.{encoded(signature(text.encode()))}"

    def of(digest: str, secret: bytes) -> Any:
        return lambda text: hmac.new(secret, text, digest).digest()

    def stranger(text: bytes) -> bytes:
        return own.sign(text, ec.ECDSA(hashes.SHA256()))

    def pss(text: bytes) -> bytes:
        return identity.rsa.sign(text, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())

    es256, rs256 = {"alg": "ES256", "kid": "ES256-key"}, {"alg": "RS256", "kid": "RS256-key"}
    return {
        "none": signed({"alg": "none"}, lambda text: b""),
        "nOnE": signed({"alg": "nOnE", "kid": "RS256-key"}, lambda text: b"x"),
        "HS256 with the public key": signed({"alg": "HS256", "kid": "RS256-key"}, of("sha256", pem)),
        "HS256 with nothing": signed({"alg": "HS256"}, of("sha256", b"")),
        "RS256 whose signature is an HMAC": signed(rs256, of("sha256", pem)),
        "PS256": signed({"alg": "PS256", "kid": "RS256-key"}, pss),
        "RS256 padded as PS256": signed(rs256, pss),
        "a signature of zeros": signed(es256, lambda text: bytes(64)),
        "a signature in DER": signed(es256, lambda text: identity.ec.sign(text, ec.ECDSA(hashes.SHA256()))),
        "no signature": ".".join([*good[:2], ""]),
        "a short signature": ".".join([*good[:2], "AA"]),
        "a key of its own in the header": signed({**es256, "jwk": jwk}, stranger),
        "a key set of its own": signed({**es256, "jku": "https://127.0.0.1/jwks.json"}, stranger),
        "a kid that is a path": signed({"alg": "HS256", "kid": "../../../dev/null"}, of("sha256", b"")),
        "a kid that is an object's": signed({"alg": "ES256", "kid": "__proto__"}, stranger),
        "a kid that is a list": signed({"alg": "ES256", "kid": ["ES256-key"]}, stranger),
        "another payload": ".".join([good[0], identity.token("RS256").split(".")[1] + "A", good[2]]),
        "two payloads": ".".join([*good, good[1]]),
        "a header of a list": f"{encoded(b'[1]')}.{good[1]}.{good[2]}",
        "a header that is cut": f"{good[0][:9]}.{good[1]}.{good[2]}",
        "an expiry beyond all numbers": identity.token("RS256", forged=True, claims={"exp": 10**400}),
    }


def test_a_forged_token_opens_nothing(room: Attacked, identity: Identity) -> None:
    reply, _seconds = room.line.ask("POST", CHAT, identity.token("ES256"), body())
    assert reply.status == 200
    room.engines[0].seen.clear()
    for what, token in forgeries(identity).items():
        reply, _seconds = room.line.ask("POST", CHAT, token, body())
        assert reply.status == 401, (what, reply)
        assert reply.error["type"] == "authentication_error"
    assert not room.requests()


def test_a_token_ends_in_the_middle_of_a_connection(room: Attacked, identity: Identity) -> None:
    """What was good a moment ago is not remembered."""
    token = identity.token("RS256", claims={"exp": 2})
    question = message("GET", "/v1/models", token).replace(b"Connection: close\r\n", b"")
    statuses = []
    with room.line.connect() as connection:
        for _turn in range(2):
            connection.sendall(question)
            statuses.append(parse(connection.recv(65536))[0].status)
            time.sleep(3)
    assert statuses == [200, 401]


def test_10_000_wrong_keys_in_less_than_a_minute(room: Attacked, identity: Identity) -> None:
    count, lines = 10_000, 20

    # Every tenth is a token that has to be verified before it is refused.
    forged = identity.token("RS256", forged=True)

    async def guess(first: int) -> int:
        refused = 0
        reader = writer = None
        for number in range(first, count, lines):
            if writer is None:
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", room.line.port, ssl=room.line.context, server_hostname="localhost"
                )
            key = f"guess-{number:05}" if number % 10 else forged
            writer.write(message("GET", "/v1/models", key).replace(b"Connection: close\r\n", b""))
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(length)
            refused += head.startswith((b"HTTP/1.1 401", b"HTTP/1.1 429"))
            if b"connection: close" in head.lower():
                writer.close()
                writer = None
        if writer is not None:
            writer.close()
        return refused

    async def everybody() -> int:
        return sum(await asyncio.gather(*(guess(first) for first in range(lines))))

    memory = room.memory()
    begin = time.monotonic()
    with ThreadPoolExecutor(1) as other:
        working = other.submit(lambda: asyncio.run(everybody()))
        while not working.done():
            decent(room)
            time.sleep(0.2)
    assert working.result() == count
    assert time.monotonic() - begin < 60
    assert room.memory() < memory + 16 * 2**20


def flood(room: Attacked, data: bytes, times: int, timeout: float = 20) -> list[Reply]:
    """The same from many at once."""
    with ThreadPoolExecutor(times) as pool:
        answers = pool.map(lambda _turn: room.line.send(data, timeout), range(times))
        return [reply for replies in answers for reply in replies]


def test_floods_of_headers(room: Attacked) -> None:
    many = {f"X-Flood-{number}": "x" * 100 for number in range(10_000)}
    for headers in (many, {"X-Flood": "x" * 1_000_000}, dict.fromkeys((f"X-{number}" for number in range(2_000)), "")):
        replies = flood(room, message("POST", CHAT, KEY, body(), **headers), 20)
        assert len(replies) == 20
        for reply in replies:
            assert reply.status in (200, 431), reply
            if reply.status == 431:
                assert reply.error["code"] == "headers_too_large"
    (reply,) = room.line.send(message("GET", "/" + "x" * 100_000, KEY))
    assert (reply.status, reply.error["code"]) == (414, "uri_too_long")


def test_bodies_of_64_megabytes(room: Attacked) -> None:
    size = 64 * 2**20
    big = b'{"model": "tiny", "prompt": "' + b"x" * (size - 31) + b'"}'
    memory = room.memory()
    for key, status in ((KEY, 413), ("wrong", 401)):
        for reply in flood(room, message("POST", CHAT, key, big), 4):
            assert reply.status == status, reply
            assert reply.error
    head = message("POST", CHAT, KEY, Transfer_Encoding="chunked", Content_Type="application/json")
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    for reply in flood(room, head + chunk * 1024 + b"0\r\n\r\n", 4):
        assert (reply.status, reply.error["code"]) == (413, "request_too_large")
    assert room.memory() < memory + 64 * 2**20


def test_bodies_of_nearly_all_that_is_taken(room: Attacked) -> None:
    """Read to their end, where the model stands, or refused in good order; and the memory comes back."""
    size = 31 * 2**20
    big = b'{"prompt": "' + b"x" * (size - 31) + b'", "model": "tiny"}'
    memory = room.memory()
    replies = flood(room, message("POST", CHAT, KEY, big), 8, timeout=60)
    assert len(replies) == 8
    for reply in replies:
        assert reply.status in (200, 413, 429, 503), reply
        if reply.status != 200:
            assert reply.error
    decent(room)
    assert room.memory() < memory + 64 * 2**20


def test_too_much_at_once_costs_a_worker_and_not_the_gateway() -> None:
    """The container's memory is a limit that the kernel keeps."""
    size = 31 * 2**20
    big = b'{"model": "tiny", "prompt": "' + b"x" * (size - 31) + b'"}'
    with Attacked() as room:
        room.engine("chat", StandIn(models=["tiny"], thinks=2))
        room.start(clients=[{"name": "ward", "key_sha256": sha256(KEY)}], memory="256m")
        before = room.processes()

        def ask(_turn: int) -> list[Reply]:
            # The worker may go in the middle of a handshake.
            with contextlib.suppress(OSError):
                return room.line.send(message("POST", CHAT, KEY, big), 30)
            return []

        with ThreadPoolExecutor(8) as pool:
            answered = [replies for replies in pool.map(ask, range(8)) if replies]
        assert len(answered) < 8
        assert room.processes().keys() != before.keys()
        assert min(room.processes()) == min(before)
        room.engines[0].thinks = 0
        decent(room, within=5)


def heavy(what: bytes, size: int = 31 * 2**20) -> bytes:
    """A body of many small things, which cost a reader more than their bytes."""
    return b'{"model": "tiny", "input": [' + b",".join([what] * (size // (len(what) + 1) - 8)) + b"]}"


HEAVY = {
    "lists": heavy(b"[]"),
    "models": heavy(b'{"model":1}'),
    "strings": heavy(b'""'),
    "escapes": b'{"model": "tiny", "input": "' + b'\\"' * (15 * 2**20) + b'"}',
    "half a megabyte of models": heavy(b'{"model":1}', 2**19),
    "keys": b'{"model": "tiny"' + b"".join(b',"%d":0' % number for number in range(1_500_000)) + b"}",
    "fewer keys": b'{"model": "tiny"' + b"".join(b',"%d":0' % number for number in range(400_000)) + b"}",
    "as many keys as a megabyte has": b'{"model": "tiny"'
    + b"".join(b',"%d":0' % number for number in range(90_000))
    + b"}",
    "backslashes": b'{"model": "tiny", "input": "' + b"\\\\" * (15 * 2**20) + b'"}',
    "backslashes and quotes": b'{"model": "tiny", "input": "' + (b"\\" * 999 + b'"') * (31 * 2**10),
    "lists before a string without an end": b'{"model": "tiny", "input": [' + b"[]," * (10 * 2**20) + b'"',
    "tokens, as many as pass": b'{"model": "tiny", "input": [' + b"12345," * 340_000 + b"1]}",
    "escapes, as many as pass": b'{"model": "tiny", "input": "' + b'\\"' * 990_000 + b'"}',
    "the model a million times": b'{"model": "tiny"' + b',"model": "tiny"' * 1_000_000 + b"}",
}


@pytest.mark.parametrize("what", HEAVY)
def test_a_body_that_is_work_to_read_stops_nobody(room: Attacked, what: str) -> None:
    """A client with a key cannot stop the others with two requests."""
    memory = peak = room.memory()
    begin = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(flood, room, message("POST", "/v1/embeddings", KEY, HEAVY[what]), 2, 30)
        while not working.done():
            decent(room, within=3)
            peak = max(peak, room.memory())
    replies = working.result()
    assert [reply.status for reply in replies if reply.status not in (200, 400, 413)] == []
    assert len(replies) == 2
    assert time.monotonic() - begin < 6
    assert peak < memory + 512 * 2**20


def test_slow_clients_hold_nobody_up(room: Attacked) -> None:
    """200 that send their headers by the byte, 100 that stop in their body: they are shown the door in the stated time."""
    slow: list[ssl.SSLSocket] = []
    for number in range(150):
        connection = room.line.connect()
        half = message("POST", CHAT, KEY, body())
        connection.sendall(half[: -(10 if number % 3 else len(body()) + 40)])
        slow.append(connection)
    begin = time.monotonic()
    while time.monotonic() - begin < 8.5:
        decent(room)
        for connection in slow[::3]:
            # One byte more of a header that never ends.
            with contextlib.suppress(OSError):
                connection.sendall(b"x")
        time.sleep(0.5)
    for connection in slow:
        connection.settimeout(0.5)
        replies = parse(everything(connection))
        connection.close()
        assert [reply.status for reply in replies] in ([], [408]), replies
        for reply in replies:
            assert reply.error["code"] == "request_timeout"
    assert time.monotonic() - begin < 20


def test_connections_that_never_become_one(room: Attacked) -> None:
    silent = [room.line.plain() for _number in range(300)]
    for number, connection in enumerate(silent):
        if number % 2:
            # The first bytes of a handshake.
            connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    decent(room)
    for connection in silent:
        # An end without a farewell.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    decent(room)


def test_nothing_of_a_key_or_a_prompt_is_in_a_log(room: Attacked) -> None:
    """The last word: all that was tried above, and what was logged of it."""
    secret = "a-key-in-the-address"
    room.line.ask("POST", f"{CHAT}?api_key={secret}&q={PROMPT.replace(' ', '+')}", None, body())
    room.line.ask("POST", f"{CHAT}?api_key={secret}", KEY, b'{"prompt": "' + b"y" * 2**21 + b'", "model": "tiny"}')
    room.line.ask("POST", f"{CHAT}?api_key={secret}", KEY, body("dead"))
    text = room.log.read_bytes().decode() + room.errors.read_bytes().decode()
    for hidden in (KEY, secret, PROMPT, PROMPT.replace(" ", "+"), "guess-00001", "eyJ", "kkkkkkkk", "yyyyyyyy"):
        assert hidden not in text
    for line in room.audit():
        assert set(line) >= {
            "time",
            "id",
            "client",
            "address",
            "method",
            "path",
            "model",
            "instance",
            "status",
            "refused",
        }
        assert len(json.dumps(line)) < 16_384
