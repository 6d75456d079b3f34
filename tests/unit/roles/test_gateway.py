# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's configuration in a real nginx, before an engine that streams on a Unix socket."""

from __future__ import annotations

import hashlib
import http.client
import http.server
import json
import os
import shutil
import signal
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.airgap.inference.plugins.module_utils import _gateway
from ansible_collections.airgap.inference.tests.unit.roles.rendering import REPOSITORY, render

NJS = Path("/usr/lib/nginx/modules/ngx_http_js_module.so")
pytestmark = pytest.mark.skipif(
    not (shutil.which("nginx") and NJS.exists() and os.geteuid() == 0), reason="needs nginx with njs, and root"
)

KEYS = {"radiology": "key-of-radiology", "slow": "key-of-slow", "single": "key-of-single"}
API = yaml.safe_load((REPOSITORY / "roles/inference/vars/engines/vllm.yml").read_text())["__inference_engine"]["api"]


class Engine(http.server.BaseHTTPRequestHandler):
    """Says what it was asked, and streams with pauses."""

    protocol_version = "HTTP/1.1"
    name = "?"

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self.answer({"object": "list", "data": [{"id": "tiny"}], "headers": dict(self.headers), "by": self.name})
        else:
            self.answer({"by": self.name, "path": self.path})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for index in range(4):
            event = {"choices": [{"delta": {"content": f"w{index} "}, "finish_reason": "stop" if index == 3 else None}]}
            self.chunk(f"data: {json.dumps(event)}\n\n")
            time.sleep(0.15)
        self.chunk("data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def chunk(self, text: str) -> None:
        self.wfile.write(f"{len(text):x}\r\n{text}\r\n".encode())
        self.wfile.flush()

    def answer(self, body: dict[str, Any]) -> None:
        text = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class Gateway:
    """A running nginx and how to ask it."""

    def __init__(self, port: int, ca: Path, log: Path, pid: int) -> None:
        self.port = port
        self.ca = ca
        self.log = log
        self.pid = pid

    def connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(
            "localhost", self.port, context=ssl.create_default_context(cafile=str(self.ca)), timeout=20
        )

    def ask(
        self, method: str, path: str, key: str | None = None, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], Any]:
        connection = self.connect()
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        connection.request(method, path, body=body, headers=headers)
        response = connection.getresponse()
        text = response.read()
        connection.close()
        try:
            parsed = json.loads(text)
        except ValueError:
            parsed = text.decode()
        return response.status, dict(response.getheaders()), parsed

    def audit(self) -> list[dict[str, Any]]:
        time.sleep(0.1)
        return [json.loads(line) for line in self.log.read_text().splitlines()]


def make_certificate(directory: Path) -> None:
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(directory / "host.key"), "-out", str(directory / "host.pem")),
        ],
        check=True,
        capture_output=True,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("gateway")
    make_certificate(directory)
    servers = []
    for name in ("chat", "embed"):
        (directory / name).mkdir()
        handler = type(name, (Engine,), {"name": name})
        server = UnixServer(str(directory / name / "engine.sock"), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
    port = free_port()
    clients: list[dict[str, Any]] = [
        {"name": name, "key_sha256": hashlib.sha256(key.encode()).hexdigest()} for name, key in KEYS.items()
    ]
    clients[1].update(rate="1r/m", burst=1)
    clients[2].update(concurrency=1)
    variables = {
        "gateway_instances": [{"name": name, "api": API} for name in ("chat", "embed", "gone")],
        "gateway_clients": clients,
        "gateway_addresses": ["127.0.0.1"],
        "gateway_port": port,
        "gateway_body_limit": "64k",
        "__gateway_inside": str(directory),
        "__gateway_inside_tls": str(directory),
        "__gateway_inside_sockets": str(directory),
    }
    text = render("gateway", ["nginx.conf"], variables, directory)["nginx.conf"]
    # What the container gives and this machine does not.
    for inside, here in {
        "user airgap-gateway airgap-gateway;": "user root;",
        "/run/nginx.pid": f"{directory}/nginx.pid",
        "/dev/stdout": f"{directory}/audit.log",
        "/var/cache/nginx": str(directory),
    }.items():
        assert inside in text
        text = text.replace(inside, here)
    (directory / "nginx.conf").write_text(text)
    shutil.copy(REPOSITORY / "roles/gateway/files/gateway.js", directory)
    nginx = subprocess.Popen(["nginx", "-c", str(directory / "nginx.conf"), "-g", "daemon off;"])
    try:
        for _attempt in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield Gateway(port, directory / "host.pem", directory / "audit.log", nginx.pid)
    finally:
        nginx.terminate()
        nginx.wait(timeout=20)
        for server in servers:
            server.shutdown()


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Bearer ", "Basic a2V5", "Bearer KEY-OF-RADIOLOGY"])
@pytest.mark.parametrize("path", ["/v1/models", "/no/such/path", "/health"])
def test_without_a_valid_key_every_path_looks_the_same(gateway: Gateway, authorization: str | None, path: str) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    status, sent, body = gateway.ask("GET", path, **headers)
    assert status == 401
    assert sent["WWW-Authenticate"] == "Bearer"
    assert sent["Content-Type"] == "application/json"
    assert body["error"]["code"] == "invalid_api_key"


def test_a_huge_key_is_refused_quietly(gateway: Gateway) -> None:
    assert gateway.ask("GET", "/v1/models", "x" * 7000)[0] == 401
    status, _headers, body = gateway.ask("GET", "/v1/models", "x" * 100_000)
    assert (status, body["error"]["code"]) == (400, "bad_request")


def test_the_engine_sees_neither_the_key_nor_the_clients_host(gateway: Gateway) -> None:
    status, sent, body = gateway.ask("GET", "/v1/models", KEYS["radiology"], Cookie="a=b")
    headers = {name.lower(): value for name, value in body["headers"].items()}
    assert status == 200
    assert headers["host"] == "engine"
    assert "authorization" not in headers
    assert "cookie" not in headers
    assert headers["x-request-id"] == sent["X-Request-Id"]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/models/",
        "/metrics",
        "/invocations",
        "/docs",
        "/v1/../invocations",
        "/v1/%2e%2e/metrics",
        "/v1/models%00",
    ],
)
def test_what_is_not_listed_does_not_exist(gateway: Gateway, path: str) -> None:
    status, _headers, body = gateway.ask("GET", path, KEYS["radiology"])
    assert status in (400, 404)
    assert body["error"]["type"] == "invalid_request_error"


def test_an_address_that_is_too_long_is_a_414(gateway: Gateway) -> None:
    status, _headers, body = gateway.ask("GET", "/" + "x" * 10_000, KEYS["radiology"])
    assert (status, body["error"]["code"]) == (414, "uri_too_long")


def test_the_pages_of_errors_are_not_for_asking(gateway: Gateway) -> None:
    assert gateway.ask("GET", "/.error/400")[0] == 404


def test_a_path_in_disguise_reaches_the_engine_as_itself(gateway: Gateway) -> None:
    assert gateway.ask("GET", "//health?x=1", KEYS["radiology"])[2] == {"by": "chat", "path": "/health?x=1"}


def test_a_listed_path_knows_its_methods_only(gateway: Gateway) -> None:
    status, sent, body = gateway.ask("DELETE", "/v1/chat/completions", KEYS["radiology"])
    assert (status, sent["Allow"], body["error"]["code"]) == (405, "POST", "method_not_allowed")


def test_several_instances_answer_under_their_names(gateway: Gateway) -> None:
    assert gateway.ask("GET", "/v1/models", KEYS["radiology"])[2]["by"] == "chat"
    assert gateway.ask("GET", "/embed/v1/models", KEYS["radiology"])[2]["by"] == "embed"
    assert gateway.ask("GET", "/other/v1/models", KEYS["radiology"])[0] == 404


def test_an_engine_that_is_gone_is_a_502(gateway: Gateway) -> None:
    status, _headers, body = gateway.ask("GET", "/gone/v1/models", KEYS["radiology"])
    assert (status, body["error"]["code"]) == (502, "engine_unavailable")


def test_a_request_that_is_too_large_is_a_413(gateway: Gateway) -> None:
    status, _headers, body = gateway.ask("POST", "/v1/chat/completions", KEYS["radiology"], body=b"x" * 70_000)
    assert (status, body["error"]["code"]) == (413, "request_too_large")


def test_a_stream_is_passed_on_piece_by_piece(gateway: Gateway) -> None:
    connection = gateway.connect()
    connection.request("POST", "/v1/chat/completions", b"{}", {"Authorization": f"Bearer {KEYS['radiology']}"})
    response = connection.getresponse()
    arrivals = []
    while response.read1(65536):
        arrivals.append(time.monotonic())
    connection.close()
    assert len(arrivals) >= 4
    assert arrivals[-1] - arrivals[0] > 0.4


def test_a_rate_bites_its_own_client_only(gateway: Gateway) -> None:
    answers = [gateway.ask("GET", "/v1/models", KEYS["slow"]) for _attempt in range(3)]
    assert [status for status, _headers, _body in answers] == [200, 200, 429]
    assert answers[2][1]["Retry-After"] == "1"
    assert answers[2][2]["error"]["code"] == "rate_limit_exceeded"
    assert gateway.ask("GET", "/v1/models", KEYS["radiology"])[0] == 200


def test_a_limit_on_concurrency_bites(gateway: Gateway) -> None:
    connection = gateway.connect()
    connection.request("POST", "/v1/chat/completions", b"{}", {"Authorization": f"Bearer {KEYS['single']}"})
    response = connection.getresponse()
    assert gateway.ask("GET", "/v1/models", KEYS["single"])[0] == 429
    response.read()
    connection.close()
    time.sleep(0.1)
    assert gateway.ask("GET", "/v1/models", KEYS["single"])[0] == 200


def test_a_reload_drops_no_stream(gateway: Gateway) -> None:
    connection = gateway.connect()
    connection.request("POST", "/v1/chat/completions", b"{}", {"Authorization": f"Bearer {KEYS['radiology']}"})
    response = connection.getresponse()
    os.kill(gateway.pid, signal.SIGHUP)
    assert response.read().endswith(b"data: [DONE]\n\n")
    connection.close()
    assert gateway.ask("GET", "/v1/models", KEYS["radiology"])[0] == 200


def test_the_audit_log_tells_who_and_why_and_no_secret(gateway: Gateway) -> None:
    gateway.ask("POST", "/v1/chat/completions?secret=q", KEYS["radiology"], body=b'{"prompt": "a secret"}')
    gateway.ask("GET", "/elsewhere", KEYS["radiology"])
    gateway.ask("GET", '/quote"d', "wrong")
    told = gateway.audit()[-3:]
    assert [(line["client"], line["status"], line["refused"], line["instance"]) for line in told] == [
        ("radiology", 200, "", "chat"),
        ("radiology", 404, "not_found", ""),
        ("", 401, "invalid_api_key", ""),
    ]
    text = gateway.log.read_text()
    assert "secret" not in text
    assert not any(key in text for key in KEYS.values())


def test_the_acceptance_checks_pass_and_tell_what_they_saw(gateway: Gateway) -> None:
    url = f"https://localhost:{gateway.port}"
    instances = [_gateway.Instance("chat", "tiny"), _gateway.Instance("embed", "tiny", "/embed")]
    checks = _gateway.examine(url, str(gateway.ca), KEYS["radiology"], instances, 20)
    assert [check for check in checks if not check.ok] == []
    assert checks[0].detail.startswith("TLSv1.3, certificate of the site's CA")
    assert checks[1].detail.startswith("TLS 1.2 is refused")
    assert "first after" in checks[-1].detail


def test_the_acceptance_checks_fail_one_by_one(gateway: Gateway) -> None:
    url = f"https://localhost:{gateway.port}"
    checks = _gateway.examine(url, str(gateway.ca), KEYS["radiology"], [_gateway.Instance("gone", "tiny", "/gone")], 20)
    assert [check.subject for check in checks if not check.ok] == ["gone"]
    checks = _gateway.examine(url, str(gateway.ca), "wrong", [], 20)
    assert {check.subject for check in checks if not check.ok} == {"paths"}
