# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's mirror as this machine's own apt knows it, and roots made from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from airgap_lab import cache
from airgap_lab.console import LabError, run

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def sources(release: str) -> list[dict[str, str]]:
    """Another release of Debian on the machine's mirrors: deb822 fields as data."""
    listed = run(["apt-get", "indextargets", "--format", "$(LABEL)|$(REPO_URI)", "Created-By: Packages"])
    mirrors: dict[str, str] = {}
    for line in listed.splitlines():
        label, _separator, uri = line.partition("|")
        mirrors.setdefault(label, uri)
    if "Debian" not in mirrors:
        raise LabError("apt lists no Debian mirror on this machine; run `apt-get update` and try again")
    suites = {"Debian": f"{release} {release}-updates", "Debian-Security": f"{release}-security"}
    return [
        {"uris": mirrors[label], "suites": suites[label], "components": "main", "signed_by": KEYRING}
        for label in ("Debian", "Debian-Security")
        if label in mirrors
    ]


def _source_lines(release: str) -> list[str]:
    return [
        "deb [signed-by={}] {} {} {}".format(source["signed_by"], source["uris"], suite, source["components"])
        for source in sources(release)
        for suite in source["suites"].split()
    ]


OPTIONS = (
    "--variant=apt",
    "--architectures=amd64",
    "--mode=root",
    "--aptopt=Apt::Install-Recommends false",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
)


class Recipe(NamedTuple):
    """A root: a release, its packages, and shell commands that run in order with the root as $1."""

    release: str
    include: tuple[str, ...]
    hooks: tuple[str, ...]
    #: Not released yet: it has one suite, and a mirror may be weeks behind with it. What it has is signed all the same.
    unreleased: bool = False

    def inputs(self) -> list[str]:
        """What decides the root, for a cache key; the day's state of the mirror does not."""
        return [*OPTIONS, *self._own_options(), self.release, *self.include, *self.hooks]

    def command(self, target: Path) -> list[str]:
        """What makes it."""
        lines = [line for line in _source_lines(self.release) if not self.unreleased or f" {self.release} " in line]
        hooks = ["--customize-hook=" + hook for hook in self.hooks]
        packages = "--include=" + ",".join(self.include)
        return ["mmdebstrap", *OPTIONS, *self._own_options(), packages, *hooks, self.release, str(target), *lines]

    def _own_options(self) -> list[str]:
        return ['--aptopt=Acquire::Check-Valid-Until "false"'] if self.unreleased else []


def bootstrap(recipe: Recipe, target: Path, step: str, environment: Mapping[str, str]) -> None:
    """Make the root as a tar archive; the hooks see the environment."""
    run(recipe.command(target), cache.log(step), {"TMPDIR": str(_temporary()), **environment})


def download(release: str, package: str, folder: Path, step: str) -> Path:
    """One package of another release, with a state of its own: this machine's apt does not learn of that release."""
    state = folder / "apt"
    for name in ("lists/partial", "archives/partial"):
        (state / name).mkdir(parents=True)
    cache.write(state / "sources.list", "\n".join(_source_lines(release)) + "\n")
    settings = {
        "Dir::Etc::SourceList": state / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State": state,
        "Dir::State::Lists": state / "lists",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": state,
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
    }
    apt = ["apt-get", *(f"--option={name}={value}" for name, value in settings.items())]
    run([*apt, "update"], cache.log(step))
    run(["sh", "-c", 'cd "$0" && exec "$@"', str(folder), *apt, "download", package], cache.log(step))
    cache.remove(state)
    return next(folder.glob(f"{package}_*.deb"))


def _temporary() -> Path:
    folder = cache.root() / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
