#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_controller
short_description: Collect the controller of the isolated side into the bundle
version_added: "0.1.0"
author: "airgap.inference contributors (@airgap-inference)"
description:
  - Lets pip fetch wheels for the Python versions of the bastion, and writes the versions that it chose as requirements.
  - Packs this collection and those that it needs as they are installed on the staging machine, so that what staged the bundle is what travels.
  - Removes what no longer belongs.
options:
  path:
    description: The directory of the controller in the bundle.
    type: path
    required: true
  collection:
    description: The directory of this collection, installed or in its sources.
    type: path
    required: true
  python_versions:
    description: The Python versions that the bastion may have.
    type: list
    elements: str
    required: true
  requirements:
    description: What pip installs on the bastion.
    type: list
    elements: str
    required: true
  architecture:
    description: The architecture of the bastion, as Debian names it.
    type: str
    choices: [amd64, arm64]
    default: amd64
  executable:
    description: The Python that runs Ansible. Its pip fetches the wheels, and the ansible-galaxy beside it finds the collections.
    type: path
    required: true
  cache:
    description: A directory in which wheels are kept between runs.
    type: path
    required: true
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying target.
    support: full
    details: Wheels are fetched into a temporary directory, to tell what would be collected.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check mode), when in diff mode.
    support: full
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
    support: full
    details: As long as the package index offers the same versions.
requirements:
  - pip
  - ansible-galaxy
  - PyYAML
"""

EXAMPLES = r"""
- name: Collect the controller
  airgap.inference.bundle_controller:
    path: /srv/staging/bundle/controller
    collection: /usr/share/ansible/collections/ansible_collections/airgap/inference
    python_versions: ["3.13"]
    requirements: [ansible-core, jmespath, cryptography, requests, pyyaml, pip]
    executable: "{{ ansible_playbook_python }}"
    cache: /var/cache/airgap
"""

RETURN = r"""
artifact:
  description: What the manifest says about the controller.
  returned: success
  type: dict
fetched:
  description: The files that the bundle lacked.
  returned: success
  type: list
  elements: str
removed:
  description: The files that no longer belong.
  returned: success
  type: list
  elements: str
seconds:
  description: How long it took.
  returned: success
  type: float
  sample: 6.4
"""

import os
import shutil
import tempfile
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _controller, _digest
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def collect(module: AnsibleModule, scratch: str) -> dict[str, object]:
    """Bring the bundle's controller to what is asked for."""
    params = module.params
    started = time.monotonic()
    root = _controller.read_collection(os.path.realpath(params["collection"]))
    collections = _controller.with_dependencies(root, _controller.installed_collections(params["executable"]))
    known = os.path.join(scratch if module.check_mode else params["cache"], "wheels")
    wheels = {}
    wanted = {}
    for version in params["python_versions"]:
        target = os.path.join(scratch, version)
        wheels[version] = _controller.download_wheels(
            params["executable"], version, params["architecture"], params["requirements"], target, known
        )
        for wheel in wheels[version]:
            with open(os.path.join(target, wheel.file), "rb") as handle:
                wanted[f"wheels/{wheel.file}"] = handle.read()
    pins = _controller.pins(wheels)
    wanted["requirements.txt"] = "".join(f"{line}\n" for line in pins).encode()
    for collection in collections:
        wanted[f"collections/{collection.file}"] = _controller.pack(collection)
    tree = _digest.scan(params["path"]) if os.path.isdir(params["path"]) else _digest.Tree({}, {})
    removed = sorted(path for path in [*tree.files, *tree.strange] if path not in wanted)
    fetched = sorted(path for path, data in wanted.items() if _differs(os.path.join(params["path"], path), data))
    if not module.check_mode:
        _digest.remove_files(params["path"], removed)
        for path in fetched:
            _digest.write_if_changed(os.path.join(params["path"], path), wanted[path])
    listed = [{"name": item.name, "version": item.info["version"]} for item in collections]
    return {
        "changed": bool(fetched or removed),
        "artifact": {"python": params["python_versions"], "requirements": pins, "collections": listed},
        "fetched": fetched,
        "removed": removed,
        "seconds": round(time.monotonic() - started, 2),
        "msg": f"{len(pins)} Python packages and {len(collections)} collections, {len(fetched)} files of them new",
        "diff": {"before": _lines(list(tree.files)), "after": _lines(list(wanted))},
    }


def _differs(path: str, data: bytes) -> bool:
    try:
        with open(path, "rb") as handle:
            return handle.read() != data
    except FileNotFoundError:
        return True


def _lines(paths: list[str]) -> str:
    return "".join(f"{path}\n" for path in sorted(paths))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "collection": {"type": "path", "required": True},
            "python_versions": {"type": "list", "elements": "str", "required": True},
            "requirements": {"type": "list", "elements": "str", "required": True},
            "architecture": {"type": "str", "choices": ["amd64", "arm64"], "default": "amd64"},
            "executable": {"type": "path", "required": True},
            "cache": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    scratch = tempfile.mkdtemp(prefix="airgap-wheels-")
    try:
        result = collect(module, scratch)
    except (AirgapError, OSError) as error:
        module.fail_json(msg=str(error))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
