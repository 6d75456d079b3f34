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
  - Reads from the kernel what the first process of a container has, network interfaces, routes, capabilities, user, root, limits,
    rather than what its configuration asked for.
  - The number of processes must be limited. Memory must be limited where its configuration says so.
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
  relays:
    description:
      - Containers that share the network of an engine's container, by their names, each with the name of that container.
      - They are held to the same, and their network must be that of their engine.
    type: dict
    default: {}
  may_be_root:
    description: Those of the containers whose engine cannot run as another user than root; its capabilities are still none.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: See how sealed the engine is
  airgap.inference.container_seal_info:
    containers: [airgap-chat, airgap-find]
    relays: {airgap-find-relay: airgap-find}
  register: seals
"""

RETURN = r"""
containers:
  description: One entry for each container, in the order asked, then for each relay.
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
        network_namespace: "net:[4026532261]"
        ipc_of_host: false
        most_processes: 8192
        most_memory: 0
        asked_memory: 0
        pid: 4711
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _container_seal, _docker
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def read(name: str) -> _container_seal.Seal | AirgapError:
    """What the kernel says of a container, or why it says nothing."""
    try:
        return _container_seal.read(_docker.inspect_container(name))
    except AirgapError as error:
        return error


def entry(name: str, seal: _container_seal.Seal | AirgapError, breaches: list[str]) -> dict[str, Any]:
    """One container's entry; one that cannot be read is not sealed."""
    if isinstance(seal, AirgapError):
        return {"name": name, "sealed": False, "breaches": [str(seal)]}
    return {"name": name, "sealed": not breaches, "breaches": breaches, "seal": _container_seal.describe(seal)}


def look(names: list[str], relays: dict[str, str], may_be_root: list[str]) -> list[dict[str, Any]]:
    """All entries; a relay is compared with its engine."""
    seals = {name: read(name) for name in names}
    entries = []
    for name, seal in seals.items():
        found = [] if isinstance(seal, AirgapError) else _container_seal.breaches(seal, name in may_be_root)
        entries.append(entry(name, seal, found))
    for name, engine_name in relays.items():
        seal, engine = read(name), seals.get(engine_name) or read(engine_name)
        if isinstance(seal, AirgapError):
            entries.append(entry(name, seal, []))
        elif isinstance(engine, AirgapError):
            entries.append(entry(name, seal, [f"its engine cannot be read: {engine}"]))
        else:
            entries.append(entry(name, seal, _container_seal.breaches(seal, False, engine)))
    return entries


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "containers": {"type": "list", "elements": "str", "required": True},
            "relays": {"type": "dict", "default": {}},
            "may_be_root": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    params = module.params
    module.exit_json(changed=False, containers=look(params["containers"], params["relays"], params["may_be_root"]))


if __name__ == "__main__":
    main()
