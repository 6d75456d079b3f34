# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An engine of forty lines, for what a rehearsal must notice: it generates, and on request it misbehaves.

Runs in a container as python3 -c; its arguments are the socket, the model's name and --trouble <what>.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

ANSWER = {
    "choices": [{"index": 0, "text": "Hello.", "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


class Handler(BaseHTTPRequestHandler):
    def address_string(self) -> str:
        return "socket"

    def answer(self, body: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def do_GET(self) -> None:
        self.answer(json.dumps({"data": [{"id": sys.argv[2]}]}))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if "report" in sys.argv:
            # In the background and in silence, as telemetry does.
            threading.Thread(target=report).start()
            time.sleep(0.5)
        self.answer(json.dumps(ANSWER))


def report() -> None:
    for address in (("telemetry.example.org", 443), ("192.0.2.1", 443)):
        with contextlib.suppress(OSError):
            socket.create_connection(address, timeout=5)


def tokenizer(directory: str) -> Any:
    with open(os.path.join(directory, "tokenizer.json"), encoding="utf-8") as handle:
        return json.load(handle)


if __name__ == "__main__":
    # The first process of a container has no handlers but its own.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if "tokenizer" in sys.argv:
        tokenizer("/model")
    if "silence" in sys.argv:
        time.sleep(600)
    if "write" in sys.argv:
        with open("/model/tokenizer.json", "w", encoding="utf-8") as handle:
            handle.write("{}")
    socketserver.UnixStreamServer(sys.argv[1], Handler).serve_forever()
