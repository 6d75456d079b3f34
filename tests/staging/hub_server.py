# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model hub on this machine, as the real client sees one: its API, its redirects to a store of large files, its refusals.

Large files are at the store, another origin, by addresses that are signed: the store refuses a request that brings a token.
"""

from __future__ import annotations

import hashlib
import io
import json
import socket
import ssl
import struct
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote, unquote, urlsplit

# As the hub decides without a .gitattributes: what is large or a weight goes by LFS.
LFS_ENDINGS = (".safetensors", ".bin", ".gguf", ".pt")


@dataclass
class Repository:
    """A model, its branches and its commits."""

    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: bool = False
    gated: bool = False
    # What the hub still says about a file whose content it has lost.
    lies: dict[str, bytes] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        """A new commit on a branch."""
        state = json.dumps([len(self.commits), branch, sorted(files)])
        name = hashlib.sha1(state.encode() + b"".join(files.values())).hexdigest()
        self.commits[name] = dict(files)
        self.branches[branch] = name
        return name


@dataclass
class Request:
    """What was asked."""

    method: str
    path: str
    headers: dict[str, str]
    store: bool


class HubServer:
    """The hub and its store, each with its threads. With a certificate both speak TLS."""

    def __init__(self, certificate: Path | None = None, key: Path | None = None, *hosts: str) -> None:
        # The hub's name and its store's.
        self._hosts = hosts or ("localhost", "127.0.0.1")
        self.repositories: dict[str, Repository] = {}
        self.renamed: dict[str, str] = {}
        # Tokens, and whether their account has accepted the terms of gated models.
        self.tokens: dict[str, bool] = {}
        self.requests: list[Request] = []
        # Every answer with a file waits so long before each part of it; 0 is at once.
        self.delay = 0.0
        self.part = 1024 * 1024
        # Cut the connection after so many bytes of each answer of the store, so many times.
        self.cut_after = 0
        self.cuts = 0
        self.ranges = True
        # Cut it as a broken line does, and not by an end that is too early.
        self.hard = False
        # Answer so many requests with this status first.
        self.failing: list[int] = []
        self._tls = (certificate, key) if certificate and key else None
        self._servers = [self._serve(store=False), self._serve(store=True)]

    def __enter__(self) -> HubServer:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    @property
    def endpoint(self) -> str:
        return self.address(0)

    def address(self, number: int) -> str:
        scheme = "https" if self._tls else "http"
        return f"{scheme}://{self._hosts[number]}:{self._servers[number].server_address[1]}"

    def add(self, name: str, files: dict[str, bytes]) -> Repository:
        """A model with one commit on main."""
        repository = self.repositories[name] = Repository()
        repository.commit(files)
        return repository

    def asked(self, ending: str, method: str = "GET") -> list[Request]:
        """The requests for a path."""
        return [request for request in self.requests if request.method == method and request.path.endswith(ending)]

    def _serve(self, *, store: bool) -> ThreadingHTTPServer:
        hub = self

        class Handler(_Handler):
            def do_GET(self) -> None:
                self.answer(hub, store, body=True)

            def do_HEAD(self) -> None:
                self.answer(hub, store, body=False)

        server = ThreadingHTTPServer(("localhost", 0), Handler)
        server.daemon_threads = True
        if self._tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self._tls)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        return server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_arguments: Any) -> None:
        pass

    def answer(self, hub: HubServer, store: bool, *, body: bool) -> None:
        self.hub, self.body = hub, body
        path = unquote(urlsplit(self.path).path).lstrip("/")
        headers = {name.lower(): value for name, value in self.headers.items()}
        hub.requests.append(Request(self.command, path, headers, store))
        if hub.failing:
            self._error(hub.failing.pop(0), "", "The hub has a bad day.")
        elif store:
            self._store(path, headers)
        else:
            self._hub(path, headers)

    def _hub(self, path: str, headers: dict[str, str]) -> None:
        token = headers.get("authorization", "").replace("Bearer ", "")
        if token and token not in self.hub.tokens:
            return self._error(401, "", "Invalid credentials in Authorization header")
        api = path.startswith("api/models/")
        head, found, tail = path.replace("api/models/", "", 1).partition("/revision/" if api else "/resolve/")
        if head in self.hub.renamed:
            return self._redirect(307, f"/{path.replace(head, self.hub.renamed[head], 1)}", {})
        repository = self.hub.repositories.get(head)
        if repository is None or not found or (repository.private and not token):
            return self._error(404 if token else 401, "RepoNotFound", "Repository not found")
        if api:
            return self._revision(head, repository, tail)
        if repository.gated and not self.hub.tokens.get(token):
            return self._error(
                403 if token else 401, "GatedRepo", f"Access to model {head} is restricted and you are not in the list."
            )
        return self._file(repository, *tail.split("/", 1))

    def _revision(self, name: str, repository: Repository, revision: str) -> None:
        commit = repository.branches.get(revision, revision)
        if commit not in repository.commits:
            return self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        siblings: list[dict[str, Any]] = []
        for path, data in repository.commits[commit].items():
            item: dict[str, Any] = {"rfilename": path, "size": len(data), "blobId": _git(data)}
            if path.endswith(LFS_ENDINGS):
                item["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
                # Every large file of the hub is offered by Xet as well; the product must not take the offer.
                item["xetHash"] = hashlib.sha256(b"xet" + data).hexdigest()
            siblings.append(item)
        document = {"_id": "1", "id": name, "modelId": name, "sha": commit, "tags": [], "siblings": siblings}
        return self._send(200, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def _file(self, repository: Repository, commit: str, path: str) -> None:
        data = repository.commits.get(commit, {}).get(path)
        if data is None:
            return self._error(404, "EntryNotFound", "Entry not found")
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if not path.endswith(LFS_ENDINGS):
            return self._send(200, repository.lies.get(path, data), {**headers, "ETag": f'"{_git(data)}"'})
        digest = hashlib.sha256(data).hexdigest()
        location = f"{self.hub.address(1)}/{commit}/{quote(path)}?signature=1"
        return self._redirect(
            302,
            location,
            {
                **headers,
                "X-Linked-ETag": f'"{digest}"',
                "X-Linked-Size": str(len(data)),
                "X-Xet-Hash": hashlib.sha256(b"xet" + data).hexdigest(),
                "Link": f'<{self.hub.endpoint}/api/models/x/xet-read-token/{commit}>; rel="xet-auth"',
            },
        )

    def _store(self, path: str, headers: dict[str, str]) -> None:
        if "authorization" in headers:
            return self._error(400, "", "Only one auth mechanism allowed")
        commit, _slash, name = path.partition("/")
        for repository in self.hub.repositories.values():
            if name in repository.commits.get(commit, {}):
                data = repository.lies.get(name, repository.commits[commit][name])
                return self._send(200, data, {"ETag": '"store"', "Accept-Ranges": "bytes"}, store=True)
        return self._error(404, "", "No such key")

    def _redirect(self, status: int, location: str, headers: dict[str, str]) -> None:
        self._send(status, b"", {"Location": location, **headers})

    def _error(self, status: int, code: str, message: str) -> None:
        headers = {"X-Error-Message": message, "Content-Type": "application/json"}
        if code:
            headers["X-Error-Code"] = code
        self._send(status, json.dumps({"error": message}).encode(), headers)

    def _send(self, status: int, data: bytes, headers: dict[str, str], *, store: bool = False) -> None:
        whole, begin = len(data), 0
        wanted = self.headers.get("Range")
        if wanted and status == 200 and self.body and self.hub.ranges:
            begin = int(wanted.replace("bytes=", "").split("-")[0])
            data = data[begin:]
            status = 206
            headers = {**headers, "Content-Range": f"bytes {begin}-{whole - 1}/{whole}"}
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if not self.body:
            return
        hub, sent = self.hub, 0
        try:
            while sent < len(data):
                if store and hub.cuts and hub.cut_after and sent >= hub.cut_after:
                    hub.cuts -= 1
                    self.close_connection = True
                    if hub.hard:
                        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.wfile.close()
                    self.rfile.close()
                    self.connection.close()
                    self.wfile = self.rfile = io.BytesIO()
                    return
                part = data[sent : sent + hub.part]
                if store and hub.delay:
                    time.sleep(hub.delay)
                self.wfile.write(part)
                sent += len(part)
        except OSError:
            # Whoever asked was killed.
            self.close_connection = True


def _git(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
