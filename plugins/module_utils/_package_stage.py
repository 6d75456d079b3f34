# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Installs packages of one repository in a copy of an empty root, from it alone, and has DKMS build the drivers.

What does not install or build here does not on the hosts either.
"""

from __future__ import annotations

import os
import re
import time
from typing import Any, Callable, Mapping, NamedTuple, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import (
    _apt,
    _apt_repository,
    _dkms,
    _repository,
    _throwaway_root,
)
from ansible_collections.airgap.inference.plugins.module_utils._command import Result, last_words
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._progress import Progress
from ansible_collections.airgap.inference.plugins.module_utils._throwaway_root import LENT, Copy

_SOURCE = "\n".join(
    [
        "Types: deb",
        f"URIs: file:{LENT}",
        f"Suites: {_apt_repository.SUITE}",
        f"Components: {_apt_repository.COMPONENT}",
        f"Signed-By: {LENT}/{_repository.KEY}",
        "",
    ]
)
_PREFERENCES = "/etc/apt/preferences.d/airgap.pref"
_KILLED = 137
# What DKMS says that it installed is believed when there are files; kernels' own modules lie elsewhere.
_FILES = "find /lib/modules/$1/updates /lib/modules/$1/extra -name '*.ko*' 2>/dev/null"
# The modules of a package that brings them built, as Ubuntu has them; DKMS does not list these.
_PREBUILT = (
    "find /lib/modules/$1 -name nvidia.ko* | while read -r file; do echo nvidia $(modinfo -F version $file); done"
)


class Group(NamedTuple):
    """Packages that machines install together; whether these machines run the kernels that the target states."""

    name: str
    packages: list[str]
    kernels: bool = False
    pins: Sequence[Mapping[str, Any]] = ()


class Proof(NamedTuple):
    """What was shown: the modules by the kernel for which they are there, and whether DKMS has modules at all."""

    kernels: dict[str, list[str]]
    dkms: bool


class Choice(NamedTuple):
    """Another description that may work: packages instead of others, or other kernels."""

    label: str
    packages: list[str]
    kernels: list[str]


class RehearsalError(AirgapError):
    """The packages do not install, or a module does not build."""

    def __init__(self, what: str, reasons: Sequence[str], told: str, kernel: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.reasons = list(reasons)
        self.kernel = kernel
        #: The words for a list of choices.
        self.told = told


class Stage:
    """Where rehearsals of one target take place: its empty root, and room beside it for copies."""

    def __init__(self, directory: str, root: _apt_repository.Root, days: float) -> None:
        self.directory = directory
        self._root = root
        self._days = days
        self._system = ""

    def open(self) -> None:
        """Have the empty root; it is kept."""
        if self._system:
            return
        _throwaway_root.require_machine()
        _throwaway_root.sweep(self.directory)
        target = self._root.target
        with Progress(f"empty root of {target.label}"):
            self._root.prepare()
            self._system = _throwaway_root.system(
                self.directory,
                target.label,
                os.path.join(self._root.path, "etc/sources.list.d/target.sources"),
                os.path.join(self._root.path, "apt.conf"),
                target.architecture,
                self._days,
                {"etc/apt/sources.list.d/airgap.sources": _SOURCE},
            )

    def rehearse(self, repository: str, group: Group, kernels: Sequence[str], until: float = 0) -> Proof:
        """Install the group from the repository in a copy; until is the monotonic time at which it is given up."""

        def left() -> float:
            return max(1.0, until - time.monotonic()) if until else 0

        stated = list(kernels) if group.kernels else []
        packages = [*group.packages, *headers(stated)]
        with Copy(self._system, repository, self.directory) as copy, Progress(f"rehearsal of {group.name}") as progress:
            copy.run(["tee", _PREFERENCES], stdin=_apt.preferences(group.pins).encode())
            progress.at("installation")
            updated = copy.run(["apt-get", "-q", "update"], seconds=left())
            if updated.rc != 0:
                raise _install_failure(updated, copy)
            installed = copy.run(
                ["apt-get", "-q", "-y", *_apt.INSTALL_OPTIONS, "--no-install-recommends", "--no-remove", "install", "--", *packages],
                seconds=left(),
            )  # fmt: skip
            if installed.rc != 0:
                raise _install_failure(installed, copy)
            return _built(copy, stated, progress, left)


def headers(kernels: Sequence[str]) -> list[str]:
    """The packages with which modules are built for these kernels."""
    return [f"linux-headers-{kernel}" for kernel in kernels]


def _built(copy: Copy, kernels: Sequence[str], progress: Progress, left: Callable[[], float]) -> Proof:
    """Have DKMS build what the installation did not, and look at what is there."""
    listed = _modules(copy)
    names = list(dict.fromkeys((module.name, module.version) for module in listed))
    proof: dict[str, list[str]] = {}
    for kernel in kernels:
        progress.at(f"modules for {kernel}")
        ready = {(module.name, module.version) for module in listed if _is_ready(module, kernel)}
        if set(names) - ready:
            built = copy.run(["dkms", "autoinstall", "-k", kernel], seconds=left())
            listed = _modules(copy)
            ready = {(module.name, module.version) for module in listed if _is_ready(module, kernel)}
            if set(names) - ready:
                name, version = next(item for item in names if item not in ready)
                raise _build_failure(built, copy, _dkms.Failure(name, version, kernel, ""))
        if names and not _lines(copy, _FILES, kernel):
            raise RehearsalError(
                f"DKMS left no module for the kernel {kernel}", [], "does not build: no module", kernel
            )
        there = [f"{name} {version}" for name, version in names] or sorted(set(_lines(copy, _PREBUILT, kernel)))
        if there:
            proof[kernel] = there
    return Proof(proof, bool(names))


def _lines(copy: Copy, script: str, kernel: str) -> list[str]:
    return [
        line.strip()
        for line in copy.run(["sh", "-c", script, "look", kernel]).stdout.decode("utf-8", "replace").splitlines()
        if line.strip()
    ]


def _is_ready(module: _dkms.Module, kernel: str) -> bool:
    return module.kernel == kernel and module.state == "installed"


def _modules(copy: Copy) -> list[_dkms.Module]:
    # Without DKMS the command is not there, and nothing is listed.
    return _dkms.status(copy.run(["dkms", "status"]).stdout.decode("utf-8", "replace"))


def _install_failure(result: Result, copy: Copy) -> RehearsalError:
    """Why apt-get failed: because DKMS did in a package's script, or for a reason of apt or dpkg."""
    if result.rc == _KILLED:
        return _too_long("The installation")
    failed = _dkms.failure(_said(result))
    if failed:
        return _build_failure(result, copy, failed)
    reasons = apt_reasons(result)
    return RehearsalError("apt-get cannot install them", reasons, f"cannot be installed: {short(reasons)}")


def _build_failure(result: Result, copy: Copy, known: _dkms.Failure) -> RehearsalError:
    if result.rc == _KILLED:
        return _too_long("DKMS")
    failed = _dkms.failure(_said(result)) or known
    reasons = _dkms.reasons(copy.read(failed.log)) if failed.log else last_words(result).splitlines()
    kernel = failed.kernel or known.kernel
    what = f"DKMS cannot build {failed.module} {failed.version} for the kernel {kernel}"
    return RehearsalError(what, reasons, f"does not build: {reasons[0]}", kernel)


def _too_long(what: str) -> RehearsalError:
    return RehearsalError(f"{what} took too long", [], "not finished in the time that bundle_rehearsal_minutes leaves")


def _said(result: Result) -> str:
    return result.stdout.decode("utf-8", "replace") + "\n" + result.stderr


def apt_reasons(result: Result) -> list[str]:
    """apt's or dpkg's own reason, without the lines that say only that there is one."""
    said = _said(result)
    unmet = said.partition("The following packages have unmet dependencies:")[2].partition("\nE: ")[0]
    # apt ends the list where it begins to write errors, to another stream.
    listed = re.sub(r" or\n\s+", " or ", unmet).splitlines()
    lines = [" ".join(line.split()) for line in listed if line.startswith(" ")]
    if lines:
        return lines
    errors = re.findall(r"^dpkg: error .*(?:\n .*)*|^(?:E|Err): .*", said, re.M)
    kept = [" ".join(error.split()) for error in errors if "Sub-process" not in error]
    return list(dict.fromkeys(kept)) or last_words(result).splitlines()


def short(reasons: Sequence[str]) -> str:
    """The first reasons in one line."""
    return "; ".join(reasons[:2])
