# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: target_refusals
short_description: Say why packages cannot be collected for targets as they are described
version_added: "0.1.0"
description:
  - Holds each target against what its package manager needs, by the description alone.
author:
  - airgap.inference contributors (@airgap-inference)
positional: _input
options:
  _input:
    description: The targets, as in C(bundle_targets).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Every target can be served
  ansible.builtin.assert:
    that: bundle_targets | airgap.inference.target_refusals | length == 0
"""

RETURN = r"""
_value:
  description: A sentence for each target that cannot be served.
  type: list
  elements: str
"""

from typing import Any, Callable

from ansible_collections.airgap.inference.plugins.module_utils import _repository


class FilterModule:
    """Ansible's way to a filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"target_refusals": _repository.refusals}
