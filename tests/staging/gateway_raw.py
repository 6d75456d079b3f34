# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client that sends what no library would: bytes over TLS, and what came back, parsed without goodwill."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import time
from pathlib import Path
from typing import Any, NamedTuple


class Reply(NamedTuple):
    """One answer. Its status is 0 when it has no head (HTTP/0.9)."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        """The error in the API's own shape, or an assertion that shows what came instead."""
        try:
            found: dict[str, Any] = json.loads(self.body)["error"]
        except (ValueError, KeyError, TypeError) as problem:
            raise AssertionError(f"{self.status} is not in the API's shape: {self.body[:400]!r}") from problem
        assert set(found) >= {"message", "type", "code", "param"}, found
        assert self.headers.get("content-type", "").startswith("application/json"), self.headers
        return found


class Line:
    """Where the gateway listens, and what its certificate is checked against."""

    def __init__(self, port: int, ca: Path, name: str = "localhost") -> None:
        self.port, self.name = port, name
        self.context = ssl.create_default_context(cafile=str(ca))

    def plain(self, timeout: float = 10) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def connect(self, timeout: float = 10) -> ssl.SSLSocket:
        return self.context.wrap_socket(self.plain(timeout), server_hostname=self.name)

    def send(self, data: bytes, timeout: float = 10) -> list[Reply]:
        """Send bytes as they are, and all answers until the other side closes or says nothing for the time."""
        with self.connect(timeout) as connection:
            # A refusal may come, and the connection end, before all was sent.
            with contextlib.suppress(OSError):
                connection.sendall(data)
            return parse(everything(connection))

    def ask(
        self, method: str, path: str, key: str | None = None, body: bytes | None = None, **headers: str
    ) -> tuple[Reply, float]:
        """One decent request; the reply and how long it took."""
        begin = time.monotonic()
        (reply,) = self.send(message(method, path, key, body, **headers), timeout=30)
        return reply, time.monotonic() - begin


def message(method: str, path: str, key: str | None = None, body: bytes | None = None, **headers: str) -> bytes:
    """A request that closes its connection. Headers are given with _ for -."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close"]
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + (body or b"")


def everything(connection: socket.socket) -> bytes:
    """All bytes until the end, whatever the end is."""
    text = bytearray()
    with contextlib.suppress(OSError):
        while data := connection.recv(1 << 16):
            text += data
    return bytes(text)


def parse(text: bytes) -> list[Reply]:
    """The answers in a row."""
    replies = []
    while text:
        if not text.startswith(b"HTTP/1."):
            replies.append(Reply(0, {}, text))
            break
        head, _empty, rest = text.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.strip().lower(): value.strip() for name, _colon, value in (line.partition(":") for line in lines)
        }
        status = int(first.split()[1])
        if headers.get("transfer-encoding") == "chunked":
            body, text = _chunked(rest)
        else:
            length = int(headers.get("content-length", len(rest)))
            body, text = rest[:length], rest[length:]
        # 100 only says that the body may come.
        if status != 100:
            replies.append(Reply(status, headers, body))
    return replies


def _chunked(rest: bytes) -> tuple[bytes, bytes]:
    body = bytearray()
    while rest:
        size, _line, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        body += rest[:length]
        rest = rest[length + 2 :]
        if not length:
            break
    return bytes(body), rest
