# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway in the lab's nginx image: who gets in, to which model, what a dead replica costs, and what the audit log says."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from gateway_room import API, Answer, Room, StandIn, sha256
from tokens_room import Identity

KEYS = {name: f"key-of-{name}" for name in ("radiology", "slow-1.b", "default", "limited", "monitor", "slow-2")}
TRITON = [
    {"path": "/v2/models/{model}/infer", "methods": ["POST"]},
    {"path": "/v2/models/{model}/ready", "methods": ["GET"]},
]
CHAT = "/v1/chat/completions"


@pytest.fixture(name="identity", scope="module")
def fixture_identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    """An identity provider with one key for each algorithm."""
    return Identity(tmp_path_factory.mktemp("identity"))


@pytest.fixture(name="room", scope="module")
def fixture_room(identity: Identity) -> Iterator[Room]:
    with Room() as room:
        room.engine("chat", StandIn(["tiny", "legal"]))
        room.engine("twin-1", StandIn(["twin"]))
        room.engine("twin-2", StandIn(["twin"]))
        room.engine("embed", StandIn(["vec"], api=API[2:]))
        room.engine("trt", StandIn(["net.1"], api=TRITON, metrics=""))
        room.engine("gone", StandIn(["gone"]), listens=False)
        clients: list[dict[str, Any]] = [{"name": name, "key_sha256": sha256(key)} for name, key in KEYS.items()]
        clients[1].update(rate="1r/m", burst=1)
        clients[2].update(concurrency=1)
        clients[3].update(models=["vec"])
        clients[4].update(models=[], metrics=True)
        clients[5].update(rate="1r/m", burst=1)
        clients.append({"name": "triage", "claims": {"azp": "triage-app"}, "models": ["tiny"], "metrics": True})
        clients.append({"name": "hasty", "claims": {"azp": "hasty-app", "groups": "ward"}, "rate": "1r/m", "burst": 1})
        clients.append({"name": "double", "claims": {"azp": "double-app"}, "concurrency": 2})
        room.start(
            clients=clients,
            body_limit="256k",
            tokens={
                **{"jwks": str(identity.jwks), "issuer": identity.issuer, "audience": ["inference", "other"]},
                **{"scopes": ["infer", "read"], "leeway": 10},
            },
        )
        yield room


def engine(room: Room, name: str) -> StandIn:
    return next(engine for engine in room.engines if engine.name == name)


def chat(room: Room, key: str = KEYS["radiology"], model: Any = "tiny", **more: Any) -> Answer:
    return room.ask("POST", CHAT, key, {"model": model, "messages": [{"role": "user", "content": "a secret"}], **more})


# Who gets in


@pytest.mark.parametrize(
    "authorization", [None, "Bearer wrong", "Bearer ", "Basic a2V5", "Bearer KEY-OF-RADIOLOGY", "Bearer eyJ.a.b"]
)
@pytest.mark.parametrize("path", ["/v1/models", "/no/such/path", "/health", "/metrics", "/metrics/chat", "/.token"])
def test_without_a_valid_key_every_path_looks_the_same(room: Room, authorization: str | None, path: str) -> None:
    answer = room.ask("GET", path, **({"Authorization": authorization} if authorization else {}))
    assert (answer.status, answer.code) == (401, "invalid_api_key")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.headers["Content-Type"] == "application/json"


def test_the_pages_of_errors_are_not_for_asking(room: Room) -> None:
    assert room.ask("GET", "/.error/400").status == 404
    assert room.ask("GET", "/.error/400", KEYS["radiology"]).status == 404
    head = b"POST /.error/400 HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n"
    with room.connection() as connection:
        # Nothing of the body is sent.
        connection.sendall(head)
        assert connection.recv(12) == b"HTTP/1.1 404"


@pytest.mark.parametrize("key", ["wrong", "eyJhIjoxfQ.eyJhIjoxfQ.eyJhIjoxfQ"])
@pytest.mark.parametrize(
    "path",
    [
        CHAT,
        "/",
        "/.error",
        "/.error/",
        "/.error/x",
        "/.error/400x",
        "/.error/403",
        "/x/../.error/x",
        "/%2eerror/x",
        "/.error/400%0a",
    ],
)
def test_without_a_valid_key_no_body_is_waited_for(room: Room, path: str, key: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: 200000\r\n\r\n"
    with room.connection() as connection:
        # Nothing of the body is sent.
        connection.sendall(head.encode())
        assert connection.recv(12) == b"HTTP/1.1 401"


def test_the_engine_sees_neither_the_key_nor_the_clients_host(room: Room) -> None:
    answer = room.ask("POST", CHAT, KEYS["radiology"], {"model": "tiny"}, Cookie="a=b", X_Forwarded_For="1.2.3.4")
    headers = {name.lower(): value for name, value in engine(room, "chat").seen[-1]["headers"].items()}
    assert answer.status == 200
    assert headers["host"] == "engine"
    assert "authorization" not in headers
    assert "cookie" not in headers
    assert headers["x-request-id"] == answer.headers["X-Request-Id"]


def test_a_key_may_come_in_the_header_of_the_other_api(room: Room) -> None:
    answer = room.ask("POST", CHAT, None, {"model": "tiny"}, X_Api_Key=KEYS["radiology"])
    assert answer.status == 200
    assert "x-api-key" not in {name.lower() for name in engine(room, "chat").seen[-1]["headers"]}
    assert room.ask("GET", "/v1/models", None, X_Api_Key="wrong").status == 401
    assert room.ask("GET", "/v1/models", "wrong", X_Api_Key=KEYS["radiology"]).status == 401


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_a_token_opens_for_the_client_that_its_claims_name(room: Room, identity: Identity, algorithm: str) -> None:
    token = identity.token(algorithm)
    answer = chat(room, token)
    assert answer.status == 200
    assert room.audited(answer)["client"] == "triage"
    # Whose token it was: many may have one of the same client.
    told = chat(room, identity.token(algorithm, claims={"sub": "dr-" + "é" * 200, "jti": 'a"1'}))
    assert (room.audited(told)["subject"], room.audited(told)["token_id"]) == ("dr-" + "é" * 125, 'a"1')
    refused = chat(room, identity.token(algorithm, claims={"sub": "dr-grey", "azp": "stranger"}))
    assert (room.audited(refused)["subject"], room.audited(refused)["token_id"]) == ("dr-grey", "")
    forged = chat(room, identity.token("RS256", forged=True, claims={"sub": "dr-evil"}))
    assert room.audited(forged)["subject"] == ""
    odd = chat(room, identity.token(algorithm, claims={"sub": ["x"], "jti": 7}))
    assert (room.audited(odd)["subject"], room.audited(odd)["token_id"]) == ("", "")
    assert [card["id"] for card in room.ask("GET", "/v1/models", token).body["data"]] == ["tiny"]
    assert (chat(room, token, "twin").status, chat(room, token, "twin").code) == (403, "model_not_allowed")
    assert room.ask("GET", "/metrics", token).status == 200
    assert room.ask("GET", "/no/such/path", token).status == 404


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"claims": {"exp": -20}}, 401, "token_expired"),
        ({"claims": {"exp": None}}, 401, "token_expired"),
        ({"claims": {"exp": "9999999999"}}, 401, "token_expired"),
        ({"claims": {"nbf": 60}}, 401, "token_not_yet_valid"),
        ({"claims": {"iss": "https://elsewhere.example.org"}}, 401, "token_issuer"),
        ({"claims": {"iss": None}}, 401, "token_issuer"),
        ({"claims": {"aud": "account"}}, 401, "token_audience"),
        ({"claims": {"aud": ["constructor", {"inference": True}]}}, 401, "token_audience"),
        ({"claims": {"scope": "infer"}}, 403, "token_scope"),
        ({"claims": {"scope": None}}, 403, "token_scope"),
        ({"claims": {"azp": "stranger"}}, 403, "token_client"),
        ({"claims": {"azp": None}}, 403, "token_client"),
        ({"header": {"kid": "another"}}, 401, "token_key"),
        ({"header": {"alg": "none"}}, 401, "token_key"),
        ({"header": {"alg": "HS256"}}, 401, "token_key"),
        ({"header": {"alg": "RS512"}}, 401, "token_key"),
        # The kid of the other algorithm's key.
        ({"header": {"kid": "ES256-key"}}, 401, "token_key"),
        ({"header": {"crit": ["exp"]}}, 401, "token_key"),
        ({"forged": True}, 401, "token_signature"),
        ({"cut": True}, 401, "token_signature"),
        ({"broken": True}, 401, "token_unreadable"),
    ],
)  # fmt: skip
def test_a_token_that_is_no_good_is_refused_for_its_reason(
    room: Room, identity: Identity, change: dict[str, Any], status: int, reason: str
) -> None:
    seen = len(engine(room, "chat").seen)
    answer = chat(room, identity.token("RS256", **change))
    assert answer.status == status
    assert room.audited(answer)["refused"] == reason
    assert room.audited(answer)["client"] == ""
    assert len(engine(room, "chat").seen) == seen
    if status == 401:
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


@pytest.mark.parametrize(
    "change",
    [
        {"claims": {"exp": -5}},
        {"claims": {"nbf": 5}},
        {"claims": {"aud": ["account", "other"]}},
        {"claims": {"scope": None, "scp": ["read", "x", "infer"]}},
        {"header": {"kid": None}},
        {"header": {"typ": "at+jwt"}},
    ],
)
def test_a_token_may_be_written_in_these_ways(room: Room, identity: Identity, change: dict[str, Any]) -> None:
    assert chat(room, identity.token("RS256", **change)).status == 200


def test_limits_bite_the_clients_of_tokens_as_well(room: Room, identity: Identity) -> None:
    # Each token is another one; the client is the same.
    tokens = [
        identity.token("ES256", claims={"azp": "hasty-app", "groups": ["x", "ward"], "jti": str(n)}) for n in range(3)
    ]
    answers = [chat(room, token) for token in tokens]
    assert [(answer.status, answer.headers.get("Retry-After")) for answer in answers] == [
        (200, None),
        (200, None),
        (429, "60"),
    ]
    # Nothing of the next one's body is sent.
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {tokens[0]}\r\nContent-Length: 200000\r\n\r\n"
    with room.connection() as connection:
        connection.sendall(head.encode())
        assert connection.recv(12) == b"HTTP/1.1 429"
    # As with a key, whatever is asked.
    for path in ("/v1/models", "/v1/models/tiny", "/health", "/metrics", "/no/such/path"):
        assert room.ask("GET", path, tokens[1]).status == 429, path


def test_a_tokens_client_holds_its_places_while_its_bodies_come(room: Room, identity: Identity) -> None:
    token = identity.token("RS256", claims={"azp": "double-app"})
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 200000\r\n\r\n"
    with room.connection() as one, room.connection() as two:
        for connection in (one, two):
            connection.sendall(head.encode())
        time.sleep(0.2)
        assert chat(room, token).status == 429
        assert chat(room, identity.token("RS256")).status == 200
    deadline = time.monotonic() + 3
    while chat(room, token).status == 429 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert chat(room, token).status == 200


# To which model


def test_each_client_sees_the_models_that_it_may_use(room: Room) -> None:
    def listed(client: str) -> list[str]:
        return [card["id"] for card in room.ask("GET", "/v1/models", KEYS[client]).body["data"]]

    assert listed("radiology") == ["gone", "legal", "net.1", "tiny", "twin", "vec"]
    assert listed("limited") == ["vec"]
    assert listed("monitor") == []
    assert room.ask("GET", "/v1/models/tiny", KEYS["radiology"]).body["id"] == "tiny"
    assert room.ask("GET", "/v1/models/tiny", KEYS["limited"]).code == "model_not_allowed"
    assert room.ask("GET", "/v1/models/nix", KEYS["limited"]).code == "model_not_found"


def test_a_request_goes_to_its_models_engine(room: Room) -> None:
    assert chat(room).body["by"] == "chat"
    assert chat(room, model="legal").body["by"] == "chat"
    assert chat(room, model="twin").body["by"] in ("twin-1", "twin-2")
    assert room.ask("POST", "/v1/embeddings", KEYS["limited"], {"model": "vec", "input": "x"}).status == 200
    assert engine(room, "embed").seen[-1]["path"] == "/v1/embeddings"


def test_the_body_arrives_as_it_was_sent(room: Room) -> None:
    body = (
        '{ "seed": 12345678901234567890, "model" : "tiny", "x": "ü\\u00fc", "tools": {"model": {"model": 1}} }'.encode()
    )
    assert room.ask("POST", CHAT, KEYS["radiology"], body).status == 200
    assert engine(room, "chat").seen[-1]["body"] == body
    # Anything between, as clients with streams do it.
    assert room.ask("POST", CHAT, KEYS["radiology"], body + b" " * 200_000).status == 200
    assert len(engine(room, "chat").seen[-1]["body"]) == len(body) + 200_000


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("nix", 404, "model_not_found"),
        ("Tiny", 404, "model_not_found"),
        ("tiny ", 404, "model_not_found"),
        ("constructor", 404, "model_not_found"),
        ("__proto__", 404, "model_not_found"),
        ("../tiny", 404, "model_not_found"),
        ("", 400, "model_missing"),
        (None, 400, "model_missing"),
        (["tiny"], 400, "model_missing"),
        ("vec", 404, "not_for_this_model"),
        ("gone", 502, "engine_unavailable"),
    ],
)
def test_a_model_that_is_not_there(room: Room, model: Any, status: int, code: str) -> None:
    answer = chat(room, model=model)
    assert (answer.status, answer.code) == (status, code)
    assert room.audited(answer)["refused"] == code


def test_a_model_that_this_client_may_not_use(room: Room) -> None:
    answer = chat(room, KEYS["limited"])
    assert (answer.status, answer.code) == (403, "model_not_allowed")
    assert '"tiny"' in answer.body["error"]["message"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "not_json"),
        (b"model=tiny", "not_json"),
        (b'["model", "tiny"]', "not_json"),
        (b'"model"', "not_json"),
        (b"null", "not_json"),
        (b'{"model": "tiny"', "not_json"),
        (b'{"model": "tiny"} {}', "not_json"),
        (b'\xef\xbb\xbf{"model": "tiny"}', "not_json"),
        ('{"model": "tiny"}'.encode("utf-16"), "not_utf8"),
        (b'{"model": "tiny", "x": "\xff\xfe"}', "not_utf8"),
        (b'{"model": "tiny", "x": "\xed\xa0\x80"}', "not_utf8"),
        (b'{"prompt": "x"}', "model_missing"),
        (b'{"messages": [{"model": "tiny"}]}', "model_missing"),
        (b'{"__proto__": {"model": "tiny"}}', "model_missing"),
        (b'{"model": "vec", "model": "tiny"}', "model_ambiguous"),
        (b'{"model": "tiny", "model": "tiny"}', "model_ambiguous"),
        (b'{"model": "tiny", "Model": "twin"}', "model_ambiguous"),
        (b'{"MODEL": "tiny"}', "model_ambiguous"),
        (b'{"model": "tiny", "mod\\u0065l": "twin"}', "model_ambiguous"),
        (b'{"\\u006dodel": "tiny"}', "model_ambiguous"),
        (b'{"model": "tiny", "x": ' + b"[" * 40 + b"]" * 40 + b"}", "too_deep"),
    ],
)
def test_a_body_that_leaves_doubt_goes_nowhere(room: Room, body: bytes, code: str) -> None:
    seen = sum(len(engine.seen) for engine in room.engines)
    answer = room.ask("POST", CHAT, KEYS["radiology"], body)
    assert (answer.status, answer.code) == (400, code)
    assert sum(len(engine.seen) for engine in room.engines) == seen


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "tiny", "x": "\\"model\\": \\"vec\\"", "model\\"": 1}',
        b'{"model": "tiny", "tools": [{"model": "vec"}, {"Model": "vec"}]}',
        b'\n{\t"model"\r\n:"tiny"}\n',
        b'{"model": "tiny", "x": ' + b"[" * 29 + b"]" * 29 + b"}",
    ],
)
def test_a_body_without_doubt_goes_to_its_engine(room: Room, body: bytes) -> None:
    assert room.ask("POST", CHAT, KEYS["radiology"], body).body["by"] == "chat"


def test_a_path_may_name_the_model(room: Room) -> None:
    answer = room.ask("POST", "/v2/models/net.1/infer", KEYS["radiology"], {"inputs": []})
    assert answer.status == 200
    assert engine(room, "trt").seen[-1]["path"] == "/v2/models/net.1/infer"
    assert room.audited(answer)["model"] == "net.1"
    assert room.ask("GET", "/v2/models/net.1/ready", KEYS["radiology"]).body["path"] == "/v2/models/net.1/ready"
    assert room.ask("POST", "/v2/models/tiny/infer", KEYS["radiology"], {}).code == "not_for_this_model"
    assert room.ask("POST", "/v2/models/net.1/infer", KEYS["limited"], {}).code == "model_not_allowed"
    assert room.ask("POST", "/v2/models/netx1/infer", KEYS["radiology"], {}).code == "model_not_found"
    assert room.ask("DELETE", "/v2/models/net.1/infer", KEYS["radiology"]).headers["Allow"] == "POST"
    for path in ("/v2/models/net.1/load", "/v2/models/net.1/infer/", "/v2/models//infer", "/v2/models/a%2Fnet.1/infer"):
        assert room.ask("POST", path, KEYS["radiology"], {}).status == 404, path
    assert engine(room, "trt").seen[-1]["path"] == "/v2/models/net.1/ready"


# Paths and methods


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/v1", "/v1/models/", "/invocations", "/docs", "/v1/../invocations", "/v1/%2e%2e/invocations", "/v1/models%00"),
        *("/metrics", "/metrics/chat", "/.error/400", "/.token", "/v1/chat/completions/", "/V1/chat/completions", "/v1/chat\\completions"),
        *("/v1/chat/completions%2f..%2f..%2finvocations", "/v1/chat/completions;x", "/chat/v1/models"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_not_listed_does_not_exist(room: Room, path: str, method: str) -> None:
    seen = sum(len(engine.seen) for engine in room.engines)
    answer = room.ask(method, path, KEYS["radiology"], {"model": "tiny"} if method == "POST" else None)
    assert answer.status in (400, 404, 405)
    assert answer.body["error"]["type"] == "invalid_request_error"
    assert sum(len(engine.seen) for engine in room.engines) == seen


@pytest.mark.parametrize(
    "path",
    ["//v1//chat/completions?x=1", "/v1/x/../chat/completions", "/v1/%63hat/completions#y", "/v1/./chat/completions"],
)
def test_a_path_in_disguise_reaches_the_engine_as_itself(room: Room, path: str) -> None:
    assert room.ask("POST", path, KEYS["radiology"], {"model": "tiny"}).status == 200
    assert engine(room, "chat").seen[-1]["path"] == CHAT


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", CHAT, "POST"),
        ("GET", CHAT, "POST"),
        ("POST", "/v1/models", "GET"),
        ("PUT", "/health", "GET"),
        ("OPTIONS", "/v1/models/tiny", "GET"),
    ],
)
def test_a_listed_path_knows_its_methods_only(room: Room, method: str, path: str, allow: str) -> None:
    answer = room.ask(method, path, KEYS["radiology"])
    assert (answer.status, answer.headers["Allow"], answer.code) == (405, allow, "method_not_allowed")


def test_the_gateway_says_that_it_lives(room: Room) -> None:
    assert room.ask("GET", "/health", KEYS["monitor"]).body == {"status": "ok"}


# What is too much


def test_a_huge_key_is_refused_quietly(room: Room) -> None:
    assert room.ask("GET", "/v1/models", "x" * 7000).status == 401
    for size in (100_000, 1_000_000):
        answer = room.ask("GET", "/v1/models", "x" * size)
        assert (answer.status, answer.code) == (431, "headers_too_large")


def test_an_address_that_is_too_long_is_a_414(room: Room) -> None:
    answer = room.ask("GET", "/" + "x" * 20_000, KEYS["radiology"])
    assert (answer.status, answer.code) == (414, "uri_too_long")


def chunked(room: Room, pieces: list[bytes]) -> bytes:
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {KEYS['radiology']}\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return room.raw(head.encode() + body + b"0\r\n\r\n")


def test_a_request_that_is_too_large_is_a_413(room: Room) -> None:
    answer = room.ask("POST", CHAT, KEYS["radiology"], b"x" * 300_000)
    assert (answer.status, answer.code) == (413, "request_too_large")
    assert chunked(room, [b"x" * 100_000] * 3).startswith(b"HTTP/1.1 413 ")


def test_a_body_in_pieces_is_read_as_one(room: Room) -> None:
    body = json.dumps({"model": "tiny", "x": "y" * 20_000}).encode()
    assert chunked(room, [body[at : at + 100] for at in range(0, len(body), 100)]).startswith(b"HTTP/1.1 200 ")
    # Pieces of one byte need six times their room, and nginx takes a file: njs 0.9 reads it, and what 0.8 cannot read is refused.
    body = json.dumps({"model": "vec", "x": "y" * 100_000}).encode()
    assert chunked(room, [bytes([byte]) for byte in body])[9:12] in (b"413", b"404")


# Streams and limits


def test_a_stream_is_passed_on_piece_by_piece(room: Room) -> None:
    engine(room, "chat").pause = 0.15
    for options in ({}, {"stream_options": {"include_usage": True}}):
        connection = room.connect()
        body = json.dumps({"model": "tiny", "stream": True, **options}).encode()
        connection.request("POST", CHAT, body, {"Authorization": f"Bearer {KEYS['radiology']}"})
        response = connection.getresponse()
        arrivals = []
        while response.read1(65536):
            arrivals.append(time.monotonic())
        connection.close()
        assert len(arrivals) >= 4
        assert arrivals[-1] - arrivals[0] > 0.4
    engine(room, "chat").pause = 0


def test_a_client_that_goes_away_stops_the_engine(room: Room) -> None:
    chat_engine = engine(room, "chat")
    chat_engine.pause, chat_engine.tokens, broken = 0.05, 200, chat_engine.broken
    connection = room.connect()
    connection.request(
        "POST", CHAT, b'{"model": "tiny", "stream": true}', {"Authorization": f"Bearer {KEYS['radiology']}"}
    )
    connection.getresponse().read1(100)
    connection.close()
    deadline = time.monotonic() + 3
    while chat_engine.broken == broken and time.monotonic() < deadline:
        time.sleep(0.02)
    chat_engine.pause, chat_engine.tokens = 0, 4
    assert chat_engine.broken == broken + 1


def test_a_rate_bites_its_own_client_only(room: Room) -> None:
    answers = [chat(room, KEYS["slow-1.b"]) for _attempt in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    # Of 1r/m: the next request has its place after a minute.
    assert answers[2].headers["Retry-After"] == "60"
    assert "Retry-After" not in answers[0].headers
    assert answers[2].code == "rate_limit_exceeded"
    assert room.audited(answers[2])["client"] == "slow-1.b"
    assert chat(room).status == 200
    # Another client with the same limit.
    assert chat(room, KEYS["slow-2"]).status == 200


def test_a_limit_on_concurrency_bites(room: Room) -> None:
    engine(room, "chat").pause = 0.1
    connection = room.connect()
    connection.request(
        "POST", CHAT, b'{"model": "tiny", "stream": true}', {"Authorization": f"Bearer {KEYS['default']}"}
    )
    response = connection.getresponse()
    refused = chat(room, KEYS["default"])
    assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
    response.read()
    connection.close()
    engine(room, "chat").pause = 0
    time.sleep(0.1)
    assert chat(room, KEYS["default"]).status == 200


def test_an_engines_own_error_passes_as_it_is(room: Room) -> None:
    engine(room, "chat").fails = 400
    answer = chat(room)
    assert (answer.status, answer.code) == (400, "400")
    assert room.audited(answer)["refused"] == ""
    # When to come again the engine would say.
    engine(room, "chat").fails = 429
    answer = chat(room)
    engine(room, "chat").fails = 0
    assert (answer.status, answer.code) == (429, "429")
    assert "Retry-After" not in answer.headers


def test_an_engine_does_not_steer_the_gateway(room: Room) -> None:
    chat_engine = engine(room, "chat")
    chat_engine.headers = {
        **{"X-Accel-Redirect": "/metrics/chat", "X-Accel-Limit-Rate": "1", "X-Accel-Buffering": "yes"},
        **{"X-Accel-Charset": "koi8-r", "X-Accel-Expires": "60", "Set-Cookie": "a=b"},
    }
    try:
        answer = room.ask("POST", CHAT, KEYS["radiology"], {"model": "tiny"}, Content_Type="text/x-strange")
    finally:
        chat_engine.headers = {}
    assert answer.body["by"] == "chat"
    assert not [name for name in answer.headers if name.lower() == "set-cookie" or name.lower().startswith("x-accel")]
    # What it was read as.
    assert chat_engine.seen[-1]["headers"]["Content-Type"] == "application/json"


# Replicas


def twins(room: Room) -> tuple[StandIn, StandIn]:
    return engine(room, "twin-1"), engine(room, "twin-2")


def test_replicas_share_the_work_by_least_connections(room: Room) -> None:
    one, two = twins(room)
    one.pause = two.pause = 0.2
    connections = []
    before = [len(twin.seen) for twin in (one, two)]
    for _number in range(6):
        connection = room.connect()
        connection.request(
            "POST", CHAT, b'{"model": "twin", "stream": true}', {"Authorization": f"Bearer {KEYS['radiology']}"}
        )
        connections.append((connection, connection.getresponse()))
    assert [len(twin.seen) - old for twin, old in zip((one, two), before)] == [3, 3]
    one.pause = two.pause = 0
    for connection, response in connections:
        response.read()
        connection.close()


@pytest.mark.parametrize("how", ["dies", "refuses", "loads"])
def test_a_dead_replica_costs_nobody_an_answer(room: Room, how: str) -> None:
    one, two = twins(room)
    if how == "dies":
        one.dies = True
    elif how == "refuses":
        one.stop()
    else:
        one.fails = 503
    try:
        answers = [chat(room, model="twin", n=number) for number in range(20)]
    finally:
        one.dies, one.fails = False, 0
        if how == "refuses":
            one.listen("twin-1", room.directory / "sockets/twin-1")
    assert {answer.status for answer in answers} == {200}
    assert {answer.body["by"] for answer in answers} == {"twin-2"}
    assert all(json.loads(seen["body"])["messages"] for seen in two.seen[-20:] if seen["method"] == "POST")
    assert {room.audited(answer)["instance"] for answer in answers[:3]} == {"twin-2"}
    # What comes back is asked again.
    deadline = time.monotonic() + 12
    while chat(room, model="twin").body["by"] != "twin-1" and time.monotonic() < deadline:
        time.sleep(0.2)
    assert time.monotonic() < deadline


# What is told


def test_the_audit_log_tells_who_and_why_and_no_secret(room: Room) -> None:
    answers = [
        room.ask("POST", CHAT + "?secret=q", KEYS["radiology"], {"model": "tiny", "prompt": "a secret"}),
        room.ask("GET", "/elsewhere", KEYS["radiology"]),
        room.ask("GET", '/quote"d%c0%af', "wrong"),
    ]
    told = [room.audited(answer) for answer in answers]
    assert [(line["client"], line["status"], line["refused"], line["instance"], line["model"]) for line in told] == [
        ("radiology", 200, "", "chat", "tiny"),
        ("radiology", 404, "not_found", "", ""),
        ("", 401, "invalid_api_key", "", ""),
    ]
    assert told[2]["path"].startswith('/quote"d\ufffd')
    fields = (
        "time id client subject token_id certificate address method path model instance status refused "
        "bytes_in bytes_out prompt_tokens completion_tokens first_byte_s duration_s unlogged"
    )
    assert " ".join(told[0]) == fields
    assert told[0]["first_byte_s"] >= 0
    assert told[1]["first_byte_s"] is None
    for text in (room.log.read_text(), room.errors.read_text()):
        assert "secret" not in text
        assert not any(key in text for key in KEYS.values())
        assert "eyJ" not in text


@pytest.mark.parametrize(
    ("more", "prompt", "completion"),
    [
        ({}, 7, 4),
        ({"stream": True}, None, None),
        ({"stream": True, "stream_options": {"include_usage": True}}, 7, 4),
    ],
)
def test_tokens_are_told_where_the_engine_reports_them(
    room: Room, more: dict[str, Any], prompt: Any, completion: Any
) -> None:
    line = room.audited(chat(room, **more))
    assert (line["prompt_tokens"], line["completion_tokens"]) == (prompt, completion)


def test_tokens_are_told_of_a_large_answer_and_cannot_be_faked(room: Room) -> None:
    chat_engine = engine(room, "chat")
    chat_engine.word = ' "usage":{"prompt_tokens":1000000,"completion_tokens":1000000} ü'
    chat_engine.tokens = 3000
    try:
        for more in ({}, {"stream": True, "stream_options": {"include_usage": True}}):
            line = room.audited(chat(room, **more))
            assert (line["prompt_tokens"], line["completion_tokens"]) == (7, 3000)
    finally:
        chat_engine.word, chat_engine.tokens = " hello", 4


def test_metrics_are_for_monitors(room: Room) -> None:
    chat(room)
    room.ask("GET", "/v1/models", "no-key-of-anybody")
    text = room.ask("GET", "/metrics", KEYS["monitor"]).body
    assert 'airgap_gateway_requests_total{client="radiology",model="tiny",status="200"}' in text
    assert 'airgap_gateway_refused_total{client="",reason="invalid_api_key"}' in text
    assert 'airgap_gateway_completion_tokens_total{client="radiology",model="tiny"}' in text
    assert 'airgap_gateway_connections{state="active"}' in text
    assert all(line.startswith(("#", "airgap_gateway_")) for line in text.splitlines())
    assert room.ask("GET", "/metrics/chat", KEYS["monitor"]).body == "# TYPE engine_up gauge\nengine_up 1\n"
    # It has none, and another is not described.
    assert room.ask("GET", "/metrics/trt", KEYS["monitor"]).status == 404
    assert room.ask("GET", "/metrics/nix", KEYS["monitor"]).status == 404
    assert room.ask("GET", "/metrics/gone", KEYS["monitor"]).status == 502


def test_a_reload_drops_no_stream_and_no_figure(room: Room) -> None:
    engine(room, "chat").pause = 0.2
    connection = room.connect()
    connection.request(
        "POST", CHAT, b'{"model": "tiny", "stream": true}', {"Authorization": f"Bearer {KEYS['radiology']}"}
    )
    response = connection.getresponse()
    room.reload()
    assert response.read().endswith(b"data: [DONE]\n\n")
    connection.close()
    engine(room, "chat").pause = 0
    assert chat(room).status == 200
    assert 'reason="invalid_api_key"' in room.ask("GET", "/metrics", KEYS["monitor"]).body


# Another gateway: certificates of clients, and a network that monitors


def take_back(directory: Path, name: str) -> None:
    """The CA's list of certificates that no longer count, with one."""
    authority, one = (x509.load_pem_x509_certificate((directory / f"{who}.pem").read_bytes()) for who in ("ca", name))
    key = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), None)
    now = datetime.datetime.now(datetime.timezone.utc)
    entry = x509.RevokedCertificateBuilder().serial_number(one.serial_number).revocation_date(now).build()
    listed = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.subject)
        .last_update(now - datetime.timedelta(hours=1))
        .next_update(now + datetime.timedelta(days=1))
        .add_revoked_certificate(entry)
        .sign(key, hashes.SHA256())
    )
    (directory / "crl.pem").write_bytes(listed.public_bytes(serialization.Encoding.PEM))


@pytest.fixture(name="guarded", scope="module")
def fixture_guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Room, Path]]:
    directory = tmp_path_factory.mktemp("clients")
    with Room() as room:
        room.certificate(directory, "ca")
        room.certificate(directory, "app", "-CA", str(directory / "ca.pem"), "-CAkey", str(directory / "ca.key"))
        room.certificate(directory, "left", "-CA", str(directory / "ca.pem"), "-CAkey", str(directory / "ca.key"))
        room.certificate(directory, "stranger")
        take_back(directory, "left")
        room.engine("chat", StandIn())
        room.start(
            clients=[{"name": "app", "key_sha256": sha256("key-of-app")}],
            client_ca=str(directory / "ca.pem"),
            client_crl=str(directory / "crl.pem"),
            metrics_networks=["127.0.0.0/8"],
        )
        yield room, directory


def test_a_client_needs_its_certificate_beside_its_key(guarded: tuple[Room, Path]) -> None:
    room, directory = guarded
    for certificate in (None, directory / "stranger", directory / "left"):
        answer = room.ask("GET", "/v1/models", "key-of-app", certificate=certificate)
        assert (answer.status, answer.code) == (401, "no_client_certificate")
        assert room.audited(answer)["refused"] == "no_client_certificate"
        assert room.audited(answer)["certificate"] == ""
    assert room.ask("GET", "/v1/models", certificate=directory / "app").code == "invalid_api_key"
    answer = room.ask("GET", "/v1/models", "key-of-app", certificate=directory / "app")
    assert answer.status == 200
    assert room.audited(answer)["certificate"] == "CN=app"
    assert room.ask("POST", CHAT, "key-of-app", {"model": "tiny"}, certificate=directory / "app").status == 200


def test_a_network_that_monitors_needs_no_key_for_it(guarded: tuple[Room, Path]) -> None:
    room, directory = guarded
    for path, status in (
        ("/metrics", 200),
        ("/metrics/chat", 200),
        ("/health", 200),
        ("/v1/models", 401),
        ("/metricsx", 401),
    ):
        assert room.ask("GET", path, certificate=directory / "app").status == status, path
    assert room.ask("POST", CHAT, None, {"model": "tiny"}, certificate=directory / "app").status == 401
    assert room.ask("POST", "/metrics", None, {}, certificate=directory / "app").status == 405
