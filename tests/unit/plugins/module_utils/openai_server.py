# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real server on a real socket that answers as engines do, and as they fail. Certificates come from openssl."""

from __future__ import annotations

import contextlib
import http.server
import json
import pathlib
import socketserver
import ssl
import subprocess
import threading
import time
from typing import Any, Iterator


class Behaviour:
    """What the server does; tests change it."""

    def __init__(self) -> None:
        self.key: str | None = None
        self.health = 200
        self.models: Any = {"object": "list", "data": [{"id": "tiny"}, {"id": "large"}]}
        self.status = 200
        self.error: Any = {"error": {"message": "the worker died", "type": "InternalServerError"}}
        self.stream: list[bytes] = list(GOOD)
        self.answer: Any = {
            "choices": [{"message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
            "usage": {"completion_tokens": 2},
        }
        self.cut = False
        self.pause = 0.0
        self.asked: list[dict[str, Any]] = []
        self.paths: list[str] = []


def event(**content: Any) -> bytes:
    return b"data: " + json.dumps(content).encode("utf-8") + b"\n\n"


def delta(content: str, finish_reason: str | None = None) -> bytes:
    return event(choices=[{"index": 0, "delta": {"content": content}, "finish_reason": finish_reason}])


def usage(tokens: int) -> bytes:
    return event(choices=[], usage={"completion_tokens": tokens})


DONE = b"data: [DONE]\n\n"
GOOD = [
    event(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}}]),
    delta("Hel"),
    delta("lo", "stop"),
    usage(2),
    DONE,
]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    behaviour: Behaviour

    def address_string(self) -> str:
        return "local"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def send(self, status: int, content: Any) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode("utf-8")
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def admitted(self) -> bool:
        self.behaviour.paths.append(self.path)
        if self.behaviour.key is None or self.headers.get("Authorization") == f"Bearer {self.behaviour.key}":
            return True
        self.send(401, {"error": "Unauthorized " + str(self.headers.get("Authorization"))})
        return False

    def do_GET(self) -> None:
        if self.path == "/health":
            self.send(self.behaviour.health, b"")
        elif self.path == "/v1/models":
            if self.admitted():
                self.send(200, self.behaviour.models)
        elif self.path == "/moved":
            self.send_response(301)
            self.send_header("Location", "https://elsewhere.example.org/")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.send(404, {"error": "Not Found"})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.behaviour.asked.append(asked)
        if not self.admitted():
            return
        if self.behaviour.status != 200:
            self.send(self.behaviour.status, self.behaviour.error)
        elif asked["stream"]:
            self.send_stream()
        else:
            self.send(200, self.behaviour.answer)

    def send_stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in self.behaviour.stream:
            time.sleep(self.behaviour.pause)
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            self.wfile.flush()
        if self.behaviour.cut:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@contextlib.contextmanager
def serve(behaviour: Behaviour, tls: tuple[str, str] | None = None, unix: str | None = None) -> Iterator[int]:
    """Run the server; its port is the value."""
    handler = type("Handler", (_Handler,), {"behaviour": behaviour})
    server: Any = _UnixServer(unix, handler) if unix else _Server(("127.0.0.1", 0), handler)
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield 0 if unix else server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def make_authority(directory: pathlib.Path) -> None:
    """ca.pem and ca.key."""
    _openssl(directory, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
             "-subj", "/CN=test authority", "-addext", "keyUsage=critical,keyCertSign", "-keyout", "ca.key", "-out", "ca.pem")  # fmt: skip


def make_certificate(directory: pathlib.Path, name: str, alternative: str, days: str = "2") -> tuple[str, str]:
    """A certificate of the authority for these names, and its key."""
    (directory / f"{name}.ext").write_text(
        f"subjectAltName={alternative}\nauthorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n", encoding="utf-8"
    )
    _openssl(directory, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
             "-keyout", f"{name}.key", "-out", f"{name}.csr")  # fmt: skip
    _openssl(directory, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", days,
             "-extfile", f"{name}.ext", "-out", f"{name}.pem")  # fmt: skip
    return str(directory / f"{name}.pem"), str(directory / f"{name}.key")


def _openssl(directory: pathlib.Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)
