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
  - Removes from the bundle what its description no longer names, and writes the manifest of every file and its SSH signature.
  - Files that were hashed while they were written into the bundle, and have not changed since, are not read again.
  - With O(base), the manifest says which files a bundle that was carried before has brought; only the others travel.
  - With O(carry_directory), what travels is laid out there, over several volumes and in parts when sizes are given.
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
      rehearsals:
        description: One entry for each rehearsal, and how far it came.
        type: list
        elements: dict
        default: []
  digests:
    description: The record of files that were hashed while they were written. Without one every file is read.
    type: path
  verify:
    description: Read every file again, whatever the record says.
    type: bool
    default: false
  base:
    description: The C(manifest.json) of a bundle that was carried before, or the directory that holds it.
    type: path
  carry_directory:
    description:
      - Where what travels is laid out. It holds nothing else.
      - Needed with O(base), O(volume_size) and O(file_size).
    type: path
  volume_size:
    description: The size of a volume, for example V(64GB) or V(60GiB). Each volume is a directory of its own, C(volume-1) and so on.
    type: str
  file_size:
    description:
      - The largest file that the drives' file system holds, for example V(4294967295). Larger ones travel in parts.
      - With O(volume_size), the default is that of FAT32.
    type: str
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
travels:
  description: How many of these bytes travel; the others a base has brought.
  returned: success
  type: int
  sample: 1048576
volumes:
  description: Over how many volumes they are laid out; 0 when they are not split.
  returned: success
  type: int
  sample: 0
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

import os
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import (
    _carry,
    _digest,
    _manifest,
    _seal,
    _signature,
    _volumes,
)
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def read_way(params: dict[str, object]) -> _seal.Way:
    """How to seal and carry, from the options."""
    carry = None
    if params["carry_directory"]:
        sizes = {
            name: _volumes.parse_size(str(params[name]), f"bundle_{name}") if params[name] else None
            for name in ("volume_size", "file_size")
        }
        carry = _carry.Carry(str(params["carry_directory"]), sizes["volume_size"], sizes["file_size"])
        inside = os.path.commonpath([os.path.abspath(str(params["path"])), os.path.abspath(carry.directory)])
        if inside == os.path.abspath(str(params["path"])):
            raise AirgapError(
                f"bundle_carry_directory is {carry.directory}, inside the bundle {params['path']}; give it a place beside it."
            )
    return _seal.Way(
        str(params["signing_key"]),
        _digest.Record(str(params["digests"]) if params["digests"] else None),
        bool(params["verify"]),
        str(params["base"]) if params["base"] else None,
        carry,
    )


def seal(module: AnsibleModule) -> dict[str, object]:
    """Seal, or in check mode say whether the seal would be renewed."""
    params = module.params
    started = time.monotonic()
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    wanted = _manifest.Manifest(params["site"], now, params["created_by"], [], params["artifacts"])
    fingerprint = _signature.fingerprint(params["signing_key"])
    way = read_way(params)
    plan = _seal.plan(params["path"], params["artifacts"])
    if module.check_mode:
        changed = _seal.would_change(params["path"], wanted, plan, way)
        size = sum(plan.sizes.values())
        sealed = _seal.Sealed(changed, now, len(plan.sizes), size, size, 0, plan.stale)
    else:
        sealed = _seal.seal(params["path"], wanted, plan, way)
    return {
        **sealed._asdict(),
        "fingerprint": fingerprint,
        "seconds": round(time.monotonic() - started, 2),
        "msg": told(params["path"], sealed, way.carry, fingerprint),
        "diff": {"before": "".join(f"{path}\n" for path in plan.stale), "after": ""},
    }


def told(path: str, sealed: _seal.Sealed, carry: _carry.Carry | None, fingerprint: str) -> str:
    """One line for a person."""
    text = f"{path}: {sealed.files} files, {sealed.size} bytes, sealed by {fingerprint}"
    if carry:
        text += f"; {sealed.travels} bytes of them travel, from {carry.directory}"
        text += f" in {sealed.volumes} volumes" if sealed.volumes else ""
    return text


def main() -> None:
    entries = {"type": "list", "elements": "dict", "required": True}
    artifacts = {
        "packages": entries,
        "images": entries,
        "models": entries,
        "controller": {"type": "dict", "required": True},
        "rehearsals": {"type": "list", "elements": "dict", "default": []},
    }
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "site": {"type": "str", "required": True},
            "created_by": {"type": "str", "required": True},
            "artifacts": {"type": "dict", "required": True, "options": artifacts},
            "digests": {"type": "path"},
            "verify": {"type": "bool", "default": False},
            "base": {"type": "path"},
            "carry_directory": {"type": "path"},
            "volume_size": {"type": "str"},
            "file_size": {"type": "str"},
            "signing_key": {"type": "path", "required": True, "no_log": False},
        },
        required_by=dict.fromkeys(("base", "volume_size", "file_size"), "carry_directory"),
        supports_check_mode=True,
    )
    try:
        result = seal(module)
    except (AirgapError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
