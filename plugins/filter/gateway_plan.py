# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: gateway_plan
short_description: Work out what a host's gateway does
version_added: "0.1.0"
description:
  - Routes by model, allowed paths, clients by the hash of their key, and the public keys that verify tokens.
author:
  - airgap.inference contributors (@airgap-inference)
positional: _input
options:
  _input:
    description: What stands behind the gateway, as in C(gateway_instances).
    type: list
    elements: dict
    required: true
  clients:
    description: The clients, as in C(gateway_clients).
    type: list
    elements: dict
    required: true
  tokens:
    description: How tokens are verified, as in C(gateway_tokens).
    type: dict
    default: {}
  jwks:
    description: The content of the JSON Web Key Set.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Show which models are served
  ansible.builtin.debug:
    msg: "{{ (instances | airgap.inference.gateway_plan(clients)).config.models }}"
"""

RETURN = r"""
_value:
  description: The routes, the locations and the script's own configuration.
  type: dict
"""

from typing import Any, Callable

from ansible_collections.airgap.inference.plugins.module_utils import _gateway_plan


class FilterModule:
    """Ansible's way to a filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"gateway_plan": _gateway_plan.plan}
