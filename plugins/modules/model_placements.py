#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: model_placements
short_description: Tell of many models at once whether they fit on GPUs
version_added: "0.1.0"
description:
  - Answers many questions of M(airgap.inference.model_placement) in one task, which is what the playbook C(preflight) needs for a site of many
    hosts.
  - A question that cannot be answered does not stop the others; its answer says why.
author:
  - airgap.inference contributors (@airgap-inference)
attributes:
  check_mode:
    support: full
    description: The module changes nothing, and runs in check mode as it does otherwise.
  diff_mode:
    support: none
    description: There is nothing to compare.
  idempotent:
    support: full
    description: The module changes nothing.
options:
  cases:
    description:
      - The questions, each a dictionary of the options of M(airgap.inference.model_placement).
      - A C(max_model_len) of V(-1) is the longest that fits, as vLLM's C(--max-model-len auto).
    type: list
    elements: dict
    required: true
seealso:
  - module: airgap.inference.model_placement
"""

EXAMPLES = r"""
- name: Which of these models fit on such a GPU?
  airgap.inference.model_placements:
    cases:
      - path: /srv/models/llama-3.1-8b-instruct
        gpus: [{memory_mib: 46068, compute_capability: "8.9"}]
      - path: /srv/models/llama-3.1-70b-instruct
        gpus: [{memory_mib: 46068, compute_capability: "8.9"}]
  register: placements

- name: Show the verdicts
  ansible.builtin.debug:
    msg: "{{ placements.answers | map(attribute='verdict', default='no answer') }}"
"""

RETURN = r"""
answers:
  description:
    - The answers, in the order of the questions, with the keys that M(airgap.inference.model_placement) returns, and those below.
  returned: success
  type: list
  elements: dict
  contains:
    error:
      description: Why there is no answer; then there are no other keys. V(null) where there is one.
      type: str
    topics:
      description: What each of the reasons is about, by the name of an option or of a part of the host.
      type: list
      elements: str
      sample: [max_model_len, memory]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _placements


def main() -> None:
    module = AnsibleModule(
        argument_spec={"cases": {"type": "list", "elements": "dict", "required": True}},
        supports_check_mode=True,
    )
    module.exit_json(changed=False, answers=_placements.answers(module.params["cases"]))


if __name__ == "__main__":
    main()
