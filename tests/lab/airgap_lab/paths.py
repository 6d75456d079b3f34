# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What others ask of the lab: where everything is, and what runs."""

from __future__ import annotations

import re
from typing import Any

from airgap_lab import cache, debian, docker_engine, host_image, keys
from airgap_lab.console import run, say
from airgap_lab.room import DRIVE, Room


def describe(room: Room) -> dict[str, Any]:
    known: dict[str, Any] = {
        "cache": str(cache.root()),
        "host_image": host_image.name(),
        "release": host_image.RELEASE,
        "sources": debian.sources(host_image.RELEASE),
        "room": {
            "name": room.name,
            "network": room.network,
            "drive": str(room.drive()),
            "drive_on_bastion": DRIVE,
            "hosts": {
                host: {"container": room.container(host), "address": room.address(host)} for host in room.hosts()
            },
            "ssh_user": keys.USER,
            "ssh_key": str(keys.ssh_key(room)),
            "signing_key": str(keys.signing_key(room)),
            "signing_identity": keys.IDENTITY,
            "allowed_signers_on_bastion": keys.ALLOWED_SIGNERS,
        },
    }
    return known


def status() -> None:
    say(f"cache: {cache.root()}")
    if not docker_engine.answers():
        say("Docker does not run, so no room does")
        return
    say("host image: %s" % ("built" if docker_engine.inspect("image", host_image.name()) else "not built"))
    listed = run(["docker", "ps", "--all", "--filter", "label=airgap-lab", "--format", "{{.Names}}|{{.Status}}"])
    for line in sorted(listed.splitlines()):
        container, _separator, state = line.partition("|")
        say("{}: {}".format(re.sub(r"^airgap-", "room ", container), state))
