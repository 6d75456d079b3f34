#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_packages
short_description: Make the bundle's package repository for one operating system
version_added: "0.1.0"
author: "airgap.inference contributors (@airgap-inference)"
description:
  - Lets apt resolve packages and all their dependencies in a private root in which nothing is installed, so that what the staging
    machine has installed plays no part.
  - Publishes the solution as a signed apt repository, and removes what no longer belongs to it.
  - Every source must be signed by the key that the target names for it.
options:
  path:
    description: The directory of the repository in the bundle.
    type: path
    required: true
  target:
    description: The operating system beyond the gap.
    type: dict
    required: true
    suboptions:
      distribution:
        description: Its name, for example V(Debian).
        type: str
        required: true
      release:
        description: Its code name, for example V(trixie).
        type: str
        required: true
      architecture:
        description: Its architecture, as Debian names it.
        type: str
        default: amd64
      sources:
        description: Where its packages come from, in the fields of deb822.
        type: list
        elements: dict
        required: true
        suboptions:
          uris:
            description: Addresses of the source.
            type: str
            required: true
          suites:
            description: Suites, separated by blanks. A path that ends in a slash is a flat repository.
            type: str
            required: true
          components:
            description: Components, separated by blanks. Not for a flat repository.
            type: str
          signed_by:
            description: The keyring that signs the source, as a path on the staging machine, or the armoured key itself.
            type: str
            required: true
  packages:
    description:
      - Names of packages by the variable that asks for them.
      - The variable is named when a package cannot be had.
    type: dict
    required: true
  cache:
    description: A directory in which indexes and packages are kept between runs.
    type: path
    required: true
  signing_key:
    description: The file of the repository's OpenPGP key. It is made when it is missing, readable by its owner alone.
    type: path
    required: true
  owner:
    description: The name that a new key gets.
    type: str
    default: airgap.inference package repository
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying target.
    support: full
    details: Indexes are fetched into a temporary directory, to tell what would be downloaded.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check mode), when in diff mode.
    support: full
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
    support: full
    details: As long as the sources offer the same versions.
requirements:
  - apt, apt-ftparchive (apt-utils), gpg
"""

EXAMPLES = r"""
- name: Collect the packages for Debian 13
  airgap.inference.bundle_packages:
    path: /srv/staging/bundle/packages/debian-trixie
    target:
      distribution: Debian
      release: trixie
      sources:
        - uris: http://mirror.example.org/debian
          suites: trixie trixie-updates
          components: main
          signed_by: /usr/share/keyrings/debian-archive-keyring.gpg
    packages:
      __depot_packages: [nginx, rsync, skopeo]
    cache: /var/cache/airgap
    signing_key: /var/cache/airgap/state/packages.asc
"""

RETURN = r"""
artifact:
  description: What the manifest says about the repository.
  returned: success
  type: dict
fetched:
  description: How many packages the repository lacked.
  returned: success
  type: int
  sample: 131
fetched_bytes:
  description: The bytes of these packages.
  returned: success
  type: int
  sample: 139466572
seconds:
  description: How long it took.
  returned: success
  type: float
  sample: 11.2
"""

import os
import shutil
import tempfile
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _apt_repository
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def collect(module: AnsibleModule, root: _apt_repository.Root) -> dict[str, object]:
    """Resolve, fetch and publish; in check mode only resolve."""
    params = module.params
    started = time.monotonic()
    before = _apt_repository.published(params["path"], root.target.architecture)
    root.prepare()
    root.update()
    packages = root.resolve(params["packages"])
    after = [(package.name, package.version, package.architecture) for package in packages]
    missing = _apt_repository.missing(params["path"], packages)
    changed = bool(missing) or before != after
    if not module.check_mode:
        if missing:
            root.download(params["packages"])
        key = _apt_repository.SigningKey(params["signing_key"], params["owner"])
        changed = _apt_repository.publish(params["path"], root, packages, key, os.path.join(params["cache"], "indexes"))
    size = sum(package.size for package in missing)
    return {
        "changed": changed,
        "artifact": _apt_repository.artifact(root.target, packages),
        "fetched": len(missing),
        "fetched_bytes": size,
        "seconds": round(time.monotonic() - started, 2),
        "msg": f"{root.target.label}: {len(packages)} packages, {len(missing)} of them new ({size} bytes)",
        "diff": {"before": _lines(before), "after": _lines(after)},
    }


def _lines(packages: list[tuple[str, str, str]]) -> str:
    return "".join(f"{name} {version} {architecture}\n" for name, version, architecture in packages)


def main() -> None:
    source = {
        "uris": {"type": "str", "required": True},
        "suites": {"type": "str", "required": True},
        "components": {"type": "str"},
        "signed_by": {"type": "str", "required": True, "no_log": False},
    }
    target = {
        "distribution": {"type": "str", "required": True},
        "release": {"type": "str", "required": True},
        "architecture": {"type": "str", "default": "amd64"},
        "sources": {"type": "list", "elements": "dict", "required": True, "options": source},
    }
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "target": {"type": "dict", "required": True, "options": target},
            "packages": {"type": "dict", "required": True},
            "cache": {"type": "path", "required": True},
            "signing_key": {"type": "path", "required": True, "no_log": False},
            "owner": {"type": "str", "default": "airgap.inference package repository"},
        },
        supports_check_mode=True,
    )
    wanted = _apt_repository.Target(**module.params["target"])
    # Check mode leaves no trace, so its root is a temporary one.
    scratch = tempfile.mkdtemp(prefix="airgap-apt-") if module.check_mode else None
    try:
        root = _apt_repository.Root(
            scratch or os.path.join(module.params["cache"], "apt", f"{wanted.directory}-{wanted.architecture}"), wanted
        )
        result = collect(module, root)
    except (AirgapError, OSError) as error:
        module.fail_json(msg=str(error))
    finally:
        if scratch:
            shutil.rmtree(scratch, ignore_errors=True)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
