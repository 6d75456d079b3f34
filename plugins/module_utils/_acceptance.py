# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be seen of the instances of a host, whether they are planned or only described."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import _instance_expand


def instances(stated: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One entry an instance, a replica by itself."""
    seen = []
    for entry in stated:
        # Only a plan says what an instance serves.
        for one in [entry] if "serves" in entry else _instance_expand.expand([entry]):
            seen.append(
                {
                    "name": str(one["name"]),
                    "models": list(one.get("serves") or _instance_expand.serves(one)),
                    "task": str(one.get("task") or "generate"),
                    "probe": one.get("probe"),
                    "relay": one.get("listens") == "tcp",
                    "may_be_root": one.get("supports_user") is False,
                }
            )
    return seen
