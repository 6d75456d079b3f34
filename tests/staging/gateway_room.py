# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role gateway's configuration in the lab's nginx image, with the container's own limits, before stand-in engines on Unix sockets.

with Room() as room:
    room.engine("chat", StandIn(models=["tiny"]))
    room.start(clients=[{"name": "a", "key_sha256": sha256("key-of-a")}])
    room.ask("POST", "/v1/chat/completions", "key-of-a", {"model": "tiny", "messages": []})
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import http.server
import json
import os
import shutil
import socket
import socketserver
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from ansible_collections.airgap.inference.tests.unit.roles.rendering import REPOSITORY, render

ROLE = REPOSITORY / "roles/gateway"
LAB = [sys.executable, str(REPOSITORY / "tests/lab/lab.py")]
API = [
    {"path": "/v1/chat/completions", "methods": ["POST"]},
    {"path": "/v1/completions", "methods": ["POST"]},
    {"path": "/v1/embeddings", "methods": ["POST"]},
]
_PATIENCE = 20


def sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def nginx_image() -> str:
    """The lab's nginx image in this machine's Docker, from the lab's registry (`lab.py build gateway` made it).

    AIRGAP_GATEWAY_IMAGE names another one to try, which Docker has.
    """
    if os.environ.get("AIRGAP_GATEWAY_IMAGE"):
        return os.environ["AIRGAP_GATEWAY_IMAGE"]
    described = json.loads(subprocess.run([*LAB, "paths"], check=True, stdout=subprocess.PIPE).stdout)
    registry = described["registry"]
    name: str = registry["address"] + "/" + registry["images"]["gateway"].partition("/")[2]
    subprocess.run(["docker", "pull", "--quiet", name], check=True, stdout=subprocess.DEVNULL)
    return name


def make_certificate(directory: Path, name: str = "host", *more: str) -> None:
    """A certificate and its key; its own CA unless `more` says otherwise."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-keyout", str(directory / f"{name}.key"), "-out", str(directory / f"{name}.pem"), *more),
        ],
        check=True,
        capture_output=True,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class StandIn:
    """An engine of OpenAI's shape: what it does can be changed while it runs, and it remembers what it was asked."""

    def __init__(self, models: Sequence[str] = ("tiny",), **more: Any) -> None:
        self.models = list(models)
        self.api: list[dict[str, Any]] = more.pop("api", API)
        self.metrics: str = more.pop("metrics", "/metrics")
        self.tokens: int = more.pop("tokens", 4)
        # Seconds before the answer, and between the tokens of a stream.
        self.thinks: float = more.pop("thinks", 0.0)
        self.pause: float = more.pop("pause", 0.0)
        # An HTTP status to fail with.
        self.fails: int = more.pop("fails", 0)
        # Dies when it is asked, before it has answered.
        self.dies: bool = more.pop("dies", False)
        # What its answers say; each word is one token.
        self.word: str = more.pop("word", " hello")
        assert not more, more
        # Headers of its answers beside the usual.
        self.headers: dict[str, str] = {}
        self.seen: list[dict[str, Any]] = []
        # Requests whose client went away before the end.
        self.broken = 0
        self.running = 0
        self.name = ""
        self.server: UnixServer | None = None
        self.connections: set[socket.socket] = set()

    def listen(self, name: str, directory: Path) -> None:
        self.name = name
        directory.mkdir(exist_ok=True)
        directory.chmod(0o755)
        path = directory / "engine.sock"
        path.unlink(missing_ok=True)
        engine = self

        class Bound(Handler):
            stand_in = engine

        self.server = UnixServer(str(path), Bound)
        # The worker's group in the field.
        path.chmod(0o777)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """As an engine that died: its socket's file stays, and nobody listens."""
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None
            for connection in list(self.connections):
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def upstream(self) -> dict[str, Any]:
        """As the plan describes it to the role."""
        return {"name": self.name, "models": self.models, "api": self.api, "metrics": self.metrics}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stand_in: StandIn

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def setup(self) -> None:
        super().setup()
        self.stand_in.connections.add(self.connection)

    def finish(self) -> None:
        self.stand_in.connections.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def do_GET(self) -> None:
        self.note(b"")
        if self.path == "/metrics":
            self.answer(200, b"# TYPE engine_up gauge\nengine_up 1\n", "text/plain")
        else:
            self.answer(200, json.dumps({"by": self.stand_in.name, "path": self.path}).encode())

    def do_POST(self) -> None:
        body = self.body()
        engine = self.stand_in
        self.note(body)
        time.sleep(engine.thinks)
        if engine.dies:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if engine.fails:
            self.answer(
                engine.fails, json.dumps({"error": {"message": "the engine's own", "code": engine.fails}}).encode()
            )
            return
        asked = json.loads(body or b"{}")
        engine.running += 1
        try:
            if asked.get("stream"):
                self.stream(asked)
            else:
                self.answer(200, json.dumps(self.whole(asked), separators=(",", ":")).encode())
        except OSError:
            engine.broken += 1
            self.close_connection = True
        finally:
            engine.running -= 1

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def note(self, body: bytes) -> None:
        seen = {"method": self.command, "path": self.path, "headers": dict(self.headers), "body": body}
        self.stand_in.seen.append(seen)

    def usage(self) -> dict[str, Any]:
        tokens = self.stand_in.tokens
        return {
            "prompt_tokens": 7,
            "total_tokens": 7 + tokens,
            "completion_tokens": tokens,
            "prompt_tokens_details": None,
        }

    def whole(self, asked: dict[str, Any]) -> dict[str, Any]:
        engine, model = self.stand_in, asked.get("model")
        if self.path == "/v1/embeddings":
            data = [{"object": "embedding", "index": 0, "embedding": [0.25] * 8}]
            return {"object": "list", "data": data, "model": model, "usage": {"prompt_tokens": 7, "total_tokens": 7}}
        text = engine.word * engine.tokens
        return {
            **{"id": "c-1", "object": "chat.completion", "created": 1, "model": model, "by": engine.name},
            "choices": [self.choice({"role": "assistant", "content": text}, text, "stop", "message")],
            "usage": self.usage(),
        }

    def choice(self, message: dict[str, Any], text: str, finish: str | None, key: str) -> dict[str, Any]:
        content = {key: message} if self.path.endswith("/chat/completions") else {"text": text}
        return {"index": 0, **content, "logprobs": None, "finish_reason": finish}

    def stream(self, asked: dict[str, Any]) -> None:
        engine = self.stand_in
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        head = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": asked.get("model")}
        for index in range(engine.tokens):
            finish = "stop" if index == engine.tokens - 1 else None
            self.event({**head, "choices": [self.choice({"content": engine.word}, engine.word, finish, "delta")]})
            time.sleep(engine.pause)
        if (asked.get("stream_options") or {}).get("include_usage"):
            self.event({**head, "choices": [], "usage": self.usage()})
        self.chunk(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def event(self, data: dict[str, Any]) -> None:
        self.chunk(b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n")

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def answer(self, status: int, text: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        for name, value in self.stand_in.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    # As many as knock at once.
    request_queue_size = 512

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    # Parsed where it is JSON.
    body: Any

    @property
    def code(self) -> str:
        """The code of an error in the API's shape."""
        return str(self.body["error"]["code"])


class Room:
    """A gateway, its engines, and how to ask it. Everything lies in one short directory: a socket's path has 107 bytes at most."""

    def __init__(self, image: str | None = None) -> None:
        self.image = image or nginx_image()
        self.directory = Path(tempfile.mkdtemp(prefix="gw-"))
        self.directory.chmod(0o755)
        for name in ("config", "tls", "sockets"):
            (self.directory / name).mkdir(mode=0o755)
        make_certificate(self.directory / "tls")
        self.ca = self.directory / "tls/host.pem"
        self.port = free_port()
        self.engines: list[StandIn] = []
        self.container = f"airgap-gateway-room-{os.getpid()}-{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Room:
        return self

    def __exit__(self, *_reason: object) -> None:
        self.close()

    @staticmethod
    def certificate(directory: Path, name: str, *more: str) -> None:
        make_certificate(directory, name, *more)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def log(self) -> Path:
        """What nginx wrote to its standard output: the audit log."""
        return self.directory / "audit.log"

    @property
    def errors(self) -> Path:
        return self.directory / "errors.log"

    def engine(self, name: str, engine: StandIn, listens: bool = True) -> StandIn:
        engine.name = name
        if listens:
            engine.listen(name, self.directory / "sockets" / name)
        self.engines.append(engine)
        return engine

    def configure(self, **variables: Any) -> None:
        """Render the role's files as a play does; clients, tokens and so on are the role's variables without their prefix."""
        given = {
            "gateway_instances": [engine.upstream() for engine in self.engines],
            "gateway_addresses": ["127.0.0.1"],
            "gateway_port": self.port,
            "gateway_drain": 5,
            # Tests look for lines of many requests that are refused, all from one address.
            "gateway_audit_strangers": 1_000_000,
            **variables.pop("extra", {}),
            **{f"gateway_{name}": value for name, value in variables.items()},
        }
        config = self.directory / "config"
        names = ["nginx.conf", "generation.conf", "gateway.json", "passwd", "group"]
        render("gateway", names, given, self.directory / "rendered")
        for name in names:
            shutil.copy(self.directory / "rendered" / name, config)
        for script in yaml.safe_load((ROLE / "vars/main.yml").read_text())["__gateway_scripts"]:
            shutil.copy(ROLE / "files" / script, config)
        if given.get("gateway_client_ca"):
            shutil.copy(given["gateway_client_ca"], config / "client_ca.pem")
        if given.get("gateway_client_crl"):
            shutil.copy(given["gateway_client_crl"], config / "client_crl.pem")
        for path in config.iterdir():
            path.chmod(0o644)

    def start(self, **variables: Any) -> None:
        """Configure nginx, start it with the limits of the role's Compose project, and wait until it listens."""
        self.configure(**variables)
        config = self.directory / "config"
        mounts = {
            config: "/etc/gateway",
            self.directory / "tls": "/etc/gateway-tls",
            self.directory / "sockets": "/run/engines",
            config / "passwd": "/etc/passwd",
            config / "group": "/etc/group",
        }
        with self.log.open("wb") as log, self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [
                    *("docker", "run", "--rm", "--name", self.container, "--network", "host", "--read-only"),
                    *("--user", "0:0", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
                    *(
                        "--cap-add",
                        "CHOWN",
                        "--cap-add",
                        "NET_BIND_SERVICE",
                        "--cap-add",
                        "SETGID",
                        "--cap-add",
                        "SETUID",
                    ),
                    *("--tmpfs", "/run", "--tmpfs", "/var/cache/nginx", "--pids-limit", "512", "--log-driver", "none"),
                    # What systemd gives where nobody says more; the hard limit is the role's.
                    *("--ulimit", "nofile=1024:16384"),
                    *(
                        "--memory",
                        variables.get(
                            "memory", yaml.safe_load((ROLE / "defaults/main.yml").read_text())["gateway_memory"]
                        ),
                    ),
                    *(part for source, inside in mounts.items() for part in ("--volume", f"{source}:{inside}:ro")),
                    *("--entrypoint", "nginx", self.image, "-c", "/etc/gateway/nginx.conf", "-g", "daemon off;"),
                ],
                stdout=log,
                stderr=errors,
            )
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError(f"nginx does not listen: {self.errors.read_text()}")

    def reload(self) -> None:
        self.signal("HUP")

    def signal(self, name: str) -> None:
        subprocess.run(["docker", "kill", "--signal", name, self.container], check=True, stdout=subprocess.DEVNULL)

    def processes(self) -> dict[int, str]:
        """The machine's process ids of master and workers, with their command lines."""
        listed = subprocess.run(
            ["docker", "top", self.container, "-o", "pid,cmd"], check=True, stdout=subprocess.PIPE, text=True
        ).stdout.splitlines()[1:]
        return {int(line.split(None, 1)[0]): line.split(None, 1)[1] for line in listed}

    def memory(self) -> int:
        """Bytes that nginx's processes hold together."""
        total = 0
        for pid in self.processes():
            with contextlib.suppress(OSError):
                rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                total += sum(int(row.split()[1]) * 1024 for row in rows if row.startswith("Pss:"))
        return total

    def connect(self, timeout: float = 30, certificate: Path | None = None) -> http.client.HTTPSConnection:
        """A connection; a client's certificate is <path>.pem with <path>.key."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if certificate:
            context.load_cert_chain(f"{certificate}.pem", f"{certificate}.key")
        return http.client.HTTPSConnection("localhost", self.port, context=context, timeout=timeout)

    def connection(self, timeout: float = 5, source: str = "") -> ssl.SSLSocket:
        """A bare one, for what no library would send."""
        context = ssl.create_default_context(cafile=str(self.ca))
        plain = socket.create_connection(("127.0.0.1", self.port), timeout, (source, 0))
        return context.wrap_socket(plain, server_hostname="localhost")

    def ask(
        self,
        method: str,
        path: str,
        key: str | None = None,
        body: Any = None,
        certificate: Path | None = None,
        **headers: str,
    ) -> Answer:
        """One request on a connection of its own; a body that is no bytes is sent as JSON. A header's name has _ for its hyphens."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            sent["Authorization"] = f"Bearer {key}"
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        connection = self.connect(certificate=certificate)
        with contextlib.closing(connection):
            connection.request(method, path, body=body, headers=sent)
            response = connection.getresponse()
            text = response.read()
        try:
            parsed = json.loads(text)
        except ValueError:
            parsed = text.decode()
        return Answer(response.status, dict(response.getheaders()), parsed)

    def raw(self, data: bytes, timeout: float = 30) -> bytes:
        """Send bytes as they are, and read until the other side closes."""
        context = ssl.create_default_context(cafile=str(self.ca))
        plain = socket.create_connection(("localhost", self.port), timeout)
        received = b""
        with context.wrap_socket(plain, server_hostname="localhost") as connection:
            connection.sendall(data)
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                while part := connection.recv(65536):
                    received += part
        return received

    def audit(self, wait: float = 0.15) -> list[dict[str, Any]]:
        """The lines so far; nginx writes one when its request is over."""
        time.sleep(wait)
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def audited(self, answer: Answer) -> dict[str, Any]:
        """The line of one request, by its id."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            for line in self.audit(0.02):
                if line["id"] == answer.headers["X-Request-Id"]:
                    return line
        raise AssertionError(f"no line of {answer}")

    def close(self) -> None:
        if self.process:
            if self.process.poll() is None:
                subprocess.run(["docker", "kill", self.container], check=False, capture_output=True)
            self.process.wait(timeout=_PATIENCE)
        for engine in self.engines:
            engine.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


@contextlib.contextmanager
def running(engines: dict[str, StandIn], **variables: Any) -> Iterator[Room]:
    """A room with these engines, started."""
    with Room() as room:
        for name, engine in engines.items():
            room.engine(name, engine)
        room.start(**variables)
        yield room
