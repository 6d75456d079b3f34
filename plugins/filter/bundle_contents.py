# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: bundle_contents
short_description: Name what a bundle that is being made holds, as a depot will
version_added: "0.1.0"
description:
  - Gives collected images and models by name, in the form of M(airgap.inference.bundle_facts), so that instances can be held
    against a bundle before it is sealed.
author:
  - airgap.inference contributors (@airgap-inference)
positional: _input
options:
  _input:
    description: The artifacts of M(airgap.inference.bundle_images).
    type: list
    elements: dict
    required: true
  models:
    description: The artifacts of M(airgap.inference.bundle_models).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the digest of an image
  ansible.builtin.debug:
    msg: "{{ contents.images['docker.io/vllm/vllm-openai:v0.32.0'].digest }}"
  vars:
    contents: "{{ collected_images.artifacts | airgap.inference.bundle_contents(models=collected_models.artifacts) }}"
"""

RETURN = r"""
_value:
  description: C(images) and C(models), each by name.
  type: dict
"""

from typing import Any, Callable

from ansible_collections.airgap.inference.plugins.module_utils import _facts


class FilterModule:
    """Ansible's way to a filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"bundle_contents": _facts.contents}
