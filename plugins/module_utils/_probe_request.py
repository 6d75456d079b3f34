# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a model is asked, and whether its answer is one: text, an embedding or a ranking."""

from __future__ import annotations

import json
from typing import Any, Mapping, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils import _await_answer

# What each task is asked when the engine's own probe is not known.
PROBES: dict[str, dict[str, Any]] = {
    "generate": {
        "path": "/v1/chat/completions",
        "body": {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 16},
        "expects": "text",
    },
    "embed": {"path": "/v1/embeddings", "body": {"input": "Hello"}, "expects": "embedding"},
    "rerank": {
        "path": "/v1/rerank",
        "body": {"query": "Hello", "documents": ["Good day", "A stone"]},
        "expects": "ranking",
    },
}
# Paths whose answers can be streamed.
STREAMED = ("/v1/chat/completions", "/v1/completions")
_TOKENS = 16


class Probe(NamedTuple):
    """One request, and the kind of answer that proves something."""

    path: str
    body: dict[str, Any]
    expects: str

    @property
    def streams(self) -> bool:
        return self.expects == "text" and self.path in STREAMED

    def encoded(self, stream: bool = False) -> bytes:
        """The body as it is sent."""
        body = dict(self.body)
        if stream:
            body.update(stream=True, stream_options={"include_usage": True})
        return json.dumps(body).encode("utf-8")


def make(stated: Mapping[str, Any] | None, task: str, model: str, base: str, marker: str) -> Probe:
    """The probe of an instance, for one of the names that it serves; the marker is all that the prompt says."""
    data = stated or PROBES[task]
    path = str(data["path"]).replace("{model}", model)
    if base:
        path = path.replace(f"/{base}/", f"/{model}/")
    body = {name: _marked(name, value, marker) for name, value in data["body"].items()}
    # A path that names the model has bodies of another form.
    if f"/{model}/" not in path:
        body["model"] = model
    if "max_tokens" in body:
        body["max_tokens"] = _TOKENS
    return Probe(path, body, str(data["expects"]))


def shortcoming(probe: Probe, body: bytes) -> str | None:
    """Why this answer (of status 200) proves nothing, or None."""
    lack = _await_answer.lacks(probe.expects, body)
    return f"{lack}: {body[:200].decode('utf-8', 'replace')}" if lack else None


def vector(answer: Mapping[str, Any]) -> list[float]:
    """The first embedding, empty when there is none."""
    data = answer.get("data")
    first = data[0] if isinstance(data, list) and data and isinstance(data[0], dict) else {}
    numbers = first.get("embedding")
    if isinstance(numbers, list) and numbers and all(isinstance(number, (int, float)) for number in numbers):
        return [float(number) for number in numbers]
    return []


def ranked(answer: Mapping[str, Any]) -> int:
    """How many documents have a score."""
    for name in ("results", "data"):
        entries = answer.get(name)
        if isinstance(entries, list):
            return len(
                [entry for entry in entries if isinstance(entry, dict) and {"relevance_score", "score"} & set(entry)]
            )
    return 0


def _marked(name: str, value: Any, marker: str) -> Any:
    if name in ("prompt", "input", "query") and isinstance(value, str):
        return marker
    if name == "messages" and isinstance(value, list):
        return [{**message, "content": marker} for message in value]
    return value
