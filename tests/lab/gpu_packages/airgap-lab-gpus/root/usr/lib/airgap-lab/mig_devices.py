# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The MIG devices of a host: what is left when the GPU instances are looked at as CUDA does."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from mig_profiles import BY_NAME, Profile
from simulated_gpus import Host


@dataclass(frozen=True)
class Device:
    """A compute instance in a GPU instance."""

    index: int
    uuid: str
    profile: Profile
    gpu_instance: int
    compute_instance: int = 0


def profiles(gpu: dict[str, Any]) -> tuple[Profile, ...]:
    return BY_NAME.get(gpu["name"], ())


def profile(gpu: dict[str, Any], wanted: str) -> Profile | None:
    """By its name or its number."""
    return next((one for one in profiles(gpu) if wanted in (one.name, str(one.number), f"MIG {one.name}")), None)


def enabled(host: Host, gpu: dict[str, Any]) -> bool:
    return bool(profiles(gpu)) and host.state.mig_mode(gpu["uuid"])[0]


def devices(host: Host, gpu: dict[str, Any]) -> list[Device]:
    """The largest first, as nvidia-smi numbers them."""
    made = [instance for instance in host.state.instances.get(gpu["uuid"], []) if instance["compute"]]
    made.sort(key=lambda instance: int(instance["id"]))
    found = []
    for index, instance in enumerate(made if enabled(host, gpu) else []):
        size = profile(gpu, instance["profile"])
        assert size is not None, instance
        name = f"{gpu['uuid']}/{instance['id']}/0"
        found.append(Device(index, f"MIG-{uuid.uuid5(uuid.NAMESPACE_OID, name)}", size, int(instance["id"])))
    return found
