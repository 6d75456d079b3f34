# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a line of the audit log must say of a request, and what none may hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _audit, _command
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

MARKER = "airgap-acceptance-1234"
LINE = {
    "time": "2026-11-21T09:30:00+00:00", "id": "a1", "client": "radiology", "path": "/v1/chat/completions", "status": 200,
    "model": "tiny", "instance": "chat-1", "refused": "", "prompt_tokens": 5, "completion_tokens": "16",
}  # fmt: skip
REQUEST = {
    "id": "a1",
    "client": "radiology",
    "path": "/v1/chat/completions",
    "status": 200,
    "model": "tiny",
    "tokens": True,
}


def check(line: dict[str, Any] | None, *more: str, **request: Any) -> list[dict[str, Any]]:
    text = "\n".join([*more, *([json.dumps(line)] if line else [])])
    return list(_audit.checks([{**REQUEST, **request}], _audit.parse(text, MARKER)))


def test_a_right_line_is_told() -> None:
    first, second = check(LINE, "2026/11/21 09:30:00 [notice] 1#1: start worker processes", "no JSON")
    assert first["ok"]
    assert first["client"] == "radiology"
    assert first["detail"] == (
        "the audit log has a line for each of 1 requests, 1 of them with tokens; answered by chat-1"
    )
    assert second["ok"]
    assert second["detail"] == "no prompt in the 3 lines of the audit log since verify began"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"id": "other"}, "no line for the request a1 to /v1/chat/completions"),
        ({"client": ""}, "client is '', not 'radiology'"),
        ({"status": 499}, "status is 499, not 200"),
        ({"model": "other"}, "model is 'other', not 'tiny'"),
        ({"prompt_tokens": None, "completion_tokens": ""}, "no number of tokens"),
        ({"prompt": "Hello"}, "must not have: prompt"),
    ],
)
def test_a_wrong_line_is_a_fault(line: dict[str, Any], words: str) -> None:
    first = check({**LINE, **line})[0]
    assert not first["ok"]
    assert words in first["detail"]


def test_a_refusal_says_why() -> None:
    refused = {**LINE, "status": 403, "instance": "", "prompt_tokens": None, "completion_tokens": None}
    asked = {"status": 403, "tokens": False}
    assert "refused does not say why" in check(refused, **asked)[0]["detail"]
    assert check({**refused, "refused": "model_not_allowed", "model": ""}, **asked)[0]["ok"]


def test_what_an_engine_answers_badly_nobody_refused() -> None:
    dead = {**LINE, "status": 500, "prompt_tokens": None, "completion_tokens": None}
    assert check(dead, status=500, tokens=False)[0]["ok"]


def test_many_faults_are_counted() -> None:
    requests = [{**REQUEST, "id": str(number)} for number in range(5)]
    assert next(_audit.checks(requests, _audit.parse("", MARKER)))["detail"].endswith("(and 2 more)")


def test_a_prompt_anywhere_is_a_fault() -> None:
    checks = check(LINE, f"error: upstream sent {MARKER}")
    assert [entry["ok"] for entry in checks] == [True, False]


def test_an_empty_log_proves_nothing() -> None:
    last = list(_audit.checks([REQUEST], _audit.parse("", MARKER)))[-1]
    assert (last["ok"], last["made"]) == (True, False)


def test_lines_that_cannot_be_read_are_told() -> None:
    first, second, third = check(LINE, '{"time":"2026-11-21T09:30:00+00:00","id":"a0","path":"/x', "{" * 100_000)
    assert (first["ok"], second["ok"], third["ok"]) == (True, False, True)
    assert second["detail"].startswith("2 of 3 lines of the audit log begin as JSON and are none")


def test_a_line_ends_where_journald_ends_it() -> None:
    line = json.dumps({**LINE, "path": "/\u2028\x85"}, ensure_ascii=False)
    assert _audit.parse(line, "") == _audit.Log({"a1": json.loads(line)}, 1, 0)


def test_a_stranger_may_be_among_those_that_are_only_counted() -> None:
    asked = {"id": "b2", "client": "", "status": 401, "model": "", "tokens": False}
    assert not check(LINE, **asked)[0]["ok"]
    first = check({**LINE, "unlogged": 70}, **asked)[0]
    assert first["ok"]
    assert first["detail"].endswith("1 are among the 70 without a valid key that it only counts")
    # A client's line is never left out.
    assert not check({**LINE, "unlogged": 70}, id="b2")[0]["ok"]


class Journal:
    """Stands for journalctl: what it says at each call."""

    def __init__(self, *said: str, rc: int = 0) -> None:
        self.said = list(said)
        self.rc = rc
        self.argv: list[str] = []

    def __call__(self, argv: list[str]) -> _command.Result:
        self.argv = argv
        text = self.said.pop(0) if len(self.said) > 1 else self.said[0]
        return _command.Result(self.rc, text.encode(), text if self.rc else "")


def test_lines_that_come_later_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal("", json.dumps(LINE))
    monkeypatch.setattr(_audit, "run", journal)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    assert _audit.wait_for("airgap-gateway", "-90s", MARKER, ["a1"], 5).entries["a1"]["model"] == "tiny"
    assert journal.argv[:2] == ["journalctl", "--namespace=airgap-gateway"]
    assert journal.argv[-1] == "--since=-90s"


def test_a_journal_that_cannot_be_read_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_audit, "run", Journal("Failed to open", rc=1))
    with pytest.raises(AirgapError, match=r"journal airgap-gateway cannot be read \(Failed to open\)"):
        _audit.read("airgap-gateway", "", MARKER)
