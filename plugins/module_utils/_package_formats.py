# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The package repositories of the bundle by their format. Both know the same words."""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.airgap.inference.plugins.module_utils import _apt_repository, _dnf_repository

FORMATS: dict[str, Any] = {"apt": _apt_repository, "dnf": _dnf_repository}


def digests(root: str, artifact: dict[str, Any]) -> dict[str, str]:
    """The SHA-256 that a repository of a bundle states for its own packages, by their paths in the bundle."""
    directory = artifact["directory"]
    stated = FORMATS[artifact.get("format", "apt")].digests(os.path.join(root, directory), artifact["architecture"])
    return {f"{directory}/{path}": digest for path, digest in stated.items()}
