# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a unit said, from systemd's journal."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils._command import run

_FIELDS = "MESSAGE,INVOCATION_ID,_SYSTEMD_INVOCATION_ID"
# An engine that fails says less; one that is restarted for hours says more.
_MOST = 20000


class Entry(NamedTuple):
    """One record."""

    time: float
    invocation: str
    text: str


def last_lines(unit: str, lines: int) -> str:
    """The end of what a unit said."""
    return "\n".join(entry.text for entry in _read(unit, [f"--lines={max(1, lines)}"]))


def first_attempt(unit: str, since: float) -> str:
    """What a unit said at its first start since then, and not at those that followed of themselves."""
    return of_first_attempt(_read(unit, [f"--since=@{int(since)}", f"--lines={_MOST}"]), since)


def of_first_attempt(entries: list[Entry], since: float) -> str:
    """The same, of entries that were read."""
    late = [entry for entry in entries if entry.time >= since]
    first = next((entry.invocation for entry in late if entry.invocation), "")
    return "\n".join(entry.text for entry in late if entry.invocation in ("", first))


def parse(output: str) -> list[Entry]:
    """What journalctl writes with --output=json, a record a line."""
    return [_entry(json.loads(line)) for line in output.splitlines() if line.startswith("{")]


def _read(unit: str, options: list[str]) -> list[Entry]:
    result = run(
        ["journalctl", "--unit", unit, "--output=json", f"--output-fields={_FIELDS}", "--all", "--no-pager", *options]
    )
    return parse(result.stdout.decode("utf-8", "replace")) if result.rc == 0 else []


def _entry(record: dict[str, Any]) -> Entry:
    # What systemd itself says of a unit has the unit's invocation in the first of the two.
    invocation = record.get("INVOCATION_ID") or record.get("_SYSTEMD_INVOCATION_ID") or ""
    return Entry(int(record.get("__REALTIME_TIMESTAMP") or 0) / 1e6, str(invocation), _text(record.get("MESSAGE")))


def _text(message: Any) -> str:
    """Letters beyond plain text come as the numbers of their bytes; a field that stands twice as a list of texts."""
    if isinstance(message, str):
        return message
    if isinstance(message, list) and all(isinstance(part, int) for part in message):
        return bytes(message).decode("utf-8", "replace")
    if isinstance(message, list):
        return "\n".join(map(_text, message))
    return ""
