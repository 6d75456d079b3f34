# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The instances of a host as systemd has them, what must happen to them, and how it went."""

from __future__ import annotations

import concurrent.futures
import glob
import os
import re
import shutil
import time
from typing import Mapping, NamedTuple, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import _await_answer, _engine_log, _journal
from ansible_collections.airgap.inference.plugins.module_utils._command import Result, last_words, run
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

_UNIT = re.compile(r"airgap-inference@([^/\s]+)\.service\Z")
_WANTED = "/etc/systemd/system/*.wants/airgap-inference@*.service"
_PROPERTIES = (
    *("Id", "LoadState", "ActiveState", "SubState", "UnitFileState", "NeedDaemonReload", "Result"),
    *("FragmentPath", "ExecMainStartTimestampMonotonic", "TimeoutStopUSec"),
)
# What a running engine was started from. How long it may take to start or stop is none of it.
_DESCRIPTIONS = ("compose.yml", "relay.conf")
# What systemctl may take longer than the engines themselves: containers are made, and others finish.
_SLACK = 300
# How systemd shows a time: 1min 30s.
_TIME = re.compile(r"([\d.]+)(us|ms|s|min|h|d|w|month|y)\b")
_SECONDS = {
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1,
    "min": 60,
    "h": 3600,
    "d": 86400,
    "w": 604800,
    "month": 2629800,
    "y": 31557600,
}


class Unit(NamedTuple):
    """One instance's unit, in systemd's words."""

    name: str
    loaded: bool = False
    active: str = "inactive"
    sub: str = "dead"
    enabled: bool = False
    stale: bool = False
    result: str = ""
    fragment: str = ""
    # Microseconds of the monotonic clock; 0 where it never was.
    started: int = 0
    # Seconds that it has to finish its requests.
    stop_timeout: int = 0

    @property
    def runs(self) -> bool:
        return self.active == "active"

    @property
    def waits(self) -> bool:
        """It failed, and pauses before it is tried again."""
        return self.active == "activating" and self.sub.startswith("auto-restart")

    def __str__(self) -> str:
        return f"{self.active} ({self.sub}), {'enabled' if self.enabled else 'not enabled'}"


class Decision(NamedTuple):
    """What must happen, by names of instances."""

    start: list[str]
    restart: list[str]
    # Somebody is starting them: only to be waited for.
    join: list[str]
    enable: list[str]
    remove: list[str]

    @property
    def changes(self) -> bool:
        return bool(self.start or self.restart or self.enable or self.remove)


def decide(wanted: Mapping[str, bool], units: Mapping[str, Unit], remove_others: bool) -> Decision:
    """From what is wanted (and whether its description is new) and what is there."""
    decision = Decision([], [], [], [], [])
    for name, changed in wanted.items():
        unit = units.get(name, Unit(name))
        if not unit.enabled:
            decision.enable.append(name)
        if unit.active in ("inactive", "failed"):
            decision.start.append(name)
        elif changed or unit.waits:
            # systemd lets a start wait until the pause is over, a restart does not.
            decision.restart.append(name)
        elif not unit.runs:
            decision.join.append(name)
    if remove_others:
        decision.remove.extend(
            name
            for name, unit in sorted(units.items())
            if name not in wanted and (unit.enabled or unit.active not in ("inactive", "failed"))
        )
    return decision


def outdated(unit: Unit, directory: str) -> bool:
    """Whether it was described anew since it started: an earlier run may have ended between the two."""
    if not unit.started:
        return False
    now = time.time()
    started = now - (time.clock_gettime(time.CLOCK_MONOTONIC) - unit.started / 1e6)
    paths = [unit.fragment, *(os.path.join(directory, unit.name, name) for name in _DESCRIPTIONS)]
    # A file of the future is a clock that was set back.
    return any(started < os.stat(path).st_mtime <= now for path in paths if path and os.path.exists(path))


def units(wanted: Sequence[str]) -> dict[str, Unit]:
    """The units of these instances and of all others on the host."""
    if shutil.which("systemctl") is None:
        raise AirgapError("The program systemctl is not on this host; the role inference needs systemd.")
    listed = run(
        [
            "systemctl",
            "list-units",
            "--all",
            "--full",
            "--plain",
            "--no-legend",
            "--no-pager",
            "airgap-inference@*.service",
        ]
    )
    _require(listed, "The units of instances cannot be listed")
    # A unit that is enabled and was never loaded stands in no list.
    words = [*listed.stdout.decode("utf-8", "replace").split(), *map(os.path.basename, glob.glob(_WANTED))]
    matches = [_UNIT.match(word) for word in words]
    names = dict.fromkeys([*wanted, *(match.group(1) for match in matches if match)])
    if not names:
        return {}
    shown = run(["systemctl", "show", f"--property={','.join(_PROPERTIES)}", *map(unit_name, names)])
    _require(shown, "The units of instances cannot be asked for their state")
    return {unit.name: unit for unit in parse(shown.stdout.decode("utf-8", "replace"))}


def parse(shown: str) -> list[Unit]:
    """What systemctl show says, a block a unit."""
    found = []
    for block in re.split(r"\n\s*\n", shown.strip()):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        match = _UNIT.match(values.get("Id", ""))
        if match:
            found.append(
                Unit(
                    match.group(1),
                    values.get("LoadState") == "loaded",
                    values.get("ActiveState", "inactive"),
                    values.get("SubState", "dead"),
                    values.get("UnitFileState") == "enabled",
                    values.get("NeedDaemonReload") == "yes",
                    values.get("Result", ""),
                    values.get("FragmentPath", ""),
                    int(values.get("ExecMainStartTimestampMonotonic") or 0),
                    _seconds(values.get("TimeoutStopUSec", "")),
                )
            )
    return found


def _seconds(shown: str) -> int:
    """A time as systemd shows it; without an end it is a day."""
    if shown == "infinity":
        return 86400
    return int(sum(float(number) * _SECONDS[unit] for number, unit in _TIME.findall(shown)))


def unit_name(name: str) -> str:
    """The unit of an instance."""
    return f"airgap-inference@{name}.service"


class Course(NamedTuple):
    """When the starts began, and what systemctl had to say of them."""

    started: float
    said: str


def apply(decision: Decision, before: Mapping[str, Unit], timeout: int) -> Course:
    """Make it so, all instances together. How it went, the units tell."""
    touched = [*decision.start, *decision.restart, *decision.join, *decision.enable, *decision.remove]
    new = any(not before.get(name, Unit(name)).loaded for name in touched)
    known = before
    if new or any(unit.stale for unit in before.values()):
        _require(_systemctl("daemon-reload", None, timeout), "systemd does not read its units")
        # How long they may take to stop may be new as well.
        known = units(touched)
    patience = timeout + max([0, *(unit.stop_timeout for unit in known.values())])
    # All that stops has stopped before anything starts: GPUs may go from one instance to another.
    _call("stop", [*decision.remove, *decision.restart], patience, "The instances cannot be stopped")
    _call("disable", decision.remove, patience, "The instances that left the inventory cannot be disabled")
    _call("enable", decision.enable, patience, "The instances cannot be enabled")
    # The pauses and counts of earlier failures are no more.
    failed = [name for name in touched if name in before and (before[name].active == "failed" or before[name].waits)]
    if failed:
        _systemctl("reset-failed", failed, patience)
    course = Course(time.time(), "")
    start = [*decision.start, *decision.restart, *decision.join]
    return course._replace(said=last_words(_systemctl("start", start, patience), 4)) if start else course


def failures(names: Sequence[str], after: Mapping[str, Unit], course: Course, lines: int) -> dict[str, str]:
    """Why instances that were started do not run."""
    found = {}
    for name in names:
        unit = after.get(name, Unit(name))
        if unit.runs:
            continue
        log = _journal.first_attempt(unit_name(name), course.started)
        found[name] = (
            f"The instance {name} did not start: its unit is {unit.active} ({unit.sub}, result {unit.result or 'unknown'})."
            + (_told(name, log, lines) if log else f" systemctl says: {course.said}")
        )
    return found


class Silence(NamedTuple):
    """Why an instance that runs does not answer; one that is busy says itself that it is well."""

    reason: str
    busy: bool = False


def silences(
    names: Sequence[str], directory: str, timeout: int, lines: int, served_before: Sequence[str] = ()
) -> tuple[dict[str, str], dict[str, str]]:
    """Why instances that run do not answer, and which of those that served before are busy; all are asked at the same time."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=max(1, len(names))) as pool:
        told = dict(zip(names, pool.map(lambda name: _ask(name, directory, timeout), names)))
    failed, busy = {}, {}
    for name, silence in told.items():
        if not silence.reason:
            continue
        if silence.busy and name in served_before:
            busy[name] = (
                f"The instance {name} was left running and has no time for a question: {silence.reason}. It says itself that it is well. "
                "Verify when it has less to do."
            )
        else:
            failed[name] = (
                f"The instance {name} runs and does not do what it is for: {silence.reason}."
                f"{_told(name, _journal.last_lines(unit_name(name), lines), lines)}"
            )
    return failed, busy


def _ask(name: str, directory: str, timeout: int) -> Silence:
    path = os.path.join(directory, name, "probe.json")
    try:
        probe = _await_answer.read(path)
        try:
            _await_answer.ask(probe, min(float(timeout), _await_answer.ASK_TIMEOUT))
        except _await_answer.NotYet as error:
            return Silence(str(error), _await_answer.healthy(probe))
    except _await_answer.WrongAnswer as error:
        return Silence(str(error))
    except (OSError, ValueError, TypeError) as error:
        return Silence(f"{path} does not say what to ask it ({error})")
    return Silence("")


def _told(name: str, log: str, lines: int) -> str:
    """The engine's own words: the errors that stand in them first, since the end may be of other things."""
    said = log.splitlines()
    errors = _engine_log.errors(log)
    cause = f" The errors that it gave:\n{errors}" if errors else ""
    tail = f"\nIts last lines in the journal:\n{chr(10).join(said[-lines:])}" if lines and said else ""
    return f"{cause}{tail}\nAll of it: journalctl -u {unit_name(name)}"


def _call(verb: str, names: Sequence[str], timeout: int, doing: str) -> None:
    if names:
        _require(_systemctl(verb, names, timeout), doing)


def _systemctl(verb: str, names: Sequence[str] | None, timeout: int) -> Result:
    """One call for all: their jobs run at the same time. How long a stop takes is for the units to say."""
    return run(["timeout", str(timeout + _SLACK), "systemctl", "--no-pager", verb, *map(unit_name, names or [])])


def _require(result: Result, doing: str) -> None:
    if result.rc == 124:
        raise AirgapError(f"{doing}: systemctl did not end in time. Look at systemctl list-jobs on the host.")
    if result.rc != 0:
        raise AirgapError(f"{doing}: systemctl failed ({result.rc}): {last_words(result)}")
