#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: container_seal_info
short_description: Prove that a running container cannot reach anything
version_added: "0.1.0"
description:
  - Reads from the kernel what the first process of a container has, network interfaces, routes, capabilities, user, root,
    rather than what its configuration asked for.
  - Needs root on the host, since the kernel shows another user's process to root only.
author:
  - airgap.inference contributors (@airgap-inference)
requirements:
  - docker command line on the target
attributes:
  check_mode:
    description: Only reads, so it does the same in check mode.
    support: full
  diff_mode:
    description: Changes nothing, so it has nothing to show.
    support: N/A
  idempotent:
    description: Only reads.
    support: full
options:
  containers:
    description: Names of the containers.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: See how sealed the engine is
  airgap.inference.container_seal_info:
    containers: [airgap-chat]
  register: seals
"""

RETURN = r"""
containers:
  description: One entry for each container, in the order asked.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The container.
      type: str
      returned: always
    sealed:
      description: Whether nothing was found that opens it.
      type: bool
      returned: always
    breaches:
      description: Every way in which it is open, or why it could not be read.
      type: list
      elements: str
      returned: always
    seal:
      description: What the kernel says.
      type: dict
      returned: when the container runs
      sample:
        interfaces: [lo]
        routes: 0
        user_ids: [2000]
        effective_capabilities: "0x0"
        bounding_capabilities: "0x0"
        no_new_privileges: true
        seccomp_mode: 2
        root_read_only: true
        network_mode: none
        pid: 4711
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _container_seal, _docker
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def look_at(name: str) -> dict[str, Any]:
    """One container's entry; one that cannot be read is not sealed."""
    try:
        seal = _container_seal.read(_docker.inspect_container(name))
    except AirgapError as error:
        return {"name": name, "sealed": False, "breaches": [str(error)]}
    breaches = _container_seal.breaches(seal)
    return {"name": name, "sealed": not breaches, "breaches": breaches, "seal": _container_seal.describe(seal)}


def main() -> None:
    module = AnsibleModule(
        argument_spec={"containers": {"type": "list", "elements": "str", "required": True}},
        supports_check_mode=True,
    )
    module.exit_json(changed=False, containers=[look_at(name) for name in module.params["containers"]])


if __name__ == "__main__":
    main()
