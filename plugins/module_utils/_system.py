# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Operating systems: which package format they have, and which file of a role describes them.

The same rule holds on both sides of the gap: a bundle is made for what the roles will read on the hosts.
"""

from __future__ import annotations

import os
from typing import Any, Mapping

from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

# Ansible's names of the systems that a bundle can be made for, and of their families.
FAMILIES = {
    "Debian": "Debian",
    "Ubuntu": "Debian",
    "AlmaLinux": "RedHat",
    "RedHat": "RedHat",
    "Rocky": "RedHat",
}
FORMATS = {"Debian": "apt", "RedHat": "dnf"}


def family(distribution: str) -> str:
    """The family of a system beyond the gap."""
    if distribution not in FAMILIES:
        raise AirgapError(
            f"airgap_targets names the distribution {distribution}; a bundle can be made for {', '.join(sorted(FAMILIES))}."
        )
    return FAMILIES[distribution]


def package_format(distribution: str) -> str:
    """How packages come to it: apt or dnf."""
    return FORMATS[family(distribution)]


def release(system: Mapping[str, Any]) -> str:
    """The release of a target, or of a host by its facts: a code name in Debian's family, else the major version."""
    if "release" in system:
        return str(system["release"])
    if system.get("os_family") == "Debian":
        return str(system.get("distribution_release", ""))
    return str(system.get("distribution_major_version", ""))


def variable_names(system: Mapping[str, Any]) -> list[str]:
    """The names under which a role may describe a system, the nearest first; the first that exists does."""
    distribution = str(system.get("distribution", ""))
    names = [f"{distribution}-{release(system)}", distribution, system.get("os_family") or FAMILIES.get(distribution)]
    return [str(name) for name in dict.fromkeys(names) if name]


def variable_files(system: Mapping[str, Any], directory: str) -> list[str]:
    """Those of a role's files that describe a system, the nearest first: it is the first that counts."""
    paths = [os.path.join(directory, f"{name}.yml") for name in variable_names(system)]
    return [path for path in paths if os.path.isfile(path)]
