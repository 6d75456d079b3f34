# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: gateway_refusals
short_description: Say why a gateway cannot work, before anything is changed
version_added: "0.1.0"
description:
  - Holds the clients of a gateway against the instances behind it, and how tokens are verified against the key set.
  - Gives every reason, not the first one only.
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
  models:
    description: The names of the site's models, beside those that these instances serve.
    type: list
    elements: str
    default: []
  tokens:
    description: How tokens are verified, as in C(gateway_tokens).
    type: dict
    default: {}
  jwks:
    description: The content of the JSON Web Key Set.
    type: str
    default: ""
  networks:
    description: The networks that may read the metrics.
    type: list
    elements: str
    default: []
  client_ca:
    description: Where the CA of the clients' certificates is.
    type: str
    default: ""
  client_ca_text:
    description: Its content.
    type: str
    default: ""
  client_crl:
    description: Where the list of certificates is that this CA took back.
    type: str
    default: ""
  client_crl_text:
    description: Its content.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Refuse what cannot work
  ansible.builtin.assert:
    that: "{{ reasons | length == 0 }}"
    fail_msg: "{{ reasons }}"
  vars:
    reasons: "{{ instances | airgap.inference.gateway_refusals(clients) }}"
"""

RETURN = r"""
_value:
  description: The reasons; an empty list when there is none.
  type: list
  elements: str
"""

from typing import Any, Callable

from ansible_collections.airgap.inference.plugins.module_utils import _gateway_refusals


class FilterModule:
    """Ansible's way to a filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"gateway_refusals": _gateway_refusals.refusals}
