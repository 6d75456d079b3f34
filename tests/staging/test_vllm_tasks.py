# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real vLLM, sealed as on a host and behind the gateway: a model that sees, one that ranks, one that embeds.

Random weights: an answer means nothing, and depends on what was asked all the same.
"""

from __future__ import annotations

import base64
import contextlib
import struct
import subprocess
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import engine_room
import pytest
from gateway_room import Answer, Room, sha256

# Minutes, most of them vLLM's start: `make judge`.
pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
KEY = "key-of-ward"
CHAT = "/v1/chat/completions"
VLLM = {
    "engine": "vllm",
    "image": "engine",
    "options": {"max_model_len": 512, "enforce_eager": True},
    "environment": {"VLLM_CPU_KVCACHE_SPACE": "1"},
}
START = 600
# judge_tasks.py: 8 by 8 patches, 4 of them one token; three more and a new line are around a picture.
TOKENS = 16 + 4


@pytest.fixture(name="lab", scope="module")
def fixture_lab() -> Iterator[dict[str, Any]]:
    lab = engine_room.described("models", "engine")
    yield lab
    # Gigabytes, which Docker did not have before.
    subprocess.run(["docker", "rmi", engine_room.image(lab, "engine")], check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(name="models", scope="module")
def fixture_models(lab: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    mounts = {HERE / "judge_tasks.py": "/judge_tasks.py:ro", lab["models"]["tiny"]: "/tokenizer:ro", folder: "/models"}
    subprocess.run(
        [
            *("docker", "run", "--rm", "--network", "none"),
            *(part for source, inside in mounts.items() for part in ("--volume", f"{source}:{inside}")),
            *("--entrypoint", "python3", engine_room.image(lab, "engine"), "/judge_tasks.py", "/models", "/tokenizer"),
        ],
        check=True,
    )
    return folder


@contextlib.contextmanager
def serving(lab: dict[str, Any], model: Path, **more: Any) -> Iterator[Room]:
    instance = {"name": model.name, "model": model.name, **VLLM, **more}
    with Room() as room, engine_room.started(room, lab, instance, model) as engine:
        engine.wait(START)
        room.start(clients=[{"name": "ward", "key_sha256": sha256(KEY)}])
        yield room


def test_a_ranking(lab: dict[str, Any], models: Path) -> None:
    with serving(lab, models / "ranker", task="rerank") as room:
        listed = room.ask("GET", "/v1/models", KEY).body["data"]
        assert [model["id"] for model in listed] == ["ranker"]
        for path in ("/v1/rerank", "/v2/rerank"):
            engine_room.ranking(room, KEY, "ranker", path)
        compared = room.ask("POST", "/v1/score", KEY, {"model": "ranker", "text_1": "x", "text_2": ["y", "z"]})
        assert [entry["index"] for entry in compared.body["data"]] == [0, 1]
        # No model here is asked so.
        refused = room.ask("POST", CHAT, KEY, {"model": "ranker", "messages": []})
        assert (refused.status, refused.code) == (404, "not_found")


def test_embeddings(lab: dict[str, Any]) -> None:
    asked = {"model": "tiny", "input": ["Good day to the ward.", "A stone"]}
    with serving(lab, Path(lab["models"]["tiny"]), task="embed") as room:
        answer = room.ask("POST", "/v1/embeddings", KEY, asked)
        assert answer.status == 200, answer
        one, other = (entry["embedding"] for entry in answer.body["data"])
        assert len(one) == len(other) == 512 and one != other
        assert room.audited(answer)["prompt_tokens"] == answer.body["usage"]["prompt_tokens"] > 0
        # It compares by embeddings as well.
        engine_room.ranking(room, KEY, "tiny")


@pytest.fixture(name="vision", scope="module")
def fixture_vision(lab: dict[str, Any], models: Path) -> Iterator[Room]:
    with serving(lab, models / "vision") as room:
        yield room


def picture(red: int, green: int, blue: int, side: int = 64) -> str:
    """A PNG of one colour, as a data URL."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes((red, green, blue)) * side) * side
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(png).decode()


def look(room: Room, *urls: str) -> Answer:
    images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    content = [{"type": "text", "text": "What is on it?"}, *images]
    body = {"messages": [{"role": "user", "content": content}], "max_tokens": 8, "temperature": 0, "logprobs": True}
    return room.ask("POST", CHAT, KEY, {"model": "vision", "ignore_eos": True, **body})


def words(answer: Answer) -> list[tuple[str, float]]:
    """What was said, and how sure the model was of it."""
    assert answer.status == 200, answer
    return [(token["token"], token["logprob"]) for token in answer.body["choices"][0]["logprobs"]["content"]]


def test_a_picture_is_seen(vision: Room) -> None:
    dark, light = picture(0, 0, 80), picture(255, 240, 0)
    unseen, one, other, again, both = (look(vision, *urls) for urls in ((), (dark,), (light,), (dark,), (dark, light)))
    assert all(len(words(answer)) == 8 for answer in (unseen, one, other, again, both))
    assert words(one)[0] != words(unseen)[0] and words(one)[0] != words(other)[0]
    assert words(one)[0] == (words(again)[0][0], pytest.approx(words(again)[0][1]))
    tokens = [answer.body["usage"]["prompt_tokens"] for answer in (unseen, one, both)]
    assert tokens == [tokens[0], tokens[0] + TOKENS, tokens[0] + 2 * TOKENS]
    line = vision.audited(one)
    told = (line["client"], line["model"], line["instance"], line["prompt_tokens"], line["completion_tokens"])
    assert told == ("ward", "vision", "vision", tokens[1], 8)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://pictures.example.org/1.png", "Cannot connect to host pictures.example.org:80"),
        ("https://192.0.2.1/1.png", "Cannot connect to host 192.0.2.1:443"),
        ("file:///model/config.json", "Cannot load local files"),
        ("data:image/png;base64,bm8gcGljdHVyZQ==", "Failed to load image"),
    ],
)
def test_a_picture_that_cannot_be_had_is_an_error_at_once(vision: Room, url: str, said: str) -> None:
    begin = time.monotonic()
    answer = look(vision, url)
    # vLLM tries a connection for five seconds.
    assert time.monotonic() - begin < 15
    assert answer.status in (400, 500) and said in answer.body["error"]["message"], answer
