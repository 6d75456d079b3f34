# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the container engines of the targets can pull an image, as far as its layers' compression decides it.

Docker Engine pulls layers that are compressed with zstd from 23.0 on (its release notes; moby/moby#41759). An older
one loads them in full and then says "invalid tar header", beyond the gap.
"""

from __future__ import annotations

import re
from typing import Any, Iterable

from ansible_collections.airgap.inference.plugins.module_utils._oci import Blob, Name

PACKAGES = ("docker.io", "docker-ce", "moby-engine")
FIRST_WITH_ZSTD = 23

_VERSION = re.compile(r"(?:[0-9]+:)?([0-9]+)\.[0-9]")


def engines(targets: Iterable[dict[str, Any]]) -> dict[str, str]:
    """The version of Docker that the bundle brings to each target (its packages' artifact); empty where it has none."""
    versions = {}
    for target in targets:
        found = [package["version"] for package in target["packages"] if package["name"] in PACKAGES]
        label = f"{target['distribution']} {target['release']} {target['architecture']}"
        # Of several, the oldest decides: any of them may be the one that is installed.
        versions[label] = min(found, key=lambda version: _major(version) or 0, default="")
    return versions


def refusal(name: Name, layers: Iterable[Blob], source: str, architecture: str, targets: dict[str, str]) -> str | None:
    """Why these engines cannot pull the image, and what to do; None when they can, or when nobody knows."""
    too_old = [
        f"Docker {version} to {label}" for label, version in targets.items() if 0 < _major(version) < FIRST_WITH_ZSTD
    ]
    if not too_old or not _zstd(layers):
        return None
    new = name.full if not name.digest else f"{name.source}:gzip"
    return (
        f"{name.full} has layers that are compressed with zstd. Docker pulls them from version {FIRST_WITH_ZSTD} on, and "
        f"the bundle brings {', '.join(too_old)}. Take a tag whose layers are gzip, or a newer Docker for the target, or "
        f"compress the image again: skopeo copy --override-arch {architecture} --dest-compress-format gzip {source} "
        f"oci-archive:/srv/image.tar:{new} and name {new} with that file in airgap_image_archives "
        "(the image gets another digest)."
    )


def remark(name: Name, layers: Iterable[Blob], targets: dict[str, str]) -> str | None:
    """What to look at when the bundle brings no engine, or one whose version says nothing."""
    unknown = [label for label, version in targets.items() if not _major(version)]
    if not unknown or not _zstd(layers):
        return None
    return (
        f"{name.full} has layers that are compressed with zstd. Docker pulls them from version {FIRST_WITH_ZSTD} on; "
        f"which version the hosts with {', '.join(unknown)} have is not known here."
    )


def _zstd(layers: Iterable[Blob]) -> bool:
    return any("zstd" in layer.media_type for layer in layers)


def _major(version: str) -> int:
    match = _VERSION.match(version)
    return int(match[1][:9]) if match else 0
