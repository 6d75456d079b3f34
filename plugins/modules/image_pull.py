#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_pull
short_description: Bring images to a host by digest, once
version_added: "0.1.0"
description:
  - Pulls those of the images that are not on the host yet, with the docker command line.
  - Needs no Python library on the host, and in check mode no Docker either,
    so it tells what would happen on a host that has nothing yet.
author:
  - airgap.inference contributors (@airgap-inference)
requirements:
  - docker command line on the target
attributes:
  check_mode:
    description: Can run in check mode and say truthfully what would change, without changing it.
    support: full
  diff_mode:
    description: Shows the images that come.
    support: full
  idempotent:
    description: When run again with the same options, changes nothing.
    support: full
options:
  images:
    description: References that name a digest, C(registry:port/repository@sha256:...).
    type: list
    elements: str
    required: true
seealso:
  - module: community.docker.docker_image_pull
"""

EXAMPLES = r"""
- name: Bring the engine's image
  airgap.inference.image_pull:
    images:
      - depot.example.org:5000/docker.io/vllm/vllm-openai@sha256:{{ digest }}
"""

RETURN = r"""
pulled:
  description: The images that came, or in check mode would come.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _docker
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def main() -> None:
    module = AnsibleModule(
        argument_spec={"images": {"type": "list", "elements": "str", "required": True}},
        supports_check_mode=True,
    )
    images = list(dict.fromkeys(module.params["images"]))
    loose = [image for image in images if "@sha256:" not in image]
    if loose:
        module.fail_json(msg=f"images: {', '.join(loose)} names no digest; a tag can move, a digest cannot.")
    try:
        if module.check_mode and not _docker.present():
            missing = images
        else:
            missing = _docker.missing_images(images)
        if not module.check_mode:
            for image in missing:
                _docker.pull(image)
    except AirgapError as error:
        module.fail_json(msg=str(error))
    lines = "".join(f"{image}\n" for image in missing)
    module.exit_json(changed=bool(missing), pulled=missing, diff={"before": "", "after": lines})


if __name__ == "__main__":
    main()
