# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compose for the staging machine: its own plugin, else the one of Debian's next release, beside its Docker."""

from __future__ import annotations

from pathlib import Path

from airgap_lab import cache, debian
from airgap_lab.console import run, say, succeeds

PACKAGE = "docker-compose"
# Its one program is a plugin that also runs by itself, and needs nothing but the C library.
RELEASE = "trixie"
PLUGIN = "usr/libexec/docker/cli-plugins/docker-compose"


def command() -> list[str]:
    """The words that start Compose."""
    if _own():
        return ["docker", "compose"]
    return [str(cache.built("compose", _key()) / "docker-compose")]


def build() -> None:
    if _own():
        say("Compose: this machine has it")
    else:
        cache.build("compose", _key(), f"Compose of Debian {RELEASE}", _make)


def _own() -> bool:
    return succeeds(["docker", "compose", "version"])


def _key() -> str:
    return cache.key(PACKAGE, RELEASE, PLUGIN)


def _make(half: Path) -> None:
    archive = debian.download(RELEASE, PACKAGE, half, "compose")
    tree = half / "tree"
    run(["dpkg-deb", "--extract", str(archive), str(tree)], cache.log("compose"))
    (tree / PLUGIN).rename(half / "docker-compose")
    archive.unlink()
    cache.remove(tree)
