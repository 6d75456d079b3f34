# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the bundle's package repositories have in common, apt's and dnf's: the target, its packages, who asked for them."""

from __future__ import annotations

import os
import re
from typing import Any, Mapping, NamedTuple, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import _system
from ansible_collections.airgap.inference.plugins.module_utils._digest import (
    Record,
    copy_with_sha256,
    scan,
    sha256_file,
)
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._progress import Progress, file_size

KEY = "archive-key.asc"
# Who asks for the headers of kernels, and for module streams.
KERNELS = "airgap_targets[].kernels"
MODULES = "airgap_targets[].modules"


class Target(NamedTuple):
    """An operating system beyond the gap."""

    distribution: str
    release: str
    architecture: str
    sources: list[dict[str, Any]]
    modules: Sequence[str] = ()
    kernels: Sequence[str] = ()

    @property
    def label(self) -> str:
        return f"{self.distribution} {self.release} {self.architecture}"

    @property
    def directory(self) -> str:
        return f"{self.distribution.lower()}-{self.release}"


class Package(NamedTuple):
    """One package of the solution, as the index of its source describes it."""

    name: str
    version: str
    architecture: str
    size: int
    #: Empty where the source states another digest; the package manager has checked that one.
    sha256: str
    #: Below the repository.
    file: str
    #: The name under which the package manager keeps it.
    cached: str
    licence: str = ""

    @property
    def identity(self) -> tuple[str, str, str]:
        return self.name, self.version, self.architecture


def described(target: Mapping[str, Any]) -> Target:
    """A target as an inventory describes it."""
    return Target(
        str(target.get("distribution", "")),
        str(target.get("release", "")),
        str(target.get("architecture", "amd64")),
        list(target.get("sources") or []),
        list(target.get("modules") or []),
        list(target.get("kernels") or []),
    )


def refusals(targets: Sequence[Mapping[str, Any]]) -> list[str]:
    """The refusal of each target that has one, of targets as an inventory describes them."""
    return [reason for reason in map(refusal, map(described, targets)) if reason]


def refusal(target: Target) -> str | None:
    """Why no repository can be made for a target as it is described, or None."""
    if target.distribution not in _system.FAMILIES:
        known = ", ".join(sorted(_system.FAMILIES))
        return f"airgap_targets names the distribution {target.distribution}; a bundle can be made for {known}."
    if not target.sources:
        return f"airgap_targets: {target.label} has no sources; name where its packages come from."
    if _system.package_format(target.distribution) == "apt":
        bare = [source["uris"] for source in target.sources if not source.get("suites")]
        if bare:
            return (
                f"airgap_targets: the source {bare[0]} of {target.label} has no suites; apt needs them "
                f"(for example {target.release}, or a path that ends in a slash for a flat repository)."
            )
        if target.modules:
            return (
                f"airgap_targets: {target.label} has modules ({', '.join(target.modules)}); only systems with dnf have module "
                "streams. Leave them out, and name the packages of the wanted branch instead."
            )
        return None
    if not re.match(r"[0-9]+(\.[0-9]+)?\Z", target.release):
        return (
            f"airgap_targets: the release of {target.distribution} is {target.release}; give its number, for example 9."
        )
    for source in target.sources:
        for field in ("suites", "components"):
            if source.get(field):
                return (
                    f"airgap_targets: the source {source['uris']} of {target.label} has {field} ({source[field]}); "
                    "for dnf, uris is the address of the directory that holds repodata, and each repository is a source of its own."
                )
    odd = [module for module in target.modules if not re.match(r"[^\s:/]+:[^\s:/]+\Z", module)]
    if odd:
        return f"airgap_targets: {target.label} has the module {odd[0]}; give name:stream, for example nvidia-driver:580-open."
    return None


def beside_each_other(
    requests: dict[str, list[str]], apart: Sequence[str], pins: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[tuple[dict[str, list[str]], list[Mapping[str, Any]]]]:
    """The lists that one machine could install, with what belongs together on it: all that are not apart, and one of those that are."""
    common = {name: wanted for name, wanted in requests.items() if name not in apart}
    held = [pin for name in common for pin in pins.get(name, [])]
    alone = [name for name in requests if name in apart]
    return [({**common, name: requests[name]}, [*held, *pins.get(name, [])]) for name in alone] or [(common, held)]


def who_asks(requests: dict[str, list[str]], names: Sequence[str]) -> str:
    """Packages that cannot be had, each with the variables that list it."""

    def askers(name: str) -> str:
        found = [
            asker
            for asker, wanted in requests.items()
            if any(item == name or re.split(r"[=:/]", item)[0] == name for item in wanted)
        ]
        return ", ".join(sorted(found)) or "nobody by this name"

    return "; ".join(f"{name} (asked for by {askers(name)})" for name in names)


def without_headers(target: Target, available: Sequence[str]) -> str | None:
    """Why the kernels of a target cannot be served, with those that can, the nearest first; or None."""
    lacking = [kernel for kernel in target.kernels if kernel not in available]
    if not lacking:
        return None
    there = nearest(lacking[0], available)[:8]
    return (
        f"{target.label} has no headers for the kernel {', '.join(lacking)} (asked for by {KERNELS}) in its sources; drivers cannot "
        f"be built for it. Headers are there for {', '.join(there) or 'no kernel at all'}{' (nearest first)' if there[1:] else ''}. "
        "Name a kernel that the hosts run (uname -r) and whose headers are there, or add the source that has them."
    )


def nearest(wanted: str, available: Sequence[str]) -> list[str]:
    """Kernels in the order in which they resemble the wanted one: its flavour first, then the closest version."""

    def numbers(kernel: str) -> list[int]:
        return [int(number) for number in re.findall(r"\d+", kernel)]

    def flavour(kernel: str) -> str:
        return re.sub(r"[\d.+~_-]+", "-", kernel)

    def distance(kernel: str) -> tuple[bool, list[int]]:
        mine, its = numbers(wanted), numbers(kernel)
        width = max(len(mine), len(its))
        padded = [values + [0] * (width - len(values)) for values in (mine, its)]
        return flavour(kernel) != flavour(wanted), [abs(one - other) for one, other in zip(*padded)]

    # Of two that are equally near, the newer one.
    return sorted(sorted(set(available), key=numbers, reverse=True), key=distance)


def missing(repository: str, packages: Sequence[Package], record: Record | None = None) -> list[Package]:
    """The packages whose files the repository does not hold yet."""
    return [package for package in packages if not _holds(os.path.join(repository, package.file), package, record)]


def arrived(archives: str, packages: Sequence[Package]) -> int:
    """The bytes of these packages that have been fetched so far."""
    places = (archives, os.path.join(archives, "partial"))
    return sum(
        min(package.size, sum(file_size(os.path.join(place, package.cached)) for place in places))
        for package in packages
    )


def bring(
    repository: str, archives: str, packages: Sequence[Package], label: str, record: Record | None = None
) -> bool:
    """Copy what the repository lacks out of the cache, and hold it against what its source says of it."""
    lacking = missing(repository, packages, record)
    with Progress(f"packages of {label}, into the bundle", sum(package.size for package in lacking)) as progress:
        for package in lacking:
            progress.at(package.cached)
            path = os.path.join(repository, package.file)
            digest, size = copy_with_sha256(os.path.join(archives, package.cached), path)
            if digest != (package.sha256 or digest) or size != package.size:
                # What is damaged in the cache would come back each time.
                os.unlink(path)
                os.unlink(os.path.join(archives, package.cached))
                raise AirgapError(
                    f"{package.cached} was damaged on the way into the bundle ({size} bytes, SHA-256 {digest}; "
                    f"its source says {package.size} bytes, {package.sha256 or 'no SHA-256'}). Stage again; if it comes back, check the disk."
                )
            if record:
                record.note(path, digest)
            progress.add(size)
    return bool(lacking)


def remove_strangers(repository: str, known: set[str]) -> bool:
    """Remove what the repository does not need, left by an earlier description or by a killed run."""
    if not os.path.isdir(repository):
        return False
    tree = scan(repository)
    strangers = [path for path in [*tree.files, *tree.strange] if path not in known]
    for path in strangers:
        os.unlink(os.path.join(repository, path))
    return bool(strangers)


def trim(archives: str, packages: Sequence[Package]) -> None:
    """Drop from the cache what is no longer part of the solution."""
    kept = {package.cached for package in packages}
    for directory in (archives, os.path.join(archives, "partial")):
        if os.path.isdir(directory):
            for entry in os.scandir(directory):
                if entry.is_file(follow_symlinks=False) and entry.name not in kept and entry.name != "lock":
                    os.unlink(entry.path)


def facts(target: Target, packages: Sequence[Package]) -> dict[str, Any]:
    """What the manifest says about a repository of either format."""
    directory = f"packages/{target.directory}"
    return {
        "distribution": target.distribution,
        "release": target.release,
        "architecture": target.architecture,
        "format": _system.package_format(target.distribution),
        "directory": directory,
        "key": f"{directory}/{KEY}",
        "kernels": list(target.kernels),
        "packages": [
            {
                "name": package.name,
                "version": package.version,
                "architecture": package.architecture,
                **({"licence": package.licence} if package.licence else {}),
            }
            for package in packages
        ],
    }


def _holds(path: str, package: Package, record: Record | None) -> bool:
    try:
        if os.lstat(path).st_size != package.size:
            return False
    except FileNotFoundError:
        return False
    if record is None or not package.sha256:
        return True
    digest = record.known(path)
    if digest is None:
        # Written by nobody who took notes: read once, to be known from now on.
        digest = sha256_file(path)
        record.note(path, digest)
    return digest == package.sha256
