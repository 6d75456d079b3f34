# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of an engine's log tells why it failed."""

from __future__ import annotations

import re
from typing import Sequence

# "(EngineCore pid=25) ERROR 11-21 04:19:21 [core.py:402] " and the like, before what was really said.
_PREFIX = re.compile(
    r"^(?:\([\w -]+ pid=\d+\)\s)?(?:(?:ERROR|WARNING|INFO|DEBUG)\s\d\d-\d\d\s[\d:.,]+\s(?:\[[^\]]*\]\s?)?)?"
)
_OF_A_NETWORK = re.compile(r"https?://|name resolution|resolve host|unreachable|getaddrinfo", re.IGNORECASE)
# What follows an exception and does not belong to its message.
_NOT_OF_IT = ("Traceback", "During handling", "The above exception", "[")
_EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Failure)\b(?::.*|\s*)$")


def last_words(log: str, limit: int = 12) -> str:
    """What an engine said when it failed: its exceptions where there are any, the first of which is the cause."""
    return errors(log) or "\n".join(_taken_apart(line)[1] for line in log.splitlines()[-limit:]) or "(it said nothing)"


def errors(log: str) -> str:
    """The exceptions in a log, or nothing."""
    pairs = [_taken_apart(line) for line in log.splitlines()]
    lines = [text for _prefix, text in pairs]
    said: dict[str, str] = {}
    for at, (prefix, line) in enumerate(pairs):
        if not _EXCEPTION.match(line) or not _follows_a_stack(lines, at):
            continue
        message = [line]
        # A message of several lines goes on in the same record of the log.
        for more_prefix, more in pairs[at + 1 : at + 6]:
            if more_prefix != prefix or not more.strip() or _EXCEPTION.match(more) or more.startswith(_NOT_OF_IT):
                break
            message.append(more)
        said.setdefault(line, "\n".join(message)[:1500])
    return "\n".join(list(said.values())[:4])


def of_a_network(log: str) -> str:
    """The last lines of a log that speak of a network."""
    lines = [text.strip()[:400] for _prefix, text in map(_taken_apart, log.splitlines()) if _OF_A_NETWORK.search(text)]
    return "The engine said:\n" + "\n".join(list(dict.fromkeys(lines))[-6:]) + "\n" if lines else ""


def _taken_apart(line: str) -> tuple[str, str]:
    """What the engine's logging put before, and what was said."""
    text = _PREFIX.sub("", line.rstrip())
    return line.rstrip()[: len(line.rstrip()) - len(text)], text


def _follows_a_stack(lines: Sequence[str], at: int) -> bool:
    """Whether an indented line of a stack, or the head of one, stands closely before."""
    return any(line.startswith(("  ", "Traceback")) for line in lines[max(0, at - 3) : at])
