#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_facts
short_description: Say what the depot holds
version_added: "0.1.0"
author: "airgap.inference contributors (@airgap-inference)"
description:
  - Reads the manifest that was published last at a depot, and returns its images, models and package repositories by name.
  - Runs on the depot, for example with C(delegate_to).
options:
  directory:
    description: The directory of the depot.
    type: path
    default: /srv/airgap
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check mode), when in diff mode.
    support: none
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
    support: full
"""

EXAMPLES = r"""
- name: Ask the depot what it holds
  airgap.inference.bundle_facts:
  delegate_to: depot
  run_once: true
  register: bundle

- name: Show the digest of an image
  ansible.builtin.debug:
    msg: "{{ bundle.images['docker.io/vllm/vllm-openai:v0.32.0'].digest }}"
"""

RETURN = r"""
site:
  description: The site that the bundle was made for.
  returned: success
  type: str
  sample: clinic-a
created:
  description: When the bundle was sealed.
  returned: success
  type: str
  sample: "2026-11-21T00:00:00Z"
images:
  description:
    - The images by name, each with its C(reference) (C(repository@digest)), C(digest), C(size) (of its compressed layers), and C(cuda), the
      C(version) of CUDA that it was built with and the drivers that it does C(require), as far as it states them. And C(flags), by
      engine, those that the engine in it told when it was rehearsed.
  returned: success
  type: dict
models:
  description: The models by name, each with its C(revision), C(digest), C(size) and the paths of its C(gguf) files.
  returned: success
  type: dict
packages:
  description: The package repositories as the manifest lists them, with the packages in each.
  returned: success
  type: list
  elements: dict
keys:
  description: The OpenPGP key of each package repository by its directory.
  returned: success
  type: dict
repositories:
  description: The package repositories by C(distribution-release-architecture), each with C(path), C(suite), C(component) and C(key).
  returned: success
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _facts
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def main() -> None:
    module = AnsibleModule(
        argument_spec={"directory": {"type": "path", "default": "/srv/airgap"}},
        supports_check_mode=True,
    )
    try:
        facts = _facts.read(module.params["directory"])
    except AirgapError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **facts)


if __name__ == "__main__":
    main()
