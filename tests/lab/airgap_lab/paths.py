# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What others ask of the lab: where everything is, and what runs."""

from __future__ import annotations

import re
from typing import Any

from airgap_lab import (
    cache,
    compose,
    debian,
    docker_engine,
    engine_image,
    gateway_image,
    gpu_repository,
    host_image,
    keys,
    llama_image,
    models,
    registry,
)
from airgap_lab.console import run, say
from airgap_lab.room import DRIVE, Room


def describe(room: Room) -> dict[str, Any]:
    return {
        "cache": str(cache.root()),
        "host_image": host_image.name(),
        "release": host_image.RELEASE,
        # airgap_targets with the addresses of this machine's mirrors and the simulated GPU packages.
        "targets": [
            {
                "distribution": "Debian",
                "release": host_image.RELEASE,
                "architecture": "amd64",
                "sources": [*debian.sources(host_image.RELEASE), gpu_repository.source()],
            }
        ],
        "gpu_packages": {"directory": str(gpu_repository.folder()), **gpu_repository.source()},
        # What the staging machine starts Compose with.
        "compose_command": compose.command(),
        "models": {name: str(models.folder() / name) for name in models.NAMES},
        "registry": {
            "address": registry.address(),
            "stands_for": list(registry.STANDS_FOR),
            "registries_conf": str(registry.registries_conf()),
            "images": {"engine": engine_image.IMAGE, "llama": llama_image.IMAGE, "gateway": gateway_image.IMAGE},
        },
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


def status() -> None:
    say(f"cache: {cache.root()}")
    for what, there in (
        ("simulated GPU packages", gpu_repository.folder().is_dir()),
        ("models", models.folder().is_dir()),
        ("gateway image", gateway_image.PUBLIC.built()),
        ("engine image", engine_image.PUBLIC.built()),
        ("llama.cpp image", llama_image.PUBLIC.built()),
    ):
        say(f"{what}: {'built' if there else 'not built'}")
    stands_for = " and ".join(registry.STANDS_FOR)
    say(f"registry that stands for {stands_for}: {registry.address() if registry.answers() else 'stopped'}")
    if not docker_engine.answers():
        say("Docker does not run, so no room does")
        return
    say("host image: %s" % ("built" if docker_engine.inspect("image", host_image.name()) else "not built"))
    listed = run(["docker", "ps", "--all", "--filter", "label=airgap-lab", "--format", "{{.Names}}|{{.Status}}"])
    for line in sorted(listed.splitlines()):
        container, _separator, state = line.partition("|")
        say("{}: {}".format(re.sub(r"^airgap-", "room ", container), state))
