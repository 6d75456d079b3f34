# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: acceptance_instances
short_description: What is to be seen of each instance of a host
version_added: "0.1.0"
description:
  - Takes the plan of the instances (P(airgap.inference.instance_plan#filter)) or the instances as a person described them.
  - Replicas are instances of their own, under their own names.
  - A plan knows more, what the engine itself is asked, whether a relay stands before it, whether it must be root.
author:
  - airgap.inference contributors (@airgap-inference)
positional: _input
options:
  _input:
    description: The instances.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Show what clients can ask for
  ansible.builtin.debug:
    msg: "{{ airgap_instances | airgap.inference.acceptance_instances | map(attribute='models') | flatten | unique }}"
"""

RETURN = r"""
_value:
  description: One entry an instance, with its C(name), C(models), C(task), C(probe), C(relay) and C(may_be_root).
  type: list
  elements: dict
"""

from typing import Any, Callable

from ansible_collections.airgap.inference.plugins.module_utils import _acceptance


class FilterModule:
    """Ansible's way to a filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"acceptance_instances": _acceptance.instances}
