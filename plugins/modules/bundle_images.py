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
  - Takes images from vendors' tarballs instead, where O(archives) says so. An oci-archive keeps its digest; a docker-archive has
    none, so it keeps the one that its conversion gave, as long as the file is the same.
  - An image that the layout already holds with the digest that the registry or the archive names is not fetched again.
  - An interrupted run is gone on with. Layers that are there are not fetched again, halves of them are removed.
  - Refuses an image with layers that are compressed with zstd when the Docker of a target cannot pull them.
  - Images that are no longer listed, and layers that nothing needs, are removed.
  - A proxy is taken from the environment variables E(HTTPS_PROXY), E(HTTP_PROXY) and E(NO_PROXY).
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
  archives:
    description: Images that come from a file, and not from a registry.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The image's full name. It must be one of O(images).
        type: str
        required: true
      path:
        description:
          - The file, an oci-archive or a docker-archive (C(docker save)); which of them, it shows itself.
          - It may be compressed with gzip, bzip2 or xz.
        type: path
        required: true
      archive_reference:
        description: The name that the image has in the file. Needed only where the file holds several and none has the name of the image.
        type: str
  architecture:
    description: The architecture, as images name it.
    type: str
    default: amd64
  targets:
    description:
      - The package repositories of the targets, as RV(airgap.inference.bundle_packages#module:artifact) describes them.
      - From them comes the version of Docker that must be able to pull the images. Without one, a warning says that it is not known.
    type: list
    elements: dict
    default: []
  registries_conf:
    description:
      - A C(registries.conf) for this copy, for mirrors and for registries without TLS.
      - The default is the staging machine's own.
    type: path
  authfile:
    description:
      - A file of registry credentials, as C(skopeo login --authfile) writes it.
      - The default is that of the user who runs this.
    type: path
  certificates:
    description:
      - A directory with certificates for registries. C(*.crt) are CAs that vouch for them, C(*.cert) and C(*.key) are shown to them.
      - The default is the staging machine's own certificates.
    type: path
  cache:
    description:
      - A directory in which compressed archives are unpacked for the run, and in which is kept which digests archives have.
      - Without it a temporary directory is used, and archives are read at every run.
    type: path
  digests:
    description:
      - The record of digests of files that were hashed when they were written, so that the seal need not read them again.
      - With it, layers that the record does not know are read once, and those that are not what their names say are fetched again.
    type: path
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying target.
    support: full
    details: The registries are asked for manifests and archives are read, nothing is copied.
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

- name: Collect an image that a vendor handed over
  airgap.inference.bundle_images:
    path: /srv/staging/bundle/images
    images:
      - registry.example.org/vendor/engine:1.0
    archives:
      - name: registry.example.org/vendor/engine:1.0
        path: /srv/vendor/engine-1.0.tar
    cache: /var/cache/airgap
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

import os
import tempfile
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import (
    _image_archive,
    _image_collection,
    _image_engine,
    _image_registry,
    _oci,
)
from ansible_collections.airgap.inference.plugins.module_utils._digest import Record
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def collect(module: AnsibleModule, collection: _image_collection.Collection, record: Record) -> dict[str, object]:
    """Bring the layout to what is listed; in check mode only say how."""
    params, layout = module.params, collection.layout
    names = sorted({_oci.parse_name(image) for image in params["images"]})
    _image_collection.check_certificates(params["certificates"])
    archives = _image_collection.archives(params["archives"], params["images"])
    if not module.check_mode:
        _image_collection.check_layout(layout, record, bool(params["digests"]))
    before = _oci.held(layout)
    images = collection.plan(names, archives, before)
    for remark in _image_collection.refuse(images, params["architecture"], _image_engine.engines(params["targets"])):
        module.warn(remark)
    missing = [image for image in images if not image.digest or before.get(image.name.full) != image.digest]
    digests = {image.name.full: image.digest for image in images if image.digest}
    removed: list[str] = []
    if not module.check_mode:
        digests.update(collection.fetch(missing))
        removed = _oci.prune(layout, set(digests))
        _image_collection.check_result(layout, digests, params["architecture"])
        collection.remember(images)
        _oci.note(layout, record)
    return {
        "changed": bool(missing or removed or set(before) - {name.full for name in names}),
        "artifacts": _image_collection.artifacts(layout, names, digests),
        "fetched": [image.name.full for image in missing],
        "removed": removed,
        "msg": f"{len(names)} images, {len(missing)} of them new",
        "diff": {"before": _lines(before), "after": _lines(digests)},
    }


def _lines(images: dict[str, str]) -> str:
    return "".join(f"{name} {digest}\n" for name, digest in sorted(images.items()))


def main() -> None:
    archive = {
        "name": {"type": "str", "required": True},
        "path": {"type": "path", "required": True},
        "archive_reference": {"type": "str"},
    }
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "images": {"type": "list", "elements": "str", "required": True},
            "archives": {"type": "list", "elements": "dict", "options": archive, "default": []},
            "architecture": {"type": "str", "default": "amd64"},
            "targets": {"type": "list", "elements": "dict", "default": []},
            "registries_conf": {"type": "path"},
            "authfile": {"type": "path"},
            "certificates": {"type": "path"},
            "cache": {"type": "path"},
            "digests": {"type": "path"},
        },
        supports_check_mode=True,
    )
    params, started = module.params, time.monotonic()
    # Check mode leaves no trace, so what it unpacks lies elsewhere.
    lasting = None if module.check_mode else params["cache"]
    record = Record(params["digests"])
    collection = _image_collection.Collection(
        params["path"],
        params["architecture"],
        _image_registry.Registry(params["registries_conf"], params["authfile"], params["certificates"]),
        os.path.join(lasting, "archives") if lasting else tempfile.mkdtemp(prefix="airgap-images-"),
        _image_archive.Known(os.path.join(params["cache"], "state/archives.json") if params["cache"] else None),
    )
    try:
        result = collect(module, collection, record)
    except (AirgapError, OSError) as error:
        module.fail_json(msg=str(error))
    finally:
        collection.close()
        if not module.check_mode:
            # Also after a failure: what has come need not be read again.
            record.save()
    module.exit_json(**result, seconds=round(time.monotonic() - started, 2))


if __name__ == "__main__":
    main()
