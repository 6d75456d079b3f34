# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal's records, as journalctl 252 writes them with --output=json."""

from __future__ import annotations

import json

from ansible_collections.airgap.inference.plugins.module_utils import _journal


def record(seconds: int, message: object, invocation: str = "", of_systemd: bool = False) -> str:
    fields = {"__REALTIME_TIMESTAMP": str(seconds * 1_000_000), "MESSAGE": message, "__CURSOR": "s=1"}
    if invocation:
        fields["INVOCATION_ID" if of_systemd else "_SYSTEMD_INVOCATION_ID"] = invocation
    return json.dumps(fields)


def test_the_first_attempt_is_told_from_those_before_and_after() -> None:
    output = "\n".join(
        [
            record(10, "Stopping the old one", "a", of_systemd=True),
            record(20, "Starting", "b", of_systemd=True),
            record(21, "ValueError: no", "b"),
            record(22, "a word of nobody"),
            record(26, "Starting again", "c", of_systemd=True),
            record(27, "ValueError: no, again", "c"),
        ]
    )
    entries = _journal.parse("-- No entries --\n" + output)
    assert _journal.of_first_attempt(entries, 15) == "Starting\nValueError: no\na word of nobody"
    assert _journal.of_first_attempt(entries, 30) == ""


def test_messages_of_all_forms_are_read() -> None:
    bytes_ = list("\x1b[31mred é".encode())
    texts = [
        entry.text for entry in _journal.parse("\n".join(record(1, one) for one in ("a", bytes_, ["a", "b"], None)))
    ]
    assert texts == ["a", "\x1b[31mred é", "a\nb", ""]
