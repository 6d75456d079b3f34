# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A unit has started when its engine has answered, has failed when it cannot, and never waits for ever."""

from __future__ import annotations

import json
import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _await_answer
from ansible_collections.airgap.inference.plugins.module_utils._await_answer import NotYet, Probe, WrongAnswer

TEXT = {"choices": [{"text": "!", "finish_reason": "length"}]}


class Engine:
    """Answers on a Unix socket with what a test says."""

    def __init__(self, path: Path) -> None:
        self.path, self.replies, self.asked = path, [(200, json.dumps(TEXT))], []  # type: ignore[var-annotated]
        engine = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    head += self.rfile.readline()
                length = int(head.lower().split(b"content-length:")[1].split()[0])
                engine.asked.append((head.split()[1].decode(), json.loads(self.rfile.read(length))))
                reply = engine.replies[0] if len(engine.replies) == 1 else engine.replies.pop(0)
                if callable(reply):
                    reply(self)
                    return
                status, body = reply
                self.wfile.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True

        self.server = Server(str(path), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def probe(self, **more: Any) -> Probe:
        return Probe(str(self.path), "/v1/completions", {"model": "tiny"}, "text", **more)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = Engine(tmp_path / "engine.sock")
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(autouse=True)
def fixture_no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.02)))


def test_a_link_in_the_sockets_place_is_not_followed(engine: Engine, tmp_path: Path) -> None:
    link = tmp_path / "link.sock"
    link.symlink_to(engine.path)
    with pytest.raises(NotYet, match="it is no socket"):
        _await_answer.ask(engine.probe()._replace(socket=str(link)))
    assert engine.asked == []


def test_an_engine_without_time_says_itself_how_it_is(tmp_path: Path) -> None:
    path, status = tmp_path / "engine.sock", [b"200 OK"]
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def serve() -> None:
            while True:
                try:
                    connection = listening.accept()[0]
                except OSError:
                    return
                with connection:
                    assert connection.recv(4096).startswith(b"GET /health ")
                    connection.sendall(b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" % status[0])

        threading.Thread(target=serve, daemon=True).start()
        probe = Probe(str(path), "/", {}, "text", health="/health")
        assert _await_answer.healthy(probe)
        assert not _await_answer.healthy(probe._replace(health=""))
        status[0] = b"503 Service Unavailable"
        assert not _await_answer.healthy(probe)
    assert not _await_answer.healthy(probe)


def test_an_answer_is_enough(engine: Engine) -> None:
    _await_answer.ask(engine.probe())
    assert engine.asked == [("/v1/completions", {"model": "tiny"})]


@pytest.mark.parametrize(
    ("expects", "answer", "lack"),
    [
        ("text", TEXT, ""),
        ("text", {"choices": [{"message": {"content": "Hello"}}]}, ""),
        ("text", {"choices": [{"message": {"content": None, "reasoning_content": "I"}}]}, ""),
        # A token that is no text is a token.
        ("text", {"choices": [{"message": {"content": ""}, "finish_reason": "length"}]}, ""),
        ("text", {"choices": [{"text": ""}]}, "generated nothing"),
        ("text", {"choices": []}, "generated nothing"),
        ("text", {"choices": None}, "generated nothing"),
        ("text", [], "generated nothing"),
        ("text", {"text_output": "x"}, ""),
        ("text", {**TEXT, "error": {"message": "no"}}, "is an error"),
        ("embedding", {"data": [{"embedding": [0.1, -2]}]}, ""),
        ("embedding", {"embeddings": [[0.1]]}, ""),
        ("embedding", {"data": [{"embedding": []}]}, "no vector"),
        ("embedding", {"data": [{"embedding": ["a"]}]}, "no vector"),
        ("embedding", TEXT, "no vector"),
        ("ranking", {"results": [{"index": 0, "relevance_score": 0.5}]}, ""),
        ("ranking", {"data": [{"score": 1}]}, ""),
        ("ranking", {"results": []}, "no ranking"),
        ("ranking", [{"score": 0.5, "document": "Good day", "index": 0}], ""),
        ("ranking", [], "no ranking"),
        ("ranking", ["Good day"], "no ranking"),
        ("poem", TEXT, "it is one of embedding, ranking, text"),
    ],
)
def test_what_is_an_answer(expects: str, answer: Any, lack: str) -> None:
    said = _await_answer.lacks(expects, json.dumps(answer).encode())
    assert (lack in said) if lack else (said == "")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[" * 100000, b"\xff"])
def test_what_is_not_json_is_none(body: bytes) -> None:
    assert "not JSON" in _await_answer.lacks("text", body)


def test_a_vector_of_no_numbers_is_none() -> None:
    assert "no vector" in _await_answer.lacks("embedding", b'{"data": [{"embedding": [NaN, 1]}]}')


def wait(probe: Probe, main_pid: int = 0) -> list[str]:
    said: list[str] = []
    _await_answer.wait(probe, main_pid, said.append)
    return said


def test_it_waits_while_the_engine_loads(engine: Engine) -> None:
    engine.replies = [(503, "loading"), (502, ""), lambda handler: None, (200, json.dumps(TEXT))]
    said = wait(engine.probe(timeout=30))
    assert len(engine.asked) == 4
    assert said[0] == "Waiting until the engine answers /v1/completions, for 30 s at most"
    assert said[-1].startswith("The engine answers after ")


def test_it_says_now_and_then_that_it_waits(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_await_answer, "PROGRESS", 0.0)
    engine.replies = [(503, "loading"), (200, json.dumps(TEXT))]
    assert any(line.startswith("Still waiting after 0 s: it answers") for line in wait(engine.probe()))


def test_it_ends_when_its_time_has(tmp_path: Path) -> None:
    probe = Probe(str(tmp_path / "engine.sock"), "/", {}, "text", timeout=0.1)
    with pytest.raises(NotYet, match=r"inference_start_timeout.*there is no socket"):
        wait(probe)


def test_it_ends_at_once_when_the_engine_has(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with pytest.raises(NotYet, match="The engine ended after 0 s"):
        wait(Probe(str(tmp_path / "engine.sock"), "/", {}, "text"), ended.pid)


def test_an_engine_that_ends_while_it_is_asked_is_not_waited_for(engine: Engine) -> None:
    running = subprocess.Popen(["sleep", "60"])
    # Its relay lives on, and says nothing.
    asked, left = threading.Event(), threading.Event()
    engine.replies = [lambda handler: (asked.set(), left.wait(20))]

    def end() -> None:
        asked.wait(20)
        running.kill()
        running.wait()

    threading.Thread(target=end, daemon=True).start()
    started = time.monotonic()
    with pytest.raises(NotYet, match=r"The engine ended after \d s"):
        wait(engine.probe(timeout=60), running.pid)
    left.set()
    assert time.monotonic() - started < 5


def test_a_first_answer_may_take_all_the_time_that_there_is(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_await_answer, "ASK_TIMEOUT", 0.1)
    monkeypatch.setattr(_await_answer, "PROGRESS", 0.5)
    body = json.dumps(TEXT)

    def slowly(handler: Any) -> None:
        threading.Event().wait(1.5)
        handler.wfile.write(f"HTTP/1.1 200 X\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())

    engine.replies = [slowly]
    said = wait(engine.probe(timeout=30))
    assert len(engine.asked) == 1
    assert "Still waiting after 1 s: /v1/completions is not answered yet" in said


def test_wrong_answers_are_borne_for_a_while(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.replies = [(404, "no model yet"), (200, json.dumps(TEXT))]
    wait(engine.probe())
    monkeypatch.setattr(_await_answer, "PATIENCE", 0.1)
    engine.replies = [(404, "no such model")]
    with pytest.raises(WrongAnswer, match=r"does not do what it is for.*404.*no such model"):
        wait(engine.probe())


def trickle(handler: Any) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    for _piece in range(100):
        time.sleep(0.02)
        try:
            handler.wfile.write(b" ")
        except OSError:
            return


def test_an_answer_that_never_ends_is_cut_off(engine: Engine) -> None:
    engine.replies = [trickle]
    started = time.monotonic()
    with pytest.raises(NotYet, match=r"no complete answer .* in 0 s"):
        _await_answer.ask(engine.probe(), 0.3)
    assert time.monotonic() - started < 1.5


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    def made(script: str) -> Path:
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin/docker").write_text(f"#!/bin/sh\necho $* >>{tmp_path}/said\n{script}\n")
        (tmp_path / "bin/docker").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
        return tmp_path / "said"

    return made


def test_a_relay_starts_when_the_engine_runs(engine: Engine, docker: Callable[[str], Path], tmp_path: Path) -> None:
    said = docker(f"test -e {tmp_path}/runs && exit 0; touch {tmp_path}/runs; echo not running >&2; exit 1")
    wait(engine.probe(relay="airgap-old-relay"))
    assert said.read_text().splitlines() == ["start airgap-old-relay"] * 2


def test_the_unit_hears_of_it(engine: Engine, tmp_path: Path) -> None:
    probe = tmp_path / "probe.json"
    probe.write_text(json.dumps({**engine.probe()._asdict(), "unknown": 1}))
    program = _await_answer.__file__
    done = subprocess.run([sys.executable, "-I", program, str(probe)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 2
    ended = {**os.environ, "MAINPID": "999999999"}
    engine.replies = [(503, "")]
    done = subprocess.run([sys.executable, program, str(probe)], capture_output=True, text=True, check=False, env=ended)
    assert done.returncode == 1 and "The engine ended" in done.stdout
    done = subprocess.run([sys.executable, program, "/none"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "/none cannot be used" in done.stdout


def test_nobody_listens(tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    with pytest.raises(NotYet, match="nobody listens"):
        _await_answer.ask(Probe(str(path), "/", {}, "text"))
