# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The line that tells a person how far a long step is."""

from __future__ import annotations

import json
from typing import Any

# Beyond this a step that does not move is worth a word.
_STILL = 20.0
_WIDTH = 60


def parse(text: str) -> dict[str, Any] | None:
    """The state as the module wrote it, or None where there is none yet."""
    try:
        state = json.loads(text)
    except ValueError:
        return None
    return state if isinstance(state, dict) else None


def format_line(state: dict[str, Any], host: str, quiet: bool = False) -> str:
    """For example: models on bastion: 12.3 of 140.2 GB (9 %), 512 MB/s, 4 min left, models/llama-3.1-8b/…

    quiet leaves out what is at work: for a task that must not be logged.
    """
    done, total = _number(state, "done"), _number(state, "total")
    rate, idle = _number(state, "rate"), _number(state, "idle")
    said = []
    if total > 0:
        said.append(f"{_amount(done, total)} ({min(100, int(100 * done / total))} %)")
    elif done > 0:
        said.append(size(done))
    if not said:
        said.append(f"for {duration(_number(state, 'seconds'))}")
    elif idle >= _STILL:
        said.append(f"nothing new for {duration(idle)}")
    else:
        # Slower than this is the end of a movement, and would promise years.
        if rate >= 1:
            said.append(f"{size(rate)}/s")
        if rate >= 1 and total > done:
            said.append(f"{duration((total - done) / rate)} left")
    at = "" if quiet else _plain(state.get("at", ""))
    if at:
        said.append(at)
    return f"{_plain(state.get('label', ''))} on {host}: {', '.join(said)}"


def pause(elapsed: float) -> float:
    """How long after one line the next may come: 5 seconds at first, 30 when the step has lasted some minutes."""
    return min(30.0, max(5.0, elapsed / 10))


def size(count: float) -> str:
    """Bytes as drives and networks are sold, in powers of ten."""
    divisor, unit = _unit(count)
    return f"{count / divisor:.{_digits(count / divisor, unit)}f} {unit}"


def duration(seconds: float) -> str:
    """A time as a person says it, no more exact than an estimate is."""
    seconds = max(0, round(seconds))
    if seconds < 90:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02} min"


def _amount(done: float, total: float) -> str:
    divisor, unit = _unit(total)
    digits = 1 if divisor > 1e6 else 0
    return f"{done / divisor:.{digits}f} of {total / divisor:.{digits}f} {unit}"


def _unit(count: float) -> tuple[float, str]:
    units = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
    return next(((divisor, unit) for divisor, unit in units if count >= divisor), (1.0, "B"))


def _digits(count: float, unit: str) -> int:
    return 1 if unit != "B" and count < 10 else 0


def _number(state: dict[str, Any], name: str) -> float:
    value = state.get(name, 0)
    return float(value) if isinstance(value, (int, float)) else 0.0


def _plain(value: object) -> str:
    """One short line without control characters: the name of a file may hold any."""
    text = "".join(character if character.isprintable() else "?" for character in str(value))
    return text if len(text) <= _WIDTH else "…" + text[1 - _WIDTH :]
