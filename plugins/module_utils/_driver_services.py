# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The services that keep NVIDIA's driver open, stopped for a moment where the driver or a GPU has to be let go."""

from __future__ import annotations

import os
from typing import Callable, NamedTuple, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import _command
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

# They serve nobody by themselves. NVIDIA's MIG User Guide ("Driver Clients") names nvsm and dcgm; nvidia-dcgm is dcgm's newer
# name. Watchers first, since they are stopped in this order.
SERVICES = (
    "dcgm-exporter.service",
    "nvsm.service",
    "nvidia-dcgm.service",
    "dcgm.service",
    "nvidia-fabricmanager.service",
    "nvidia-persistenced.service",
)


class Said(NamedTuple):
    """How a program ended, and all that it said."""

    rc: int
    text: str


Run = Callable[[Sequence[str]], Said]


def run(argv: Sequence[str]) -> Said:
    # A connection that is no login has no sbin on its path.
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    result = _command.run(list(argv), env={"PATH": path, "LC_ALL": "C"})
    return Said(result.rc, (result.stdout.decode("utf-8", "replace") + result.stderr).strip())


def quiet(run: Run, argv: Sequence[str]) -> Said:
    """Run what may not be there: a host without it has nothing to say."""
    try:
        return run(argv)
    except AirgapError:
        return Said(127, "")


def short(text: str) -> str:
    return " ".join(text.split())[-300:]


def stop(run: Run) -> list[str]:
    """Stop those that run, and return them."""
    # One word a unit, in the order of the question; an unknown unit is "inactive" (systemctl(1), is-active).
    states = quiet(run, ["systemctl", "is-active", *SERVICES]).text.splitlines()
    active = [service for service, state in zip(SERVICES, states) if state == "active"]
    for at, service in enumerate(active):
        said = run(["systemctl", "stop", service])
        if said.rc != 0:
            start(run, active[:at])
            raise AirgapError(
                f"The service {service} cannot be stopped: {short(said.text)}. See 'journalctl -u {service}'"
            )
    return active


def start(run: Run, services: Sequence[str]) -> None:
    """Start again what was stopped, the last first."""
    failed = []
    for service in reversed(services):
        said = run(["systemctl", "start", service])
        if said.rc != 0:
            failed.append(f"{service}: {short(said.text)}")
    if failed:
        raise AirgapError(
            "Services that were stopped to let the driver go do not start again: " + "; ".join(failed) + ". "
            "See 'journalctl -u' of each; nvidia-fabricmanager needs exactly the driver's version"
        )
