# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real registry on the loopback, what may stand before it, and bundle_images run as Ansible runs it."""

from __future__ import annotations

import http.client
import json
import os
import re
import select
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_MODULE = "ansible_collections.airgap.inference.plugins.modules.bundle_images"
_FOREIGN = re.compile(r"CONTAINERS_|REGISTRY_|DOCKER_CONFIG|SSL_CERT|AIRGAP_|.*_proxy\Z", re.IGNORECASE)
USER, PASSWORD = "stager", "correct-horse-battery-staple"
# bcrypt, the only form that the registry takes: htpasswd -nbB
HTPASSWD = f"{USER}:$2y$05$abcdefghijklmnopqrstuu85MXjg6exOQL.AXFImpsqFFSBHJgLRe\n"


class Registry:
    """Distribution, with its data below a directory."""

    def __init__(self, root: Path, *, login: bool = False, tls: tuple[Path, Path] | None = None) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        settings: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": str(root / "data")}},
            "http": {"addr": self.address},
        }
        if login:
            (root / "htpasswd").write_text(HTPASSWD)
            settings["auth"] = {"htpasswd": {"realm": "lab", "path": str(root / "htpasswd")}}
        if tls:
            settings["http"]["tls"] = {"certificate": str(tls[0]), "key": str(tls[1])}
        (root / "config.yml").write_text(json.dumps(settings))
        self._log = (root / "log").open("w")
        self._process = subprocess.Popen(
            ["docker-registry", "serve", str(root / "config.yml")], stdout=self._log, stderr=self._log
        )
        for _attempt in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        raise AssertionError((root / "log").read_text())

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._log.close()

    def push(self, layout: Path, name: str, repository: str, *options: str) -> None:
        target = f"docker://{self.address}/{repository}"
        command = ["skopeo", "copy", "--quiet", "--preserve-digests", "--all", "--dest-tls-verify=false", *options]
        subprocess.run([*command, f"oci:{layout}:{name}", target], check=True)


class Front(ThreadingHTTPServer):
    """Stands before a registry, writes down what is asked for, and can stop in the middle of one blob."""

    daemon_threads = True

    def __init__(self, registry: Registry) -> None:
        self.behind = registry.address
        self.asked: list[str] = []
        self.stall: str | None = None
        super().__init__(("127.0.0.1", 0), _Front)
        self.address = f"127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def blobs(self) -> list[str]:
        return [path.rsplit("/", 1)[-1] for path in self.asked if "/blobs/" in path]


class _Front(BaseHTTPRequestHandler):
    server: Front

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        connection = http.client.HTTPConnection(self.server.behind, timeout=20)
        connection.request("GET", self.path, headers={"Accept": ", ".join(self.headers.get_all("Accept", []))})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            self.send_header(name, value)
        self.end_headers()
        if self.server.stall and self.path.endswith(self.server.stall):
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            while self.server.stall:
                time.sleep(0.05)
            return
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Proxy(socketserver.ThreadingTCPServer):
    """A proxy that leads every CONNECT to one address, and writes down where it was asked to lead."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, leads_to: int) -> None:
        self.leads_to = leads_to
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Proxy)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Proxy(socketserver.StreamRequestHandler):
    server: Proxy

    def handle(self) -> None:
        self.server.asked.append(self.rfile.readline().decode().split(" HTTP")[0].strip())
        while self.rfile.readline().strip():
            pass
        with socket.create_connection(("127.0.0.1", self.server.leads_to)) as behind:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            ends = {self.connection: behind, behind: self.connection}
            while True:
                for end in select.select(list(ends), [], [], 20)[0]:
                    data = end.recv(65536)
                    if not data:
                        return
                    ends[end].sendall(data)


class Room:
    """A bundle's images and a cache below one directory, and a registries.conf that leads to a registry."""

    def __init__(self, root: Path, address: str | None = None, **environment: str) -> None:
        self.layout = root / "bundle/images"
        self.cache = root / "cache"
        self.environment = environment
        self.arguments: dict[str, Any] = {
            "path": str(self.layout),
            "cache": str(self.cache),
            "digests": str(self.cache / "state/digests.json"),
        }
        if address:
            conf = root / "registries.conf"
            conf.write_text(f'[[registry]]\nprefix = "docker.io"\nlocation = "{address}"\ninsecure = true\n')
            self.arguments["registries_conf"] = str(conf)

    def run(self, *images: str, **arguments: Any) -> dict[str, Any]:
        """What the module answers; "said" is all of its output."""
        return self.answer(self.start(*images, **arguments))

    def start(self, *images: str, **arguments: Any) -> subprocess.Popen[str]:
        """The module at work, in a process group of its own."""
        wanted = {
            "images": list(images),
            **self.arguments,
            "_ansible_remote_tmp": "/tmp",
            "_ansible_keep_remote_files": False,
            **arguments,
        }
        # The profile by which ansible-core reads arguments has a name of its own since 2.19.
        program = (
            "from ansible.module_utils import basic; basic._ANSIBLE_PROFILE = 'legacy'; import runpy, sys; "
            f"sys.path[:] = {sys.path!r}; runpy.run_module({_MODULE!r}, run_name='__main__')"
        )
        own = {name: value for name, value in os.environ.items() if not _FOREIGN.match(name)}
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**own, **self.environment},
            start_new_session=True,
        )
        assert process.stdin
        process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": wanted}))
        process.stdin.close()
        process.stdin = None
        return process

    def answer(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        out, err = process.communicate(timeout=120)
        assert "Traceback" not in err, err
        result: dict[str, Any] = json.loads(out)
        result["said"] = out + err
        assert process.returncode == (1 if result.get("failed") else 0), out
        return result

    def kill(self, process: subprocess.Popen[str]) -> None:
        """As a power failure does: the module and its skopeo at once."""
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    def blobs(self) -> set[str]:
        return {path.name for path in (self.layout / "blobs/sha256").glob("*")}
