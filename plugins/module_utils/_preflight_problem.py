# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A problem as a person reads it: what, where in the inventory, the value seen, the remedy. Hosts that share it are told together."""

from __future__ import annotations

import textwrap
from typing import Any, Iterator, NamedTuple, Sequence

# It cannot work; or it works otherwise than meant, or cannot be told.
STOPS, WARNS = "stops", "warns"

# Ansible prints a list of lines indented by 8 and in quotes; a terminal and AWX's log show 120 columns.
WIDTH = 108


class Problem(NamedTuple):
    """One problem of a site, of some of its hosts, or of an instance on them."""

    hosts: tuple[str, ...]
    instance: str
    level: str
    what: Sequence[str]
    where: Sequence[str] = ()
    remedies: Sequence[str] = ()
    verdict: str = ""

    @staticmethod
    def merged(problems: Sequence[Problem]) -> list[Problem]:
        """The same problem of several hosts is one; those that stop come first."""
        found: dict[tuple[Any, ...], list[str]] = {}
        for problem in problems:
            key = (
                problem.level != STOPS, problem.instance, tuple(problem.what), tuple(problem.where), tuple(problem.remedies), problem.verdict,
            )  # fmt: skip
            found.setdefault(key, []).extend(host for host in problem.hosts if host not in found.get(key, []))
        return [
            Problem(tuple(hosts), key[1], WARNS if key[0] else STOPS, list(key[2]), list(key[3]), list(key[4]), key[5])
            for key, hosts in sorted(found.items(), key=lambda entry: entry[0][0])
        ]

    def document(self) -> dict[str, Any]:
        """As data."""
        return {
            **self._asdict(),
            "hosts": list(self.hosts),
            "what": list(self.what),
            "where": list(self.where),
            "remedies": list(self.remedies),
        }

    @staticmethod
    def read(data: dict[str, Any]) -> Problem:
        return Problem(
            tuple(data["hosts"]),
            data["instance"],
            data["level"],
            data["what"],
            data["where"],
            data["remedies"],
            data["verdict"],
        )


def paragraphs(problems: Sequence[Problem]) -> list[str]:
    """One paragraph a problem, numbered, in lines that fit."""
    lines: list[str] = []
    for number, problem in enumerate(problems, 1):
        who = _hosts(problem.hosts)
        if problem.instance:
            who = f"{who}: instance {problem.instance}" if who else f"instance {problem.instance}"
        verdict = problem.verdict or ("cannot work" if problem.level == STOPS else "worth knowing")
        lines.extend(_wrapped(f"{number}. {who or 'the site'}: {verdict}", "   ", ""))
        lines.extend(_labelled("What", problem.what))
        lines.extend(_labelled("Where", problem.where))
        lines.extend(_labelled("Remedy", problem.remedies))
        lines.append("")
    return lines[:-1]


def _hosts(hosts: Sequence[str]) -> str:
    if len(hosts) <= 6:
        return ", ".join(hosts)
    return f"{', '.join(hosts[:5])} and {len(hosts) - 5} more hosts"


def _labelled(label: str, texts: Sequence[str]) -> Iterator[str]:
    first = f"   {label + ':':<8}"
    for text in texts:
        yield from _wrapped(text, " " * len(first) + "  ", first)
        first = " " * len(first)


def _wrapped(text: str, following: str, first: str) -> list[str]:
    # A double quote would be printed with a backslash before it.
    plain = " ".join(str(text).replace('"', "'").split())
    return textwrap.wrap(
        plain, WIDTH, initial_indent=first, subsequent_indent=following, break_long_words=False, break_on_hyphens=False
    ) or [first.rstrip()]
