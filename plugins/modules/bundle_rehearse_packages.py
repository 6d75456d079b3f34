#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_rehearse_packages
short_description: Install the bundle's packages in an empty root and build its drivers, before it is sealed
version_added: "0.1.0"
author: "airgap.inference contributors (@airgap-inference)"
description:
  - Makes an empty root of the target's release (C(mmdebstrap)), and in a copy that is thrown away installs what hosts install together.
    The bundle's repository is the only source, there is no network, and no service is started.
  - Where a package brings modules by DKMS, and the target states kernels, DKMS builds them against the headers of each.
  - What does not install or build is refused with the compiler's or the package manager's own reason. Then other flavours of the driver
    and other kernels of the target's sources are tried in the same way, so that the refusal names choices that work.
  - What has been shown of the same packages, lists and kernels is not shown again.
  - Everything that is mounted is mounted for one command alone, in a namespace of its own.
  - Targets with dnf, and those of another architecture than the machine's, are not rehearsed; the result says so.
options:
  path:
    description: The directory of the repository in the bundle.
    type: path
    required: true
  target:
    description: The operating system beyond the gap, as M(airgap.inference.bundle_packages) takes it.
    type: dict
    required: true
  groups:
    description: Lists of packages; those of one list are installed together.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Who installs them, for messages.
        type: str
        required: true
      packages:
        description: Their names, as V(name) or V(name=version).
        type: list
        elements: str
        required: true
      kernels:
        description: Whether these machines run the target's kernels, so that headers belong to the list and modules must build.
        type: bool
        default: false
      pins:
        description: Packages that belong together at a version, with C(packages) and C(version), as M(airgap.inference.bundle_packages) takes them.
        type: list
        elements: dict
        default: []
  cache:
    description: A directory in which the empty root and what has been shown are kept between runs.
    type: path
    required: true
  rehearse:
    description: Whether to rehearse at all. If V(false), the result says that nothing was.
    type: bool
    default: true
  days:
    description: The age at which the empty root is made anew. With 0 it is made anew each time.
    type: float
    default: 7
  alternatives:
    description: How many other choices to try when one fails. With 0 they are only named.
    type: int
    default: 3
  minutes:
    description: The time that all these choices have together.
    type: float
    default: 30
  flavours:
    description:
      - The packages that bring the same driver another way. For each whose O(flavours[].package) matches, those in
        O(flavours[].instead) are choices.
    type: list
    elements: dict
    default: []
    suboptions:
      package:
        description: A regular expression that matches a package's whole name.
        type: str
        required: true
      instead:
        description: Names in its place; C(\1) stands for the first group of the expression.
        type: list
        elements: str
        required: true
  refused:
    description:
      - Why these packages could not even be collected. The module then always fails with this reason and the choices that work;
        there is nothing to rehearse.
    type: str
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying target.
    support: full
    details: Nothing is rehearsed and no choice is tried; what has been shown before is returned.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check mode), when in diff mode.
    support: none
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
    support: full
    details: Nothing of the bundle is ever changed.
requirements:
  - root, or namespaces of the user (C(uidmap), with a line for the user in C(/etc/subuid) and C(/etc/subgid))
  - mmdebstrap, unshare and setpriv (util-linux)
  - for choices, what M(airgap.inference.bundle_packages) needs
"""

EXAMPLES = r"""
- name: Rehearse the packages for Debian 12, with the driver for one kernel
  airgap.inference.bundle_rehearse_packages:
    path: /srv/staging/bundle/packages/debian-bookworm
    target:
      distribution: Debian
      release: bookworm
      sources:
        - uris: http://mirror.example.org/debian
          suites: bookworm bookworm-updates
          components: main contrib non-free
          signed_by: /usr/share/keyrings/debian-archive-keyring.gpg
      kernels: [6.1.0-56-amd64]
    groups:
      - name: hosts
        packages: [nvidia-kernel-dkms, nvidia-smi]
        kernels: true
      - name: the depot
        packages: [nginx, rsync]
    flavours:
      - package: nvidia-kernel-dkms
        instead: [nvidia-open-kernel-dkms]
    cache: /var/cache/airgap
"""

RETURN = r"""
rehearsals:
  description: What the manifest says about the rehearsal.
  returned: success
  type: list
  elements: dict
  sample:
    - kind: packages
      name: debian-bookworm-amd64
      level: modules
      kernels: {6.1.0-56-amd64: [nvidia-current 535.309.01]}
remembered:
  description: Whether it had been shown before.
  returned: success
  type: bool
seconds:
  description: How long it took.
  returned: success
  type: float
  sample: 161.3
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import (
    _package_choices,
    _package_rehearsal,
    _package_stage,
    _repository,
)
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def rehearse(module: AnsibleModule) -> dict[str, Any]:
    """Return what was shown, now or before; raise what went wrong."""
    params = module.params
    started = time.monotonic()
    target = _repository.described(params["target"])
    groups = [_package_stage.Group(**group) for group in params["groups"]]
    limits = _package_choices.Limits(params["flavours"], params["alternatives"], params["minutes"])
    rehearsal = _package_rehearsal.Rehearsal(target, groups, params["cache"], params["days"], limits)
    if params["refused"]:
        silent = module.check_mode or not params["rehearse"]
        raise AirgapError(params["refused"] if silent else rehearsal.choices_after(params["refused"]))
    reason = rehearsal.obstacle() if params["rehearse"] else "bundle_rehearse_packages is false"
    remembered = None if reason else rehearsal.remembered(params["path"])
    if reason or (module.check_mode and not remembered):
        shown = _package_rehearsal.unproven(target, reason or "check mode; outside it they are rehearsed")
    else:
        shown = remembered or rehearsal.perform(params["path"])
    for warning in rehearsal.warnings(shown):
        module.warn(warning)
    return {
        "changed": False,
        "rehearsals": [shown],
        "remembered": bool(remembered),
        "seconds": round(time.monotonic() - started, 2),
        "msg": f"{target.label}: {_package_rehearsal.summary(shown)}{', shown before' if remembered else ''}",
    }


def main() -> None:
    group = {
        "name": {"type": "str", "required": True},
        "packages": {"type": "list", "elements": "str", "required": True},
        "kernels": {"type": "bool", "default": False},
        "pins": {"type": "list", "elements": "dict", "default": []},
    }
    flavour = {
        "package": {"type": "str", "required": True},
        "instead": {"type": "list", "elements": "str", "required": True},
    }
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "target": {"type": "dict", "required": True},
            "groups": {"type": "list", "elements": "dict", "required": True, "options": group},
            "cache": {"type": "path", "required": True},
            "rehearse": {"type": "bool", "default": True},
            "days": {"type": "float", "default": 7},
            "alternatives": {"type": "int", "default": 3},
            "minutes": {"type": "float", "default": 30},
            "flavours": {"type": "list", "elements": "dict", "default": [], "options": flavour},
            "refused": {"type": "str"},
        },
        supports_check_mode=True,
    )
    try:
        result = rehearse(module)
    except (AirgapError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
