# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two replicas behind one name: who gets the work, and what clients see when one of them dies."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from gateway_room import Answer, Room, StandIn, running, sha256

CHAT = "/v1/chat/completions"
KEY = "key-of-the-ward"
# Seconds in which a replica that failed may be left out.
LEFT_OUT = 1.2
QUESTION = {"model": "tiny", "messages": [{"role": "user", "content": "Say hello."}]}


@pytest.fixture(name="room", scope="module")
def fixture_room() -> Iterator[Room]:
    engines = {"chat-1": StandIn(), "chat-2": StandIn()}
    with running(engines, clients=[{"name": "ward", "key_sha256": sha256(KEY)}]) as room:
        yield room


@pytest.fixture(autouse=True)
def fixture_as_new(room: Room) -> Iterator[None]:
    """Each test finds two replicas that are well."""
    yield
    for engine in room.engines:
        engine.thinks = engine.pause = 0.0
        engine.fails, engine.dies = 0, False
        if engine.server is None:
            engine.listen(engine.name, room.directory / "sockets" / engine.name)
    # One that is back gets one request, and more when it answered that.
    deadline = time.monotonic() + 10
    while len(served(room, 4)) < 2:
        assert time.monotonic() < deadline, "a replica that is back gets no work"
        time.sleep(0.2)
    for engine in room.engines:
        engine.seen.clear()


def ask(room: Room) -> Answer:
    return room.ask("POST", CHAT, KEY, QUESTION)


def served(room: Room, count: int) -> Counter[str]:
    """Who answered so many questions, one after the other."""
    return Counter(ask(room).body["by"] for _turn in range(count))


def streamed(room: Room) -> bytes:
    """The whole of a stream, or what came of it."""
    connection = room.connect()
    with contextlib.closing(connection):
        connection.request("POST", CHAT, json.dumps({**QUESTION, "stream": True}), {"Authorization": f"Bearer {KEY}"})
        response = connection.getresponse()
        assert response.status == 200
        text = b""
        with contextlib.suppress(OSError, http.client.HTTPException):
            while piece := response.read1(65536):
                text += piece
        return text


def test_work_goes_to_the_replica_that_has_least(room: Room) -> None:
    one, two = room.engines
    one.thinks = two.thinks = 1.0
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(ask, room) for _turn in range(8)]
        time.sleep(0.5)
        assert (len(one.seen), len(two.seen)) == (4, 4)
        assert [answer.result().status for answer in answers] == [200] * 8
    # One is busy with slow work: all that comes meanwhile is the other's.
    two.thinks = 0.0
    one.seen.clear()
    two.seen.clear()
    with ThreadPoolExecutor(4) as pool:
        slow: list[Future[Answer]] = []
        while not one.seen:
            slow.append(pool.submit(ask, room))
            time.sleep(0.05)
        assert set(served(room, 6)) == {"chat-2"}
        assert all(answer.result().status == 200 for answer in slow)


def test_a_replica_that_is_dead_costs_nobody_an_answer(room: Room) -> None:
    room.engines[0].stop()
    begin = time.monotonic()
    assert served(room, 20) == {"chat-2": 20}
    # Nobody waits for the dead.
    assert time.monotonic() - begin < 4
    assert all(streamed(room).endswith(b"data: [DONE]\n\n") for _turn in range(4))


def test_a_replica_that_dies_in_mid_answer_costs_nobody_an_answer(room: Room) -> None:
    """Eight wait for their answers, four of them at the one that dies."""
    one, two = room.engines
    one.thinks = two.thinks = 0.8
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(ask, room) for _turn in range(8)]
        time.sleep(0.4)
        assert (len(one.seen), len(two.seen)) == (4, 4)
        one.stop()
        assert Counter((answer.result().status, answer.result().body["by"]) for answer in answers) == {
            (200, "chat-2"): 8
        }
    line = [line for line in room.audit() if line["status"] == 200][-1]
    assert line["instance"] == "chat-2"


def test_a_replica_that_is_full_passes_its_work_on(room: Room) -> None:
    room.engines[0].fails = 503
    assert served(room, 10) == {"chat-2": 10}


def test_an_engines_own_failure_is_not_asked_again_elsewhere(room: Room) -> None:
    """A 500 is an answer: nobody pays for the same work twice."""
    one, two = room.engines
    one.fails = two.fails = 500
    assert ask(room).status == 500
    assert len(one.seen) + len(two.seen) == 1


def test_a_stream_that_breaks_ends_and_the_next_is_whole(room: Room) -> None:
    """What was said cannot be taken back: the client sees that the end is missing, and can ask again at once."""
    one, two = room.engines
    one.pause = two.pause = 0.2
    with ThreadPoolExecutor(4) as pool:
        streams = [pool.submit(streamed, room) for _turn in range(4)]
        time.sleep(0.3)
        assert one.running and two.running
        one.stop()
        ends = Counter(stream.result().endswith(b"data: [DONE]\n\n") for stream in streams)
    assert ends == {True: 2, False: 2}
    assert streamed(room).endswith(b"data: [DONE]\n\n")


def test_one_bad_request_is_no_outage(room: Room) -> None:
    """A request on which every replica hangs up fails, and nobody else's does."""
    for engine in room.engines:
        engine.dies = True
    answer = ask(room)
    assert (answer.status, answer.code) == (502, "engine_unavailable")
    for engine in room.engines:
        engine.dies = False
    assert served(room, 4).total() == 4


def test_replicas_that_are_full_say_so_and_serve_as_soon_as_they_can(room: Room) -> None:
    for engine in room.engines:
        engine.fails = 503
    assert [ask(room).status for _turn in range(4)] == [503] * 4
    for engine in room.engines:
        engine.fails = 0
    assert served(room, 4).total() == 4


def test_a_replica_that_is_back_gets_work_again(room: Room) -> None:
    one = room.engines[0]
    one.stop()
    assert served(room, 6) == {"chat-2": 6}
    one.listen(one.name, room.directory / "sockets" / one.name)
    time.sleep(LEFT_OUT)
    assert set(served(room, 6)) == {"chat-1", "chat-2"}


def test_when_all_are_dead_it_is_said_at_once_and_is_over_when_one_is_back(room: Room) -> None:
    for engine in room.engines:
        engine.stop()
    begin = time.monotonic()
    answers = [ask(room) for _turn in range(6)]
    assert {(answer.status, answer.code) for answer in answers} == {(502, "engine_unavailable")}
    assert time.monotonic() - begin < 2
    two = room.engines[1]
    two.listen(two.name, room.directory / "sockets" / two.name)
    assert served(room, 4) == {"chat-2": 4}


def test_a_client_that_goes_away_stops_the_engine(room: Room) -> None:
    one, two = room.engines
    one.tokens = two.tokens = 50
    one.pause = two.pause = 0.1
    connection = room.connect()
    connection.request("POST", CHAT, json.dumps({**QUESTION, "stream": True}), {"Authorization": f"Bearer {KEY}"})
    response = connection.getresponse()
    response.read1(64)
    assert one.running + two.running == 1
    response.close()
    connection.close()
    deadline = time.monotonic() + 2
    while one.running + two.running:
        assert time.monotonic() < deadline, "the engine goes on for nobody"
        time.sleep(0.05)
    one.tokens = two.tokens = 4


def test_a_restart_of_each_in_turn_is_not_noticed(room: Room) -> None:
    """As an update does it: one stops, comes back, then the other; meanwhile people ask."""
    failed: list[Any] = []
    done = False

    def busy() -> int:
        count = 0
        while not done:
            answer = ask(room)
            count += 1
            if answer.status != 200:
                failed.append(answer)
        return count

    with ThreadPoolExecutor(4) as pool:
        people = [pool.submit(busy) for _number in range(4)]
        for engine in room.engines:
            engine.stop()
            time.sleep(0.7)
            engine.listen(engine.name, room.directory / "sockets" / engine.name)
            time.sleep(LEFT_OUT)
        done = True
        assert sum(person.result() for person in people) > 20
    assert failed == []
