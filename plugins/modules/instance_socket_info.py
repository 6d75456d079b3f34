#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: instance_socket_info
short_description: See who can open the sockets of engine instances, and what the engines answer there
version_added: "0.1.0"
description:
  - Reads owners and modes of each socket and of its directory; nobody but the engine and the gateway may come in.
  - Asks each engine at its socket what its unit asks at start, so that each replica is proved by itself.
author:
  - airgap.inference contributors (@airgap-inference)
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
  instances:
    description: The names of the instances.
    type: list
    elements: str
    required: true
  uid:
    description: The engines' user; root may own what an engine made that cannot run as another.
    type: int
    required: true
  gid:
    description: The gateway's group.
    type: int
    required: true
  socket_directory:
    description: The sockets are C(<socket_directory>/<instance>/engine.sock).
    type: path
    default: /run/airgap-inference
  config_directory:
    description: What each engine is asked is C(<config_directory>/<instance>/probe.json).
    type: path
    default: /etc/airgap/instances
seealso:
  - module: airgap.inference.container_seal_info
"""

EXAMPLES = r"""
- name: See who can open the sockets
  airgap.inference.instance_socket_info:
    instances: [chat-1, chat-2]
    uid: 2000
    gid: 2101
  register: sockets
"""

RETURN = r"""
instances:
  description: One entry for each instance, in the order asked.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The instance.
      type: str
      returned: always
    faults:
      description: What is wrong with the socket's owners and modes.
      type: list
      elements: str
      returned: always
    answer:
      description: What the engine did when asked at its socket; empty when it did not.
      type: str
      returned: always
      sample: "/v1/completions at its socket: text"
    failure:
      description: Why it did not.
      type: str
      returned: always
    socket:
      description: Owners and modes.
      type: dict
      returned: always
      sample:
        path: /run/airgap-inference/chat/engine.sock
        directory: {uid: 2000, gid: 2101, mode: "2770"}
        socket: {uid: 2000, gid: 2101, mode: "0770"}
"""

import concurrent.futures
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _instance_socket


def look_at(name: str, params: dict[str, Any]) -> dict[str, Any]:
    """One instance's entry."""
    socket = os.path.join(params["socket_directory"], name, "engine.sock")
    seen, faults = _instance_socket.look(socket, params["uid"], params["gid"])
    answer, failure = _instance_socket.answer(os.path.join(params["config_directory"], name, "probe.json"))
    return {"name": name, "socket": seen, "faults": faults, "answer": answer, "failure": failure}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "instances": {"type": "list", "elements": "str", "required": True},
            "uid": {"type": "int", "required": True},
            "gid": {"type": "int", "required": True},
            "socket_directory": {"type": "path", "default": "/run/airgap-inference"},
            "config_directory": {"type": "path", "default": "/etc/airgap/instances"},
        },
        supports_check_mode=True,
    )
    names = module.params["instances"]
    with concurrent.futures.ThreadPoolExecutor(max(1, len(names))) as threads:
        entries = list(threads.map(lambda name: look_at(name, module.params), names))
    module.exit_json(changed=False, instances=entries)


if __name__ == "__main__":
    main()
