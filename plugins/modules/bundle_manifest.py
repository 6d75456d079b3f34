#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_manifest
short_description: Seal a bundle
version_added: "0.1.0"
author: "airgap.inference contributors (@airgap-inference)"
description:
  - Removes from the bundle what its description no longer names, hashes every file, and writes the manifest and its SSH signature.
  - Compares what it reads with what images, models and packages say about their own files. A file that was damaged is not sealed.
  - A directory that holds anything but a bundle is refused and not touched.
options:
  path:
    description: The directory of the bundle.
    type: path
    required: true
  site:
    description: The site that the bundle is for.
    type: str
    required: true
  created_by:
    description: The collection and version that make the bundle.
    type: str
    required: true
  artifacts:
    description: The packages, images, models and the controller that the bundle holds, as the modules that collect them return them.
    type: dict
    required: true
    suboptions:
      packages:
        description: One entry for each repository.
        type: list
        elements: dict
        required: true
      images:
        description: One entry for each image.
        type: list
        elements: dict
        required: true
      models:
        description: One entry for each model.
        type: list
        elements: dict
        required: true
      controller:
        description: The controller.
        type: dict
        required: true
  signing_key:
    description:
      - The SSH key that seals, as the path of the private key.
      - For a key that an agent holds, the path of its public key.
    type: path
    required: true
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying target.
    support: full
    details: Files are compared by name and size only.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check mode), when in diff mode.
    support: full
    details: Lists the files that are removed.
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
    support: full
    details: A bundle that has not changed keeps its manifest, its date and its signature.
requirements:
  - ssh-keygen (OpenSSH 8.2 or newer)
"""

EXAMPLES = r"""
- name: Seal the bundle
  airgap.inference.bundle_manifest:
    path: /srv/staging/bundle
    site: clinic-a
    created_by: airgap.inference 0.1.0
    artifacts:
      packages: "{{ packages.results | map(attribute='artifact') }}"
      images: "{{ images.artifacts }}"
      models: "{{ models.artifacts }}"
      controller: "{{ controller.artifact }}"
    signing_key: /root/.ssh/airgap-bundle
"""

RETURN = r"""
created:
  description: When the bundle was sealed.
  returned: success
  type: str
  sample: "2026-11-21T00:00:00Z"
files:
  description: How many files the manifest lists.
  returned: success
  type: int
  sample: 312
size:
  description: How many bytes these files have.
  returned: success
  type: int
  sample: 4294967296
removed:
  description: The files that the description no longer names.
  returned: success
  type: list
  elements: str
fingerprint:
  description: The fingerprint of the key that seals.
  returned: success
  type: str
  sample: SHA256:2pGCdQJdWsqbmVBxJl3oA2N4nDPDKXqxQ2NAAAAAAAA
seconds:
  description: How long it took.
  returned: success
  type: float
  sample: 2.4
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _manifest, _seal, _signature
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def seal(module: AnsibleModule) -> dict[str, object]:
    """Seal, or in check mode say whether the seal would be renewed."""
    params = module.params
    started = time.monotonic()
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    wanted = _manifest.Manifest(params["site"], now, params["created_by"], [], params["artifacts"])
    fingerprint = _signature.fingerprint(params["signing_key"])
    plan = _seal.plan(params["path"], params["artifacts"])
    if module.check_mode:
        changed = _seal.would_change(params["path"], wanted, plan)
        sealed = _seal.Sealed(changed, now, len(plan.sizes), sum(plan.sizes.values()), plan.stale)
    else:
        sealed = _seal.seal(params["path"], wanted, plan, params["signing_key"])
    return {
        **sealed._asdict(),
        "fingerprint": fingerprint,
        "seconds": round(time.monotonic() - started, 2),
        "msg": f"{params['path']}: {sealed.files} files, {sealed.size} bytes, sealed by {fingerprint}",
        "diff": {"before": "".join(f"{path}\n" for path in plan.stale), "after": ""},
    }


def main() -> None:
    entries = {"type": "list", "elements": "dict", "required": True}
    artifacts = {
        "packages": entries,
        "images": entries,
        "models": entries,
        "controller": {"type": "dict", "required": True},
    }
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "site": {"type": "str", "required": True},
            "created_by": {"type": "str", "required": True},
            "artifacts": {"type": "dict", "required": True, "options": artifacts},
            "signing_key": {"type": "path", "required": True, "no_log": False},
        },
        supports_check_mode=True,
    )
    try:
        result = seal(module)
    except (AirgapError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
