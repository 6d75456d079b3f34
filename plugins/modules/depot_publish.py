#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: depot_publish
short_description: Publish the packages, the models or the manifest of a sealed bundle
version_added: "0.1.0"
author: "airgap.inference contributors (@airgap-inference)"
description:
  - Copies what the manifest of a bundle lists to where hosts read it. The manifest's signature is verified first,
    and each file is hashed while it is copied.
  - A host never sees a half of anything. Packages are switched by a link; a model comes into its place by a rename.
  - A run that was killed leaves its part, and the next run goes on from there, inside a large file too.
  - Needs nothing but Python and C(ssh-keygen), so that a depot can install its own packages from what it published.
options:
  bundle:
    description: The directory of the bundle, for example where the drive is mounted.
    type: path
    required: true
  directory:
    description: The directory of the depot.
    type: path
    default: /srv/airgap
  allowed_signers:
    description: The file of allowed signers, in the format of C(ssh-keygen).
    type: path
    default: /etc/airgap/allowed_signers
  kind:
    description:
      - What to publish.
      - V(manifest) comes last. It tells hosts what exists.
    type: str
    choices: [packages, models, manifest]
    required: true
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check mode), when in diff mode.
    support: full
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
    support: full
requirements:
  - ssh-keygen (OpenSSH 8.2 or newer)
"""

EXAMPLES = r"""
- name: Publish the packages
  airgap.inference.depot_publish:
    bundle: /media/airgap
    kind: packages
  register: packages

- name: Publish the models
  airgap.inference.depot_publish:
    bundle: /media/airgap
    kind: models
"""

RETURN = r"""
published:
  description: The directories or files that were published, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: [packages/debian-trixie]
repositories:
  description:
    - Each package repository as O(airgap.inference.packages#module:repository) takes it on the depot itself.
    - In check mode, one that is not published yet is read from the bundle.
  returned: when O(kind=packages)
  type: list
  elements: dict
  contains:
    distribution:
      description: The distribution that the packages are for.
      type: str
      sample: Debian
    release:
      description: Its release.
      type: str
      sample: trixie
    architecture:
      description: The architecture.
      type: str
      sample: amd64
    repository:
      description: The url, suite, component and key.
      type: dict
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _digest, _manifest, _publish
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def publish_trees(manifest: _manifest.Manifest, kind: str, bundle: str, directory: str, check_mode: bool) -> list[str]:
    done, act = (
        (_publish.is_current, _publish.switch) if kind == "packages" else (_publish.is_published, _publish.publish)
    )
    missing = [tree for tree in _publish.trees(manifest, kind, bundle, directory) if not done(tree)]
    _publish.require_space(missing, directory)
    for tree in missing:
        if not check_mode:
            act(tree)
    return [tree.name for tree in missing]


def publish_models(manifest: _manifest.Manifest, bundle: str, directory: str, check_mode: bool) -> list[str]:
    published = publish_trees(manifest, "models", bundle, directory, check_mode)
    listed = {file.path: file for file in manifest.files}
    for model in manifest.artifacts["models"]:
        sums = f"{model['directory']}.sha256"
        if sums not in listed:
            raise AirgapError(
                f"{_manifest.MANIFEST} lists no {sums}, the checksums of the model {model['name']}. Stage the bundle again."
            )
        target = os.path.join(directory, sums)
        if not os.path.exists(target) or _digest.sha256_file(target) != listed[sums].sha256:
            published.append(sums)
            if not check_mode:
                _publish.copy(os.path.join(bundle, sums), target, listed[sums])
    return published


def publish_manifest(bundle: str, directory: str, check_mode: bool) -> list[str]:
    published = []
    # The signature first: a manifest with its own signature is there as soon as the manifest is.
    for name in (_manifest.SIGNATURE, _manifest.MANIFEST):
        with open(os.path.join(bundle, name), "rb") as handle:
            data = handle.read()
        target = os.path.join(directory, name)
        same = os.path.exists(target) and _digest.sha256_file(target) == _digest.sha256_bytes(data)
        if not same:
            published.append(name)
            if not check_mode:
                _digest.write_if_changed(target, data)
    return published


def repositories(manifest: _manifest.Manifest, bundle: str, directory: str) -> list[dict[str, Any]]:
    result = []
    for item in manifest.artifacts["packages"]:
        published = os.path.join(directory, item["directory"])
        place = published if os.path.isdir(published) else os.path.join(bundle, item["directory"])
        with open(os.path.join(bundle, item["key"]), encoding="ascii") as handle:
            key = handle.read()
        repository = {"url": f"file://{place}", "suite": item["suite"], "component": item["component"], "key": key}
        result.append(
            {**{name: item[name] for name in ("distribution", "release", "architecture")}, "repository": repository}
        )
    return result


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "bundle": {"type": "path", "required": True},
            "directory": {"type": "path", "default": "/srv/airgap"},
            "allowed_signers": {"type": "path", "default": "/etc/airgap/allowed_signers"},
            "kind": {"type": "str", "required": True, "choices": ["packages", "models", "manifest"]},
        },
        supports_check_mode=True,
    )
    bundle, directory, kind = (module.params[name] for name in ("bundle", "directory", "kind"))
    # Hosts read what is published, whatever the umask of this connection is.
    os.umask(0o022)
    result: dict[str, Any] = {}
    try:
        manifest = _publish.sealed_manifest(bundle, module.params["allowed_signers"])
        if kind == "packages":
            published = publish_trees(manifest, kind, bundle, directory, module.check_mode)
            result["repositories"] = repositories(manifest, bundle, directory)
        elif kind == "models":
            published = publish_models(manifest, bundle, directory, module.check_mode)
        else:
            published = publish_manifest(bundle, directory, module.check_mode)
    except (AirgapError, OSError) as error:
        module.fail_json(msg=str(error))
    diff = {"before": "", "after": "".join(f"{os.path.join(directory, name)}\n" for name in published)}
    module.exit_json(changed=bool(published), published=published, diff=diff, **result)


if __name__ == "__main__":
    main()
