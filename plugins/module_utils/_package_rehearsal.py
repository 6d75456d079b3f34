# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rehearsal of a target's packages: what was shown, what the manifest says of it, and the refusal where it fails."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any, Mapping, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import (
    _apt_repository,
    _repository,
    _system,
    _throwaway_root,
)
from ansible_collections.airgap.inference.plugins.module_utils._digest import sha256_bytes, write_if_changed
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._package_choices import Limits, Sources, offer
from ansible_collections.airgap.inference.plugins.module_utils._package_stage import Group, Proof, RehearsalError, Stage
from ansible_collections.airgap.inference.plugins.module_utils._repository import Target

# Remembered outcomes are of this way to rehearse.
_FORMAT = 1


class Rehearsal:
    """Of one target: the packages that its machines install, by group."""

    def __init__(self, target: Target, groups: Sequence[Group], cache: str, days: float, limits: Limits) -> None:
        reason = _repository.refusal(target)
        if reason:
            raise AirgapError(reason)
        self._target = target
        self._groups = groups
        self._limits = limits
        self._name = f"{target.directory}-{target.architecture}"
        self._root = _apt_repository.Root(os.path.join(cache, "apt", self._name), target)
        self._stage = Stage(os.path.join(cache, "roots", self._name), self._root, days)
        self._memory = Memory(os.path.join(cache, "state", "rehearsed-packages.json"))

    def obstacle(self) -> str | None:
        """Why such a target is not rehearsed, or None."""
        if _system.package_format(self._target.distribution) != "apt":
            return "only targets with apt are rehearsed"
        return _throwaway_root.refusal(self._target.architecture)

    def remembered(self, repository: str) -> dict[str, Any] | None:
        """What was shown before of the same packages."""
        return self._memory.recall(self._name, subject(repository, self._target, self._groups))

    def perform(self, repository: str) -> dict[str, Any]:
        """Rehearse now. A failure says what, why, and what would work."""
        if _apt_repository.index_of(repository, self._target.architecture) is None:
            raise AirgapError(
                f"{repository} is no repository of packages for {self._target.label}; collect them first."
            )
        self._stage.open()
        proofs = []
        for group in self._groups:
            try:
                proofs.append(self._stage.rehearse(repository, group, self._target.kernels))
            except RehearsalError as error:
                lines = [f"  {reason}" for reason in error.reasons]
                what = f"{self._target.label}: the packages of {group.name}, installed in an empty root from the bundle alone: {error.what}."
                raise AirgapError("\n".join([what, *lines, *self._choices(group, error.kernel)])) from error
        shown = entry(self._name, self._target, proofs)
        self._memory.keep(self._name, subject(repository, self._target, self._groups), shown)
        return shown

    def choices_after(self, refused: str) -> str:
        """The reason why the packages could not be collected, with the choices where drivers or kernels are at fault."""
        if self.obstacle():
            return refused
        self._root.prepare()
        for group in self._groups:
            if group.kernels and not self._sources().has(group):
                try:
                    return "\n".join([refused, *self._choices(group)])
                except AirgapError as error:
                    return f"{refused}\nOther drivers and kernels were not tried. {error}"
        return refused

    def warnings(self, shown: Mapping[str, Any]) -> list[str]:
        """What a person should know although nothing failed."""
        if not shown.get("reason"):
            return []
        return [f"{self._target.label}: {summary(shown)}."]

    def _sources(self) -> Sources:
        return Sources(self._stage, self._root, self._limits)

    def _choices(self, group: Group, kernel: str = "") -> list[str]:
        outcomes = self._sources().outcomes(group, kernel)
        if outcomes:
            return offer(outcomes)
        return (
            ["The target's sources have no other driver or kernel that could be tried in its place."] if kernel else []
        )


class Memory:
    """What was shown before, by what it was shown of. Failures are not remembered: a source may be mended."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._known: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as handle:
            known = json.load(handle)
            self._known = known if isinstance(known, dict) else {}

    def recall(self, name: str, what: str) -> dict[str, Any] | None:
        """The entry of a target, if it is about the same thing."""
        entry = self._known.get(name)
        return entry["shown"] if isinstance(entry, dict) and entry.get("of") == what and "shown" in entry else None

    def keep(self, name: str, what: str, shown: dict[str, Any]) -> None:
        self._known[name] = {"of": what, "shown": shown}
        write_if_changed(self._path, json.dumps(self._known, indent=1, sort_keys=True).encode())


def subject(repository: str, target: Target, groups: Sequence[Group]) -> str:
    """All that the outcome depends on, as one digest."""
    index = _apt_repository.index_of(repository, target.architecture) or b""
    asked = [[group.name, group.packages, group.kernels, list(group.pins)] for group in groups]
    return sha256_bytes(json.dumps([_FORMAT, sha256_bytes(index), asked, list(target.kernels)]).encode())


def entry(name: str, target: Target, proofs: Sequence[Proof]) -> dict[str, Any]:
    """What the manifest says about a rehearsal that went well."""
    found = {
        kernel: sorted({module for proof in proofs for module in proof.kernels.get(kernel, [])})
        for kernel in target.kernels
    }
    kernels = {kernel: modules for kernel, modules in found.items() if modules}
    shown = {"kind": "packages", "name": name, "level": "modules" if kernels else "installed", "kernels": kernels}
    if not target.kernels and any(proof.dkms for proof in proofs):
        shown["reason"] = (
            "DKMS built no module, because no kernel is stated; name what the hosts run (uname -r) in airgap_targets[].kernels"
        )
    return shown


def unproven(target: Target, reason: str) -> dict[str, Any]:
    """What the manifest says when nothing was rehearsed."""
    name = f"{target.directory}-{target.architecture}"
    return {"kind": "packages", "name": name, "level": "none", "kernels": {}, "reason": reason}


def summary(shown: Mapping[str, Any]) -> str:
    """The same in words."""
    because = f" ({shown['reason']})" if shown.get("reason") else ""
    if shown["level"] == "none":
        return f"the packages were not rehearsed{because}"
    built = "; ".join(f"{', '.join(names)} for {kernel}" for kernel, names in shown["kernels"].items())
    return (
        f"the packages install from the bundle alone{f', and these modules build: {built}' if built else ''}{because}"
    )
