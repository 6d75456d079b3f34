#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: depot_publish
short_description: Publish the packages, the models or the manifest of a received bundle
version_added: "0.1.0"
author: "airgap.inference contributors (@airgap-inference)"
description:
  - Puts what M(airgap.inference.depot_receive) has taken where hosts read it, by links, so that no byte is copied or read again.
    The manifest's signature is verified first.
  - A host never sees a half of anything. Packages are switched by a link; a model comes into its place by a rename.
  - Needs nothing but Python and C(ssh-keygen), so that a depot can install its own packages from what it published.
options:
  bundle:
    description:
      - The result C(bundle) of M(airgap.inference.depot_receive).
      - In check mode it may be the directory of a bundle on a drive.
    type: path
    required: true
  directory:
    description: The directory of the depot.
    type: path
    default: /srv/airgap
  allowed_signers:
    description: The file of allowed signers, in the format of C(ssh-keygen). Only root may be able to change it.
    type: path
    default: /etc/airgap/allowed_signers
  kind:
    description:
      - What to publish.
      - V(manifest) comes last, after the images are in the registry. It tells hosts what exists, brings the software bill, and keeps what
        a later bundle may build on.
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
- name: Take what is on the drive
  airgap.inference.depot_receive:
    bundle: /media/airgap
  register: received

- name: Publish the packages
  airgap.inference.depot_publish:
    bundle: "{{ received.bundle }}"
    kind: packages
  register: packages

- name: Publish the models
  airgap.inference.depot_publish:
    bundle: "{{ received.bundle }}"
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
    - Each apt repository as O(airgap.inference.packages#module:repository) takes it on the depot itself.
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

import contextlib
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _check, _digest, _incoming, _manifest, _publish
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def publish_trees(manifest: _manifest.Manifest, kind: str, bundle: str, directory: str, check_mode: bool) -> list[str]:
    done, act = (
        (_publish.is_current, _publish.switch) if kind == "packages" else (_publish.is_published, _publish.publish)
    )
    missing = [tree for tree in _publish.trees(manifest, kind, bundle, directory) if not done(tree)]
    for tree in missing:
        if not check_mode:
            act(tree)
    return [tree.name for tree in missing]


def publish_files(
    manifest: _manifest.Manifest, names: list[str], bundle: str, directory: str, check_mode: bool
) -> list[str]:
    listed = {file.path: file for file in manifest.files}
    published = []
    for name in names:
        target = os.path.join(directory, name)
        if name in listed and not _publish.same(target, listed[name].sha256):
            published.append(name)
            if not check_mode:
                _publish.link(os.path.join(bundle, name), target, listed[name].sha256)
    return published


def publish_manifest(sealed: _check.Sealed, bundle: str, directory: str, check_mode: bool) -> list[str]:
    published = publish_files(sealed.manifest, [_publish.BILL], bundle, directory, check_mode)
    if not check_mode:
        published += _publish.keep(sealed.manifest, bundle, directory)
    kept = os.path.relpath(_publish.imported(directory, sealed.sha256), directory)
    # The signature first: a manifest with its own signature is there as soon as the manifest is.
    for name, data in (
        (f"{kept}.sig", sealed.signature),
        (kept, sealed.data),
        (_manifest.SIGNATURE, sealed.signature),
        (_manifest.MANIFEST, sealed.data),
    ):
        target = os.path.join(directory, name)
        if not _publish.same(target, _digest.sha256_bytes(data)):
            published.append(name)
            if not check_mode:
                _digest.write_if_changed(target, data)
    return published


def repositories(manifest: _manifest.Manifest, bundle: str, directory: str) -> list[dict[str, Any]]:
    result = []
    for item in manifest.artifacts["packages"]:
        # The depot itself runs Debian.
        if item.get("format", "apt") != "apt":
            continue
        place = directory if os.path.isdir(os.path.join(directory, item["directory"])) else bundle
        with open(os.path.join(place, item["key"]), encoding="ascii") as handle:
            key = handle.read()
        url = f"file://{os.path.join(place, item['directory'])}"
        repository = {"url": url, "suite": item["suite"], "component": item["component"], "key": key}
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
        sealed = _check.read_sealed(bundle, module.params["allowed_signers"])
        manifest = sealed.manifest
        with contextlib.nullcontext() if module.check_mode else _incoming.lock(directory):
            if not module.check_mode:
                _incoming.require_current(bundle, directory)
            if kind == "packages":
                published = publish_trees(manifest, kind, bundle, directory, module.check_mode)
                result["repositories"] = repositories(manifest, bundle, directory)
            elif kind == "models":
                published = publish_trees(manifest, kind, bundle, directory, module.check_mode)
                published += publish_files(manifest, _publish.sums(manifest), bundle, directory, module.check_mode)
            else:
                published = publish_manifest(sealed, bundle, directory, module.check_mode)
    except (AirgapError, OSError) as error:
        module.fail_json(msg=str(error))
    diff = {"before": "", "after": "".join(f"{os.path.join(directory, name)}\n" for name in published)}
    module.exit_json(changed=bool(published), published=published, diff=diff, **result)


if __name__ == "__main__":
    main()
