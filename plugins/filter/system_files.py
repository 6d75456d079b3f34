# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: system_files
short_description: Find the files of variables that describe an operating system
version_added: "0.1.0"
description:
  - Of C(<distribution>-<release>.yml), C(<distribution>.yml) and C(<os_family>.yml) in a directory, those that exist, in this order.
    It is the first that counts.
  - The role C(bundle) asks with a target, the roles on the hosts with their facts. So what travels is what will be installed.
author:
  - airgap.inference contributors (@airgap-inference)
positional: _input, directory
options:
  _input:
    description: A target with C(distribution) and C(release), or a host's facts.
    type: dict
    required: true
  directory:
    description: Where the files are, the C(vars) of a role.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Load what differs between operating systems
  ansible.builtin.include_vars: "{{ ansible_facts | airgap.inference.system_files(role_path ~ '/vars') | first }}"
"""

RETURN = r"""
_value:
  description: Paths, the nearest first; an empty list when nothing describes the system.
  type: list
  elements: str
"""

from typing import Any, Callable

from ansible_collections.airgap.inference.plugins.module_utils import _system


class FilterModule:
    """Ansible's way to a filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"system_files": _system.variable_files}
