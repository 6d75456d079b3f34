# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An engine whose every chunk says when it was sent, and clients that see when it comes. The clock is the machine's own.

As a program it is the engine: python3 streams.py <socket>. It streams `max_tokens` chunks, one every `pause` seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import ssl
import sys
import time
from typing import NamedTuple

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
SENT = re.compile(rb'"content": "(\d+)"')
END = b"0\r\n\r\n"
USAGE = {"prompt_tokens": 7, "completion_tokens": 10, "total_tokens": 17}
LAST = b"data: [DONE]\n\n"


def chunk(data: bytes) -> bytes:
    """One chunk of HTTP."""
    return b"%x\r\n%s\r\n" % (len(data), data)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one connection's requests, as an engine that keeps connections."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            asked = json.loads(await reader.readexactly(int(length[1]))) if length else {}
            writer.write(HEAD)
            for number in range(asked.get("max_tokens", 1)):
                if number:
                    await asyncio.sleep(asked["pause"])
                event = {"choices": [{"index": 0, "delta": {"content": str(time.monotonic_ns())}}]}
                writer.write(chunk(b"data: %s\n\n" % json.dumps(event).encode()))
            if "stream_options" in asked:
                writer.write(chunk(b"data: %s\n\n" % json.dumps({"choices": [], "usage": USAGE}).encode()))
            writer.write(chunk(LAST) + END)
            await writer.drain()
    writer.close()


async def serve(path: str) -> None:
    """The engine."""
    server = await asyncio.start_unix_server(answer, path)
    os.chmod(path, 0o666)
    async with server:
        await server.serve_forever()


class Place(NamedTuple):
    """Where clients ask: an engine's socket, or a gateway with the key and the context of TLS."""

    path: str = ""
    port: int = 0
    key: str = ""
    context: ssl.SSLContext | None = None
    name: str = "localhost"

    def request(self, model: str, tokens: int, pause: float, counted: bool = False) -> bytes:
        """One question, as it goes over the line. Where tokens are counted, the gateway looks at each chunk."""
        body = {"model": model, "stream": True, "messages": [], "max_tokens": tokens, "pause": pause}
        if counted:
            body["stream_options"] = {"include_usage": True}
        text = json.dumps(body).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: {self.name}\r\nAuthorization: Bearer {self.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
        )
        return head.encode() + text

    def connect(self) -> socket.socket:
        """A connection of its own."""
        if self.path:
            plain = socket.socket(socket.AF_UNIX)
            plain.connect(self.path)
            return plain
        plain = socket.create_connection(("127.0.0.1", self.port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert self.context is not None
        return self.context.wrap_socket(plain, server_hostname=self.name)


class Answer(NamedTuple):
    """Milliseconds: from the question to the first byte, and of each chunk from the engine's hand to the client's."""

    first_byte: float
    chunks: list[float]


def ask(connection: socket.socket, request: bytes) -> Answer:
    """One answer, on a connection that stays."""
    begin = time.monotonic_ns()
    connection.sendall(request)
    first, chunks, text, seen = 0, [], bytearray(), 0
    while not text.endswith(END):
        data = connection.recv(65536)
        now = time.monotonic_ns()
        first = first or now
        if not data:
            raise ConnectionError(f"the connection ended within an answer: {bytes(text[:300])!r}")
        text += data
        for sent in SENT.finditer(text, seen):
            seen = sent.end()
            chunks.append((now - int(sent[1])) / 1e6)
    if not text.startswith(b"HTTP/1.1 200 ") or LAST not in text:
        raise ConnectionError(f"not an answer: {bytes(text[:300])!r}")
    return Answer((first - begin) / 1e6, chunks)


class Load:
    """Many streams at the same time, each again and again on its own connection."""

    def __init__(self, place: Place, model: str, tokens: int, pause: float) -> None:
        self.place, self.tokens = place, tokens
        self.request = place.request(model, tokens, pause, counted=True)
        self.whole = 0
        self.failures: list[str] = []
        self.delays: list[float] = []

    async def run(self, streams: int, seconds: float) -> None:
        """Ask until the time is over; what runs then may end."""
        end = time.monotonic() + seconds
        await asyncio.gather(*(self._client(number / streams, end) for number in range(streams)))

    async def _client(self, wait: float, end: float) -> None:
        # People do not begin in the same millisecond.
        await asyncio.sleep(wait)
        place = self.place
        try:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", place.port, ssl=place.context, server_hostname=place.name
            )
            while time.monotonic() < end:
                await self._stream(reader, writer)
            writer.close()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            self.failures.append(repr(error))

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(f"not an answer: {head[:300]!r}")
        text, seen, counted = bytearray(), 0, 0
        while not text.endswith(END):
            data = await reader.read(65536)
            now = time.monotonic_ns()
            if not data:
                raise ConnectionError(f"the connection ended after {counted} of {self.tokens} chunks")
            text += data
            for sent in SENT.finditer(text, seen):
                seen = sent.end()
                counted += 1
                self.delays.append((now - int(sent[1])) / 1e6)
        if counted != self.tokens or LAST not in text:
            raise ConnectionError(f"{counted} of {self.tokens} chunks came")
        self.whole += 1


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
