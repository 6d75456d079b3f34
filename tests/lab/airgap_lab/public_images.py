# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds an image that stands for a public one, and puts it into the lab's registry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airgap_lab import cache, debian, oci, registry


def publish(
    step: str,
    image: str,
    release: str,
    include: Sequence[str],
    hooks: Sequence[str],
    settings: dict[str, Any],
    half: Path,
) -> None:
    """The step's folder keeps the image's digest; the image itself is in the registry."""
    archive = half / "root.tar"
    debian.bootstrap(release, include, hooks, archive, step)
    layout = half / "layout"
    digest = oci.layout(archive, settings, layout, cache.log(step))
    registry.push(layout, image, cache.log(step))
    cache.remove(layout)
    cache.write(half / "digest", digest + "\n")
