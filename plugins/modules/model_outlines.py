#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: model_outlines
short_description: Have the configurations of models before their weights
version_added: "0.1.0"
description:
  - For models of a hub, fetches their configurations alone into the cache, a few KiB each, so that it can be told whether they will fit
    before hundreds of gigabytes are fetched. Models that are directories stay where they are.
  - A model that cannot be looked at is no failure; the result says why.
author:
  - airgap.inference contributors (@airgap-inference)
requirements:
  - huggingface_hub >= 1, < 3, for models of a hub
options:
  models:
    description:
      - The models, as in C(airgap_models). C(name) and C(source) are used.
    type: list
    elements: dict
    required: true
  cache:
    description: Where files of hubs are kept between runs. Needed for these sources.
    type: path
  lock:
    description: The file that says which commit a branch or tag was when it was first staged. It is read only.
    type: path
  update:
    description: Names of models whose branch or tag is resolved anew.
    type: list
    elements: str
    default: []
  digests:
    description: A file in which digests of files are remembered, so that they are not read again.
    type: path
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying target.
    support: partial
    details: In check mode only configurations that are in the cache already are found.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check mode), when in diff mode.
    support: none
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
    support: full
"""

EXAMPLES = r"""
- name: Look at the models without their weights
  airgap.inference.model_outlines:
    cache: /srv/staging/cache
    models:
      - name: llama-3.1-8b-instruct
        source: hf://meta-llama/Llama-3.1-8B-Instruct@0e9e39f249a16976918f6564b8830bc894c89659
  register: outlines

- name: Would it fit?
  airgap.inference.model_placement:
    path: "{{ outlines.models['llama-3.1-8b-instruct'].path }}"
    gpus: [{memory_mib: 23034, compute_capability: "8.9"}]
"""

RETURN = r"""
models:
  description:
    - By the names of the models, the C(path) of the directory that tells of each, or C(why) there is none.
  returned: success
  type: dict
  sample: {llama-3.1-8b-instruct: {path: /srv/models/llama-3.1-8b-instruct, why: null}}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _model_outline
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "models": {"type": "list", "elements": "dict", "required": True},
            "cache": {"type": "path"},
            "lock": {"type": "path"},
            "update": {"type": "list", "elements": "str", "default": []},
            "digests": {"type": "path"},
        },
        supports_check_mode=True,
    )
    try:
        found = _model_outline.outlines(module.params, check_mode=module.check_mode)
    except (AirgapError, OSError) as error:
        module.fail_json(msg=str(error))
    # What lies in a cache is nobody's state.
    module.exit_json(changed=False, models=found)


if __name__ == "__main__":
    main()
