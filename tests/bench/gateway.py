# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gateway costs, beside the same engine asked directly over its socket in the same run; and 200 streams at a time.

The role's own configuration in the lab's nginx image (tests/staging/gateway_room.py); engine and clients are streams.py. Client and
engine share the machine with it, and the client's own TLS is counted as the gateway's.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import ssl
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import streams

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / ".cache" / "collections"), str(ROOT / "tests" / "staging")]
MODEL, KEY = "bench", "a-key-for-the-bench"
# Answers of five seconds, at 20 tokens a second.
CHUNKS, PAUSE = 100, 0.05


class Way(NamedTuple):
    """Milliseconds of one way, in the middle of many."""

    first_byte: float
    chunk: float


class Cost(NamedTuple):
    """What one answer costs on each way, and what came of many streams."""

    directly: Way
    through: Way
    counted: Way
    asked: int
    whole: int
    failures: list[str]
    # Of all chunks while the streams ran: the delay of the slowest of a hundred.
    slowest: float
    # Bytes of nginx, after a quarter of the time and shortly before its end.
    memory: tuple[int, int]


@contextlib.contextmanager
def room() -> Iterator[tuple[Any, streams.Place, streams.Place]]:
    """A gateway and its engine; where the engine is, and where the gateway."""
    # Not a package: the tests find it beside them.
    gateway_room = importlib.import_module("gateway_room")
    with gateway_room.Room() as one, contextlib.ExitStack() as stack:
        one.engine("bench", gateway_room.StandIn(models=[MODEL]), listens=False)
        path = one.directory / "sockets/bench/engine.sock"
        path.parent.mkdir(mode=0o755)
        engine = subprocess.Popen([sys.executable, streams.__file__, str(path)])
        stack.callback(engine.wait)
        stack.callback(engine.kill)
        one.start(clients=[{"name": "bench", "key_sha256": gateway_room.sha256(KEY), "concurrency": 1000}])
        context = ssl.create_default_context(cafile=str(one.ca))
        yield one, streams.Place(path=str(path)), streams.Place(port=one.port, key=KEY, context=context)


def compare(engine: streams.Place, gateway: streams.Place, turns: int) -> list[Way]:
    """Directly, through the gateway, and through it with tokens counted; asked in turns, so that all have the same weather."""
    places = (engine, gateway, gateway)
    connections = [place.connect() for place in places]
    requests = [place.request(MODEL, 10, 0.002, counted) for place, counted in zip(places, (True, False, True))]
    answers: list[list[streams.Answer]] = [[] for _place in places]
    for turn in range(turns):
        for way in range(3):
            way = (way + turn) % 3
            answers[way].append(streams.ask(connections[way], requests[way]))
    for connection in connections:
        connection.close()
    # The first ones warm everything up.
    return [
        Way(
            statistics.median(answer.first_byte for answer in found[turns // 10 :]),
            statistics.median(delay for answer in found[turns // 10 :] for delay in answer.chunks[1:]),
        )
        for found in answers
    ]


def measure(count: int = 200, seconds: float = 60.0, turns: int = 300) -> Cost:
    """All figures."""
    with room() as (one, engine, gateway):
        ways = compare(engine, gateway, turns)
        load = streams.Load(gateway, MODEL, CHUNKS, PAUSE)
        running = threading.Thread(target=lambda: asyncio.run(load.run(count, seconds)))
        running.start()
        # All run after a second. Some answers later a process is as large as it needs to be.
        time.sleep(seconds / 4)
        before = one.memory()
        time.sleep(seconds * 3 / 4 - 1)
        after = one.memory()
        running.join()
    return Cost(
        directly=ways[0],
        through=ways[1],
        counted=ways[2],
        asked=load.whole + len(load.failures),
        whole=load.whole,
        failures=load.failures,
        slowest=statistics.quantiles(load.delays, n=100)[-1],
        memory=(before, after),
    )


class Figure(NamedTuple):
    """A row of the bench."""

    figure: str
    measured: float
    aim: float
    unit: str
    note: str


def figures(cost: Cost) -> list[Figure]:
    """What there is to print."""
    directly, through, counted = cost.directly, cost.through, cost.counted
    before, after = (size / 2**20 for size in cost.memory)
    streamed = f"{cost.whole} answers of {CHUNKS} chunks, {len(cost.failures)} failed, 99 of 100 chunks within {cost.slowest:.0f} ms"
    return [
        Figure(
            "gateway: added to the first byte, warm",
            through.first_byte - directly.first_byte,
            1.0,
            "ms",
            f"{directly.first_byte:.2f} ms directly, {through.first_byte:.2f} through it",
        ),
        Figure(
            "gateway: added to a chunk",
            through.chunk - directly.chunk,
            0.5,
            "ms",
            f"{directly.chunk:.2f} ms directly, {through.chunk:.2f} through it",
        ),
        Figure(
            "gateway: added to a chunk where tokens are counted",
            counted.chunk - directly.chunk,
            0.5,
            "ms",
            f"{counted.chunk:.2f} ms through it",
        ),
        Figure(
            "gateway: 200 streams for 60 s, asked for one answer",
            cost.asked / max(1, cost.whole),
            1.0,
            "",
            "; ".join([streamed, *cost.failures[:1]]),
        ),
        Figure(
            "gateway: nginx's memory, end over beginning",
            cost.memory[1] / cost.memory[0],
            1.1,
            "",
            f"{before:.1f} MiB, then {after:.1f} MiB",
        ),
    ]


if __name__ == "__main__":
    for found in figures(measure()):
        print(f"{found.figure}: {found.measured:.2f} {found.unit} (aim {found.aim}), {found.note}")
