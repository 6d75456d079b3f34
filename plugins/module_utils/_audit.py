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
    # Lines that begin as the gateway's do and cannot be read: cut, or mixed.
    broken: int = 0
    # Requests without a valid key that got no line, since there were too many.
    unlogged: int = 0


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
    broken = 0
    # Not splitlines(), which knows more ends of lines than journald does.
    lines = [line for line in text.split("\n") if line]
    for line in lines:
        if not line.startswith("{"):
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            broken += 1
            continue
        if isinstance(entry, dict) and entry.get("id"):
            entries[str(entry["id"])] = entry
    marked = sum(marker in line for line in lines) if marker else 0
    return Log(entries, len(lines), marked, broken, sum(_number(entry.get("unlogged")) for entry in entries.values()))


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
    if entry is None and not request.get("client") and log.unlogged:
        # A stranger's, and of these the log had enough: the gateway counts them then.
        return []
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
    # What an engine itself answers badly, nobody refused.
    if int(request["status"]) >= 400 and not entry.get("refused") and not entry.get("instance"):
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
            told = [log.entries[str(request["id"])] for request in own if str(request["id"]) in log.entries]
            served = sorted({str(entry.get("instance") or "") for entry in told} - {""})
            detail = f"the audit log has a line for each of {len(told)} requests, {tokens} of them with tokens"
            if len(told) < len(own):
                detail += (
                    f"; {len(own) - len(told)} are among the {log.unlogged} without a valid key that it only counts"
                )
            detail += f"; answered by {', '.join(served)}" if served else ""
        yield {"subject": "audit", "client": client, "ok": not wrong, "made": True, "detail": detail}
    detail = f"no prompt in the {log.lines} lines of the audit log since verify began"
    if log.broken:
        yield {
            "subject": "audit",
            "client": "",
            "ok": False,
            "made": True,
            "detail": f"{log.broken} of {log.lines} lines of the audit log begin as JSON and are none: they were cut or mixed, and what "
            "they said is lost. See journalctl --namespace=airgap-gateway",
        }
    if log.marked:
        detail = f"{log.marked} lines of the audit log hold the prompt"
    elif not log.lines:
        detail = "whether the audit log holds prompts was not seen: it has no line since verify began"
    yield {"subject": "audit", "client": "", "ok": not log.marked, "made": log.lines > 0, "detail": detail}


def _number(value: Any) -> int:
    text = str(value)
    return int(text) if text.isdigit() else 0
