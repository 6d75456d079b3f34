#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: depot_images
short_description: Bring the images of a sealed bundle into the depot's registry
version_added: "0.1.0"
author: "airgap.inference contributors (@airgap-inference)"
description:
  - Copies the images that the manifest lists from the bundle's OCI layout into a registry with C(skopeo), digests kept.
  - An image that the registry has with the same digest is left alone; asking costs one request.
  - The manifest's signature is verified first.
options:
  bundle:
    description: The directory of the bundle, for example where the drive is mounted.
    type: path
    required: true
  allowed_signers:
    description: The file of allowed signers, in the format of C(ssh-keygen).
    type: path
    default: /etc/airgap/allowed_signers
  registry:
    description: Host and port of the registry on this machine; it is spoken to without TLS.
    type: str
    default: 127.0.0.1:5001
  storage:
    description:
      - The directory in which this registry (Distribution, storage driver C(filesystem)) keeps its data.
      - Then layers come into it by links and are not copied again. O(bundle) must be the result of M(airgap.inference.depot_receive)
        for that, because these files become the registry's own.
      - By default C(skopeo) sends the layers to the registry.
    type: path
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying target.
    support: full
    details:
      - Where no registry listens yet, all images count as missing.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check mode), when in diff mode.
    support: full
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
    support: full
requirements:
  - skopeo 1.6 or newer
  - ssh-keygen (OpenSSH 8.2 or newer)
"""

EXAMPLES = r"""
- name: Bring the images into the registry
  airgap.inference.depot_images:
    bundle: /media/airgap

- name: Bring the images into the registry, without copying their layers
  airgap.inference.depot_images:
    bundle: "{{ received.bundle }}"
    storage: /srv/airgap/registry
"""

RETURN = r"""
pushed:
  description: The images that came into the registry, or would in check mode.
  returned: success
  type: list
  elements: str
  sample: [docker.io/vllm/vllm-openai:v0.32.0]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _check, _registry
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "bundle": {"type": "path", "required": True},
            "allowed_signers": {"type": "path", "default": "/etc/airgap/allowed_signers"},
            "registry": {"type": "str", "default": "127.0.0.1:5001"},
            "storage": {"type": "path"},
        },
        supports_check_mode=True,
    )
    bundle, registry = module.params["bundle"], module.params["registry"]
    try:
        manifest = _check.read_sealed(bundle, module.params["allowed_signers"]).manifest
        images = [_registry.image(artifact) for artifact in manifest.artifacts["images"]]
        # A clean machine has no registry before the first run.
        absent = module.check_mode and not _registry.listens(registry)
        missing = images if absent else _registry.missing(registry, images)
        if missing and not module.check_mode:
            _registry.bring(bundle, registry, missing, module.params["storage"])
    except AirgapError as error:
        module.fail_json(msg=str(error))
    pushed = [image.name for image in missing]
    diff = {"before": "", "after": "".join(f"{image.name} {image.digest}\n" for image in missing)}
    module.exit_json(changed=bool(pushed), pushed=pushed, diff=diff)


if __name__ == "__main__":
    main()
