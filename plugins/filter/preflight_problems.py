# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: preflight_problems
short_description: Say what the inventory alone shows to be wrong with a site
version_added: "0.1.0"
description:
  - Holds the instances, GPUs and clients of all hosts of a site against each other and against the engines' data, and gives every problem
    as a paragraph - what, where in the inventory, and the remedy. Hosts that have the same problem share its paragraph.
author:
  - airgap.inference contributors (@airgap-inference)
positional: _input
options:
  _input:
    description:
      - The site, with its C(engines) (their data), its C(models) (C(airgap_models)), its C(depots) (names of hosts), and its C(hosts).
      - A host has its C(host) (name), its C(instances), the name of the C(variable) that lists these, and where they are stated C(expected)
        (C(gpu_host_expected)), C(mig) (C(gpu_host_mig)), C(clients) and C(clients_variable).
      - C(needs_depot) is false where no depot is needed, as on the connected side.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Refuse what cannot work
  ansible.builtin.assert:
    that: "{{ reasons | length == 0 }}"
    fail_msg: "{{ reasons }}"
  vars:
    reasons: "{{ site | airgap.inference.preflight_problems }}"
"""

RETURN = r"""
_value:
  description: The lines of the paragraphs, of 108 columns at the most; an empty list when there is no problem.
  type: list
  elements: str
"""

from typing import Any, Callable, Mapping

from ansible_collections.airgap.inference.plugins.module_utils import _preflight_inventory, _preflight_problem


def preflight_problems(site: Mapping[str, Any]) -> list[str]:
    return _preflight_problem.paragraphs(_preflight_inventory.problems(site))


class FilterModule:
    """Ansible's way to a filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"preflight_problems": preflight_problems}
