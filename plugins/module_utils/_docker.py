# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the docker command line knows, read; and the one thing that is asked of it, to pull."""

from __future__ import annotations

import json
import shutil
from typing import Any

from ansible_collections.airgap.inference.plugins.module_utils._command import last_words, run
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def present() -> bool:
    """Whether this machine has the docker command at all."""
    return shutil.which("docker") is not None


def missing_images(references: list[str]) -> list[str]:
    """Those of the images that are not on this machine."""
    return [reference for reference in references if run(["docker", "image", "inspect", reference]).rc != 0]


def pull(reference: str) -> None:
    """Bring an image here from the registry that its reference names."""
    result = run(["docker", "pull", "--quiet", reference])
    if result.rc == 0:
        return
    said = last_words(result)
    raise AirgapError(f"The image {reference} could not be pulled: {said}{_remedy(said)}")


def inspect_container(name: str) -> dict[str, Any]:
    """docker inspect of one container."""
    result = run(["docker", "container", "inspect", name])
    if result.rc != 0:
        raise AirgapError(f"There is no container {name} on this host: {last_words(result)}")
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found[0]


def _remedy(said: str) -> str:
    """What a person can do about the faults that are met most."""
    if "certificate" in said:
        return "\nDocker does not trust the registry: the depot's CA belongs in /etc/docker/certs.d/<registry>/ca.crt."
    if "not found" in said or "manifest unknown" in said:
        return "\nThe registry answers but has no such digest: import the bundle that carries it."
    if "Cannot connect to the Docker daemon" in said:
        return "\nThe Docker engine is not running: see systemctl status docker."
    if "no such host" in said or "refused" in said or "timeout" in said:
        return "\nThe registry was not reached: check its address, and that the depot is up."
    return ""
