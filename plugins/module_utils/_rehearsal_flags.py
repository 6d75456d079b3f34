# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which flags the engine in an image has, as it tells itself: its help, from the image that the bundle carries."""

from __future__ import annotations

import json
import os
import re
from typing import Sequence

from ansible_collections.airgap.inference.plugins.module_utils import _rehearsal
from ansible_collections.airgap.inference.plugins.module_utils._command import run
from ansible_collections.airgap.inference.plugins.module_utils._digest import sha256_bytes, write_if_changed
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._rehearsal import Case, Level, Stage

# An engine may import all of its code to say what it can.
_TIMEOUT = 300
# A help that shows fewer is none, but an excerpt.
_LEAST = 10
_FLAG = re.compile(r"(?<![\w-])--([A-Za-z0-9][\w.-]*\w)")


def read(text: str, shows: Sequence[str]) -> list[str]:
    """Every flag in a help; none where it lacks those that the engine certainly has, since it then keeps silent about others.

    Flags that descriptions mention are taken for flags too: one too many refuses nothing.
    """
    found = {f"--{name}" for name in _FLAG.findall(text)} - {"--help"}
    return sorted(found) if len(found) >= _LEAST and found.issuperset(shows) else []


def ask(case: Case, stage: Stage) -> list[str]:
    """The flags of the engine in the case's image, from a container as sealed as the instance's own; empty where it does not tell."""
    told = case.plan["rehearsal"].get("help")
    if not told:
        return []
    try:
        with _rehearsal.prepared(case, stage, Level("help")) as container:
            done = run(["timeout", str(_TIMEOUT), "docker", "start", "--attach", container])
    except AirgapError:
        # The rehearsal itself says what is wrong.
        return []
    return read(done.stdout.decode("utf-8", "replace"), told["shows"]) if done.rc == 0 else []


class Memory:
    """What images told in earlier runs, kept in the cache; an image does not change its mind."""

    def __init__(self, cache: str) -> None:
        self._path = os.path.join(cache, "state", "flags.json")
        self._told: dict[str, list[str]] = {}
        if os.path.exists(self._path):
            with open(self._path, "rb") as handle:
                try:
                    self._told = {str(key): [str(flag) for flag in flags] for key, flags in json.load(handle).items()}
                except (ValueError, AttributeError, TypeError):
                    # They are asked again.
                    self._told = {}

    def lacks(self, case: Case) -> bool:
        return bool(case.plan["rehearsal"].get("help")) and _key(case) not in self._told

    def of(self, case: Case) -> list[str]:
        return self._told.get(_key(case), [])

    def note(self, case: Case, flags: list[str]) -> None:
        # The last ones are enough: images are few.
        self._told = dict([*self._told.items(), (_key(case), flags)][-50:])
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        write_if_changed(self._path, json.dumps(self._told, indent=1).encode())


def _key(case: Case) -> str:
    parts = [case.digest, case.plan["engine"], case.plan["rehearsal"].get("help")]
    return sha256_bytes(json.dumps(parts, sort_keys=True).encode())
