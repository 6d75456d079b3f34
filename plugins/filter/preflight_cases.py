# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: preflight_cases
short_description: Work out which placements have to be asked for a site
version_added: "0.1.0"
description:
  - Brings together what the inventory states of each host and what was seen there, and gives the questions for
    M(airgap.inference.model_placements), each different one once, with what is wrong with the hosts themselves.
  - Where a host has no driver yet, its GPUs are taken by their PCI ids, and where it was not looked at, from C(gpu_host_expected).
author:
  - airgap.inference contributors (@airgap-inference)
positional: _input
options:
  _input:
    description:
      - The site as for P(airgap.inference.preflight_problems#filter), with its C(bundle) (the result of M(airgap.inference.bundle_facts), where
        there is one; else C(bundle_why) may say why there is none), and with C(model_paths), which gives for each model's name the C(path)
        of its directory, or C(why) there is none.
      - A host has besides C(driver) (what it states of its driver, and the C(data) of its system), C(model_directory), C(docker_root),
        C(packages_state), C(refuse_sick), and where it was looked at C(seen), with C(facts) (the result of M(ansible.builtin.setup)),
        C(found) (of M(airgap.inference.gpu_host_info)), C(gpus) (of M(airgap.inference.gpu_info)) and C(held), lines with what it already has.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Ask whether all that fits
  airgap.inference.model_placements:
    cases: "{{ (site | airgap.inference.preflight_cases).cases }}"
  register: placements
"""

RETURN = r"""
_value:
  description: C(cases), C(hosts) with the rows of their tables, and C(problems).
  type: dict
"""

from typing import Any, Callable

from ansible_collections.airgap.inference.plugins.module_utils import _preflight_case


class FilterModule:
    """Ansible's way to a filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"preflight_cases": _preflight_case.plan}
