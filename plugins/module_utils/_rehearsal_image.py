# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bundle's images in this machine's Docker engine, for as long as they are rehearsed, under names of their own."""

from __future__ import annotations

import json
import os
from typing import Any

from ansible_collections.airgap.inference.plugins.module_utils import _json
from ansible_collections.airgap.inference.plugins.module_utils._command import last_words, require, run
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

# Manifests and configurations of images are far smaller.
_LIMIT = 16 * 1024 * 1024


def load(layout: str, name: str, digest: str, tag: str) -> bool:
    """Have the image here under the tag; True when it was not. It is compared by its layers, not by its name."""
    layers = _layers(layout, digest)
    if _held(tag) == layers:
        return False
    result = run(["skopeo", "copy", "--quiet", f"oci:{layout}:{name}", f"docker-daemon:{tag}"])
    if result.rc != 0:
        raise AirgapError(
            f"The image {name} ({digest}) could not be loaded from {layout} into Docker: {last_words(result, 3)}\n"
            "Docker keeps images below its data root (docker info shows it), and skopeo unpacks in /var/tmp: see whether both have room."
        )
    if _held(tag) != layers:
        raise AirgapError(
            f"Docker holds other layers than {layout} for {name} ({digest}) after loading it. Stage again."
        )
    return True


def remove(repository: str, keep: set[str]) -> list[str]:
    """Remove the images of this repository but those whose tags are to be kept."""
    found = require(
        ["docker", "images", "--format", "{{.Repository}}:{{.Tag}}", repository], "Docker's images cannot be listed"
    )
    gone = [
        tag for tag in found.decode("utf-8", "replace").split() if tag not in keep and tag.startswith(repository + ":")
    ]
    for tag in gone:
        run(["docker", "rmi", tag])
    return gone


def _layers(layout: str, digest: str) -> list[str]:
    """The image's layers as its configuration names them, unpacked."""
    config: dict[str, Any] = _blob(layout, str(_blob(layout, digest)["config"]["digest"]))
    return [str(layer) for layer in config["rootfs"]["diff_ids"]]


def _held(tag: str) -> list[str] | None:
    """The layers of an image in Docker, or None where there is none."""
    result = run(["docker", "image", "inspect", "--format", "{{json .RootFS.Layers}}", tag])
    return [str(layer) for layer in json.loads(result.stdout) or []] if result.rc == 0 else None


def _blob(layout: str, digest: str) -> dict[str, Any]:
    return _json.read_object(os.path.join(layout, "blobs", *digest.split(":", 1)), _LIMIT)
