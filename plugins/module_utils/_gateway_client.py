# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one client sees behind the lock: its models, an answer of each, a refused model, its limits."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import math
import re
import time
from functools import partial
from typing import Any, Callable, Iterator, Mapping, NamedTuple, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import _http, _openai, _probe_request, _seat
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._seat import Answer, Seat

Look = Callable[[], str]

_RATE = re.compile(r"(\d+)r/([sm])\Z")
_UNKNOWN_MODEL = "no-such-model"
# Requests at the same time while a rate is tried, and held open while a concurrency is.
_ABREAST = 4
_MOST_HELD = 32
# What every answer of the gateway must carry.
_HEADERS = {"x-content-type-options": "nosniff", "cache-control": "no-store"}


class NotMade(Exception):
    """Why a check was not made; that is told, and no failure."""


class Check(NamedTuple):
    """One line of the report."""

    subject: str
    client: str
    ok: bool
    detail: str
    made: bool = True


class Client(NamedTuple):
    """A client to verify with: its key, and what the site says of it."""

    name: str
    key: str
    models: Sequence[str] | None = None
    rate: str = ""
    burst: int = 0
    concurrency: int = 0
    metrics: bool = False
    fault: str = ""


class Instance(NamedTuple):
    """What is expected behind the gateway: the names that it serves, the first its model's, and what it is asked."""

    name: str
    models: Sequence[str]
    task: str = "generate"
    probe: Mapping[str, Any] | None = None


class Asked(NamedTuple):
    """A request that the gateway's audit log must know."""

    id: str
    client: str
    path: str
    status: int
    model: str = ""
    tokens: bool = False

    @classmethod
    def of(cls, answer: Answer, client: str, path: str, model: str = "", tokens: bool = False) -> Asked:
        return cls(answer.headers.get("x-request-id", ""), client, path, answer.status, model, tokens)


def bearer(key: str | None) -> dict[str, str]:
    """The headers of a request with this key."""
    headers = {"Accept": "application/json, text/event-stream", "User-Agent": "airgap.inference"}
    return {**headers, "Authorization": f"Bearer {key}"} if key else headers


def error_form(answer: Answer, what: str) -> str:
    """The code of an error in the API's own shape."""
    try:
        error = json.loads(answer.body)["error"]
        return str(error["code"]) if error["message"] else ""
    except (ValueError, KeyError, TypeError, RecursionError) as wrong:
        raise AirgapError(
            f"{what} is answered with {answer.status} and a body that is no error of the API: {answer.body[:200]!r}"
        ) from wrong


class Looker:
    """All looks of one client at one gateway."""

    def __init__(
        self, seat: Seat, client: Client, instances: Sequence[Instance], marker: str, asked: list[Asked]
    ) -> None:
        self.seat = seat
        self.client = client
        self.instances = instances
        self.marker = marker
        self.asked = asked
        self.headers = {**bearer(client.key), "Content-Type": "application/json"}

    def looks(self, most_requests: int) -> Iterator[tuple[str, Look]]:
        """Subject and look, in order; limits come last, since they are used up then."""
        yield "models", self._models
        yield "headers", self._response_headers
        for subject, probe in self._probes():
            yield subject, partial(self._plain, probe)
            if probe.streams:
                yield subject, partial(self._streamed, probe)
        yield "models", partial(self._refused_model, self._foreign(), 403, "model_not_allowed")
        yield "models", partial(self._refused_model, _UNKNOWN_MODEL, 404, "model_not_found")
        if self.client.concurrency:
            yield "limits", self._concurrency
        if self.client.rate:
            yield "limits", partial(self._rate, most_requests)

    def _served(self) -> list[str]:
        return list(dict.fromkeys(model for instance in self.instances for model in instance.models))

    def _allowed(self) -> list[str]:
        models = self.client.models
        return [model for model in self._served() if models is None or model in models]

    def _foreign(self) -> str:
        """A model that is served here, and not to this client."""
        return next((model for model in self._served() if model not in self._allowed()), "")

    def _probes(self) -> Iterator[tuple[str, _probe_request.Probe]]:
        """One a name that is served: replicas, and instances with the same model, are one to clients."""
        for model in self._allowed():
            serving = [instance for instance in self.instances if model in instance.models]
            first = serving[0]
            probe = _probe_request.make(first.probe, first.task, model, first.models[0], self.marker)
            yield ", ".join(instance.name for instance in serving), probe

    def _ask(self, method: str, path: str, body: bytes | None = None, model: str = "") -> Answer:
        answer = _seat.patiently(self.seat, method, path, body, self.headers)
        self.asked.append(Asked.of(answer, self.client.name, path, model))
        return answer

    def _models(self) -> str:
        answer = self._ask("GET", "/v1/models")
        self._accept(answer, "GET /v1/models")
        try:
            listed = sorted(str(entry["id"]) for entry in json.loads(answer.body)["data"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise AirgapError(f"GET /v1/models is answered with no list of models: {answer.body[:200]!r}") from error
        expected = sorted(self._allowed())
        if listed != expected:
            raise AirgapError(
                f"/v1/models lists {', '.join(listed) or 'nothing'}, and this client may use {', '.join(expected) or 'nothing'}"
            )
        return f"/v1/models lists {', '.join(listed) or 'nothing'}"

    def _response_headers(self) -> str:
        answer = self._ask("GET", "/v1/models")
        self._accept(answer, "GET /v1/models")
        faults = [
            f"{name} is {answer.headers.get(name) or 'absent'}, not {value}"
            for name, value in _HEADERS.items()
            if value not in answer.headers.get(name, "")
        ]
        if not answer.headers.get("x-request-id"):
            faults.append("x-request-id is absent: no line of the audit log could be found by it")
        if not answer.headers.get("content-type", "").startswith("application/json"):
            faults.append(f"content-type is {answer.headers.get('content-type') or 'absent'}, not application/json")
        if re.search(r"\d", answer.headers.get("server", "")) or "x-powered-by" in answer.headers:
            faults.append("server or x-powered-by tells a version")
        if faults:
            raise AirgapError(f"headers: {'; '.join(faults)}")
        return "nosniff, no-store, a request id, no version of the server"

    def _plain(self, probe: _probe_request.Probe) -> str:
        model = self._name(probe)
        started = time.monotonic()
        answer = self._ask("POST", probe.path, probe.encoded(), model)
        self._accept(answer, f"POST {probe.path} for {model}")
        reason = _probe_request.shortcoming(probe, answer.body)
        if reason is not None:
            raise AirgapError(f"{model} cannot generate: POST {probe.path}: {reason}")
        milliseconds = (time.monotonic() - started) * 1000
        body = json.loads(answer.body)
        # What the engine counts, the audit log must know.
        self.asked[-1] = self.asked[-1]._replace(tokens=isinstance(body.get("usage"), dict))
        return f"{_summary(probe, model, body)} in {milliseconds:.0f} ms"

    def _streamed(self, probe: _probe_request.Probe) -> str:
        model = self._name(probe)
        what = f"POST {probe.path} for {model}"
        deadline = time.monotonic() + self.seat.timeout
        while True:
            generation = _openai.Generation()
            with _seat.reply(self.seat, "POST", probe.path, probe.encoded(stream=True), self.headers) as reply:
                body = b""
                if reply.status == 200:
                    _openai._follow(reply, generation)
                else:
                    body = _http.read_all(reply)
            answer = Answer(reply.status, reply.headers, body)
            wait = _seat.pause(answer)
            if wait is None or time.monotonic() + wait > deadline:
                break
            time.sleep(wait)
        self.asked.append(Asked.of(answer, self.client.name, probe.path, model, generation.tokens is not None))
        self._accept(answer, what)
        reason = _openai.shortcoming(generation, True)
        if reason is not None:
            raise AirgapError(f"{model} cannot generate: {what} {reason}")
        tokens = generation.tokens if generation.tokens is not None else generation.chunks
        return f"streamed generation by {model}: {tokens} tokens, first after {generation.ttft_ms or 0:.0f} ms"

    def _refused_model(self, model: str, status: int, code: str) -> str:
        if not model:
            raise NotMade("a refused model was not tried: this client may use all that are served here")
        serving = [instance for instance in self.instances if model in instance.models] or list(self.instances)
        if not serving:
            raise NotMade(f"{model} was not asked for: no instance is expected here")
        first = serving[0]
        probe = _probe_request.make(first.probe, first.task, model, first.models[0], self.marker)
        answer = self._ask("POST", probe.path, probe.encoded(), model)
        what = f"POST {probe.path} for {model}"
        if answer.status != status:
            raise AirgapError(f"{what} is answered with {answer.status}, not {status}")
        told = error_form(answer, what)
        if told != code:
            raise AirgapError(f"{what} is answered with {status} and the code {told}, not {code}")
        return f"{what}: {status} {code}"

    def _concurrency(self) -> str:
        held = self.client.concurrency
        if held > _MOST_HELD:
            raise NotMade(f"the limit of {held} concurrent requests was not tried: verify holds {_MOST_HELD} at most")
        rate = per_second(self.client.rate)
        if rate is not None and self.client.burst < held + 1:
            raise NotMade(f"the limit of {held} concurrent requests was not tried: the rate's burst is smaller")
        if rate is not None:
            # What was asked so far has used the burst up.
            time.sleep(min(5.0, (held + 2) / rate))
        path = "/v1/chat/completions"
        head = f"POST {self.seat.address.prefix}{path} HTTP/1.1\r\nHost: {self.seat.address.host}\r\nContent-Length: 64\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        with contextlib.ExitStack() as open_ones:
            for _number in range(held):
                # A request whose body does not come is one that is at work.
                tls = open_ones.enter_context(_seat.handshake(self.seat, _http.tls_context(self.seat.address)))
                tls.sendall(f"{head}\r\n".encode("ascii"))
            answers = []
            for _attempt in range(10):
                time.sleep(0.1)
                answers.append(_seat.ask(self.seat, "GET", "/v1/models", None, self.headers))
                if answers[-1].status == 429:
                    break
        self.asked.append(Asked.of(answers[-1], self.client.name, "/v1/models"))
        return _bitten(answers, f"{held} requests at the same time")

    def _rate(self, most_requests: int) -> str:
        rate = per_second(self.client.rate)
        if rate is None:
            raise NotMade(f"the rate {self.client.rate!r} was not tried: it is not of the form 10r/s or 30r/m")
        # Two seconds' worth comes on top while they are sent.
        count = self.client.burst + 2 + math.ceil(2 * rate)
        if count > most_requests:
            raise NotMade(
                f"the rate {self.client.rate} with burst {self.client.burst} was not tried: it takes {count} requests, and verify "
                f"sends {most_requests} at most"
            )
        abreast = min(_ABREAST, self.client.concurrency or _ABREAST)
        with concurrent.futures.ThreadPoolExecutor(abreast) as threads:
            answers = list(threads.map(lambda _number: self._quick(), range(count)))
        refused = [answer for answer in answers if answer.status == 429]
        self.asked.extend(Asked.of(answer, self.client.name, "/v1/models") for answer in refused[:1])
        return _bitten([*answers, *refused[:1]], f"{self.client.rate} with burst {self.client.burst}")

    def _quick(self) -> Answer:
        return _seat.ask(self.seat, "GET", "/v1/models", None, self.headers)

    def _name(self, probe: _probe_request.Probe) -> str:
        return str(probe.body.get("model") or probe.path)

    def _accept(self, answer: Answer, what: str) -> None:
        """Say what an answer that is not 200 means."""
        if answer.status == 200:
            return
        if answer.status in (401, 403):
            raise AirgapError(
                f"{what} is answered with {answer.status}: the gateway does not accept the key of {self.client.name}. Check that "
                "the key's SHA-256 stands in airgap_clients and that the gateway was deployed since"
            )
        if answer.status == 429:
            raise AirgapError(
                f"{what} is answered with 429: the limits of {self.client.name} stay used up. Try again later"
            )
        said = answer.body[:300].decode("utf-8", "replace")
        if answer.status >= 500:
            raise AirgapError(
                f"{what} is answered with {answer.status}: the engine is starting, or cannot generate. Look at the engine's log on "
                f"its host (journalctl -u 'airgap-inference@*'). The answer: {said}"
            )
        raise AirgapError(f"{what} is answered with {answer.status}, not 200: {said}")


def per_second(rate: str) -> float | None:
    """A rate as nginx writes it, in requests a second."""
    match = _RATE.match(rate)
    return None if match is None else int(match.group(1)) / (1 if match.group(2) == "s" else 60)


def _bitten(answers: Sequence[Answer], limit: str) -> str:
    """The last answer must be a 429 of the right form."""
    last = answers[-1]
    if last.status != 429:
        raise AirgapError(
            f"the limit of {limit} does not bite: {len(answers)} requests, and the last is answered with {last.status}"
        )
    if not last.headers.get("retry-after", "").isdigit():
        raise AirgapError(f"the limit of {limit} bites, and the 429 has no Retry-After")
    error_form(last, "a request above the limit")
    return f"the limit of {limit} bites: 429, Retry-After {last.headers['retry-after']}"


def _summary(probe: _probe_request.Probe, model: str, answer: Mapping[str, Any]) -> str:
    if probe.expects == "embedding":
        return f"embedding by {model}: {len(_probe_request.vector(answer))} numbers"
    if probe.expects == "ranking":
        return f"ranking by {model}: {_probe_request.ranked(answer)} documents"
    usage = answer.get("usage")
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    return f"generation by {model}: {tokens} tokens" if tokens else f"answer of {model}"
