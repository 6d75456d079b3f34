# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask an OpenAI-compatible endpoint what it serves, and let it generate: the one proof that an engine works."""

from __future__ import annotations

import json
import time
from typing import Any, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._http import (
    Address,
    NotReady,
    Reply,
    is_local,
    read_all,
    request,
)
from ansible_collections.airgap.inference.plugins.module_utils._sse import EventStream

MAX_STREAM = 16 * 1024 * 1024
MAX_KEY_FILE = 64 * 1024

# A gateway answers so while its engine is away; an engine that is loading answers 503.
_NOT_READY = (502, 503, 504)

_LOOK = (
    "Look at the engine's log on its host (journalctl -u 'airgap-inference@*', or docker logs of its container) "
    "for the first error, and restart the engine if it died"
)


class Question(NamedTuple):
    """What to ask, and how."""

    address: Address
    key: str | None = None
    health_path: str = "/health"
    endpoint: str = "chat"
    model: str | None = None
    prompt: str = "Say hello."
    max_tokens: int = 16
    stream: bool = True
    timeout: int = 60


class Generation:
    """What came back so far, and when."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.text = ""
        self.chunks = 0
        self.tokens: int | None = None
        self.finish_reason: str | None = None
        self.error: str | None = None
        self.done = False
        self._first_text: float | None = None
        self._first_choice: float | None = None

    @property
    def ttft_ms(self) -> float | None:
        """Until the first text; a random model may generate tokens that have none, then until the first of those."""
        first = self._first_choice if self._first_text is None else self._first_text
        return None if first is None else round((first - self.started) * 1000, 1)

    def take(self, event: Any) -> None:
        """Take one event of the stream, or a whole answer."""
        if not isinstance(event, dict):
            self.error = f"it sent {json.dumps(event)[:200]} where an object belongs"
            return
        if event.get("error") or event.get("object") == "error":
            self.error = error_text(event)
            return
        usage = event.get("usage")
        if isinstance(usage, dict) and isinstance(usage.get("completion_tokens"), int):
            self.tokens = usage["completion_tokens"]
        choices = event.get("choices")
        for choice in choices[:1] if isinstance(choices, list) else []:
            self._take_choice(choice if isinstance(choice, dict) else {})

    def _take_choice(self, choice: dict[str, Any]) -> None:
        now = time.monotonic()
        self.chunks += 1
        if self._first_choice is None:
            self._first_choice = now
        part = choice.get("delta") or choice.get("message") or {}
        if not isinstance(part, dict):
            part = {}
        # Reasoning models speak under another name first.
        for text in (part.get("reasoning_content"), part.get("reasoning"), part.get("content"), choice.get("text")):
            if isinstance(text, str) and text:
                if self._first_text is None:
                    self._first_text = now
                self.text += text
        if isinstance(choice.get("finish_reason"), str):
            self.finish_reason = choice["finish_reason"]


def read_key(path: str) -> str:
    """The key in a file that holds nothing else."""
    try:
        with open(path, encoding="utf-8") as file:
            key = file.read(MAX_KEY_FILE + 1).strip()
    except (OSError, ValueError) as error:
        raise AirgapError(f"api_key_file {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not key:
        raise AirgapError(f"api_key_file {path} is empty")
    return key


def key_refusal(key: str | None, address: Address) -> str | None:
    """Why a key cannot be sent so, or None. The key itself is never shown."""
    if key is None:
        return None
    if not key or not all("!" <= letter <= "~" for letter in key):
        return "The API key holds a space, a line's end or a letter outside ASCII: it would not survive an HTTP header"
    if not address.tls and not is_local(address):
        return f"The API key would be sent in the clear to {address}: use https://"
    return None


def wait_for(question: Question, wait: int) -> dict[str, Any]:
    """Probe again and again until the endpoint is ready, for so many seconds at most."""
    give_up = time.monotonic() + wait
    attempts = 0
    while True:
        attempts += 1
        try:
            return dict(probe(question), attempts=attempts)
        except NotReady as error:
            left = give_up - time.monotonic()
            if left <= 0:
                waited = f" (tried {attempts} times in {wait} seconds)" if wait else ""
                raise AirgapError(f"{error}{waited}") from error
            time.sleep(min(1.0, left))


def probe(question: Question) -> dict[str, Any]:
    """Health, models, generation: within one deadline, and the first that fails is told."""
    refusal = key_refusal(question.key, question.address)
    if refusal is not None:
        raise AirgapError(refusal)
    deadline = time.monotonic() + question.timeout
    if question.health_path:
        _health(question, deadline)
    models = _models(question, deadline)
    model = question.model or models[0]
    if model not in models:
        raise AirgapError(_unknown_model(question, model, models))
    generation = _generate(question, model, deadline)
    return {
        "models": models,
        "generation": {
            "model": model,
            "text": generation.text,
            "chunks": generation.chunks,
            "tokens": generation.tokens,
            "finish_reason": generation.finish_reason,
        },
        "ttft_ms": generation.ttft_ms if question.stream else None,
        "total_ms": round((time.monotonic() - generation.started) * 1000, 1),
    }


def _health(question: Question, deadline: float) -> None:
    path = question.health_path
    with request(question.address, "GET", path, None, _headers(question), deadline) as reply:
        body = read_all(reply)
    _accept(question, reply, path, body)
    if reply.status != 200:
        raise AirgapError(
            f"{question.address} answers {path} with {reply.status} {reply.reason}: this is not its health path "
            "(state health_path, or leave it empty to skip it), or the service is ill"
        )


def _models(question: Question, deadline: float) -> list[str]:
    with request(question.address, "GET", "/v1/models", None, _headers(question), deadline) as reply:
        body = read_all(reply)
    _accept(question, reply, "/v1/models", body)
    if reply.status != 200:
        raise AirgapError(f"{question.address} answers /v1/models with {reply.status} {reply.reason}: {_excerpt(body)}")
    try:
        models = [entry["id"] for entry in json.loads(body)["data"]]
        if not all(isinstance(name, str) for name in models):
            raise TypeError("a name is no text")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise AirgapError(
            f"{question.address} answers /v1/models with something else than a list of models: {_excerpt(body)}"
        ) from error
    if not models:
        raise AirgapError(f"{question.address} is up and serves no model: /v1/models is empty. {_LOOK}")
    return models


def _generate(question: Question, model: str, deadline: float) -> Generation:
    path, body = _payload(question, model)
    headers = dict(_headers(question), **{"Content-Type": "application/json"})
    generation = Generation()
    try:
        with request(question.address, "POST", path, body, headers, deadline) as reply:
            if reply.status != 200:
                answer = read_all(reply)
            elif question.stream:
                _follow(reply, generation)
            else:
                _take_answer(read_all(reply), generation)
    except NotReady as error:
        raise AirgapError(_cannot_generate(question, f"{error}; {_so_far(generation)}")) from error
    if reply.status == 404:
        # The gateway passes listed paths only; an engine says so when it does not know a model that it lists.
        raise AirgapError(
            f"{question.address} lists the model {model!r} and answers {path} with 404: {_excerpt(answer)}. Is this path let through?"
        )
    if reply.status in (401, 403):
        _accept(question, reply, path, answer)
    if reply.status == 429:
        raise AirgapError(f"{question.address} answers {path} with 429: this key's limits are used up. Try again later")
    if reply.status != 200:
        raise AirgapError(
            _cannot_generate(question, f"{path} answers {reply.status} {reply.reason}: {_excerpt(answer)}")
        )
    reason = shortcoming(generation, question.stream)
    if reason is not None:
        raise AirgapError(_cannot_generate(question, f"{path} {reason}"))
    return generation


def shortcoming(generation: Generation, stream: bool) -> str | None:
    """Why this is not a complete generation, or None. Tokens count, not text: those of a random model may have none."""
    if generation.error is not None:
        return f"reports an error: {generation.error}"
    if generation.finish_reason in ("abort", "error"):
        return f"ended with finish_reason {generation.finish_reason!r}; {_so_far(generation)}"
    if generation.tokens is not None and generation.tokens < 1:
        return "ended without a single token"
    if stream and not generation.done and generation.finish_reason is None:
        return f"was cut off; {_so_far(generation)}"
    if generation.chunks < 1 or (generation.finish_reason is None and generation.tokens is None):
        return "ended without a single token"
    return None


def _follow(reply: Reply, generation: Generation) -> None:
    events = EventStream()
    size = 0
    for piece in reply.body:
        size += len(piece)
        if size > MAX_STREAM:
            generation.error = f"the stream is longer than {MAX_STREAM} bytes"
            return
        try:
            complete = events.feed(piece)
        except AirgapError as error:
            generation.error = str(error)
            return
        for data in complete:
            if data.strip() == "[DONE]":
                generation.done = True
                return
            try:
                generation.take(json.loads(data))
            except (ValueError, RecursionError):
                generation.error = f"it sent {data[:200]!r}, which is not JSON"
            if generation.error is not None:
                return


def _take_answer(body: bytes, generation: Generation) -> None:
    try:
        generation.take(json.loads(body))
    except (ValueError, RecursionError):
        generation.error = f"it sent {_excerpt(body)!r}, which is not JSON"
    generation.done = True


def _payload(question: Question, model: str) -> tuple[str, bytes]:
    wish: dict[str, Any] = {
        "model": model,
        "max_tokens": question.max_tokens,
        "temperature": 0,
        "stream": question.stream,
    }
    if question.stream:
        wish["stream_options"] = {"include_usage": True}
    if question.endpoint == "chat":
        path, wish["messages"] = "/v1/chat/completions", [{"role": "user", "content": question.prompt}]
    else:
        path, wish["prompt"] = "/v1/completions", question.prompt
    return path, json.dumps(wish).encode("utf-8")


def _headers(question: Question) -> dict[str, str]:
    headers = {"Accept": "application/json, text/event-stream", "User-Agent": "airgap.inference"}
    if question.key is not None:
        headers["Authorization"] = f"Bearer {question.key}"
    return headers


def _accept(question: Question, reply: Reply, path: str, body: bytes) -> None:
    """Sort out the answers that mean the same wherever they come from."""
    address = question.address
    if reply.status in (401, 403):
        if question.key is None:
            raise AirgapError(
                f"{address} answers {path} with {reply.status}: it wants an API key, and none was given. State api_key"
            )
        raise AirgapError(
            f"{address} answers {path} with {reply.status}: it does not accept this API key. Check that the key's SHA-256 "
            "stands in airgap_clients and that the gateway was deployed since"
        )
    if reply.status in _NOT_READY:
        raise NotReady(
            f"{address} answers {path} with {reply.status} {reply.reason}: the engine is starting, or is down. {_LOOK}"
        )
    if 300 <= reply.status < 400:
        raise AirgapError(
            f"{address} answers {path} with {reply.status} and points to {reply.headers.get('location', '')[:200]!r}: state that address"
        )
    if reply.status >= 500:
        raise AirgapError(f"{address} answers {path} with {reply.status} {reply.reason}: {_excerpt(body)}. {_LOOK}")


def _unknown_model(question: Question, model: str, models: list[str]) -> str:
    return f"{question.address} does not serve the model {model!r}. It serves: {', '.join(sorted(models)[:50])}"


def _cannot_generate(question: Question, reason: str) -> str:
    up = question.health_path or "/v1/models"
    return f"{question.address} answers {up} and cannot generate: {reason}. {_LOOK}"


def _so_far(generation: Generation) -> str:
    return f"{generation.chunks} chunks had come" if generation.chunks else "nothing had come"


def error_text(event: dict[str, Any]) -> str:
    """The message in an error object, in either of the forms that engines use."""
    error = event.get("error")
    message = error.get("message") if isinstance(error, dict) else error or event.get("message")
    return str(message if message else json.dumps(event))[:500]


def _excerpt(body: bytes) -> str:
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        event = None
    text = error_text(event) if isinstance(event, dict) else body[:400].decode("utf-8", "replace")
    return " ".join(text.split()) or "(an empty body)"
