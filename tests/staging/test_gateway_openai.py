# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The official client of the API, as people use it, through the gateway to real llama.cpp servers: one talks, one embeds, one ranks.

The client knows no rankings; those are asked for as rerankers' own clients do.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import engine_room
import openai
import pytest
from engine_room import started
from gateway_room import Room, sha256

KEYS = {name: f"key-of-{name}" for name in ("ward", "archive", "hasty", "patient")}
MESSAGES: list[Any] = [{"role": "user", "content": "Say hello to the ward."}]
LLAMA = {"engine": "llama-cpp", "image": "llama", "options": {"threads": 1, "parallel": 2, "ctx_size": 1024}}
# What each is for, and the lab's model that it has.
INSTANCES = {
    "tiny": ("generate", "tiny-gguf"),
    "embedder": ("embed", "tiny-embed"),
    "ranker": ("rerank", "tiny-rerank"),
}


@pytest.fixture(name="room", scope="module")
def fixture_room() -> Iterator[Room]:
    lab = engine_room.described("models", "llama")
    with Room() as room, ExitStack() as stack:
        engines = []
        for name, (task, model) in INSTANCES.items():
            instance = {"name": name, "model": name, "task": task, **LLAMA}
            engines.append(stack.enter_context(started(room, lab, instance, Path(lab["models"][model]))))
        for engine in engines:
            engine.wait()
        clients: list[dict[str, Any]] = [{"name": name, "key_sha256": sha256(key)} for name, key in KEYS.items()]
        clients[1]["models"] = ["embedder"]
        clients[2].update(rate="30r/m", burst=1)
        clients[3].update(rate="60r/m", burst=1)
        room.start(clients=clients)
        yield room


def connected(room: Room, name: str, **more: Any) -> openai.OpenAI:
    """The client, with the site's CA."""
    more.setdefault("max_retries", 0)
    trust = ssl.create_default_context(cafile=str(room.ca))
    transport = openai.DefaultHttpxClient(verify=trust, trust_env=False)
    key = KEYS.get(name, name)
    return openai.OpenAI(base_url=f"{room.url}/v1", api_key=key, http_client=transport, timeout=20, **more)


@pytest.fixture(name="client")
def fixture_client(room: Room) -> Iterator[openai.OpenAI]:
    with connected(room, "ward") as client:
        yield client


def test_models(client: openai.OpenAI) -> None:
    assert sorted(model.id for model in client.models.list()) == sorted(INSTANCES)
    for name in INSTANCES:
        model = client.models.retrieve(name)
        assert (model.id, model.object) == (name, "model")
        assert isinstance(model.created, int) and model.owned_by
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("of-nobody")


def test_a_chat(room: Room, client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="tiny", messages=MESSAGES, max_tokens=8)
    answer = raw.parse()
    assert answer.choices[0].message.role == "assistant"
    assert answer.usage is not None and answer.usage.completion_tokens == 8
    # What the engine says to its client is what the auditor reads.
    line = next(line for line in room.audit() if line["id"] == raw.headers["x-request-id"])
    told = (line["client"], line["model"], line["instance"], line["prompt_tokens"], line["completion_tokens"])
    assert told == ("ward", "tiny", "tiny", answer.usage.prompt_tokens, 8)


def test_a_stream_of_a_chat(room: Room, client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="tiny", messages=MESSAGES, max_tokens=16, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert sum(1 for chunk in chunks if chunk.choices and chunk.choices[0].delta.content is not None) > 4
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 16
    assert room.audit()[-1]["completion_tokens"] == 16


def test_a_stream_that_is_left_early(room: Room, client: openai.OpenAI) -> None:
    with client.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=500, stream=True) as stream:
        next(iter(stream))
    # The next in line is served.
    assert client.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=2).choices


def test_completions(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="tiny", prompt="Say hello.", max_tokens=4)
    assert answer.usage is not None and answer.usage.completion_tokens == 4
    chunks = list(client.completions.create(model="tiny", prompt="Say hello.", max_tokens=4, stream=True))
    assert chunks[-1].choices[0].finish_reason == "length"


def test_embeddings(client: openai.OpenAI) -> None:
    """The client asks for base64 by itself, and for numbers when it is told to."""
    one = client.embeddings.create(model="embedder", input=["one", "another"])
    two = client.embeddings.create(model="embedder", input=["one", "another"], encoding_format="float")
    for answer in (one, two):
        assert [len(entry.embedding) for entry in answer.data] == [512, 512]
        assert answer.usage.prompt_tokens > 0
    assert one.data[0].embedding == pytest.approx(two.data[0].embedding, abs=1e-5)


def test_a_ranking(room: Room) -> None:
    engine_room.ranking(room, KEYS["ward"], "ranker")
    asked = {"model": "ranker", "query": "Who says hello?", "documents": ["Good day.", "A stone"], "top_n": 1}
    best = room.ask("POST", "/v1/rerank", KEYS["ward"], asked)
    assert len(best.body["results"]) == 1, best
    # A pair is read as a whole; of one that is longer than ubatch_size the engine says so.
    long = room.ask("POST", "/v1/rerank", KEYS["ward"], {**asked, "documents": ["word " * 600]})
    assert long.status == 500 and "increase the physical batch size" in long.body["error"]["message"], long


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("ranker", "/v1/chat/completions"),
        ("ranker", "/v1/completions"),
        ("ranker", "/v1/embeddings"),
        ("embedder", "/v1/rerank"),
        ("tiny", "/v1/rerank"),
    ],
)
def test_a_model_is_asked_for_what_it_is_for(room: Room, model: str, path: str) -> None:
    body = {"model": model, "query": "x", "documents": ["x"], "messages": MESSAGES, "prompt": "x", "input": "x"}
    answer = room.ask("POST", path, KEYS["ward"], body)
    assert (answer.status, answer.code) == (404, "not_for_this_model")
    assert answer.body["error"]["message"] == f'The model "{model}" does not answer at {path}.'


def test_each_refusal_is_the_exception_that_the_client_knows(room: Room, client: openai.OpenAI) -> None:
    with connected(room, "nobody's key") as stranger, pytest.raises(openai.AuthenticationError) as refused:
        stranger.models.list()
    assert refused.value.code == "invalid_api_key"
    with connected(room, "archive") as archive:
        assert [model.id for model in archive.models.list()] == ["embedder"]
        with pytest.raises(openai.PermissionDeniedError) as forbidden:
            archive.chat.completions.create(model="tiny", messages=MESSAGES)
    assert forbidden.value.code == "model_not_allowed"
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="of-nobody", messages=MESSAGES)
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.NotFoundError):
        client.moderations.create(input="is not offered")
    with pytest.raises(openai.BadRequestError):
        # The engine's own error.
        client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "word " * 5000}])
    with pytest.raises(openai.APIStatusError) as large:
        client.completions.create(model="tiny", prompt="x" * (33 * 2**20))
    assert large.value.status_code == 413


def test_a_client_that_is_too_quick_is_told_when_to_come_again_and_served_then(room: Room) -> None:
    with connected(room, "hasty") as hasty, pytest.raises(openai.RateLimitError) as limited:
        for _turn in range(3):
            hasty.models.list()
    assert limited.value.code == "rate_limit_exceeded"
    assert int(limited.value.response.headers["Retry-After"]) >= 1
    # The client by itself waits as it is told, and asks again.
    with connected(room, "patient", max_retries=2) as patient:
        begin = time.monotonic()
        for _turn in range(4):
            patient.models.list()
        assert 1 <= time.monotonic() - begin < 10


def test_many_at_once(room: Room) -> None:
    """Thirty people of the ward, with one connection pool: all are answered, each in full."""

    async def everybody() -> list[int]:
        trust = ssl.create_default_context(cafile=str(room.ca))
        async with openai.AsyncOpenAI(
            base_url=f"{room.url}/v1",
            api_key=KEYS["ward"],
            http_client=openai.DefaultAsyncHttpxClient(verify=trust, trust_env=False),
            max_retries=0,
        ) as client:

            async def one() -> int:
                stream = await client.chat.completions.create(
                    model="tiny", messages=MESSAGES, max_tokens=20, stream=True, stream_options={"include_usage": True}
                )
                last = None
                async for chunk in stream:
                    last = chunk.usage or last
                return last.completion_tokens if last else 0

            return await asyncio.gather(*(one() for _number in range(30)))

    assert asyncio.run(everybody()) == [20] * 30
