# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: instance_refusals
short_description: Say why instances cannot run, before anything is changed
version_added: "0.1.0"
description:
  - Holds the instances of a host against the engines' data and against what the bundle carries.
  - Options are held against the flags of the engine's own parser, where the image has the version that these were taken from.
  - Instances that stand beside each other must have different names, and mean the same by a name that both serve.
  - Gives every reason, not the first one only.
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
    description: The bundle's images by name.
    type: dict
    required: true
  models:
    description: The bundle's models by name; C(gguf) of each lists its files for engines that take a file, null where that is not known yet.
    type: dict
    required: true
  expected:
    description: What the inventory states of the host's GPUs, C(gpu_host_expected); presets may be for one generation.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Refuse what cannot run
  ansible.builtin.assert:
    that: "{{ reasons | length == 0 }}"
    fail_msg: "{{ reasons }}"
  vars:
    reasons: "{{ instances | airgap.inference.instance_refusals(engines=engines, images=images, models=models) }}"
"""

RETURN = r"""
_value:
  description: The reasons; an empty list when there is none.
  type: list
  elements: str
"""

from typing import Any, Callable

from ansible_collections.airgap.inference.plugins.module_utils import _instance


class FilterModule:
    """Ansible's way to a filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"instance_refusals": _instance.refusals}
