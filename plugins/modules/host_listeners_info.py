#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_listeners_info
short_description: See what listens on a host, and whether it should
version_added: "0.1.0"
description:
  - Reads every listening TCP socket and every unconnected UDP socket of the host from C(/proc/net), with the process that has it,
    and holds them against what is expected.
  - Needs root on the host, since the kernel shows another user's sockets to root only.
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
  expected:
    description: What may listen. What an entry leaves out does not matter; it states a port, a process or an address.
    type: list
    elements: dict
    default: []
    suboptions:
      protocol:
        description: One of them; both without it.
        type: str
        choices: [tcp, udp]
      port:
        description: The port.
        type: int
      process:
        description: The name of the process, as in C(/proc/<pid>/comm).
        type: str
      address:
        description: The address or network that it listens at, V(127.0.0.0/8).
        type: str
      reason:
        description: Why, for the report.
        type: str
"""

EXAMPLES = r"""
- name: See what listens
  airgap.inference.host_listeners_info:
    expected:
      - {protocol: tcp, port: 22, reason: SSH}
      - {protocol: tcp, port: 443, process: nginx, reason: the gateway}
  register: listening
"""

RETURN = r"""
listeners:
  description: Everything that listens; C(reason) is null for what was not expected.
  returned: success
  type: list
  elements: dict
  sample:
    - {protocol: tcp, address: 0.0.0.0, port: 443, process: nginx, pid: 4711, unit: docker-1f.scope, reason: the gateway}
unexpected:
  description: What was not expected, a line each.
  returned: success
  type: list
  elements: str
  sample: ["tcp 0.0.0.0:111 by rpcbind (pid 512, rpcbind.service)"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _listeners
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

ENTRY = {
    "protocol": {"type": "str", "choices": ["tcp", "udp"]},
    "port": {"type": "int"},
    "process": {"type": "str"},
    "address": {"type": "str"},
    "reason": {"type": "str"},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={"expected": {"type": "list", "elements": "dict", "default": [], "options": ENTRY}},
        supports_check_mode=True,
    )
    # What was left out is not part of an entry.
    expected = [
        {name: value for name, value in entry.items() if value is not None} for entry in module.params["expected"]
    ]
    try:
        _listeners.check_expected(expected)
        reasons = [(listener, _listeners.reason_for(listener, expected)) for listener in _listeners.read()]
    except AirgapError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=False,
        listeners=[{**listener._asdict(), "reason": reason} for listener, reason in reasons],
        unexpected=[str(listener) for listener, reason in reasons if reason is None],
    )


if __name__ == "__main__":
    main()
