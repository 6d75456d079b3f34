# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: instance_plan
short_description: Work out what a host runs from the instances that a person described
version_added: "0.1.0"
description:
  - Resolves each instance to its image by digest, model revision, command line, environment and GPUs.
  - GPUs are handed out in the order of the instances, each to one instance only.
author:
  - airgap.inference contributors (@airgap-inference)
positional: _input
options:
  _input:
    description: The instances, as in C(inference_instances).
    type: list
    elements: dict
    required: true
  engines:
    description: The engines' data.
    type: list
    elements: dict
    required: true
  images:
    description: The bundle's images by name, each with its C(reference).
    type: dict
    required: true
  models:
    description: The bundle's models by name, each with its C(revision).
    type: dict
    required: true
  registry:
    description: The registry that the host pulls from, C(host:port); empty for references as they are.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Show the command lines
  ansible.builtin.debug:
    msg: "{{ plan | map(attribute='command') }}"
  vars:
    plan: "{{ instances | airgap.inference.instance_plan(engines=engines, images=images, models=models) }}"
"""

RETURN = r"""
_value:
  description: One entry an instance.
  type: list
  elements: dict
"""

from typing import Any, Callable

from ansible_collections.airgap.inference.plugins.module_utils import _instance


class FilterModule:
    """Ansible's way to a filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"instance_plan": _instance.plan}
