# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The official client of the API, as people use it, through the gateway to real llama.cpp servers: one that talks, one that embeds."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import openai
import pytest
from gateway_room import LAB, Room, StandIn, sha256

KEYS = {name: f"key-of-{name}" for name in ("ward", "archive", "hasty", "patient")}
MESSAGES: list[Any] = [{"role": "user", "content": "Say hello to the ward."}]
LLAMA = ("--offline", "--no-ui", "--threads", "1", "--parallel", "2", "--ctx-size", "1024")


def serve(room: Room, name: str, image: str, model: Path, *options: str) -> str:
    """A sealed llama.cpp server whose socket is the gateway's; returns its container."""
    sockets = room.directory / "sockets" / name
    sockets.mkdir()
    sockets.chmod(0o777)
    (file,) = model.glob("*.gguf")
    container = f"{room.container}-{name}"
    command = [
        *("docker", "run", "--detach", "--rm", "--name", container, "--network", "none", "--read-only"),
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", "2000:0", "--tmpfs", "/tmp"),
        *("--volume", f"{sockets}:/run/engine", "--volume", f"{model}:/model:ro", "--entrypoint", "/bin/sh", image),
        # The gateway's worker is not of the engine's group here.
        *("-c", 'umask 0 && exec /app/llama-server "$@"', "engine"),
        *("--model", f"/model/{file.name}", "--alias", name, "--host", "/run/engine/engine.sock", *LLAMA, *options),
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    room.engine(name, StandIn(models=[name]), listens=False)
    return container


@pytest.fixture(name="room", scope="module")
def fixture_room() -> Iterator[Room]:
    subprocess.run([*LAB, "build", "models", "gateway", "llama"], check=True)
    lab = json.loads(subprocess.run([*LAB, "paths"], check=True, stdout=subprocess.PIPE).stdout)
    image = lab["registry"]["address"] + "/" + lab["registry"]["images"]["llama"].partition("/")[2]
    subprocess.run(["docker", "pull", "--quiet", image], check=True, stdout=subprocess.DEVNULL)
    with Room() as room, ExitStack() as stack:
        for name, model, options in (
            ("tiny", lab["models"]["tiny-gguf"], ()),
            ("embedder", lab["models"]["tiny-embed"], ("--embeddings",)),
        ):
            container = serve(room, name, image, Path(model), *options)
            stack.callback(subprocess.run, ["docker", "kill", container], capture_output=True, check=False)
        clients: list[dict[str, Any]] = [{"name": name, "key_sha256": sha256(key)} for name, key in KEYS.items()]
        clients[1]["models"] = ["embedder"]
        clients[2].update(rate="30r/m", burst=1)
        clients[3].update(rate="60r/m", burst=1)
        room.start(clients=clients)
        deadline = time.monotonic() + 60
        for name in ("tiny", "embedder"):
            body = {"model": name, "prompt": "x", "input": "x", "max_tokens": 1}
            path = "/v1/embeddings" if name == "embedder" else "/v1/completions"
            while room.ask("POST", path, KEYS["ward"], body).status != 200:
                assert time.monotonic() < deadline, f"llama.cpp does not serve {name}"
                time.sleep(0.2)
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
    assert sorted(model.id for model in client.models.list()) == ["embedder", "tiny"]
    model = client.models.retrieve("tiny")
    assert (model.id, model.object) == ("tiny", "model")
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
