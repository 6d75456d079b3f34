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
  - Follows what each wheel says about its dependencies, for the Python that will run it. A set that is not complete is refused.
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
    description:
      - What pip installs on the bastion, as requirements or as paths of wheels.
      - Always add C(ansible-core) and C(pip), from which the isolated side starts.
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
    description: A directory in which wheels are kept between runs, and which of them were chosen.
    type: path
    required: true
  update:
    description:
      - Ask the package index again, although the same requirements were resolved before.
      - Without it the versions that were chosen stay as long as O(requirements) do, and no network is used.
    type: bool
    default: false
  digests:
    description: A file that remembers the digests of what was copied, so that sealing need not read it again.
    type: path
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
    details: With O(update) as long as the package index offers the same versions.
requirements:
  - pip
  - packaging
  - ansible-galaxy
  - PyYAML
notes:
  - Index, proxy and certificates are pip's own settings on the staging machine, from its configuration or the environment.
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
from typing import NamedTuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _controller, _digest, _progress, _wheels
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


class Wanted(NamedTuple):
    """A file that shall be in the bundle: its content, or the file that has it."""

    sha256: str
    content: bytes | None
    source: str


def collect(module: AnsibleModule, scratch: str) -> dict[str, object]:
    """Bring the bundle's controller to what is asked for."""
    params = module.params
    started = time.monotonic()
    root = _controller.read_collection(os.path.realpath(params["collection"]))
    collections = _controller.with_dependencies(root, _controller.installed_collections(params["executable"]))
    fetched_wheels = collect_wheels(module, scratch)
    pins = _wheels.pins({python: [item.wheel for item in items] for python, items in fetched_wheels.items()})
    every = [item for items in fetched_wheels.values() for item in items]
    wanted = {f"wheels/{item.wheel.file}": Wanted(item.sha256, None, item.path) for item in every}
    contents = {"requirements.txt": "".join(f"{line}\n" for line in pins).encode()}
    contents.update({f"collections/{item.file}": _controller.pack(item) for item in collections})
    wanted.update({path: Wanted(_digest.sha256_bytes(data), data, "") for path, data in contents.items()})
    fetched, removed, before = bring(module, wanted)
    return {
        "changed": bool(fetched or removed),
        "artifact": {
            "python": params["python_versions"],
            "requirements": pins,
            "collections": [
                {"name": item.name, "version": item.info["version"], "licence": item.licence} for item in collections
            ],
            "wheels": _wheels.licences(every),
        },
        "fetched": fetched,
        "removed": removed,
        "seconds": round(time.monotonic() - started, 2),
        "msg": f"{len(pins)} Python packages and {len(collections)} collections, {len(fetched)} files of them new",
        "diff": {"before": _lines(before), "after": _lines(list(wanted))},
    }


def collect_wheels(module: AnsibleModule, scratch: str) -> dict[str, list[_wheels.Fetched]]:
    """The wheels for each Python; they may share some."""
    params = module.params
    wheels = {}
    with _progress.Progress("wheels for the controller", measure=lambda: _progress.directory_size(scratch)) as progress:
        for python in params["python_versions"]:
            progress.at(f"Python {python}")
            wheels[python] = _wheels.collect(
                params["executable"],
                _wheels.Target(python, params["architecture"]),
                params["requirements"],
                scratch,
                params["cache"],
                update=params["update"],
                keep=not module.check_mode,
            )
            lacking = {"ansible-core", "pip"} - {item.wheel.project for item in wheels[python]}
            if lacking:
                raise AirgapError(
                    f"bundle_controller_requirements lacks {' and '.join(sorted(lacking))}, without which the isolated side cannot start. Add it."
                )
    return wheels


def bring(module: AnsibleModule, wanted: dict[str, Wanted]) -> tuple[list[str], list[str], list[str]]:
    """Copy what the bundle lacks, remove what does not belong; say what that was, and what was there before."""
    path, record = module.params["path"], _digest.Record(module.params["digests"])
    tree = _digest.scan(path) if os.path.isdir(path) else _digest.Tree({}, {})
    removed = sorted(name for name in [*tree.files, *tree.strange] if name not in wanted)
    fetched = sorted(
        name
        for name, item in wanted.items()
        if name not in tree.files or _digest_of(record, os.path.join(path, name)) != item.sha256
    )
    if not module.check_mode:
        _digest.remove_files(path, [*removed, *(name for name in fetched if name in tree.strange)])
        for name in fetched:
            target, item = os.path.join(path, name), wanted[name]
            if item.content is not None:
                _digest.write_if_changed(target, item.content)
            elif _digest.copy_with_sha256(item.source, target)[0] != item.sha256:
                os.unlink(target)
                raise AirgapError(f"{item.source} changed while it was copied. Stage again.")
        for name, item in wanted.items():
            record.note(os.path.join(path, name), item.sha256)
        record.save()
    return fetched, removed, list(tree.files)


def _digest_of(record: _digest.Record, path: str) -> str:
    return record.known(path) or _digest.sha256_file(path)


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
            "update": {"type": "bool", "default": False},
            "digests": {"type": "path"},
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
