# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A gateway as clients see it, on a real socket with TLS: keys, models, limits, an audit log; tests break one thing each."""

from __future__ import annotations

import contextlib
import http.server
import json
import socketserver
import ssl
import threading
from typing import Any, Iterator

from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.openai_server import GOOD

TEXT = {"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}], "usage": {"completion_tokens": 2}}
ANSWERS: dict[str, Any] = {
    "/v1/chat/completions": TEXT,
    "/v1/embeddings": {"data": [{"embedding": [0.1, 0.2, 0.3]}], "usage": {"prompt_tokens": 3}},
    "/v1/rerank": {"results": [{"index": 0, "relevance_score": 0.9}, {"index": 1, "relevance_score": 0.1}]},
}
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Type": "application/json",
}


class Site:
    """What the gateway knows, and how it misbehaves."""

    def __init__(self) -> None:
        self.models: list[str] = ["tiny", "find", "rank"]
        self.allowed: dict[str, list[str] | None] = {"good-key": None}
        self.answers: dict[str, Any] = dict(ANSWERS)
        self.headers: dict[str, str] = dict(HEADERS)
        self.statuses: dict[str, int] = {"/invocations": 404}
        self.stream: list[bytes] = list(GOOD)
        self.foreign = (403, "model_not_allowed")
        self.retry_after: str | None = "1"
        # Requests until the rate bites, and requests at the same time.
        self.left: int | None = None
        self.most: int | None = None
        self.at_work = 0
        self.lock = threading.Lock()
        self.log: list[dict[str, Any]] = []


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def version_string(self) -> str:
        return "nginx"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def head(self, status: int, **more: str) -> None:
        self.send_response(status)
        identity = f"id-{len(self.site.log)}"
        self.site.log.append({"id": identity, "path": self.path, "status": status})
        for name, value in {**self.site.headers, "X-Request-Id": identity, **more}.items():
            self.send_header(name, value)

    def say(self, status: int, content: Any, **more: str) -> None:
        body = json.dumps(content).encode()
        self.head(status, **more)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status: int, code: str) -> None:
        more = {"Retry-After": self.site.retry_after} if status == 429 and self.site.retry_after else {}
        self.say(status, {"error": {"message": "No.", "code": code, "type": "x", "param": None}}, **more)

    def key(self) -> str:
        return str(self.headers.get("Authorization") or "").replace("Bearer ", "")

    def stopped(self) -> bool:
        """What the gateway decides before it looks at the request."""
        if self.key() not in self.site.allowed:
            self.refuse(401, "invalid_api_key")
            return True
        with self.site.lock:
            over = self.site.most is not None and self.site.at_work > self.site.most
            if self.site.left is not None:
                self.site.left -= 1
                over = over or self.site.left < 0
        if over:
            self.refuse(429, "rate_limit_exceeded")
        return over

    def may(self) -> list[str]:
        allowed = self.site.allowed[self.key()]
        return [model for model in self.site.models if allowed is None or model in allowed]

    def do_GET(self) -> None:
        with self.working():
            if self.stopped():
                return
            if self.path == "/v1/models":
                self.say(200, {"data": [{"id": model} for model in self.may()]})
            elif self.site.statuses.get(self.path) == 200:
                self.say(200, {})
            else:
                self.refuse(self.site.statuses.get(self.path, 404), "not_found")

    def do_POST(self) -> None:
        with self.working():
            if self.stopped():
                return
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
            model = str(asked.get("model"))
            if model not in self.site.models:
                self.refuse(404, "model_not_found")
            elif model not in self.may():
                self.refuse(*self.site.foreign)
            elif asked.get("stream"):
                self.stream()
            else:
                self.say(200, self.site.answers[self.path])

    def stream(self) -> None:
        self.head(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in self.site.stream:
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        with self.site.lock:
            self.site.at_work += 1
        try:
            yield
        finally:
            with self.site.lock:
                self.site.at_work -= 1


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    context: ssl.SSLContext

    def finish_request(self, request: Any, client_address: Any) -> None:
        # In the request's own thread: a client that goes away before the handshake keeps nobody waiting.
        with contextlib.suppress(OSError):
            super().finish_request(self.context.wrap_socket(request, server_side=True), client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


@contextlib.contextmanager
def serve(site: Site, tls: tuple[str, str], oldest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> Iterator[int]:
    """Run the gateway; its port is the value."""
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": site}))
    server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.context.minimum_version = oldest
    server.context.load_cert_chain(*tls)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
