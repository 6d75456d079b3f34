#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_images
short_description: Collect container images into the bundle
version_added: "0.1.0"
author: "airgap.inference contributors (@airgap-inference)"
description:
  - Copies images from their registries into one OCI image layout with C(skopeo), one architecture each, and keeps their digests.
  - An image that the layout already holds with the digest that the registry names is not fetched again.
  - Images that are no longer listed, and layers that nothing needs, are removed.
options:
  path:
    description: The directory of the OCI image layout.
    type: path
    required: true
  images:
    description:
      - Full names of images, for example V(docker.io/library/nginx:1.30).
      - A name with a digest instead of a tag (V(registry.example.org/engine@sha256:…)) needs no question to the registry once it is there.
    type: list
    elements: str
    required: true
  architecture:
    description: The architecture, as images name it.
    type: str
    default: amd64
  registries_conf:
    description:
      - A C(registries.conf) for this copy, for mirrors and for registries without TLS.
      - The default is the staging machine's own.
    type: path
  authfile:
    description:
      - A file of registry credentials, as C(skopeo login) writes it.
      - The default is that of the user who runs this.
    type: path
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying target.
    support: full
    details: The registries are asked for digests, nothing is copied.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check mode), when in diff mode.
    support: full
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
    support: full
    details: As long as the registries' tags keep their meaning.
requirements:
  - skopeo (1.9 or newer)
"""

EXAMPLES = r"""
- name: Collect two images
  airgap.inference.bundle_images:
    path: /srv/staging/bundle/images
    images:
      - docker.io/vllm/vllm-openai:v0.32.0
      - docker.io/library/nginx:1.30
"""

RETURN = r"""
artifacts:
  description: What the manifest says about the images. In check mode, those that the layout already holds.
  returned: success
  type: list
  elements: dict
fetched:
  description: The images that the layout lacked.
  returned: success
  type: list
  elements: str
removed:
  description: The files that nothing named any more.
  returned: success
  type: list
  elements: str
seconds:
  description: How long it took.
  returned: success
  type: float
  sample: 3.2
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _oci
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def collect(module: AnsibleModule) -> dict[str, object]:
    """Bring the layout to what is listed."""
    params = module.params
    started = time.monotonic()
    layout = params["path"]
    registry = _oci.Registry(params["registries_conf"], params["authfile"])
    names = sorted({_oci.parse_name(image) for image in params["images"]})
    before = _oci.held(layout)
    digests = {}
    for name in names:
        known = name.digest if before.get(name.full) else None
        digests[name.full] = before[name.full] if known else _oci.resolve(name, params["architecture"], registry)
    fetched = [name for name in names if before.get(name.full) != digests[name.full]]
    removed: list[str] = []
    if not module.check_mode:
        for name in fetched:
            _oci.copy(layout, name, digests[name.full], registry)
        removed = _oci.prune(layout, set(digests))
        wrong = [
            name for name, digest in digests.items() if _oci.architecture(layout, digest) != params["architecture"]
        ]
        if wrong:
            raise AirgapError(f"These images are not made for {params['architecture']}: {', '.join(wrong)}.")
    present = (
        digests
        if not module.check_mode
        else {name: digest for name, digest in digests.items() if before.get(name) == digest}
    )
    artifacts = [_artifact(layout, name, digests[name.full]) for name in names if name.full in present]
    return {
        "changed": bool(fetched or removed or set(before) - set(digests)),
        "artifacts": artifacts,
        "fetched": [name.full for name in fetched],
        "removed": removed,
        "seconds": round(time.monotonic() - started, 2),
        "msg": f"{len(names)} images, {len(fetched)} of them new",
        "diff": {"before": _lines(before), "after": _lines(digests)},
    }


def _artifact(layout: str, name: _oci.Name, digest: str) -> dict[str, object]:
    return {"name": name.full, "repository": name.repository, "digest": digest, "size": _oci.size(layout, digest)}


def _lines(images: dict[str, str]) -> str:
    return "".join(f"{name} {digest}\n" for name, digest in sorted(images.items()))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "images": {"type": "list", "elements": "str", "required": True},
            "architecture": {"type": "str", "default": "amd64"},
            "registries_conf": {"type": "path"},
            "authfile": {"type": "path"},
        },
        supports_check_mode=True,
    )
    try:
        result = collect(module)
    except (AirgapError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
