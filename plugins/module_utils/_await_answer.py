# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks an engine on its Unix socket for what it is there for: a token, a vector or a ranking.

The role inference puts this file on the hosts as it is, and an instance's unit runs it: C(systemctl start) ends when the engine
answers. It therefore knows Python's own library and nothing else, and runs with Python 3.8.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import math
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from typing import Any, Callable, Mapping, NamedTuple

# How long an engine that has started may take to answer.
ASK_TIMEOUT = 120.0
# One that starts has all the time that is left, and this at least: the first answer of a large model on a CPU takes long, and Ollama
# stops loading a model when the one who asked for it leaves.
LEAST = 10.0
# How often it is looked whether somebody still answers.
_GLANCE = 0.5
# Some engines listen before they know their model; what is no answer for so long is none.
PATIENCE = 30.0
PROGRESS = 30.0
_MAX_BODY = 16 * 1024 * 1024
# What engines and relays say while nobody is there yet, or has no time.
_NOT_READY = (429, 502, 503, 504)


class NotYet(Exception):
    """Nothing answers, or it says that it is not ready."""


class WrongAnswer(Exception):
    """Something answered, and it is not what was asked for."""


class Probe(NamedTuple):
    """What to ask, where, and what the answer must be."""

    socket: str
    path: str
    body: Any
    expects: str
    timeout: float = 900.0
    # A container that passes the engine's port on; it can only start in the engine's running container.
    relay: str = ""
    # Where the engine says how it is, for one that is too busy to answer.
    health: str = ""


def read(path: str) -> Probe:
    """A probe as the role describes it in a file."""
    with open(path, encoding="utf-8") as handle:
        data = json.load(handle)
    return Probe(**{name: data[name] for name in Probe._fields if name in data})


def ask(probe: Probe, timeout: float = ASK_TIMEOUT, in_vain: Callable[[], bool] = lambda: False) -> None:
    """Ask once; raise when there is no answer, or not the one that is wanted.

    It never takes longer than the timeout, and ends early when it is in vain.
    """
    connection = _Connection(probe.socket, timeout)
    done, late, ends = threading.Event(), threading.Event(), time.monotonic() + timeout

    def watch() -> None:
        while not done.wait(max(0.05, min(_GLANCE, ends - time.monotonic()))):
            if in_vain():
                connection.cut()
            elif time.monotonic() >= ends:
                late.set()
                connection.cut()

    watchdog = threading.Thread(target=watch, daemon=True)
    watchdog.start()
    try:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "airgap.inference"}
        connection.request("POST", probe.path, json.dumps(probe.body).encode(), headers)
        response = connection.getresponse()
        body = response.read(_MAX_BODY)
        # It keeps silent about a body that ends too early.
        if late.is_set() or response.length:
            raise ConnectionResetError
    except (OSError, http.client.HTTPException) as error:
        if late.is_set() or isinstance(error, socket.timeout):
            raise NotYet(f"it gave no complete answer to {probe.path} in {timeout:.0f} s") from error
        raise NotYet(_no_answer(probe.socket, error)) from error
    finally:
        done.set()
        connection.close()
    said = f"it answers {probe.path} with {response.status}"
    if response.status in _NOT_READY:
        raise NotYet(f"{said} {response.reason}: {_excerpt(body)}")
    if response.status != 200:
        raise WrongAnswer(f"{said} {response.reason}: {_excerpt(body)}")
    lack = lacks(probe.expects, body)
    if lack:
        raise WrongAnswer(f"{said}, but {lack}: {_excerpt(body)}")


def healthy(probe: Probe, timeout: float = LEAST) -> bool:
    """Whether the engine says that it is well; it says nothing of whether it does what it is for."""
    if not probe.health:
        return False
    connection = _Connection(probe.socket, timeout)
    try:
        connection.request("GET", probe.health)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def lacks(expects: str, body: bytes) -> str:
    """What an answer lacks of what is expected, or nothing."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return "its answer is not JSON"
    if expects not in _LACKS:
        return f"it cannot be told what {expects!r} is; it is one of {', '.join(sorted(_LACKS))}"
    if isinstance(answer, dict) and answer.get("error"):
        return "its answer is an error"
    return _LACKS[expects](answer)


def wait(probe: Probe, main_pid: int, say: Callable[[str], None]) -> None:
    """Ask until the answer is right; raise when the main process is gone, or when the time is."""
    started = time.monotonic()
    told, wrong_since, relayed, reason = started, 0.0, not probe.relay, f"{probe.path} is not answered yet"

    def progress() -> None:
        nonlocal told
        if time.monotonic() - told >= PROGRESS:
            told = time.monotonic()
            say(f"Still waiting after {told - started:.0f} s: {reason}")

    def ended() -> bool:
        progress()
        return bool(main_pid) and not _runs(main_pid)

    say(f"Waiting until the engine answers {probe.path}, for {probe.timeout:.0f} s at most")
    while True:
        reason = "" if relayed else _start_relay(probe.relay)
        relayed = not reason
        left = started + probe.timeout - time.monotonic()
        try:
            if not reason:
                reason = f"{probe.path} is not answered yet"
                ask(probe, max(LEAST, left), ended)
                say(f"The engine answers after {time.monotonic() - started:.0f} s")
                return
        except NotYet as error:
            reason, wrong_since = str(error), 0.0
        except WrongAnswer as error:
            reason, wrong_since = str(error), wrong_since or time.monotonic()
        now = time.monotonic()
        if ended():
            raise NotYet(f"The engine ended after {now - started:.0f} s, before it answered; see what it said above")
        if wrong_since and now - wrong_since > PATIENCE:
            raise WrongAnswer(f"The engine runs and does not do what it is for ({now - started:.0f} s): {reason}")
        if now - started >= probe.timeout:
            raise NotYet(
                f"The engine did not answer in {now - started:.0f} s (inference_start_timeout {probe.timeout:.0f}): {reason}"
            )
        time.sleep(max(0.0, min(1.0, started + probe.timeout - now)))


def main(argv: list[str]) -> int:
    """For a unit's ExecStartPost: the journal has what is said, systemd the exit status."""
    if len(argv) != 2:
        sys.stderr.write(f"Usage: {argv[0]} <probe.json>\n")
        return 2
    try:
        wait(read(argv[1]), int(os.environ.get("MAINPID") or 0), _say)
    except (NotYet, WrongAnswer) as error:
        _say(str(error))
        return 1
    except (OSError, ValueError, TypeError) as error:
        _say(f"{argv[1]} cannot be used: {error}")
        return 2
    return 0


def _say(text: str) -> None:
    # The journal has it at once.
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("engine", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        # The engine owns the directory, and root asks: a link there could lead to any other socket. What was looked at is what is
        # connected to, since the kernel follows the descriptor and not the name.
        there = os.open(self._path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if not stat.S_ISSOCK(os.fstat(there).st_mode):
                raise OSError(errno.ENOTSOCK, "it is no socket")
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            self.sock.connect(f"/proc/self/fd/{there}")
        finally:
            os.close(there)

    def cut(self) -> None:
        """End a request that another thread waits for."""
        if self.sock is not None:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)


def _no_answer(path: str, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"there is no socket {path} yet"
    if isinstance(error, ConnectionRefusedError):
        return f"nobody listens on {path}"
    if isinstance(error, (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)):
        return f"the connection to {path} was closed without an answer"
    return f"{path}: {getattr(error, 'strerror', None) or error or type(error).__name__}"


def _start_relay(container: str) -> str:
    """Start it; why not, or nothing."""
    try:
        done = subprocess.run(
            ["docker", "start", container],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the relay {container} cannot be started: {error}"
    if done.returncode == 0:
        return ""
    said = " ".join(done.stderr.decode("utf-8", "replace").split())
    return f"the relay {container} cannot be started: {said[-300:]}"


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _lacks_text(answer: Any) -> str:
    """Tokens count, not their text: one may have none."""
    for choice in _objects(answer, "choices"):
        message = choice.get("message")
        parts = [choice, message if isinstance(message, dict) else {}]
        if any(part.get(name) for part in parts for name in ("text", "content", "reasoning", "reasoning_content")):
            return ""
        if choice.get("finish_reason"):
            return ""
    # The words of Triton's generate extension and of llama.cpp's and Ollama's own interfaces.
    if isinstance(answer, dict) and any(answer.get(name) for name in ("text_output", "content", "response")):
        return ""
    return "it generated nothing"


def _lacks_embedding(answer: Any) -> str:
    found: list[Any] = [entry.get("embedding") for entry in _objects(answer, "data")]
    if isinstance(answer, dict) and isinstance(answer.get("embeddings"), list):
        found.extend(answer["embeddings"])
    if any(isinstance(vector, list) and vector and all(_is_number(value) for value in vector) for vector in found):
        return ""
    return "no vector of numbers is in it"


def _lacks_ranking(answer: Any) -> str:
    # SGLang's is the bare list.
    listed = {"results": answer} if isinstance(answer, list) else answer
    entries = _objects(listed, "results") or _objects(listed, "data")
    scores = [entry.get("relevance_score", entry.get("score")) for entry in entries]
    return "" if scores and all(_is_number(score) for score in scores) else "no ranking is in it"


_LACKS: Mapping[str, Callable[[Any], str]] = {
    "text": _lacks_text,
    "embedding": _lacks_embedding,
    "ranking": _lacks_ranking,
}


def _objects(answer: Any, name: str) -> list[dict[str, Any]]:
    entries = answer.get(name) if isinstance(answer, dict) else None
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _excerpt(body: bytes) -> str:
    return " ".join(body[:300].decode("utf-8", "replace").split()) or "(an empty body)"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv))
