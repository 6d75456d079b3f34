#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_check
short_description: Check the seal and every file of a bundle
version_added: "0.1.0"
author: "airgap.inference contributors (@airgap-inference)"
description:
  - Verifies the signature of the bundle's manifest with C(ssh-keygen -Y verify), then compares every file with the manifest.
  - A file that is missing, changed, too many, a link or a special file is a failure. All of them are named.
  - Nothing is read from the manifest before its signature holds.
  - Of a bundle in volumes it checks what is here, and says which volumes are not. Of a bundle that builds on another one it checks
    what travels; what the depot has is looked for by M(airgap.inference.depot_receive).
options:
  path:
    description: The directory of the bundle, for example where the drive is mounted.
    type: path
    required: true
  allowed_signers:
    description:
      - The file of allowed signers, in the format of C(ssh-keygen). It belongs to this machine and never comes with the bundle.
    type: path
    default: /etc/airgap/allowed_signers
  content:
    description: Whether files are read and hashed; else only the seal, names and sizes are checked.
    type: bool
    default: true
  workers:
    description:
      - How many files are hashed at a time.
      - The default is one for each core.
    type: int
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
requirements:
  - ssh-keygen (OpenSSH 8.2 or newer)
"""

EXAMPLES = r"""
- name: Check the bundle on the drive
  airgap.inference.bundle_check:
    path: /media/airgap
  register: bundle

- name: Show who sealed it
  ansible.builtin.debug:
    msg: "{{ bundle.signer }} sealed {{ bundle.files }} files for {{ bundle.site }}"
"""

RETURN = r"""
signer:
  description: The identity that sealed the bundle, as the file of allowed signers names it.
  returned: when the seal holds
  type: str
  sample: release@example.org
site:
  description: The site that the bundle was made for.
  returned: when the seal holds
  type: str
  sample: lab
created:
  description: When the bundle was sealed.
  returned: when the seal holds
  type: str
  sample: "2026-11-21T00:00:00Z"
created_by:
  description: The collection and version that made the bundle.
  returned: when the seal holds
  type: str
  sample: airgap.inference 0.1.0
artifacts:
  description: The packages, images, models and the controller that the bundle holds.
  returned: success
  type: dict
files:
  description: How many files, or parts of files, are here and were checked.
  returned: success
  type: int
  sample: 312
missing_volumes:
  description: The names of the volumes that are not here.
  returned: success
  type: list
  elements: str
  sample: [volume-2]
base:
  description:
    - The bundle that this one builds on, with the SHA-256 of its C(manifest), its date (C(created)), and how many C(files) and C(bytes)
      are left to it.
    - Empty for a bundle that stands alone.
  returned: success
  type: dict
size:
  description: How many bytes these files have.
  returned: success
  type: int
  sample: 4294967296
seconds:
  description: How long the check took.
  returned: when the seal holds
  type: float
  sample: 3.1
problems:
  description: What is wrong, file by file.
  returned: when the seal holds
  type: list
  elements: dict
  contains:
    path:
      description: The file, below the bundle's directory.
      type: str
    problem:
      description: What is wrong with it.
      type: str
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _check
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "allowed_signers": {"type": "path", "default": "/etc/airgap/allowed_signers"},
            "content": {"type": "bool", "default": True},
            "workers": {"type": "int"},
        },
        supports_check_mode=True,
    )
    root = module.params["path"]
    started = time.monotonic()
    try:
        checked = _check.check(
            root, module.params["allowed_signers"], module.params["workers"], module.params["content"]
        )
    except AirgapError as error:
        module.fail_json(msg=str(error))
    manifest = checked.manifest
    sizes = [file.size for file in checked.drive.files] + [part.size for part in checked.drive.parts]
    result = {
        "signer": checked.signer,
        "site": manifest.site,
        "created": manifest.created,
        "created_by": manifest.created_by,
        "seconds": round(time.monotonic() - started, 2),
        "problems": [problem._asdict() for problem in checked.problems],
    }
    if checked.problems:
        module.fail_json(msg=_check.refusal(root, checked.problems), **result)
    module.exit_json(
        changed=False,
        artifacts=manifest.artifacts,
        files=len(sizes),
        size=sum(sizes),
        missing_volumes=[volume.name for volume in checked.drive.absent],
        base=_check.base_facts(manifest),
        **result,
    )


if __name__ == "__main__":
    main()
