# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: preflight_report
short_description: Make the page that says whether a site can work
version_added: "0.1.0"
description:
  - Gives a table for each host and a paragraph for each problem in lines that fit into 120 columns of Ansible's output, and the same as data.
author:
  - airgap.inference contributors (@airgap-inference)
positional: _input
options:
  _input:
    description: The result of P(airgap.inference.preflight_cases#filter).
    type: dict
    required: true
  answers:
    description: The answers of M(airgap.inference.model_placements); V(null) where nobody could be asked.
    type: list
    elements: dict
  why:
    description: Why nobody could be asked.
    type: str
    default: ""
  site:
    description: The site's name.
    type: str
    default: ""
  created:
    description: The time that stands in the document.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Show the page
  ansible.builtin.debug:
    msg: "{{ (plan | airgap.inference.preflight_report(answers=placements.answers)).lines }}"
"""

RETURN = r"""
_value:
  description: C(lines) for people, C(document) for programs, and C(stops), the problems that stop a deploy in few words.
  type: dict
"""

from typing import Any, Callable

from ansible_collections.airgap.inference.plugins.module_utils import _preflight_report


class FilterModule:
    """Ansible's way to a filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"preflight_report": _preflight_report.report}
