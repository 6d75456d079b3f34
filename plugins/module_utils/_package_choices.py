# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What else a target's sources offer when its packages do not install or its drivers do not build.

Each choice is tried as a small repository of its own, in the same way as the bundle's.
"""

from __future__ import annotations

import os
import re
import time
from typing import Any, Mapping, NamedTuple, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import _apt_repository, _repository, _throwaway_root
from ansible_collections.airgap.inference.plugins.module_utils._command import Result
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._openpgp import SigningKey
from ansible_collections.airgap.inference.plugins.module_utils._package_stage import (
    Group,
    RehearsalError,
    Stage,
    apt_reasons,
    short,
)
from ansible_collections.airgap.inference.plugins.module_utils._progress import Progress

# So many kernels are named.
_NEAREST = 5


class Choice(NamedTuple):
    """Another description that may work: a driver instead of another, or another kernel."""

    label: str
    packages: list[str]
    kernels: list[str]


class Limits(NamedTuple):
    """What may be tried: the flavours of drivers, how many choices, and how long they may take together."""

    flavours: Sequence[Mapping[str, Any]]
    number: int
    minutes: float


class Sources:
    """The sources of the target, to be asked for choices and to try them."""

    def __init__(self, stage: Stage, root: _apt_repository.Root, limits: Limits) -> None:
        self._stage = stage
        self._root = root
        self._limits = limits
        self._tried = 0
        self._until = time.monotonic() + limits.minutes * 60

    def has(self, group: Group) -> bool:
        """Whether apt would install the group as it is described."""
        self._root.pin(group.pins)
        try:
            self._root.resolve(self._requests(self._root, group))
        except AirgapError:
            return False
        return True

    def outcomes(self, group: Group, kernel: str) -> list[str]:
        """A line for each choice that there is: what came of it. The kernel is the one that fails, if it is known."""
        lines = []
        for choice in self._choices(group, kernel):
            root = _apt_repository.Root(self._root.path, self._root.target._replace(kernels=choice.kernels))
            outcome = self._try(root, group._replace(name=choice.label, packages=choice.packages))
            # Another driver does not bring a package that the sources do not have at all.
            if "no such package" not in outcome:
                lines.append(f"{choice.label}: {outcome}")
        return lines

    def _choices(self, group: Group, kernel: str) -> list[Choice]:
        """The other flavours of the drivers, then the other kernels, the nearest first."""
        stated = list(self._root.target.kernels) if group.kernels else []
        available = self._root.kernels() if stated else []
        # A kernel without headers spoils every driver; what apt cannot install, no kernel mends.
        kernels = stated if set(stated) <= set(available) else []
        where = f", for {', '.join(kernels)}" if kernels else ""
        found = []
        for package in group.packages:
            name = re.split(r"[=:/]", package)[0]
            for other in filter(self._root.knows, others(name, self._limits.flavours)):
                # It is wanted at the same version.
                instead = other + package[len(name) :]
                packages = [instead if item == package else item for item in group.packages]
                found.append(Choice(f"{other} instead of {name}{where}", packages, kernels))
        if stated and self.has(group._replace(kernels=False)):
            kernel = kernel or next((item for item in stated if item not in available), stated[0])
            others_of_line = [item for item in available if alike(item, kernel) and item not in stated]
            for item in _repository.nearest(kernel, others_of_line)[:_NEAREST]:
                found.append(Choice(f"the kernel {item}", group.packages, [item]))
        return found

    def _try(self, root: _apt_repository.Root, group: Group) -> str:
        root.pin(group.pins)
        try:
            requests = self._requests(root, group)
            packages = root.resolve(requests)
        except AirgapError as error:
            return f"cannot be installed: {short(_reasons(str(error)))}"
        if self._tried >= self._limits.number:
            return f"not tried (bundle_rehearsal_alternatives is {self._limits.number})"
        if time.monotonic() >= self._until:
            return "not tried (the time of bundle_rehearsal_minutes is over)"
        self._tried += 1
        self._stage.open()
        size = sum(package.size for package in packages)
        with Progress(f"packages of {group.name}", size, measure=lambda: _repository.arrived(root.archives, packages)):
            root.download(requests, packages)
        room = self._stage.directory
        repository = os.path.join(room, "copy-of-choice")
        _throwaway_root.remove(repository)
        try:
            key = SigningKey(os.path.join(room, "choices.asc"), "airgap.inference rehearsal")
            _apt_repository.publish(repository, root, packages, key, os.path.join(room, "indexes"))
            proof = self._stage.rehearse(repository, group, root.target.kernels, self._until)
        except RehearsalError as error:
            return error.told
        finally:
            _throwaway_root.remove(repository)
        built = "; ".join(f"{', '.join(names)} for {kernel}" for kernel, names in proof.kernels.items())
        return f"builds: {built}" if built else "can be installed"

    def _requests(self, root: _apt_repository.Root, group: Group) -> dict[str, list[str]]:
        """With headers that are there, or an error that says which are."""
        return {"the packages of " + group.name: group.packages, **(root.requests() if group.kernels else {})}


def others(name: str, flavours: Sequence[Mapping[str, Any]]) -> list[str]:
    """The packages that bring the same driver another way."""
    found = []
    for flavour in flavours:
        match = re.match(f"(?:{flavour['package']})\\Z", name)
        if match:
            found += [match.expand(other) for other in flavour["instead"]]
    return [other for other in dict.fromkeys(found) if other != name]


def alike(kernel: str, other: str) -> bool:
    """Whether two kernels are of one line of names: only numbers differ."""
    return re.sub(r"\d+", "0", kernel) == re.sub(r"\d+", "0", other)


def offer(outcomes: Sequence[str]) -> list[str]:
    """The choices, for the end of a refusal."""
    return [
        "In its place, from the same sources:",
        *(f"  {line}" for line in outcomes),
        "Choose by gpu_host_kernel_modules, gpu_host_branch, gpu_host_source or gpu_host_packages (the driver) or airgap_targets[].kernels "
        "(what the hosts boot), "
        "or add a source to airgap_targets that has another version.",
    ]


def _reasons(text: str) -> list[str]:
    return apt_reasons(Result(1, text.encode(), "")) if "unmet dependencies" in text else text.splitlines()[:1]
