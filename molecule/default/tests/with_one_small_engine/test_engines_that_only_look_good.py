# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``verify`` and the deploy's own gate see through engines that only look good; one that is killed comes back."""

from __future__ import annotations

import time
from typing import Iterator

import pytest
from site_under_test import instances, run_playbook
from test_host import UNIT, engine, wait_for_answer
from testinfra.host import Host

# It lists its model and is healthy; asked for a token it fails.
PRETENDER = """
import http.server, json, os, socketserver
path = "/run/airgap-inference/chat/engine.sock"

class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "gateway"

    def answer(self, status, said):
        text = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        self.answer(200, {"object": "list", "data": [{"id": "tiny-gguf", "object": "model"}]})

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(500, {"error": {"message": "EngineDeadError", "type": "InternalServerError", "code": 500}})

class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    pass

if os.path.exists(path):
    os.unlink(path)
os.umask(7)
server = Server(path, Answer)
os.chown(path, 2000, 2101)
server.serve_forever()
"""


@pytest.mark.usefixtures("pretender")
def test_an_engine_that_is_healthy_but_cannot_generate_fails() -> None:
    run = run_playbook("verify")
    assert run.status != 0, run.output
    assert "cannot generate" in run.output, run.output


@pytest.fixture
def pretender(gpu_host: Host) -> Iterator[None]:
    """In the place of the engine, one that only looks like it."""
    gpu_host.check_output("systemctl stop airgap-inference@chat.service")
    gpu_host.check_output("systemd-run --unit=pretender python3 -c %s", PRETENDER)
    yield
    gpu_host.check_output("systemctl stop pretender.service")
    gpu_host.check_output("systemctl start airgap-inference@chat.service")


@pytest.mark.usefixtures("mended")
def test_an_engine_that_starts_and_cannot_generate_is_not_deployed(gpu_host: Host) -> None:
    """Head size 16 on the CPU engine: /health answers, the first completion ends the engine."""
    run = run_playbook("deploy", airgap_instances=instances(chat={"model": "tiny-broken", "adapters": []}))
    assert run.status != 0, "deploy let an engine through that cannot generate"
    assert "The instance chat did" in run.output or "The instance chat runs and does not" in run.output, run.output
    assert not wait_for_answer(gpu_host, 5)


def test_a_killed_engine_comes_back(gpu_host: Host) -> None:
    before = engine(gpu_host)["State"]["Pid"]
    gpu_host.check_output(f"kill -9 {before}")
    time.sleep(2)
    assert wait_for_answer(gpu_host)
    assert engine(gpu_host)["State"]["Pid"] != before
    # Until systemd, too, has had its answer; then there is nothing to do.
    gpu_host.check_output(f"systemctl start {UNIT}")
    assert gpu_host.service(UNIT).is_running
