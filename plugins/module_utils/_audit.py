# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gateway's audit log says of requests that were made to be found there."""

from __future__ import annotations

import json
import time
from typing import Any, Iterator, Mapping, NamedTuple, Sequence

from ansible_collections.airgap.inference.plugins.module_utils._command import last_words, run
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

# Names under which a prompt, an answer or a key would stand.
_FORBIDDEN = ("prompt", "messages", "input", "query", "content", "completion", "text", "authorization", "key", "token")


class Log(NamedTuple):
    """The lines of the log by request id, and whether anything in it looks like what it must not hold."""

    entries: dict[str, dict[str, Any]]
    lines: int
    marked: int


def read(namespace: str, since: str, marker: str) -> Log:
    """The lines that the journal's namespace has from a time on."""
    argv = ["journalctl", f"--namespace={namespace}", "--output=cat", "--no-pager", "--quiet", "--all"]
    result = run([*argv, f"--since={since}"] if since else argv)
    if result.rc != 0:
        raise AirgapError(
            f"The journal {namespace} cannot be read ({last_words(result)}): the gateway writes its audit log there; look at "
            f"systemctl status airgap-gateway systemd-journald@{namespace}"
        )
    return parse(result.stdout.decode("utf-8", "replace"), marker)


def parse(text: str, marker: str) -> Log:
    """Lines that are no JSON objects are nginx's own words."""
    entries: dict[str, dict[str, Any]] = {}
    lines = text.splitlines()
    for line in lines:
        if not line.startswith("{"):
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict) and entry.get("id"):
            entries[str(entry["id"])] = entry
    return Log(entries, len(lines), sum(marker in line for line in lines) if marker else 0)


def wait_for(namespace: str, since: str, marker: str, ids: Sequence[str], timeout: int) -> Log:
    """Read until all requests are there, since the journal is written a moment later."""
    deadline = time.monotonic() + timeout
    while True:
        log = read(namespace, since, marker)
        if all(name in log.entries for name in ids) or time.monotonic() > deadline:
            return log
        time.sleep(0.5)


def faults(request: Mapping[str, Any], log: Log) -> list[str]:
    """What is wrong with the line of one request."""
    entry = log.entries.get(str(request["id"]))
    if entry is None:
        return [
            f"the audit log has no line for the request {request['id'] or '(which got no id)'} to {request['path']}"
        ]
    found = []
    for field in ("client", "status", "path"):
        if str(entry.get(field, "")) != str(request.get(field, "")):
            found.append(f"{field} is {entry.get(field)!r}, not {request.get(field)!r}")
    # A request that is refused before its body is read has no model.
    if request.get("model") and int(request["status"]) == 200 and entry.get("model") != request["model"]:
        found.append(f"model is {entry.get('model')!r}, not {request['model']!r}")
    if int(request["status"]) >= 400 and not entry.get("refused"):
        found.append("refused does not say why")
    if request.get("tokens") and not any(_number(entry.get(name)) for name in ("prompt_tokens", "completion_tokens")):
        found.append("it holds no number of tokens, though the engine reported them")
    secret = sorted(name for name in entry if name.lower() in _FORBIDDEN)
    if secret:
        found.append(f"it has fields that an audit log must not have: {', '.join(secret)}")
    return [f"the line of {request['path']} ({request['id']}): {fault}" for fault in found]


def checks(requests: Sequence[Mapping[str, Any]], log: Log) -> Iterator[dict[str, Any]]:
    """One check a client, and one for what must not be there."""
    for client in dict.fromkeys(str(request.get("client", "")) for request in requests):
        own = [request for request in requests if str(request.get("client", "")) == client]
        wrong = [fault for request in own for fault in faults(request, log)]
        if wrong:
            more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
            detail = "; ".join(wrong[:3]) + more
        else:
            tokens = sum(1 for request in own if request.get("tokens"))
            served = sorted({str(log.entries[str(request["id"])].get("instance") or "") for request in own} - {""})
            detail = f"the audit log has a line for each of {len(own)} requests, {tokens} of them with tokens"
            detail += f"; answered by {', '.join(served)}" if served else ""
        yield {"subject": "audit", "client": client, "ok": not wrong, "made": True, "detail": detail}
    detail = f"no prompt in the {log.lines} lines of the audit log since verify began"
    if log.marked:
        detail = f"{log.marked} lines of the audit log hold the prompt"
    elif not log.lines:
        detail = "whether the audit log holds prompts was not seen: it has no line since verify began"
    yield {"subject": "audit", "client": "", "ok": not log.marked, "made": log.lines > 0, "detail": detail}


def _number(value: Any) -> int:
    text = str(value)
    return int(text) if text.isdigit() else 0
